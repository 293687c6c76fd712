//! Tasks, the signals they are sent, and the record that says one holds a socket.

use crate::Header;

/// `TASK_COMM_LEN` of the kernel
/// (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>).
pub const COMM_LEN: usize = 16;

/// `PF_EXITING` (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>): the task is
/// on its way out, and `exit_code` is final.
pub const PF_EXITING: u32 = 0x4;

/// `PF_KTHREAD` (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>): a kernel
/// thread owns no sockets of ours.
pub const PF_KTHREAD: u32 = 0x0020_0000;

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

const _: () = assert!(size_of::<Task>() == 48);
const _: () = assert!(size_of::<Signal>() == 40);
const _: () = assert!(size_of::<TaskRecord>() == 120);
