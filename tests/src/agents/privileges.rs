//! What a process may do, as `/proc` tells it of each of its threads; and a place that other users
//! can read.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{LabError, Result, workspace};

/// What one thread may do (proc_pid_status(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Effective user id.
    pub uid: u32,
    /// Names as setpriv(1) has them, in the order of their numbers.
    pub effective: Vec<&'static str>,
    pub permitted: Vec<&'static str>,
    pub inheritable: Vec<&'static str>,
    pub ambient: Vec<&'static str>,
    /// The bounding set, as a mask.
    pub bounding: u64,
    pub no_new_privs: bool,
    /// `Seccomp`: 2 where a filter holds.
    pub seccomp: u32,
}

/// The capabilities that a scenario may meet, by number
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>).
const NAMES: [(u32, &str); 9] = [
    (1, "dac_override"),
    (2, "dac_read_search"),
    (8, "setpcap"),
    (13, "net_raw"),
    (19, "sys_ptrace"),
    (21, "sys_admin"),
    (24, "sys_resource"),
    (38, "perfmon"),
    (39, "bpf"),
];

impl Status {
    /// Of every thread of a process.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the process is gone.
    pub fn of_threads(pid: u32) -> Result<Vec<Self>> {
        let directory = PathBuf::from(format!("/proc/{pid}/task"));
        let failed = |error| LabError::io(format!("read {}", directory.display()), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            // A thread may end while the others are looked at.
            if let Ok(text) = fs::read_to_string(entry.map_err(failed)?.path().join("status")) {
                found.push(Self::read(&text));
            }
        }
        Ok(found)
    }

    fn read(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim();
        let mask = |name| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
        let set = |name| {
            let mask: u64 = mask(name);
            let named = NAMES.iter().filter(|(number, _)| mask & (1 << number) != 0);
            let (known, names) = named.fold((0, Vec::new()), |(known, mut names), (number, name)| {
                names.push(*name);
                (known | (1 << number), names)
            });
            if mask == known { names } else { vec!["one that the agent has no use for"] }
        };
        Self {
            uid: field("Uid").split_whitespace().nth(1).and_then(|uid| uid.parse().ok()).unwrap_or(u32::MAX),
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            inheritable: set("CapInh"),
            ambient: set("CapAmb"),
            bounding: mask("CapBnd"),
            no_new_privs: field("NoNewPrivs") == "1",
            seccomp: field("Seccomp").parse().unwrap_or(0),
        }
    }
}

/// A directory that every user may look into, wherever the repository is, and a copy of the agent
/// in it.
#[derive(Debug)]
pub struct OpenPlace(PathBuf);

impl OpenPlace {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn new(name: &str) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("rstblame-lab-{}-{name}", std::process::id()));
        let place = Self(directory);
        let made = fs::create_dir_all(&place.0)
            .and_then(|()| fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::copy(workspace::agent_binary(), place.agent()))
            .and_then(|_| fs::set_permissions(place.agent(), fs::Permissions::from_mode(0o755)));
        made.map_err(|error| LabError::io(format!("make {}", place.0.display()), error))?;
        Ok(place)
    }

    /// The copy of the agent.
    pub fn agent(&self) -> PathBuf {
        self.path("rstblame")
    }

    /// A file in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that every user may read.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
            .map_err(|error| LabError::io(format!("write {}", path.display()), error))?;
        Ok(path)
    }
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("lab: {} is left: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn status_is_read_as_the_kernel_writes_it() {
        let text = "Name:\trstblame\nUid:\t0\t65534\t0\t0\nCapInh:\t0000000000000000\nCapPrm:\t0000000000282004\nCapEff:\t0000000000080004\n\
                    CapBnd:\t000000c000282004\nCapAmb:\t0000000000000001\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let status = Status::read(text);
        assert_eq!(status.effective, ["dac_read_search", "sys_ptrace"]);
        assert_eq!(status.permitted, ["dac_read_search", "net_raw", "sys_ptrace", "sys_admin"]);
        assert_eq!((status.uid, status.bounding, status.no_new_privs, status.seccomp), (65534, 0xc0_0028_2004, true, 2));
        assert!(status.inheritable.is_empty());
        assert_eq!(status.ambient, ["one that the agent has no use for"]);
    }
}
