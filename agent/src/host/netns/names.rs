//! Names of network namespaces, as iproute2 and CNI plugins give them.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{RUN_NETNS, entries, inode_of};
use crate::text::clean;

/// How long what was read is relied on. Names are given before a program starts in a namespace, and
/// inode numbers are used again only after their namespace is gone.
const FRESH: Duration = Duration::from_secs(1);

/// Name by inode number, read again at most once a second.
#[derive(Debug)]
pub struct Names {
    directory: PathBuf,
    by_inode: HashMap<u32, String>,
    read: Option<Instant>,
}

impl Default for Names {
    fn default() -> Self {
        Self::of(Path::new(RUN_NETNS))
    }
}

impl Names {
    fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), by_inode: HashMap::new(), read: None }
    }

    /// The name of a namespace; `None` where it has none, as that of the host.
    pub fn name(&mut self, inode: u32) -> Option<&str> {
        if self.read.is_none_or(|at| at.elapsed() >= FRESH) {
            let named = |path: PathBuf| Some((inode_of(&path).ok()?, clean(path.file_name()?.to_str()?).into_owned()));
            match entries(&self.directory) {
                Ok(listed) => self.by_inode = listed.into_iter().filter_map(named).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.by_inode.clear(),
                // What cannot be listed has the names it had.
                Err(_) => {}
            }
            self.read = Some(Instant::now());
        }
        self.by_inode.get(&inode).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Names;
    use crate::host::netns::self_inode;

    #[test]
    fn a_namespace_has_the_name_of_the_file_that_leads_to_it() -> Result<(), crate::host::netns::NetnsError> {
        // The entry `net` of this directory is a namespace of that kind, `mnt` is one of another.
        let mut names = Names::of(Path::new("/proc/self/ns"));
        let own = self_inode()?;
        assert_eq!(names.name(own), Some("net"));
        assert_eq!(names.name(own.wrapping_add(1)), None);
        Ok(())
    }

    #[test]
    fn where_nothing_names_namespaces_none_has_a_name() {
        assert_eq!(Names::of(Path::new("/nonexistent")).name(1), None);
    }
}
