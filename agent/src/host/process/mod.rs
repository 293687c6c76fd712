//! Facts of one process, read from `/proc` when its first connection is learnt.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::cgroup::{self, CgroupFacts};
use super::command_line::{Detail, show};
use super::netns;
use super::users::{self, Users};
use crate::text::clean_bytes;

/// Bytes of a command line that are kept at most.
pub const MAX_COMMAND_LINE_BYTES: usize = 4096;

/// Bytes of `/proc/PID/cmdline` that are read at most: more than are kept, since the classpath of a
/// JVM may be hidden or long. An argument that is cut off here is left out: half a URI could end in
/// half a password.
const MAX_CMDLINE_READ: usize = 16 * 1024;

/// Bytes of `stat` and `status` that are read at most; the kernel writes less than 2 KiB.
const MAX_STAT_READ: usize = 8 * 1024;

/// Bytes of `cgroup` that are read at most: a path has up to 4 KiB, and version 1 has some 13
/// hierarchies.
const MAX_CGROUP_READ: usize = 64 * 1024;

/// What the kernel adds to the link text of a file that was removed: a broker upgraded while it
/// runs, say.
const DELETED: &str = " (deleted)";

/// What is known of a process. What could not be read is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The process (thread group) id in the pid namespace of the `/proc` that was read: the host's,
    /// for an agent that runs there.
    pub pid: u32,
    /// When it started, in clock ticks (`USER_HZ`) since boot, suspended time included: with the
    /// pid, the identity of a process. See [`ticks_from_boottime_ns`].
    pub start_time_ticks: u64,
    /// The name of its main thread, up to 15 bytes.
    pub comm: String,
    /// The file name of the executable, else (a kernel thread, a process that is being reaped)
    /// [`Self::comm`].
    pub executable_name: String,
    /// The executable, as a path in the mount namespace of the process.
    pub executable_path: Option<String>,
    /// The arguments, as far as they are shown ([`Detail`]), at most [`MAX_COMMAND_LINE_BYTES`].
    pub command_line: Option<String>,
    /// The effective user id, in the user namespace of the agent.
    pub uid: Option<u32>,
    /// The name of that user: in the passwd file of the container where there is one that shares
    /// the agent's user ids, else in that of the host.
    pub user_name: Option<String>,
    /// What the control group tells: unit, container, pod.
    pub cgroup: Option<CgroupFacts>,
    /// The pid that the process itself sees (its innermost pid namespace), where that is another
    /// one.
    pub namespace_pid: Option<u32>,
    /// The inode number of its network namespace.
    pub net_namespace: Option<u32>,
}

/// Why the facts of a process could not be had.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It ended before it was looked at.
    #[error(
        "process {pid} is gone, or hidden from the agent; if it lives, check that /proc is mounted without hidepid and \
         that the agent is in the host's pid namespace"
    )]
    Gone {
        /// The process asked for.
        pid: u32,
    },
    /// The pid went to another process while it was being read.
    #[error("process {pid} ended and its pid was taken by another while it was read; read it again for the new one")]
    Reused {
        /// The process asked for.
        pid: u32,
    },
    /// A file could not be read.
    #[error("cannot read {path}: {source}; run the agent as root or give it CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is not in the form that proc(5) describes.
    #[error("{path} is not in the form of proc(5); check that a procfs is mounted there")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// The clock tick in which a task started that the kernel says started at `start_boottime`
/// nanoseconds.
///
/// The kernel shows `task_struct.start_boottime` as field 22 of `/proc/PID/stat` by the same
/// division (<https://github.com/torvalds/linux/blob/v6.12/fs/proc/array.c>, `do_task_stat`, and
/// `nsec_to_clock_t`), plus the offset of the reader's time namespace, which is 0 on a host.
/// `ticks_per_second` is `sysconf(_SC_CLK_TCK)`, 100 on all the usual machines.
pub const fn ticks_from_boottime_ns(start_boottime_ns: u64, ticks_per_second: u64) -> u64 {
    match 1_000_000_000_u64.checked_div(ticks_per_second) {
        Some(tick_ns) if tick_ns > 0 => start_boottime_ns / tick_ns,
        _ => 0,
    }
}

/// Reads processes out of one `/proc`.
#[derive(Debug)]
pub struct Processes {
    proc_root: PathBuf,
    users: Mutex<Users>,
    detail: Detail,
}

impl Processes {
    /// Processes of the procfs at `proc_root`, users named by the passwd file at `passwd`. Nothing
    /// is read yet.
    pub fn new(proc_root: impl Into<PathBuf>, passwd: impl Into<PathBuf>) -> Self {
        Self { proc_root: proc_root.into(), users: Mutex::new(Users::new(passwd)), detail: Detail::default() }
    }

