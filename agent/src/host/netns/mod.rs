//! Network namespaces: which there are, what `--netns` means, and how to do something inside of
//! one.
//!
//! A namespace is known by its inode number in nsfs, which is what the kernel side reports too
//! (`ns.inum`): unique on a host as long as the namespace lives. See namespaces(7).

mod names;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;

pub use names::Names;

/// Where iproute2 keeps the namespaces it names (`ip netns add`), and CNI plugins theirs.
pub const RUN_NETNS: &str = "/run/netns";

/// Why a network namespace could not be used.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// The value of the flag is none of the four forms.
    #[error(
        "`{0}` names no network namespace: give `self`, `all`, an inode number as `lsns -t net` shows it, or a path such \
         as {RUN_NETNS}/NAME or /proc/PID/ns/net"
    )]
    Flag(String),
    /// The path could not be opened.
    #[error("cannot open the network namespace {path}: {source}; check that it exists and that the agent runs as root")]
    Open {
        /// The path as given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The path is of a file that is not a network namespace.
    #[error("{path} is not a network namespace; `ip netns list` and `lsns -t net` show those of this host")]
    NotNetns {
        /// The path as given.
        path: PathBuf,
    },
    /// The namespaces of the host cannot be listed.
    #[error(
        "cannot list the network namespaces in {path}: {source}; raise the limit of open files (LimitNOFILE=) if that is what is short"
    )]
    List {
        /// What could not be read.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The path leads to another namespace than it did when it was found.
    #[error("the network namespace {wanted} is gone: {path} now leads to {found}; look up the namespaces again")]
    Gone {
        /// Where the namespace was.
        path: PathBuf,
        /// Its inode number.
        wanted: u32,
        /// The inode number of what is there now.
        found: u32,
    },
    /// setns(2) failed.
    #[error("cannot enter the network namespace {path}: {source}; run the agent as root or give it CAP_SYS_ADMIN")]
    Enter {
        /// The path as given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread could be started to enter the namespace with.
    #[error("cannot start a thread: {0}; raise the limit of tasks of the agent's unit (TasksMax=)")]
    Thread(io::Error),
}

impl NetnsError {
    /// Whether there is nothing there (any more), or nothing that the agent may look at; every
    /// other error says nothing about what is there.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NotNetns { .. } | Self::Gone { .. } => true,
            Self::Open { source, .. } => says_gone(source),
            _ => false,
        }
    }
}

/// Whether an error means that a file is not there, or hidden from the agent.
fn says_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM | Errno::NOTDIR | Errno::INVAL))
}

/// The value of the `--netns` flag: the namespaces whose sockets are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsFilter {
    /// That of the agent.
    Own,
    /// All of the host.
    All,
    /// The one at a path.
    Path(PathBuf),
    /// The one with an inode number.
    Inode(u32),
}

impl FromStr for NetnsFilter {
    type Err = NetnsError;

    fn from_str(text: &str) -> Result<Self, NetnsError> {
        match text {
            "self" => Ok(Self::Own),
            "all" => Ok(Self::All),
            // A bare name is refused: it could be a name of iproute2's as well as a file in the
            // working directory.
            path if path.contains('/') => Ok(Self::Path(path.into())),
            number => match number.parse() {
                Ok(inode) if inode > 0 => Ok(Self::Inode(inode)),
                _ => Err(NetnsError::Flag(text.to_owned())),
            },
        }
    }
}

impl NetnsFilter {
    /// The inode number of the one namespace that is meant, absent for all of them.
    ///
    /// # Errors
    ///
    /// When the path is not that of a network namespace. A number is taken as it is: a namespace
    /// that is not there yet may be meant.
    pub fn inode(&self) -> Result<Option<u32>, NetnsError> {
        match self {
            Self::Own => self_inode().map(Some),
            Self::All => Ok(None),
            Self::Path(path) => inode_of(path).map(Some),
            Self::Inode(inode) => Ok(Some(*inode)),
        }
    }

    /// The namespaces that are meant and there now, opened, and why others could not be. One that
    /// vanishes meanwhile is left out.
    pub fn handles(&self) -> (Vec<Handle>, Vec<NetnsError>) {
        let found = |wanted: Option<u32>| match discover() {
            Ok(there) => {
                let meant = there.iter().filter(|netns| wanted.is_none_or(|inode| inode == netns.inode));
                meant.map(Handle::open).filter(|opened| !opened.as_ref().is_err_and(NetnsError::is_gone)).collect()
            }
            Err(error) => vec![Err(error)],
        };
        let opened = match self {
            Self::Own => vec![Handle::at(Path::new("/proc/self/ns/net"))],
            Self::Path(path) => vec![Handle::at(path)],
            Self::Inode(inode) => found(Some(*inode)),
            Self::All => found(None),
        };
        let (mut handles, mut failed) = (Vec::new(), Vec::new());
        for opened in opened {
            match opened {
                Ok(handle) => handles.push(handle),
                Err(error) => failed.push(error),
            }
        }
        (handles, failed)
    }
}

/// A network namespace of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    /// Its inode number in nsfs.
    pub inode: u32,
    /// A path that leads to it: `/run/netns/NAME`, else `/proc/PID/ns/net` of a process in it. The
    /// latter lasts no longer than the process; [`Handle::open`] notices.
    pub path: PathBuf,
    /// The name that iproute2 or a CNI plugin gave it.
    pub name: Option<String>,
}

/// An open network namespace: as long as it is held, the namespace lives and its inode number is
/// not used again.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
    path: PathBuf,
    inode: u32,
}

