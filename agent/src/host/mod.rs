//! This host: processes, containers, users, namespaces. Knows nothing of BPF.

pub mod cgroup;
pub mod command_line;
pub mod facts;
pub mod memory;
pub mod neighbours;
mod netlink;
pub mod netns;
pub mod owners;
pub mod process;
pub mod redact;
pub mod sockets;
pub mod users;

use command_line::Detail;
use process::{ProcessFacts, Processes, ticks_from_boottime_ns};

use crate::text::clean_bytes;

/// Looks processes up in this host's `/proc`.
pub struct Lookup {
    processes: Processes,
    ticks_per_second: u64,
}

impl Lookup {
    /// Looks into `/proc` and `/etc/passwd`, and keeps so much of command lines.
    pub fn new(detail: Detail) -> Self {
        Self {
            processes: Processes::new("/proc", "/etc/passwd").showing(detail),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        }
    }

    /// What is known of a living process; `None` when it is gone or may not be looked at.
    pub fn read(&mut self, pid: u32) -> Option<ProcessFacts> {
        self.processes.read(pid).ok()
    }

    /// When a living process started, in clock ticks since boot.
    pub fn start_time_ticks(&self, pid: u32) -> Option<u64> {
        self.processes.start_time_ticks(pid).ok()
    }

    /// The clock tick of a moment in nanoseconds since boot.
    pub const fn ticks(&self, boottime_ns: u64) -> u64 {
        ticks_from_boottime_ns(boottime_ns, self.ticks_per_second)
    }
}

/// Node name, kernel release and machine.
pub fn uname() -> (String, String, String) {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| clean_bytes(text.to_bytes());
    (text(uname.nodename()), text(uname.release()), text(uname.machine()))
}