    /// Keeps so much of command lines; [`Detail::Minimal`] without it.
    #[must_use]
    pub fn showing(self, detail: Detail) -> Self {
        Self { detail, ..self }
    }

    /// The facts of process `pid`, all of the same process: the directory stays open meanwhile,
    /// which in procfs is tied to the process and not to the number, and the start time is compared
    /// before and after.
    ///
    /// A process that ends while it is read leaves the facts that were read before; the others are
    /// absent.
    ///
    /// # Errors
    ///
    /// When there is no such process, its `stat` cannot be read, or the pid changed hands.
    pub fn read(&self, pid: u32) -> Result<ProcessFacts, ProcessError> {
        self.read_with(pid, || {})
    }

    /// What of the facts nobody else can delay, and how the rest is read: all but the command line
    /// and the name that a container has for its user.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_first(&self, pid: u32) -> Result<(ProcessFacts, Rest), ProcessError> {
        let path = self.proc_root.join(pid.to_string());
        let dir = open_dir(&path).map_err(|source| error(pid, &path, source))?;
        let facts = Self::facts(pid, &path, dir.as_fd())?;
        let in_container = facts.cgroup.as_ref().is_some_and(|facts| facts.container.is_some());
        // The numbers of a container are its own business: the host's 999 may be anyone. Where they
        // are mapped (user namespaces, rootless Podman), the number that is seen here is the host's
        // again.
        let own_names = in_container && link(dir.as_fd(), "ns/user").is_some_and(|theirs| Some(theirs) == self.own_user_namespace());
        let user_name = facts.uid.filter(|_| !own_names).and_then(|uid| {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            users.name(uid).map(str::to_owned)
        });
        Ok((ProcessFacts { user_name, ..facts }, Rest { path, dir, own_names, detail: self.detail }))
    }

    /// Whose process `pid` is, to the file system; `None` when there is none.
    pub fn owner(&self, pid: u32) -> Option<u32> {
        rustix::fs::stat(self.proc_root.join(pid.to_string())).ok().map(|stat| stat.st_uid)
    }

    /// When process `pid` started, in clock ticks since boot: enough to tell whether it is still
    /// the same process.
    ///
    /// # Errors
    ///
    /// When there is no such process, or its `stat` cannot be read.
    pub fn start_time_ticks(&self, pid: u32) -> Result<u64, ProcessError> {
        let path = self.proc_root.join(pid.to_string());
        let dir = open_dir(&path).map_err(|source| error(pid, &path, source))?;
        stat(pid, &path, dir.as_fd()).map(|stat| stat.start_time_ticks)
    }

    /// Name and start of process `pid`, in clock ticks since boot: what one file says that nobody
    /// can delay.
    ///
    /// # Errors
    ///
    /// As [`Self::start_time_ticks`].
    pub fn name(&self, pid: u32) -> Result<(String, u64), ProcessError> {
        let path = self.proc_root.join(pid.to_string());
        let dir = open_dir(&path).map_err(|source| error(pid, &path, source))?;
        stat(pid, &path, dir.as_fd()).map(|stat| (stat.comm, stat.start_time_ticks))
    }

    /// [`Self::read`], with something to do between the two looks at the start time.
    fn read_with(&self, pid: u32, between: impl FnOnce()) -> Result<ProcessFacts, ProcessError> {
        let (facts, rest) = self.read_first(pid)?;
        between();
        rest.read(facts)
    }

    fn facts(pid: u32, path: &Path, dir: BorrowedFd<'_>) -> Result<ProcessFacts, ProcessError> {
        let Stat { comm, start_time_ticks } = stat(pid, path, dir)?;

        let executable_path = link(dir, "exe").map(|exe| exe.strip_suffix(DELETED).unwrap_or(&exe).to_owned());
        let file_name = executable_path.as_deref().and_then(|exe| exe.rsplit('/').next());
        let executable_name = file_name.filter(|name| !name.is_empty()).unwrap_or(&comm).to_owned();
        let status = text(dir, "status", MAX_STAT_READ).unwrap_or_default();
        let uid = effective_uid(&status);
        let cgroup = text(dir, "cgroup", MAX_CGROUP_READ).and_then(|text| cgroup::parse(&text));
        Ok(ProcessFacts {
            pid,
            start_time_ticks,
            comm,
            executable_name,
            executable_path,
            command_line: None,
            uid,
            user_name: None,
            cgroup,
            namespace_pid: namespace_pid(&status),
            net_namespace: link(dir, "ns/net").as_deref().and_then(netns::parse_link),
        })
    }

    fn own_user_namespace(&self) -> Option<String> {
        let link = std::fs::read_link(self.proc_root.join("self/ns/user")).ok()?;
        link.to_str().map(str::to_owned)
    }
}

