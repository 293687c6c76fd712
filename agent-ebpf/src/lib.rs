//! Records the kernel programs write and the agent reads, and the names both sides must agree on.
//!
//! Every record is `repr(C)` without padding: the memory a ring buffer hands out is not zeroed, so
//! a hole in a record would leak whatever the kernel had there before. Integers are in host byte
//! order unless said otherwise; addresses are bytes as on the wire. Enumerations travel as
//! integers, since the running kernel may know more values than this code.
#![no_std]

pub mod amqp;
pub mod flood;
mod layout;
pub mod table;
pub mod watch;
pub mod wire;

pub use layout::{ABSENT, Layout, RecordFormat};

/// Which record this is (`Header::kind`).
pub mod kind {
    /// [`ResetRecord`](super::ResetRecord) of `tcp:tcp_send_reset`: this host's kernel sends a RST.
    pub const SEND_RESET: u32 = 1;
    /// [`ResetRecord`](super::ResetRecord) of `tcp:tcp_receive_reset`: a socket of this host is
    /// torn down by `tcp_reset()`.
    pub const RECEIVE_RESET: u32 = 2;
    /// [`TaskRecord`](super::TaskRecord): a process is seen with a watched socket for the first
    /// time.
    pub const PROCESS: u32 = 3;
    /// [`TaskRecord`](super::TaskRecord): a process closed a socket that had been reset before, or
    /// whose peer had sent FIN.
    pub const CLOSED: u32 = 4;
    /// [`ArrivedRst`](super::wire::ArrivedRst): a RST arrived, whatever the kernel made of it.
    pub const ARRIVED_RST: u32 = 5;
    /// [`Followed`](super::wire::Followed): a packet arrived after a RST.
    pub const FOLLOWED: u32 = 6;
    /// [`Heartbeat`](super::Heartbeat): user space asked for it.
    pub const HEARTBEAT: u32 = 7;
    /// [`ResetRecord`](super::ResetRecord) of `sock:inet_sock_set_state`: an open connection begins
    /// to end, or one that was being opened is given up. `connection` has the states and, where a
    /// process of this host acted, that process.
    pub const ENDING: u32 = 8;
}

/// Which parts of a [`ResetRecord`] were filled in (`ResetRecord::valid`). A part that is not
/// flagged is zero and means nothing.
pub mod valid {
    /// `local`, `peer`, `local_port`, `peer_port`, `family`.
    pub const TUPLE: u32 = 1 << 0;
    /// `state`: the socket's state when the tracepoint fired.
    pub const STATE: u32 = 1 << 1;
    /// `reason`: this kernel hands `enum sk_rst_reason` to the tracepoint.
    pub const REASON: u32 = 1 << 2;
    /// `netns`.
    pub const NETNS: u32 = 1 << 3;
    /// The socket options and queues: `sock_bits`, `shutdown`, `inode`, `uid`.
    pub const SOCK: u32 = 1 << 4;
    /// The TCP counters and sequence numbers.
    pub const TCP: u32 = 1 << 5;
    /// The segment that provoked the RST: `trigger_seq`, `trigger_ack`, `trigger_flags`.
    pub const TRIGGER: u32 = 1 << 6;
    /// The task that was on the CPU: `current`. Its owner only where the reset proves process
    /// context.
    pub const CURRENT: u32 = 1 << 7;
    /// What was remembered of the connection: `connection`.
    pub const CONNECTION: u32 = 1 << 8;
    /// The tracepoint was called with a socket (of whatever kind).
    pub const HAS_SOCK: u32 = 1 << 9;
    /// The tracepoint was called with the offending packet: the RST is an answer.
    pub const HAS_SKB: u32 = 1 << 10;
    /// `inode`: the socket still belongs to a file.
    pub const INODE: u32 = 1 << 11;
    /// A kernel thread acted for the owner, as the worker of Multipath TCP does.
    pub const KERNEL_THREAD: u32 = 1 << 12;
}

/// Bits of `ResetRecord::sock_bits`.
pub mod sock_bit {
    /// `SO_LINGER` is on with a timeout of zero: close() aborts.
    pub const LINGER_ZERO: u8 = 1 << 0;
    /// `SO_KEEPALIVE` is on.
    pub const KEEPALIVE: u8 = 1 << 1;
    /// `SOCK_DONE`: a FIN of the peer was processed (tcp_fin(),
    /// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>).
    pub const FIN_RECEIVED: u8 = 1 << 2;
    /// `SOCK_DEAD`: the socket is an orphan, no file refers to it.
    pub const DEAD: u8 = 1 << 3;
    /// `sk_socket` is set: the socket has been given to a process (accepted, or created by one).
    pub const HAS_SOCKET: u8 = 1 << 4;
}

