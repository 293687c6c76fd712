//! The record of a reset, and of the end of a connection.

use crate::{Connection, Header, Signal, Task};

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
    /// `sk_err`, an errno: why the kernel gave a connection up. Of
    /// [`kind::ENDING`](crate::kind::ENDING) only.
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

const _: () = assert!(size_of::<ResetRecord>() == 328);
