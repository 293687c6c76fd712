//! Control groups with the names that service managers and container engines give theirs, gone when
//! dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{LabError, Result, poll};

/// Where the hierarchies are mounted: the unified one of a hybrid host, else of a host that has no
/// other.
const UNIFIED: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// The version 1 memory hierarchy.
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// One control group.
#[derive(Debug)]
pub struct Cgroup {
    /// The group, and those that were made above it.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// A group of this path, below a slice of its own in the unified hierarchy.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be made.
    pub fn named(path: &str) -> Result<Self> {
        let root = UNIFIED.iter().map(Path::new).find(|root| root.join("cgroup.procs").exists()).unwrap_or(Path::new(MEMORY));
        Self::below(root, path)
    }

    /// A group whose processes may use this much memory together.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::named`], also where there is no memory controller.
    pub fn with_memory(bytes: u64) -> Result<Self> {
        let version1 = Path::new(MEMORY);
        let (root, limit) = if version1.join("memory.limit_in_bytes").exists() {
            (version1, "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let group = Self::below(root, "memory")?;
        let path = group.path().join(limit);
        fs::write(&path, bytes.to_string()).map_err(|error| LabError::io(format!("write {}", path.display()), error))?;
        Ok(group)
    }

    fn below(root: &Path, path: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut group = Self { made: Vec::new() };
        let mut directory = root.join(format!("rstblame_lab_{}_{number}.slice", std::process::id()));
        for segment in std::iter::once("").chain(path.split('/')) {
            if !segment.is_empty() {
                directory.push(segment);
            }
            fs::create_dir(&directory).map_err(|error| LabError::io(format!("create {}", directory.display()), error))?;
            group.made.push(directory.clone());
        }
        Ok(group)
    }

    /// Takes a process in. What memory it has already, stays with the group it comes from.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when there is no such process.
    pub fn take(&self, pid: u32) -> Result<()> {
        let path = self.path().join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(|error| LabError::io(format!("write {pid} to {}", path.display()), error))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.made.last().map_or(Path::new(MEMORY), PathBuf::as_path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // Its processes are gone or going; a group that is still busy can be removed in a
            // moment.
            let removed = poll::until("a control group to be empty", Duration::from_secs(5), || Ok(fs::remove_dir(directory).ok()));
            if let Err(error) = removed {
                eprintln!("lab: {} is left behind: {error}", directory.display());
            }
        }
    }
}