/// Errors by which the kernel gives a connection up
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/asm-generic/errno.h>).
pub mod errno {
    pub const ENETDOWN: u32 = 100;
    pub const ENETUNREACH: u32 = 101;
    pub const ETIMEDOUT: u32 = 110;
    pub const EHOSTDOWN: u32 = 112;
    pub const EHOSTUNREACH: u32 = 113;
}

/// Index into the per-CPU counters map.
pub mod counter {
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
    /// [`flood`](super::flood).
    pub const FOLDED: u32 = 7;
    /// SYNs and SYN-ACKs that were put down, each in a place where none waited for its connection.
    pub const HANDSHAKES_BEGUN: u32 = 8;
    /// Those of them that a connection was begun with: less these and those that still wait, the
    /// rest made room.
    pub const HANDSHAKES_TAKEN: u32 = 9;
    /// Directions of connections of which it is not known any more what was said on them: it had
    /// made room when they went on.
    pub const CONVERSATIONS_GONE: u32 = 10;
    /// Ends of watched connections that were to be reported: [`kind::ENDING`](super::kind::ENDING).
    pub const ENDINGS: u32 = 11;
    /// Those of them for which the ring buffer had no room to spare.
    pub const ENDINGS_LOST: u32 = 12;
    /// Number of counters.
    pub const COUNT: u32 = 13;
}

/// Bits of `Config::flags`.
pub mod config {
    /// Only the namespaces in the `NETNS` map are watched.
    pub const NETNS_FILTER: u32 = 1 << 0;
}

/// `TASK_COMM_LEN` of the kernel
/// (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>).
pub const COMM_LEN: usize = 16;

/// `PF_EXITING` (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>): the task is
/// on its way out, and `exit_code` is final.
pub const PF_EXITING: u32 = 0x4;

/// How every record begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// The CPU.
    pub cpu: u32,
    /// `CLOCK_BOOTTIME` when the tracepoint fired, ns.
    pub boottime_ns: u64,
}

/// A task, as the kernel knows it. Ids are those of the initial pid namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// `group_leader->start_boottime`: nanoseconds since boot, suspend included. 0 when the layout
    /// is not known.
    pub start_boottime_ns: u64,
    /// Process id (`tgid`).
    pub tgid: u32,
    /// Thread id (`pid` in the kernel's words).
    pub tid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Task flags (`PF_KTHREAD` ...); 0 when the layout is not known.
    pub flags: u32,
    /// `exit_code` as wait(2) encodes it; means something only with [`PF_EXITING`].
    pub exit_code: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    /// Name of the thread group's leader, NUL-padded; of the thread where the layout is not known.
    pub comm: [u8; COMM_LEN],
}

/// The last signal sent to a process that ends one by default.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signal {
    /// `CLOCK_BOOTTIME` when it was sent, ns; 0 when none was seen.
    pub at_ns: u64,
    /// Process that sent it; means nothing for a signal of the kernel's own.
    pub sender_tgid: u32,
    /// Signal number; 0 when only the out-of-memory killer's mark was seen.
    pub number: u32,
    /// Name of the sender, NUL-padded.
    pub sender_comm: [u8; COMM_LEN],
    /// [`signal_flag`].
    pub flags: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
}

/// Bits of `Signal::flags`.
pub mod signal_flag {
    /// The kernel sent it of its own accord: a fault, or the out-of-memory killer.
    pub const FROM_KERNEL: u32 = 1 << 0;
    /// The out-of-memory killer chose this process (`oom:mark_victim`).
    pub const OOM: u32 = 1 << 1;
}

/// Which task a [`Connection`] remembers.
pub mod owner {
    /// None.
    pub const NONE: u8 = 0;
    /// The task that called connect(2).
    pub const CONNECT: u8 = 1;
    /// The task that sent this host's FIN, by close(2), shutdown(2) or its end.
    pub const CLOSE: u8 = 2;
}

/// What the kernel side remembers of one watched connection, keyed by the address of its
/// `struct sock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// When the handshake finished: `CLOCK_BOOTTIME`, ns. 0 when that was not seen.
    pub established_ns: u64,
    /// When the state last changed: `CLOCK_BOOTTIME`, ns.
    pub changed_ns: u64,
    /// The task that `owner` says.
    pub task: Task,
    /// The state before the last change (`enum` of
    /// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>); 0 when none was
    /// seen.
    pub previous_state: u8,
    /// The state after it.
    pub state: u8,
    /// One of [`owner`].
    pub owner: u8,
    /// 1 when this host opened the connection (it went through SYN_SENT).
    pub active_open: u8,
    /// 1 when it was reset while its owner still held it: whoever closes it now was that owner.
    pub was_reset: u8,
    /// Explicit padding, zero.
    pub reserved: [u8; 3],
}

/// Says that the way from here to the agent is open.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    pub header: Header,
    /// Bytes of the ring buffer that waited to be read when it was written.
    pub unread: u64,
}

