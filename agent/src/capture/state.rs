//! What is learnt of idle timeouts, kept from one run to the next.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, Mode, OFlags};
use thiserror::Error;

use crate::{files, flow::idle::IdleMemory};

/// Name of the file in the state directory, of the one that is being written, and of one that was
/// damaged.
const FILE: &str = "idle-timeouts.json";
const WRITTEN: &str = "idle-timeouts.json.new";
const DAMAGED: &str = "idle-timeouts.json.damaged";

/// No link is followed in the directory, and nothing is waited for: a FIFO has no other end.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Largest file that is read, bytes: what the memory's bounds come to, many times over.
const MAX_FILE: u64 = 64 << 20;

/// Why the state could not be read or kept. None of it stops the agent.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("the state directory {} cannot be used: {source}; what is learnt will not survive a restart", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the state file {} is damaged ({reason}); it was set aside as {}, and learning begins anew", path.display(), aside.display())]
    Damaged { path: PathBuf, aside: PathBuf, reason: String },
    #[error("the state file {} is not written after {} s; see what its file system waits for", path.display(), waited.as_secs())]
    Slow { path: PathBuf, waited: Duration },
    #[error("the state file {} cannot be written: {source}; what is learnt will not survive a restart", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The state directory. It stays open: what it is called later makes no difference.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    directory: Arc<OwnedFd>,
}

impl StateDir {
    /// Makes the directory if it is missing.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self { path: path.to_owned(), directory: Arc::new(directory) })
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let file = rustix::fs::openat(&self.directory, FILE, OFlags::RDONLY | FLAGS, Mode::empty())?;
        files::read_regular(file.into(), MAX_FILE)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // What an agent that was killed left, or somebody put there; never written into.
        let _none = rustix::fs::unlinkat(&self.directory, WRITTEN, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FLAGS;
        let mut file = File::from(rustix::fs::openat(&self.directory, WRITTEN, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(bytes)?;
        Ok(rustix::fs::renameat(&self.directory, WRITTEN, &self.directory, FILE)?)
    }

    /// Reads the memory; an empty one when there is none yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is damaged; then it has been set aside.
    pub fn load(&self) -> Result<IdleMemory, StateError> {
        let reason = match self.read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(IdleMemory::default()),
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(memory) => return Ok(memory),
                Err(error) => error.to_string(),
            },
        };
        let failed = |source: rustix::io::Errno| StateError::Directory { path: self.path.clone(), source: source.into() };
        rustix::fs::renameat(&self.directory, FILE, &self.directory, DAMAGED).map_err(failed)?;
        Err(StateError::Damaged { path: self.path.join(FILE), aside: self.path.join(DAMAGED), reason })
    }

    /// Writes the memory, whole or not at all, on a thread apart: its file system may let it wait.
    pub fn save(&self, memory: &IdleMemory) -> Saving {
        let (state, bytes) = (self.clone(), serde_json::to_vec(memory).map_err(io::Error::from));
        Saving::begin(self.path.join(FILE), move || bytes.and_then(|bytes| state.write(&bytes)).map_err(|source| state.unwritten(source)))
    }

    fn unwritten(&self, source: io::Error) -> StateError {
        StateError::Write { path: self.path.join(FILE), source }
    }
}

/// The state on its way to its file. What is half written when the agent ends is in a file of
/// another name, and counts for nothing.
pub struct Saving {
    path: PathBuf,
    began: Instant,
    told: Receiver<Result<(), StateError>>,
}

impl Saving {
    fn begin(path: PathBuf, save: impl FnOnce() -> Result<(), StateError> + Send + 'static) -> Self {
        let (tell, told) = sync_channel(1);
        // Not joined: one that is stuck must not keep the agent from ending.
        let spawned = thread::Builder::new().name("state".to_owned()).spawn({
            let tell = tell.clone();
            move || {
                let _nobody_waits = tell.send(save());
            }
        });
        if let Err(source) = spawned {
            let _told = tell.send(Err(StateError::Write { path: path.clone(), source }));
        }
        Self { path, began: Instant::now(), told }
    }

    /// Waits until it is written, no longer than `patience` after it was begun.
    ///
    /// # Errors
    ///
    /// When it could not be written, or takes longer.
    pub fn wait(self, patience: Duration) -> Result<(), StateError> {
        let left = patience.saturating_sub(self.began.elapsed());
        self.told.recv_timeout(left).unwrap_or(Err(StateError::Slow { path: self.path, waited: patience }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        fs,
        os::unix::fs::symlink,
        time::{Duration, Instant},
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{FILE, Saving, StateDir, StateError, WRITTEN};
    use crate::flow::{
        idle::{Destination, IdleMemory},
        wire::Silence,
    };

    fn learnt() -> IdleMemory {
        let mut memory = IdleMemory::default();
        let destination = Destination::new("192.0.2.7:40000".parse().unwrap(), 5672);
        let silence = Silence { length: Duration::from_secs(350), broken_by_receiver: true };
        memory.learn(destination, Some(silence), Duration::ZERO);
        memory
    }

    fn save(state: &StateDir) -> Result<(), StateError> {
        state.save(&learnt()).wait(Duration::from_secs(10))
    }

    #[test]
    fn what_was_learnt_survives() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("new/one")).unwrap();
        assert_eq!(state.load().unwrap(), IdleMemory::default());
        save(&state).unwrap();
        assert_eq!(serde_json::to_value(state.load().unwrap()).unwrap(), serde_json::to_value(learnt()).unwrap());
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_learning_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        fs::write(directory.path().join(FILE), b"[[{\"address\":").unwrap();
        assert!(matches!(state.load(), Err(StateError::Damaged { .. })));
        assert_eq!(state.load().unwrap(), IdleMemory::default());
        assert!(directory.path().join("idle-timeouts.json.damaged").exists());
    }

    #[test]
    fn what_somebody_put_there_is_neither_waited_for_nor_followed() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let (file, new) = (directory.path().join(FILE), directory.path().join(WRITTEN));
        mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(state.load(), Err(StateError::Damaged { .. })));
        let victim = directory.path().join("victim");
        fs::write(&victim, "[]").unwrap();
        for target in ["/dev/zero", "victim", FILE] {
            symlink(target, &file).unwrap();
            assert!(matches!(state.load(), Err(StateError::Damaged { .. })), "{target}");
        }
        symlink("victim", &new).unwrap();
        save(&state).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "[]");
        mknodat(CWD, &new, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        save(&state).unwrap();
        assert!(fs::symlink_metadata(&file).unwrap().is_file() && !new.exists());
        // What grows while it is read, or was too large all along.
        fs::File::create(&file).unwrap().set_len(super::MAX_FILE + 1).unwrap();
        assert!(matches!(state.load(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn a_file_system_that_lets_the_state_wait_does_not_hold_up_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        save(&state).unwrap();
        assert_eq!(serde_json::to_value(state.load().unwrap()).unwrap(), serde_json::to_value(learnt()).unwrap());
        let (_release, stuck) = std::sync::mpsc::channel::<()>();
        let saving = Saving::begin("state".into(), move || {
            let _released = stuck.recv();
            Ok(())
        });
        let began = Instant::now();
        let error = saving.wait(Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, StateError::Slow { .. }) && began.elapsed() < Duration::from_secs(2), "{error}");
        // One that fails is told of.
        drop(directory);
        assert!(matches!(save(&state), Err(StateError::Write { .. })));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = StateDir::open(&file.join("below")).unwrap_err().to_string();
        assert!(error.contains("below"), "{error}");
    }
}