impl Handle {
    /// Opens the network namespace at `path`.
    ///
    /// # Errors
    ///
    /// When the path cannot be opened, or is not that of a network namespace.
    pub fn at(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source: io::Error| NetnsError::Open { path: path.to_owned(), source };
        // A FIFO or a device that was named by mistake must not be waited for.
        let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let inode = nsfs_inode(&file).map_err(failed)?;
        let inode = inode.ok_or_else(|| NetnsError::NotNetns { path: path.to_owned() })?;
        Ok(Self { fd: file.into(), path: path.to_owned(), inode })
    }

    /// Opens a namespace found earlier.
    ///
    /// # Errors
    ///
    /// As [`Handle::at`], and when the path leads to another namespace by now.
    pub fn open(netns: &Netns) -> Result<Self, NetnsError> {
        let handle = Self::at(&netns.path)?;
        if handle.inode == netns.inode {
            Ok(handle)
        } else {
            Err(NetnsError::Gone { path: handle.path, wanted: netns.inode, found: handle.inode })
        }
    }

    /// Its inode number in nsfs.
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs `inside` in the namespace, on a thread of its own, and waits for it.
    ///
    /// The namespace is a property of the thread (setns(2)): the rest of the agent stays where it
    /// is. A socket belongs to the namespace it was made in and goes on doing so when it is handed
    /// out. A panic in `inside` goes on in the caller. For a thread that is there already nothing
    /// is entered, which would take `CAP_SYS_ADMIN` even so.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started or may not enter the namespace.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        if self_inode().is_ok_and(|own| own == self.inode) {
            return Ok(inside());
        }
        thread::scope(|scope| {
            let entered = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
                move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(inside())
            });
            let result: io::Result<T> = match entered.map_err(NetnsError::Thread)?.join() {
                Ok(result) => result,
                Err(payload) => panic::resume_unwind(payload),
            };
            result.map_err(|source| NetnsError::Enter { path: self.path.clone(), source })
        })
    }
}

/// Runs `inside` in the network namespace at `path`: [`Handle::at`] and [`Handle::enter`] in one.
///
/// # Errors
///
/// Those of the two.
pub fn enter<T: Send>(path: &Path, inside: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    Handle::at(path)?.enter(inside)
}

/// The inode number of the network namespace that the calling thread is in.
///
/// # Errors
///
/// When `/proc` is not mounted.
pub fn self_inode() -> Result<u32, NetnsError> {
    inode_of(Path::new("/proc/thread-self/ns/net"))
}

/// The inode number of the network namespace at `path`.
///
/// # Errors
///
/// When the path cannot be opened, or is not that of a network namespace.
pub fn inode_of(path: &Path) -> Result<u32, NetnsError> {
    Handle::at(path).map(|handle| handle.inode)
}

/// The inode number of an open network namespace, `None` for any other file.
///
/// The file system is asked and not the name of the file, which for a bind mount such as
/// `/run/netns/NAME` is its path; and the file of nsfs is asked for its type, since it may be a
/// namespace of another kind (ioctl_ns(2)).
fn nsfs_inode(file: impl AsFd) -> io::Result<Option<u32>> {
    use std::os::fd::AsRawFd;
    /// `NSFS_MAGIC` of <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/magic.h>.
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    /// `NS_GET_NSTYPE`, `_IO(0xb7, 3)`, of
    /// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/nsfs.h>.
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    #[expect(clippy::useless_conversion, reason = "the type differs between architectures")]
    if i64::from(rustix::fs::fstatfs(&file)?.f_type) != NSFS_MAGIC {
        return Ok(None);
    }
    // SAFETY: the descriptor is open for the length of the call, and this request takes no
    // argument.
    let kind = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), NS_GET_NSTYPE as _) };
    if kind != libc::CLONE_NEWNET {
        return Ok(None);
    }
    Ok(u32::try_from(rustix::fs::fstat(&file)?.st_ino).ok())
}

/// The inode number in the text of a `/proc/PID/ns/net` link, `net:[4026531840]`.
pub fn parse_link(text: &str) -> Option<u32> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// All network namespaces of the host that have a name or a process, in the order of their inode
/// numbers.
///
/// A namespace that is kept alive by an open file or a socket alone has neither, and is not found.
/// What cannot be read (a process that ended meanwhile, or one that the agent may not look at) is
/// passed over.
///
/// # Errors
///
/// [`NetnsError::List`] when the list would not be whole: an error is never "nothing there".
pub fn discover() -> Result<Vec<Netns>, NetnsError> {
    discover_in(Path::new("/proc"), Path::new(RUN_NETNS))
}

fn discover_in(proc_root: &Path, named: &Path) -> Result<Vec<Netns>, NetnsError> {
    let mut found: HashMap<u32, Netns> = HashMap::new();
    let failed = |path: &Path, source| NetnsError::List { path: path.to_owned(), source };
    let names = match entries(named) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|source| failed(named, source))?,
    };
    for entry in names {
        match inode_of(&entry) {
            Ok(inode) => {
                let name = entry.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                found.entry(inode).or_insert(Netns { inode, path: entry, name });
            }
            // Files that no namespace is mounted on are left behind when a host goes down in the
            // middle of things.
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(failed(&entry, io::Error::other(error))),
        }
    }
    for entry in entries(proc_root).map_err(|source| failed(proc_root, source))? {
        let is_process = entry.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if !is_process {
            continue;
        }
        let path = entry.join("ns/net");
        match std::fs::read_link(&path) {
            Ok(link) => {
                if let Some(inode) = link.to_str().and_then(parse_link) {
                    found.entry(inode).or_insert(Netns { inode, path, name: None });
                }
            }
            Err(error) if says_gone(&error) => {}
            Err(source) => return Err(failed(&path, source)),
        }
    }
    let mut all: Vec<Netns> = found.into_values().collect();
    all.sort_by_key(|netns| netns.inode);
    Ok(all)
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]
mod tests;
