//! This host: processes, containers, users, namespaces. Knows nothing of BPF.

pub mod cgroup;
pub mod netns;
pub mod process;
pub mod redact;
pub mod sockets;
pub mod users;

use process::{ProcessFacts, Processes, ticks_from_boottime_ns};

use crate::flow::ClosingTask;

/// Looks processes up.
pub struct Lookup {
    processes: Processes,
    ticks_per_second: u64,
}

impl Lookup {
    /// Looks into this host's `/proc` and `/etc/passwd`.
    pub fn new() -> Self {
        Self { processes: Processes::new("/proc", "/etc/passwd"), ticks_per_second: rustix::param::clock_ticks_per_second() }
    }

    /// What is known of a task that closed a connection: all of `/proc` while it is the same process, else what the kernel said.
    pub fn closing_process(&mut self, task: &ClosingTask) -> ProcessFacts {
        let ticks = task.start_boottime_ns.map(|ns| ticks_from_boottime_ns(ns, self.ticks_per_second));
        match self.processes.read(task.pid) {
            Ok(facts) if ticks.is_none_or(|ticks| ticks == facts.start_time_ticks) => facts,
            _ => ProcessFacts {
                pid: task.pid,
                start_time_ticks: ticks.unwrap_or(0),
                comm: task.comm.clone(),
                executable_name: task.comm.clone(),
                executable_path: None,
                command_line: None,
                uid: Some(task.uid),
                user_name: None,
                cgroup: None,
                namespace_pid: None,
                net_namespace: None,
            },
        }
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::new()
    }
}

/// Node name, kernel release and machine.
pub fn uname() -> (String, String, String) {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    (text(uname.nodename()), text(uname.release()), text(uname.machine()))
}
