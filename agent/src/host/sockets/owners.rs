//! Which process holds a socket: `/proc/PID/fd` shows the inode number of each.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RawDir};

/// The processes that hold the sockets of `wanted` (by inode number) open, in one pass over
/// `/proc/*/fd`.
///
/// A socket that several processes share (prefork, a descriptor passed on) has them all, in no
/// order. Sockets that no process holds, and processes that the agent may not look at, are not in
/// the answer. The pass costs a readlink(2) for each descriptor of the host: it is meant for the
/// start of the agent.
pub fn fd_owners<S: BuildHasher>(proc_root: &Path, wanted: &HashSet<u64, S>) -> HashMap<u64, Vec<u32>> {
    fd_owners_told(proc_root, wanted, || {})
}

/// The same; `looked` is called after each process, so that whoever waits can tell a long pass from
/// one that hangs.
pub fn fd_owners_told<S: BuildHasher>(proc_root: &Path, wanted: &HashSet<u64, S>, looked: impl Fn()) -> HashMap<u64, Vec<u32>> {
    let mut owners: HashMap<u64, Vec<u32>> = HashMap::new();
    if wanted.is_empty() {
        return owners;
    }
    for entry in std::fs::read_dir(proc_root).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ends in the middle of it has given what it gave.
        let _ = each_socket(proc_root, pid, usize::MAX, |inode| {
            if wanted.contains(&inode) {
                let pids = owners.entry(inode).or_default();
                // A process can hold a socket by several descriptors (dup).
                if pids.last() != Some(&pid) {
                    pids.push(pid);
                }
            }
            ControlFlow::Continue(())
        });
        looked();
    }
    owners
}

/// Whether a process holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// One of its file descriptors leads to the socket.
    Yes,
    /// None of them does.
    No,
    /// It could not be told: the process is gone, may not be looked at, or has more descriptors
    /// than were looked at.
    Unknown,
}

/// Whether process `pid` holds the socket with this inode number, by at most `max_fds` of its file
/// descriptors.
pub fn holds(proc_root: &Path, pid: u32, inode: u64, max_fds: usize) -> Holds {
    let visit = |found| {
        if found == inode { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match each_socket(proc_root, pid, max_fds, visit) {
        Ok(Scan::Stopped) => Holds::Yes,
        Ok(Scan::Complete) => Holds::No,
        Ok(Scan::Limit) | Err(_) => Holds::Unknown,
    }
}

/// How a pass over the descriptors of a process ended.
enum Scan {
    Complete,
    Stopped,
    Limit,
}

/// Hands the inode number of each socket among the first `max_fds` descriptors of a process to
/// `visit`.
fn each_socket(proc_root: &Path, pid: u32, max_fds: usize, mut visit: impl FnMut(u64) -> ControlFlow<()>) -> rustix::io::Result<Scan> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, proc_root.join(format!("{pid}/fd")), flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut seen = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        if seen == max_fds {
            return Ok(Scan::Limit);
        }
        seen += 1;
        // `socket:[N]` fits; the paths of files need not. A descriptor closed meanwhile is none of
        // the process's.
        let mut link = [MaybeUninit::uninit(); 40];
        let Ok((link, _)) = rustix::fs::readlinkat_raw(&dir, name, &mut link) else {
            continue;
        };
        if socket_inode(link).is_some_and(|inode| visit(inode).is_break()) {
            return Ok(Scan::Stopped);
        }
    }
    Ok(Scan::Complete)
}

/// The inode number in the text of a `/proc/PID/fd` link, `socket:[12345]`.
pub(super) fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Which sockets of `wanted` (by inode number) process `pid` holds, by at most `max_fds` of its
/// file descriptors; `None` when that could not be told for all of them.
pub fn held_by<S: BuildHasher>(proc_root: &Path, pid: u32, wanted: &HashSet<u64, S>, max_fds: usize) -> Option<HashSet<u64>> {
    let mut held = HashSet::new();
    let visit = |inode| {
        if wanted.contains(&inode) {
            held.insert(inode);
        }
        if held.len() == wanted.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match each_socket(proc_root, pid, max_fds, visit) {
        Ok(Scan::Stopped | Scan::Complete) => Some(held),
        Ok(Scan::Limit) | Err(_) => None,
    }
}
