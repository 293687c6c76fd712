//! Limits of the process itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are asked for: packet and netlink sockets of many network namespaces,
/// connections at the metrics address, and files of `/proc` while they are read.
const FILES: u64 = 65_536;

/// Open files that network namespaces leave to everything else: the metrics address takes up to 64,
/// each sink one or two, readers of `/proc` a few each.
pub const RESERVED_FILES: u64 = 256;

/// Raises the limit of open files as far as it can be. Without it most hosts let a process have
/// 1024, however many it may ask for; that is for programs that use select(2), which the agent does
/// not.
pub fn raise_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|soft| soft >= FILES) {
        return;
    }
    let wanted = Rlimit { current: Some(FILES), maximum: maximum.map(|hard| hard.max(FILES)) };
    // More than the hard limit is for CAP_SYS_RESOURCE alone.
    if setrlimit(Resource::Nofile, wanted).is_err() {
        let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Open files that the process may have; `None` for as many as it likes.
pub fn files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