/// A process of which all is read that nobody else can delay.
#[derive(Debug)]
pub struct Rest {
    path: PathBuf,
    dir: OwnedFd,
    /// Its users have their names in its own root.
    own_names: bool,
    detail: Detail,
}

impl Rest {
    /// Reads what takes as long as the process likes: its command line lies in its memory, whose
    /// map it can lock, on pages that it can leave to a file system of its own; and so can its
    /// root.
    ///
    /// # Errors
    ///
    /// As [`Processes::read`].
    pub fn read(self, facts: ProcessFacts) -> Result<ProcessFacts, ProcessError> {
        let Self { path, dir, own_names, detail } = self;
        let (dir, pid) = (dir.as_fd(), facts.pid);
        let command_line = read_at(dir, "cmdline", MAX_CMDLINE_READ).ok().and_then(|bytes| command_line(detail, &bytes));
        let user_name = if own_names {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(dir, "root", flags, Mode::empty()).ok();
            root.zip(facts.uid).and_then(|(root, uid)| users::name_in_root(root, uid))
        } else {
            facts.user_name
        };
        match stat(pid, &path, dir) {
            Ok(after) if after.start_time_ticks != facts.start_time_ticks => Err(ProcessError::Reused { pid }),
            Ok(_) | Err(ProcessError::Gone { .. }) => Ok(ProcessFacts { command_line, user_name, ..facts }),
            Err(other) => Err(other),
        }
    }
}

struct Stat {
    comm: String,
    start_time_ticks: u64,
}

fn stat(pid: u32, path: &Path, dir: BorrowedFd<'_>) -> Result<Stat, ProcessError> {
    let path = path.join("stat");
    let bytes = read_at(dir, "stat", MAX_STAT_READ).map_err(|source| error(pid, &path, source))?;
    parse_stat(&bytes).ok_or(ProcessError::Malformed { path })
}

fn error(pid: u32, path: &Path, source: io::Error) -> ProcessError {
    match Errno::from_io_error(&source) {
        // A directory that was opened in time says ESRCH once its process is gone.
        Some(Errno::NOENT | Errno::SRCH) => ProcessError::Gone { pid },
        _ => ProcessError::Read { path: path.to_owned(), source },
    }
}

/// `PID (COMM) STATE ...`: `proc_pid_stat(5)`. A comm may hold blanks and parentheses, so the last
/// `)` ends it; the start time, field 22, is the 20th after it.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|&b| b == b'(')?;
    let close = bytes.iter().rposition(|&b| b == b')')?;
    let comm = clean_bytes(bytes.get(open + 1..close)?);
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let start_time_ticks = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Stat { comm, start_time_ticks })
}

/// `Uid: REAL EFFECTIVE SAVED FILESYSTEM`: `proc_pid_status(5)`.
fn effective_uid(status: &str) -> Option<u32> {
    status_field(status, "Uid:")?.nth(1)?.parse().ok()
}

/// `NSpid: OUTERMOST ... INNERMOST`: `proc_pid_status(5)`.
fn namespace_pid(status: &str) -> Option<u32> {
    let pids: Option<Vec<u32>> = status_field(status, "NSpid:")?.map(|pid| pid.parse().ok()).collect();
    match pids?.as_slice() {
        [outermost, .., innermost] if innermost != outermost => Some(*innermost),
        _ => None,
    }
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<impl Iterator<Item = &'a str>> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_ascii_whitespace)
}

/// The arguments in the text of `/proc/PID/cmdline`, joined, as far as they are shown; absent when
/// there are none.
fn command_line(detail: Detail, bytes: &[u8]) -> Option<String> {
    let mut arguments: Vec<_> = bytes.split(|&b| b == 0).map(String::from_utf8_lossy).collect();
    if bytes.len() >= MAX_CMDLINE_READ {
        arguments.pop();
    }
    // A program that writes its title over its arguments leaves the rest of the space empty.
    while arguments.last().is_some_and(|argument| argument.is_empty()) {
        arguments.pop();
    }
    (!arguments.is_empty()).then(|| show(detail, &arguments, MAX_COMMAND_LINE_BYTES))
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn read_at(dir: BorrowedFd<'_>, name: &str, max_bytes: usize) -> io::Result<Vec<u8>> {
    let file = File::from(rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(dir: BorrowedFd<'_>, name: &str, max_bytes: usize) -> Option<String> {
    read_at(dir, name, max_bytes).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn link(dir: BorrowedFd<'_>, name: &str) -> Option<String> {
    rustix::fs::readlinkat(dir, name, Vec::new()).ok().map(|target| clean_bytes(target.as_bytes()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]
mod tests;
