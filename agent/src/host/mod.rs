//! This host: processes, containers, users, namespaces. Knows nothing of BPF.

pub mod cgroup;
pub mod command_line;
pub mod crew;
pub mod facts;
pub mod memory;
pub mod neighbours;
mod netlink;
pub mod netns;
pub mod process;
pub mod redact;
pub mod sockets;
pub mod users;

use std::{sync::Arc, time::Duration};

use command_line::Detail;
use crew::{Crew, Questions};
use process::{ProcessFacts, Processes, Rest, ticks_from_boottime_ns};

use crate::text::clean_bytes;

/// How long the session waits for the facts of one process, and for those of all in a second. They
/// take a tenth of a millisecond, but on busy processors.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));

/// Threads that read of `/proc` what nobody can delay, and processes that may wait for one.
const READERS: (usize, usize) = (4, 1024);

/// The same for what a process can let wait for as long as it likes: a few users together can hold
/// all of them up, and then others go without that.
const REST_READERS: (usize, usize) = (16, 1024);

/// Processes of one user that are read at once.
const OF_ONE_USER: usize = 4;

/// Looks processes up in this host's `/proc`. What is read there another user can delay, so threads
/// apart read it.
pub struct Lookup {
    processes: Arc<Processes>,
    first: Questions<u32, u32, Option<(ProcessFacts, Rest)>>,
    rest: Questions<u32, u32, Option<ProcessFacts>>,
    ticks_per_second: u64,
}

impl Lookup {
    /// Looks into `/proc` and `/etc/passwd`, and keeps so much of command lines.
    pub fn new(detail: Detail) -> Self {
        Self::of(Processes::new("/proc", "/etc/passwd").showing(detail))
    }

    fn of(processes: Processes) -> Self {
        Self {
            processes: Arc::new(processes),
            first: Questions::new(Crew::new("proc", READERS.0, READERS.1), PATIENCE.0, PATIENCE.1, OF_ONE_USER),
            rest: Questions::new(Crew::new("proc-rest", REST_READERS.0, REST_READERS.1), PATIENCE.0, PATIENCE.1, OF_ONE_USER),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        }
    }

    /// What is known of a living process. `None` when it is gone or may not be looked at, and when
    /// that cannot be told soon; what can be told soon may lack its command line. The rest is
    /// [`Self::late`].
    pub fn read(&mut self, pid: u32) -> Option<ProcessFacts> {
        let owner = self.processes.owner(pid)?;
        let processes = Arc::clone(&self.processes);
        let (facts, rest) = self.first.ask(&pid, owner, move || processes.read_first(pid).ok())??;
        let told = facts.clone();
        self.rest.ask(&pid, owner, move || rest.read(told).ok()).unwrap_or(Some(facts))
    }

    /// Facts that came after they were asked for.
    pub fn late(&mut self) -> Vec<ProcessFacts> {
        let mut late = Vec::new();
        for (pid, (facts, rest)) in self.first.late().into_iter().filter_map(|(pid, first)| Some((pid, first?))) {
            if let Some(owner) = facts.uid {
                let told = facts.clone();
                self.rest.begin(&pid, owner, move || rest.read(told).ok());
            }
            late.push(facts);
        }
        late.extend(self.rest.late().into_iter().filter_map(|(_, facts)| facts));
        late
    }

    /// Processes that were not read in time.
    pub const fn missed(&self) -> u64 {
        self.first.missed() + self.rest.missed()
    }

    /// Name and start, in clock ticks since boot, of a living process.
    pub fn name(&self, pid: u32) -> Option<(String, u64)> {
        self.processes.name(pid).ok()
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        fs,
        io::Write as _,
        path::Path,
        time::{Duration, Instant},
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{Lookup, process::Processes};

    /// A process whose command line is read for as long as somebody likes: here a FIFO that nobody
    /// writes into, elsewhere a page on a file system of its own.
    fn stuck(proc_root: &Path, pid: u32) {
        let dir = proc_root.join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let fields = vec!["0"; 18].join(" ");
        fs::write(dir.join("stat"), format!("{pid} (victim) S {fields} 7 0\n")).unwrap();
        fs::write(dir.join("status"), "Uid:\t1000\t1000\t1000\t1000\n").unwrap();
        std::os::unix::fs::symlink("/usr/bin/victim", dir.join("exe")).unwrap();
        mknodat(CWD, dir.join("cmdline"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    fn plain(proc_root: &Path, pid: u32) {
        stuck(proc_root, pid);
        let path = proc_root.join(pid.to_string()).join("cmdline");
        fs::remove_file(&path).unwrap();
        fs::write(path, b"plain\0").unwrap();
    }

    #[test]
    fn a_process_that_lets_its_readers_wait_holds_nobody_up() {
        let root = tempfile::tempdir().unwrap();
        for pid in 1..=100 {
            stuck(root.path(), pid);
        }
        plain(root.path(), 1000);
        let mut lookup = Lookup::of(Processes::new(root.path(), root.path().join("passwd")));
        let began = Instant::now();
        let first = lookup.read(1).unwrap();
        assert_eq!((first.executable_name.as_str(), first.uid, first.command_line), ("victim", Some(1000), None));
        for pid in 2..=100 {
            let facts = lookup.read(pid).unwrap();
            assert_eq!((facts.executable_path.as_deref(), facts.command_line), (Some("/usr/bin/victim"), None));
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        // All of them are of one user, which has a few readers and no more.
        assert_eq!(lookup.missed(), 100);
        // What comes later is had then.
        let mut cmdline = fs::OpenOptions::new().write(true).open(root.path().join("1/cmdline")).unwrap();
        cmdline.write_all(b"/usr/bin/victim\0").unwrap();
        drop(cmdline);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !lookup.late().iter().any(|facts| facts.pid == 1 && facts.command_line.as_deref() == Some("victim")) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        // And the user has a reader again.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(lookup.read(1000).unwrap().command_line.as_deref(), Some("plain"));
    }
}
