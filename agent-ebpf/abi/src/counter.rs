//! Indexes into the per-CPU map of counters.

/// Resets that passed the filter.
pub const SEEN: u32 = 0;
/// Records the ring buffer had no room for.
pub const RING_FULL: u32 = 1;
/// Connections the connection map had no room for: their resets are reported without age and
/// owner.
pub const CONNECTIONS_FULL: u32 = 2;
/// Records of processes for which the ring buffer had no room: resets are reported all the
/// same, perhaps without their owner.
pub const TASKS_LOST: u32 = 3;
/// Packets of the tap for which the ring buffer had no room, or that were beyond their budget:
/// resets are reported all the same, with less evidence.
pub const PACKETS_LOST: u32 = 4;
/// Directions of connections that the tap forgot, to make room for others.
pub const FLOWS_GONE: u32 = 5;
/// Messages that the kernel programs had for the agent's log, at level debug only.
pub const DIAGNOSED: u32 = 6;
/// Resets that were counted by their key and not reported, because there were too many:
/// [`rate_limit`](crate::rate_limit).
pub const FOLDED: u32 = 7;
/// SYNs and SYN-ACKs that were put down, each in a place where none waited for its connection.
pub const HANDSHAKES_BEGUN: u32 = 8;
/// Those of them that a connection was begun with: less these and those that still wait, the
/// rest made room.
pub const HANDSHAKES_TAKEN: u32 = 9;
/// Directions of connections of which it is not known any more what was said on them: it had
/// made room when they went on.
pub const CONVERSATIONS_GONE: u32 = 10;
/// Ends of watched connections that were to be reported: [`kind::ENDING`](crate::kind::ENDING).
pub const ENDINGS: u32 = 11;
/// Those of them for which the ring buffer had no room to spare.
pub const ENDINGS_LOST: u32 = 12;
/// Number of counters.
pub const COUNT: u32 = 13;
