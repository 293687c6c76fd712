//! A file that grows, and may be replaced or emptied by a log rotation.

use std::{
    fs::File,
    io::{self, Seek as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{Lines, read};

/// Reads what a file has, and later what was added.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: File,
    lines: Lines,
}

impl Tail {
    /// # Errors
    ///
    /// That of opening the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: File::open(path)?, lines: Lines::default() })
    }

    /// Hands on the whole lines that were added since the last time. `true`: another file has this
    /// name now, and is read from its beginning.
    ///
    /// # Errors
    ///
    /// That of reading the file. That it has no name at this moment is none.
    pub fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        let before = self.file.stream_position()?;
        if self.file.metadata()?.len() < before {
            self.file.rewind()?;
            self.lines.clear();
        }
        self.drain(&mut each)?;
        let now = match File::open(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let (old, new) = (self.file.metadata()?, now.metadata()?);
        if (old.dev(), old.ino()) == (new.dev(), new.ino()) {
            return Ok(false);
        }
        self.finish(&mut each);
        self.file = now;
        self.drain(&mut each)?;
        Ok(true)
    }

    /// Hands on the last line, if it has no end.
    pub fn finish(&mut self, each: impl FnOnce(&[u8])) {
        self.lines.finish(each);
    }

    fn drain(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = [0; 1 << 14];
        loop {
            let count = read(&mut self.file, &mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.lines.feed(buffer.get(..count).unwrap_or_default(), &mut each);
        }
    }
}

/// Tells when a file was written to or replaced.
#[derive(Clone, Debug)]
pub struct Watch {
    inotify: Arc<OwnedFd>,
    path: PathBuf,
}

impl Watch {
    /// # Errors
    ///
    /// That of inotify: no instance or watch is left to this user (`fs.inotify.max_user_instances`,
    /// `fs.inotify.max_user_watches`).
    pub fn new(path: &Path) -> io::Result<Self> {
        let watch = Self { inotify: Arc::new(inotify::init(CreateFlags::CLOEXEC)?), path: path.to_owned() };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        inotify::add_watch(watch.inotify.as_fd(), directory, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        watch.renew()?;
        Ok(watch)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Watches the file that has the name now; if none has, the next one will be told of.
    ///
    /// # Errors
    ///
    /// As [`Watch::new`].
    pub fn renew(&self) -> io::Result<()> {
        match inotify::add_watch(self.inotify.as_fd(), &self.path, WatchFlags::MODIFY) {
            Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something happened since the last time. May return without a change.
    ///
    /// # Errors
    ///
    /// That of reading from inotify.
    pub fn wait(&self) -> io::Result<()> {
        let mut events = [0_u8; 1 << 12];
        loop {
            match rustix::io::read(&self.inotify, &mut events) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{fs, io::Write as _};

    use super::{Tail, Watch};

    fn read(tail: &mut Tail) -> Vec<String> {
        let mut lines = Vec::new();
        tail.read(|line| lines.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
        lines
    }

    #[test]
    fn growth_rotation_and_emptying_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.json");
        let mut file = fs::File::create(&path).unwrap();
        let mut tail = Tail::open(&path).unwrap();
        let watch = Watch::new(&path).unwrap();
        assert_eq!(read(&mut tail), [] as [&str; 0]);

        file.write_all(b"one\ntw").unwrap();
        watch.wait().unwrap();
        assert_eq!(read(&mut tail), ["one"]);
        file.write_all(b"o\n").unwrap();
        watch.wait().unwrap();
        assert_eq!(read(&mut tail), ["two"]);

        file.write_all(b"three\n").unwrap();
        fs::rename(&path, folder.path().join("events.json.1")).unwrap();
        fs::write(&path, b"four\n").unwrap();
        watch.wait().unwrap();
        assert_eq!(read(&mut tail), ["three", "four"]);
        watch.renew().unwrap();

        fs::write(&path, b"6\n").unwrap();
        watch.wait().unwrap();
        assert_eq!(read(&mut tail), ["6"]);
    }

    #[test]
    fn a_file_without_a_name_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.json");
        fs::write(&path, b"one\n").unwrap();
        let mut tail = Tail::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&mut tail), ["one"]);
        fs::write(&path, b"two\n").unwrap();
        assert_eq!(read(&mut tail), ["two"]);
    }
}
