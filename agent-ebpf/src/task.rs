//! The task on the CPU. Whether it owns anything is for user space to judge.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_get_current_task};
use rstblame_ebpf::{Signal, Task, kind};

use crate::{
    diagnose,
    maps::{PROCESSES, SIGNALS},
    memory::{offset_of_member, read_into, read_or_zero},
    record::submit_task,
};

/// `PF_KTHREAD` (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>).
const PF_KTHREAD: u32 = 0x0020_0000;

/// Writes the current task into `task`.
#[inline(always)]
pub fn fill_current(task: &mut Task) {
    let ids = bpf_get_current_pid_tgid();
    task.tgid = (ids >> 32) as u32;
    task.tid = ids as u32;
    task.uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: a helper without arguments.
    let current = unsafe { bpf_get_current_task() };
    read_into(current, offset_of_member!(task_flags), &mut task.flags);
    read_into(current, offset_of_member!(task_exit_code), &mut task.exit_code);

    // A thread is named after its work ("3_scheduler"), the process after its program: take the
    // leader's name.
    let leader = read_or_zero(current, offset_of_member!(task_group_leader));
    read_into(leader, offset_of_member!(task_start_boottime), &mut task.start_boottime_ns);
    if !read_into(leader, offset_of_member!(task_comm), &mut task.comm)
        && let Ok(comm) = bpf_get_current_comm()
    {
        task.comm = comm;
    }
}

/// Whether a kernel thread is on the CPU: it acts for whoever left it the work.
#[inline(always)]
pub fn is_kernel_thread() -> bool {
    // SAFETY: a helper without arguments.
    let current = unsafe { bpf_get_current_task() };
    read_or_zero::<u32>(current, offset_of_member!(task_flags)) & PF_KTHREAD != 0
}

/// Writes the last fatal signal of a process into `signal`.
#[inline(always)]
pub fn fill_signal(tgid: u32, signal: &mut Signal) {
    // SAFETY: map values stay readable while the program runs; a signal that arrives meanwhile
    // replaces a whole entry.
    if let Some(known) = unsafe { SIGNALS.get(tgid) } {
        *signal = *known;
    }
}

/// Reports the process of the current task, if this is the first time that it is seen with a
/// watched socket: its facts can then be read while it lives.
#[inline(always)]
pub fn introduce(task: &Task, sock: u64) {
    if task.tgid == 0 || task.flags & PF_KTHREAD != 0 {
        return;
    }
    // SAFETY: as above, one integer.
    if unsafe { PROCESSES.get(task.tgid) }.is_some_and(|start| *start == task.start_boottime_ns) {
        return;
    }
    // Least recently used entries make room; a failure means only that the process is reported
    // again.
    if let Err(error) = PROCESSES.insert(task.tgid, task.start_boottime_ns, 0) {
        diagnose::process_not_stored(task.tgid, error);
    }
    submit_task(kind::PROCESS, sock);
}
