//! A process as the kernel shows it at the moment it acts.

/// A process in whose context something happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Start of the process in nanoseconds since boot; `None` when this kernel does not tell.
    pub start_boottime_ns: Option<u64>,
    /// Name of the process, at most 15 bytes.
    pub comm: String,
    pub uid: u32,
    /// How it ended, if it was ending at that moment.
    pub end: Option<ProcessEnd>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    pub core_dumped: bool,
    /// The out-of-memory killer chose it.
    pub oom: bool,
    /// Process that sent the signal: id and name. `None` when the kernel did, or when it was not
    /// seen.
    pub sent_by: Option<(u32, String)>,
    /// `CLOCK_BOOTTIME` at its end, ns.
    pub at_ns: u64,
}
