//! A file that is appended to, whole lines only.
//!
//! * A disk that runs full in the middle of a line takes the first part of it: that part is cut off
//!   again, and the line is written anew when there is room. Where it cannot be cut off (a pipe, or
//!   somebody else appends too), the line is finished instead.
//! * logrotate moves the file away and tells nobody, or sends SIGHUP: before each write the path is
//!   looked at, and opened anew where it leads elsewhere. With `copytruncate` the file shrinks,
//!   which appending does not mind.
//! * An agent that was killed may have left half a line of its own at the end: it is cut off before
//!   anything is appended. Half a line that is not provably of an agent's is ended instead.
//! * Every agent holds a shared lock (flock(2)) on the file it appends to, and cuts off only while
//!   it holds the only one: what another agent has written meanwhile is not half a line of its own.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    destination::{Destination, Encode, Feed, Outcome},
    item::Item,
    spec::Fsync,
};
use crate::files;

/// How every line of ours begins, and what stands behind the kind of the event. What does not begin
/// so is not ours to cut off.
const BEGINNING: &[u8] = br#"{"event":""#;
const SCHEMA: &[u8] = br#"","schema":"rstblame/"#;

/// No line is longer than this, bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// How long another agent may take to mend a file. What holds the lock for longer is none.
const ALONE: Duration = Duration::from_secs(1);

/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(1);

/// The file at a path, whichever that is.
pub struct FileSink {
    path: PathBuf,
    encode: Encode,
    fsync: Fsync,
    open: Option<File>,
    feed: Feed,
    /// When what was written last has to be synchronised.
    sync_at: Option<Instant>,
}

impl FileSink {
    /// Opens nothing yet.
    pub fn new(path: &Path, encode: Encode, fsync: Fsync) -> Self {
        Self { path: path.to_owned(), encode, fsync, open: None, feed: Feed::default(), sync_at: None }
    }

    /// Opens the file now, where a file that cannot be opened has to be known at once.
    ///
    /// # Errors
    ///
    /// What open(2) said.
    pub fn open(&mut self) -> io::Result<()> {
        self.open = Some(open(&self.path, true)?);
        Ok(())
    }

    /// Opens the file, or opens it anew where the path leads elsewhere by now.
    fn follow(&mut self) -> io::Result<()> {
        let Some(file) = &self.open else {
            self.open = Some(open(&self.path, false)?);
            return Ok(());
        };
        let moved = match (file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) != (there.dev(), there.ino()),
            (_, Err(error)) => error.kind() == io::ErrorKind::NotFound,
            (Err(_), Ok(_)) => true,
        };
        if moved {
            // The old one has whole lines only: a line that was begun there is finished there
            // first.
            if self.feed.offset > 0 {
                return Ok(());
            }
            self.sync();
            self.open = Some(open(&self.path, false)?);
        }
        Ok(())
    }

    fn sync(&mut self) {
        if self.sync_at.take().is_some()
            && let Some(file) = &self.open
            && let Err(error) = file.sync_data()
            && error.kind() != io::ErrorKind::InvalidInput
        {
            // The kernel says so once and forgets the pages: writing them again would only double
            // them.
            tracing::warn!(%error, "{} could not be synchronised; its last lines may not survive a power cut", self.path.display());
        }
    }

    /// Synchronises if it is time, and says when it will be.
    fn sync_if_due(&mut self, wrote: bool) -> Option<Duration> {
        let interval = match self.fsync {
            Fsync::Never => return None,
            Fsync::Each => Duration::ZERO,
            Fsync::Interval(interval) => interval,
        };
        if wrote && self.sync_at.is_none() {
            self.sync_at = Some(Instant::now() + interval);
        }
        match self.sync_at.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => {
                self.sync();
                None
            }
            left => left,
        }
    }
}

