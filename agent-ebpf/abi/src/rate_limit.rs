//! What the kernel programs count instead of reporting while there is too much of it.
//!
//! Two bounds, both for one second: so many records of one [`class`], and of these so many of one
//! [`FloodKey`]. What is beyond either is added up by key, so that user space can still say of
//! whom, and how many, exactly.

/// What shares a budget: a flood of one class takes nothing from another.
pub mod class {
    /// Resets that ended no connection of this host: nobody listens, a stray segment, a handshake
    /// that came to nothing.
    pub const REFUSED: u32 = 0;
    /// Resets of connections.
    pub const CONNECTED: u32 = 1;
    /// Headers of RSTs that belong to no connection the tap has seen.
    pub const STRAY_RST: u32 = 2;
    /// Headers of RSTs of connections the tap has seen, and of what follows them.
    pub const KNOWN_RST: u32 = 3;
    /// Headers of RSTs that leave, of connections the tap has seen.
    pub const LEFT_RST: u32 = 4;
    /// Headers of RSTs that leave and belong to none.
    pub const LEFT_STRAY: u32 = 5;
    /// Number of classes.
    pub const COUNT: u32 = 6;
    /// Classes of resets, as opposed to packets: the first so many.
    pub const RESETS: u32 = 2;
}

/// Keys of one class of which something is counted at once.
pub const KEYS: u32 = 4096;

/// Places in which peers have their shares of the budgets of packets.
pub const PEER_SHARES: u32 = 4096;

/// Records a second that one class may have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// All keys together; 0 for no bound at all.
    pub class: u32,
    /// One key, of resets; one peer, of packets; 0 for no bound but that of its class.
    pub key: u32,
}

/// Who a reset came from or went to, and the service that was meant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FloodKey {
    /// The other host's address: four bytes for `AF_INET`, sixteen for `AF_INET6`.
    pub peer: [u8; 16],
    /// Inode number of the network namespace; 0 when it could not be read.
    pub netns: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// The watched port of this host; 0 where it is the peer's that is watched.
    pub local_port: u16,
    /// The watched port of the peer; 0 where it is this host's.
    pub peer_port: u16,
    /// Explicit padding, zero.
    pub reserved: u16,
}

/// What was counted in seconds of one parity.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Resets, since the entry was made: it only grows, so that a reader who is late misses
    /// nothing.
    pub count: u64,
    /// The first of the latest such second: `CLOCK_BOOTTIME`, ns.
    pub first_ns: u64,
    /// The last one: `CLOCK_BOOTTIME`, ns.
    pub last_ns: u64,
}

/// What is known of one key, or of all those of one class for which there was no entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flood {
    /// The latest second, since boot, in which there was a reset.
    pub second: u64,
    /// Records submitted in it.
    pub whole: u64,
    /// Resets counted instead, in even and in odd seconds: while one is written to, the other can
    /// be read.
    pub counted: [Counted; 2],
}

/// Nothing counted.
pub const NOTHING_COUNTED: Flood = Flood { second: 0, whole: 0, counted: [Counted { count: 0, first_ns: 0, last_ns: 0 }; 2] };

const _: () = assert!(size_of::<Budget>() == 8);
const _: () = assert!(size_of::<FloodKey>() == 28);
const _: () = assert!(size_of::<Flood>() == 64);
