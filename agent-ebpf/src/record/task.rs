//! The task on the CPU, and the record that says so. Whether it owns anything is for user space to
//! judge.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_get_current_task};
use rstblame_abi::{PF_KTHREAD, Signal, Task, TaskRecord, counter, kind};

use super::submit::header;
use crate::ground::{
    diagnose,
    maps::{EVENTS, PROCESSES, SIGNALS, count},
    netns,
    probe_read::{offset_of_member, read_into, read_or_zero},
    verifier::zero,
};

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

/// Submits the current task, in connection with a socket.
#[inline(always)]
pub fn submit_task(kind: u32, sock: u64) {
    let Some(mut entry) = EVENTS.reserve::<TaskRecord>(0) else {
        count(counter::TASKS_LOST);
        diagnose::no_room_for_task(kind);
        return;
    };
    // SAFETY: the entry is memory for one record, aligned to 8; all-zero bytes are a valid record,
    // and none of the ring's old bytes survive.
    let record = unsafe {
        zero(entry.as_mut_ptr());
        &mut *entry.as_mut_ptr()
    };
    record.header = header(kind);
    record.sock = sock;
    record.netns = netns::of_socket(sock);
    fill_current(&mut record.task);
    fill_signal(record.task.tgid, &mut record.signal);
    entry.submit(0);
}
