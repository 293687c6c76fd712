//! The task on the CPU. Whether it owns anything is for user space to judge.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_task},
};
use rstblame_ebpf::Task;

use crate::memory::{offset_of_member, read};

/// Writes the current task into `task`.
#[inline(always)]
pub fn fill_current(task: &mut Task) {
    let ids = bpf_get_current_pid_tgid();
    task.tgid = (ids >> 32) as u32;
    task.tid = ids as u32;
    task.uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: helpers without arguments.
    let (cgroup_id, current) = unsafe { (bpf_get_current_cgroup_id(), bpf_get_current_task()) };
    task.cgroup_id = cgroup_id;
    task.flags = read(current, offset_of_member!(task_flags)).unwrap_or(0);

    // A thread is named after its work ("3_scheduler"), the process after its program: take the leader's name.
    let leader = read(current, offset_of_member!(task_group_leader)).unwrap_or(0);
    task.start_boottime_ns = read(leader, offset_of_member!(task_start_boottime)).unwrap_or(0);
    match read(leader, offset_of_member!(task_comm)) {
        Some(comm) => task.comm = comm,
        None => {
            if let Ok(comm) = bpf_get_current_comm() {
                task.comm = comm;
            }
        }
    }
}
