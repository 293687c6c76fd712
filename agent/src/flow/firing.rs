//! One call of a tracepoint.

/// What is needed to tell whether two firings are one reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Identity of the socket; 0 without one.
    pub sock: u64,
    pub cpu: u32,
    /// Jiffies, low 32 bits.
    pub jiffies: u32,
    /// The socket's receive side was shut down.
    pub receive_side_shut: bool,
}