impl Destination for FileSink {
    fn write(&mut self, items: &[Arc<Item>]) -> Outcome {
        if let Err(error) = self.follow() {
            return Outcome::default().because(error);
        }
        let Some(file) = &self.open else { return Outcome::default() };
        let before = length(file);
        let mut gone = 0;
        let (finished, result) = self.feed.write(items, &self.encode, |bytes| {
            let count = rustix::io::write(file, bytes)?;
            gone += count as u64;
            Ok(count)
        });
        if self.feed.offset > 0 && cut_off(file, before, gone, self.feed.offset as u64) {
            self.feed.offset = 0;
        }
        let again = self.sync_if_due(finished > 0);
        let outcome = Outcome { keep: usize::from(self.feed.offset > 0), again, ..Outcome::written(finished) };
        match result {
            Ok(()) => outcome,
            Err(error) => outcome.because(error),
        }
    }

    fn reopen(&mut self) {
        if self.feed.offset == 0 {
            self.sync();
            self.open = None;
        }
    }

    fn close(&mut self) {
        self.sync();
    }
}

/// Length of a regular file; `None` for others.
fn length(file: &File) -> Option<u64> {
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Cuts the beginning of a line off again. Only where nobody else has appended.
fn cut_off(file: &File, before: Option<u64>, gone: u64, begun: u64) -> bool {
    let Some(expected) = before.map(|before| before + gone) else { return false };
    // What an earlier call has begun stands before this one's.
    begun <= gone && alone(file, || length(file) == Some(expected) && file.set_len(expected - begun).is_ok()).unwrap_or(false)
}

/// Does something while no other agent has the file open; `None` where one has.
fn alone<T>(file: &File, work: impl FnOnce() -> T) -> Option<T> {
    let done = flock(file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| work());
    // A lock that could not be raised may be lost, too: flock(2).
    share(file);
    done
}

/// Tells other agents that this one appends to the file. Another may just be the only one, for a
/// moment. One that cannot be locked, on a file system without, is never cut off by this agent.
fn share(file: &File) {
    let deadline = Instant::now() + ALONE;
    while flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) && Instant::now() < deadline {
        std::thread::sleep(AGAIN);
    }
}

fn open(path: &Path, wait: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    let open = |options: &OpenOptions, flags| files::open(path, options, flags);
    if let Ok(there) = std::fs::metadata(path)
        && !there.is_file()
    {
        // A pipe is waited for at the start of a capture, as a shell would; later its reader may be
        // gone for good.
        let flags = if wait { 0 } else { libc::O_NONBLOCK };
        let file = open(&options, flags)?;
        rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - rustix::fs::OFlags::NONBLOCK)?;
        return Ok(file);
    }
    let file = open(&options, 0)?;
    share(&file);
    match open(OpenOptions::new().read(true), libc::O_NONBLOCK) {
        Ok(reader) => mend(&file, reader)?,
        // A file that may be written and not read is taken as it is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    Ok(file)
}

/// Sees to it that the file ends with a whole line.
fn mend(file: &File, reader: File) -> io::Result<()> {
    // Another agent may be in the midst of its line: that is for it to end.
    alone(file, || end_last_line(file, reader)).unwrap_or(Ok(()))
}

fn end_last_line(file: &File, mut reader: File) -> io::Result<()> {
    let length = reader.metadata()?.len();
    let from = length.saturating_sub(LONGEST_LINE);
    reader.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    reader.take(LONGEST_LINE).read_to_end(&mut tail)?;
    let half = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if half.is_empty() {
        return Ok(());
    }
    // A file that may only be appended to cannot be cut.
    if is_half_of_ours(half) && self::length(file) == Some(length) && file.set_len(length - half.len() as u64).is_ok() {
        return Ok(());
    }
    rustix::io::write(file, b"\n")?;
    Ok(())
}

/// Whether a text without end is the beginning of a line that an agent wrote, and not all of it.
fn is_half_of_ours(half: &[u8]) -> bool {
    let Some(rest) = half.strip_prefix(BEGINNING) else { return false };
    let kind = rest.iter().take_while(|byte| byte.is_ascii_lowercase() || **byte == b'_').count();
    rest.get(kind..).is_some_and(|rest| rest.starts_with(SCHEMA)) && serde_json::from_slice::<serde::de::IgnoredAny>(half).is_err()
}

#[cfg(test)]
mod tests;