/// A process and a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskRecord {
    pub header: Header,
    /// Address of the `struct sock`.
    pub sock: u64,
    /// Inode number of the socket's network namespace; 0 when it could not be read.
    pub netns: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    pub task: Task,
    /// The last fatal signal it was sent.
    pub signal: Signal,
}

/// One firing of `tcp_send_reset` or `tcp_receive_reset`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetRecord {
    pub header: Header,
    /// Address of the `struct sock`: an identity, never dereferenced in user space and never
    /// printed.
    pub sock: u64,
    /// `inode` of the socket's file in sockfs, as /proc/PID/fd shows it.
    pub inode: u64,
    /// `tp->bytes_received`: payload bytes received in order.
    pub bytes_received: u64,
    /// `tp->bytes_sent` less `tp->bytes_retrans`: payload bytes sent, each counted once.
    /// (`bytes_acked` counts a SYN, too.)
    pub bytes_sent: u64,
    /// The task on the CPU.
    pub current: Task,
    /// What was remembered of the connection.
    pub connection: Connection,
    /// The last fatal signal sent to the process that closed the connection.
    pub signal: Signal,
    /// Which parts of this record mean something: [`valid`].
    pub valid: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `enum sk_rst_reason`, as the running kernel numbers it.
    pub reason: u32,
    /// `sk_uid`: the user that created the socket.
    pub uid: u32,
    /// `tp->rcv_nxt`.
    pub rcv_nxt: u32,
    /// `tp->copied_seq`: head of the data not yet read by the owner.
    pub copied_seq: u32,
    /// `tp->snd_una`.
    pub snd_una: u32,
    /// `tp->snd_nxt`.
    pub snd_nxt: u32,
    /// `tp->write_seq`: tail of the data written by the owner.
    pub write_seq: u32,
    /// `tp->srtt_us`: smoothed round-trip time in eighths of a microsecond.
    pub srtt_us8: u32,
    /// `tp->rtt_min`: smallest round-trip time of the window in microseconds; `u32::MAX` before the
    /// first sample.
    pub rtt_min_us: u32,
    /// `tp->total_retrans`.
    pub retransmits: u32,
    /// Jiffies since `icsk_ack.lrcvtime`: last payload received (or the handshake).
    pub last_data_received: u32,
    /// Jiffies since `tp->lsndtime`: last payload sent (or the handshake).
    pub last_data_sent: u32,
    /// Jiffies since `tp->rcv_tstamp`: last acceptable ACK.
    pub last_ack_received: u32,
    /// Jiffies when the tracepoint fired, low 32 bits.
    pub jiffies: u32,
    /// `sk_err`, an errno: why the kernel gave a connection up. Of [`kind::ENDING`] only.
    pub error: u32,
    /// Sequence number of the offending segment.
    pub trigger_seq: u32,
    /// Acknowledgement number of the offending segment.
    pub trigger_ack: u32,
    /// This host's address: four bytes for `AF_INET`, sixteen for `AF_INET6`.
    pub local: [u8; 16],
    /// The other host's address.
    pub peer: [u8; 16],
    /// This host's port.
    pub local_port: u16,
    /// The other host's port.
    pub peer_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// `sk_state` when the tracepoint fired.
    pub state: u8,
    /// TCP flags byte of the offending segment.
    pub trigger_flags: u8,
    /// `sk_shutdown`: bit 0 receive, bit 1 send.
    pub shutdown: u8,
    /// [`sock_bit`].
    pub sock_bits: u8,
    /// Explicit padding, zero.
    pub reserved: [u8; 2],
}

/// Runtime settings of the kernel side that may change without re-attaching.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// [`config`].
    pub flags: u32,
    /// By [`flood::class`].
    pub budgets: [flood::Budget; flood::class::COUNT as usize],
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Task>() == 48);
const _: () = assert!(size_of::<Signal>() == 40);
const _: () = assert!(size_of::<Connection>() == 72);
const _: () = assert!(size_of::<TaskRecord>() == 120);
const _: () = assert!(size_of::<Heartbeat>() == 24);
const _: () = assert!(size_of::<ResetRecord>() == 328);
const _: () = assert!(size_of::<Config>() == 36);

#[cfg(feature = "records-as-pod")]
mod pod {
    use super::{
        Config, Connection, Layout, RecordFormat, ResetRecord,
        amqp::{ChannelError, Spoken},
        flood::{Flood, FloodKey},
        table::{Set, Slot, Table},
        watch::Watch,
        wire::{FlowKey, Handshake},
    };

    // SAFETY: repr(C), integers and arrays of integers only, no padding (sizes are asserted where
    // each is declared).
    unsafe impl aya::Pod for Config {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ChannelError {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Connection {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Flood {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FloodKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FlowKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Handshake {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Layout {}
    // SAFETY: as above.
    unsafe impl aya::Pod for RecordFormat {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ResetRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Set {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Slot {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Spoken {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Table {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Watch {}
}
