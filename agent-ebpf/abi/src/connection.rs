//! What the kernel side remembers of a connection.

use crate::Task;

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

const _: () = assert!(size_of::<Connection>() == 72);
