//! User names for numeric user ids, from passwd(5) files.
//!
//! The agent is one static binary: it reads the file itself and does not ask NSS, so users who live
//! in LDAP or another directory only have no name here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::text::is_unsafe;

/// Bytes of a passwd file that are read at most; entries past them have no name.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Users that are remembered at most.
pub const MAX_USERS: usize = 16_384;

/// Bytes of a user name at most (`LOGIN_NAME_MAX` on Linux, less the terminating NUL); longer ones
/// are not names.
const MAX_NAME_BYTES: usize = 255;

/// What tells one state of a file from the next: device, inode, size, and time of last change in
/// seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64, u64);

/// The users of one passwd file, read again when the file changes.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    stamp: Option<Stamp>,
    names: HashMap<u32, String>,
}

impl Users {
    /// The users of `path` (`/etc/passwd` for the host's own); nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stamp: None, names: HashMap::new() }
    }

    /// The name of `uid`: the first entry with that number, as getpwuid(3) would have it.
    ///
    /// Costs a stat(2) where the file is the one already read. Absent when the file has no such
    /// user, or cannot be read.
    pub fn name(&mut self, uid: u32) -> Option<&str> {
        if self.refresh().is_err() {
            self.stamp = None;
            self.names.clear();
        }
        self.names.get(&uid).map(String::as_str)
    }

    fn refresh(&mut self) -> io::Result<()> {
        if self.stamp == Some(stamp(&rustix::fs::stat(&self.path)?)) {
            return Ok(());
        }
        let file = File::from(rustix::fs::open(&self.path, READ, Mode::empty())?);
        // Taken from the open file: what is read is what is remembered, even if the path changes
        // hands meanwhile.
        let stamp = stamp(&rustix::fs::fstat(&file)?);
        self.names = parse(&read_regular(file)?);
        self.stamp = Some(stamp);
        Ok(())
    }
}

/// The name of `uid` in the `/etc/passwd` of another root directory, such as a container's, reached
/// by `/proc/PID/root`.
///
/// The files below `root` belong to someone else: links are followed inside of it only
/// (openat2(2)), only a regular file is read, and only its first [`MAX_FILE_BYTES`]. Absent when
/// there is no such user, or the file cannot be read.
pub fn name_in_root(root: impl AsFd, uid: u32) -> Option<String> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root, "etc/passwd", READ, Mode::empty(), resolve).ok()?;
    parse(&read_regular(file.into()).ok()?).remove(&uid)
}

/// `NONBLOCK`, since opening a FIFO would otherwise wait for a writer.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn stamp(stat: &rustix::fs::Stat) -> Stamp {
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

fn read_regular(file: File) -> io::Result<String> {
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The `NAME:PASSWORD:UID:...` lines of a passwd file; other lines are skipped.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        // `+` and `-` begin NIS directives; the rest is what no tool that adds users would let
        // pass.
        let plausible = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && !name.starts_with(['+', '-'])
            && !name.chars().any(|c| is_unsafe(c) || c == char::REPLACEMENT_CHARACTER);
        plausible.then(|| (uid, name.to_owned()))
    });
    for (uid, name) in entries.take(MAX_USERS) {
        names.entry(uid).or_insert(name);
    }
    names
}

/// What a user of this host is known by to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

impl Account {
    /// The user of that name in a passwd file, as getpwnam(3) would have it: the first entry.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no regular file.
    pub fn find(passwd: File, name: &str) -> io::Result<Option<Self>> {
        let text = read_regular(passwd)?;
        Ok(text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next()? == name;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            found.then_some(Self { uid, gid })
        }))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nrabbitmq:x:105:110::/var/lib/rabbitmq:/bin/false\n\
                          toor:x:0:0::/root:/bin/sh\n+nis:x:7::::\n:x:8::::\nbad:x:minus:::\nesc\x1b[2J:x:9::::\nshort\n";

    #[test]
    fn first_entry_of_a_uid_counts() {
        let names = parse(PASSWD);
        assert_eq!(names.len(), 2);
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&105).map(String::as_str), Some("rabbitmq"));
    }

    #[test]
    fn file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        let mut users = Users::new(&path);
        assert_eq!(users.name(105), None);
        std::fs::write(&path, PASSWD).unwrap();
        assert_eq!(users.name(105), Some("rabbitmq"));
        // As vipw(8) does: a new file takes the place of the old one.
        let next = dir.path().join("passwd.new");
        std::fs::write(&next, "broker:x:105:110::/:/bin/false\n").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(users.name(105), Some("broker"));
        assert_eq!(users.name(0), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(users.name(105), None);
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(Users::new(&path).name(0), None);
    }

    #[test]
    fn links_of_another_root_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(dir.path().join("outside"), "outside:x:105:1::/:\n").unwrap();
        symlink(dir.path().join("outside"), root.join("etc/passwd")).unwrap();
        let fd = File::open(&root).unwrap();
        assert_eq!(name_in_root(&fd, 105), None);

        std::fs::remove_file(root.join("etc/passwd")).unwrap();
        std::fs::write(root.join("real"), PASSWD).unwrap();
        symlink("/real", root.join("etc/passwd")).unwrap();
        assert_eq!(name_in_root(&fd, 105).as_deref(), Some("rabbitmq"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
            prop_assert!(parse(&text).values().all(|name| !name.is_empty()));
        }

        #[test]
        fn a_user_is_found_among_others(uid in 1000_u32.., name in "[a-z][a-z0-9_-]{0,30}") {
            let text = format!("{PASSWD}{name}:x:{uid}:1::/:/bin/sh\n");
            prop_assert_eq!(parse(&text).remove(&uid), Some(name));
        }
    }
}
