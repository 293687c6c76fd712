//! What every record begins with, and which records there are.

/// Which record this is (`Header::kind`).
pub mod kind {
    /// [`ResetRecord`](crate::ResetRecord) of `tcp:tcp_send_reset`: this host's kernel sends a RST.
    pub const SEND_RESET: u32 = 1;
    /// [`ResetRecord`](crate::ResetRecord) of `tcp:tcp_receive_reset`: a socket of this host is
    /// torn down by `tcp_reset()`.
    pub const RECEIVE_RESET: u32 = 2;
    /// [`TaskRecord`](crate::TaskRecord): a process is seen with a watched socket for the first
    /// time.
    pub const PROCESS: u32 = 3;
    /// [`TaskRecord`](crate::TaskRecord): a process closed a socket that had been reset before, or
    /// whose peer had sent FIN.
    pub const CLOSED: u32 = 4;
    /// [`WireRst`](crate::flow::WireRst): a RST arrived, whatever the kernel made of it.
    pub const ARRIVED_RST: u32 = 5;
    /// [`Followed`](crate::flow::Followed): a packet arrived after a RST.
    pub const FOLLOWED: u32 = 6;
    /// [`Heartbeat`](super::Heartbeat): user space asked for it.
    pub const HEARTBEAT: u32 = 7;
    /// [`ResetRecord`](crate::ResetRecord) of `sock:inet_sock_set_state`: an open connection begins
    /// to end, or one that was being opened is given up. `connection` has the states and, where a
    /// process of this host acted, that process.
    pub const ENDING: u32 = 8;
    /// [`WireRst`](crate::flow::WireRst): a RST left.
    pub const LEFT_RST: u32 = 9;
}

/// Programs that are called by others, in the map `CALLED`: they take no room in what each packet
/// runs through.
pub mod called {
    /// The one that follows AMQP.
    pub const AMQP: u32 = 0;
    /// The one that reports a RST.
    pub const REPORT_RST: u32 = 1;
    /// How many there are.
    pub const COUNT: u32 = 2;
}

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

/// Says that the way from here to the agent is open.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    pub header: Header,
    /// Bytes of the ring buffer that waited to be read when it was written.
    pub unread: u64,
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Heartbeat>() == 24);
