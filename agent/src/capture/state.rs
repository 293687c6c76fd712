//! What is learnt of idle timeouts, kept from one run to the next.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::flow::idle::IdleMemory;

/// Name of the file in the state directory.
const FILE: &str = "idle-timeouts.json";

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
    #[error("the state file {} cannot be written: {source}; what is learnt will not survive a restart", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Makes the directory if it is missing.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(|source| StateError::Directory { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    /// Reads the memory; an empty one when there is none yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is damaged; then it has been set aside.
    pub fn load(&self) -> Result<IdleMemory, StateError> {
        let path = self.0.join(FILE);
        let read = fs::metadata(&path).and_then(|metadata| match metadata.len() {
            0..=MAX_FILE => fs::read(&path),
            _ => Err(io::Error::other("the file is too large")),
        });
        let reason = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(IdleMemory::default()),
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(memory) => return Ok(memory),
                Err(error) => error.to_string(),
            },
        };
        let aside = path.with_extension("json.damaged");
        fs::rename(&path, &aside).map_err(|source| StateError::Directory { path: self.0.clone(), source })?;
        Err(StateError::Damaged { path, aside, reason })
    }

    /// Writes the memory, whole or not at all.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self, memory: &IdleMemory) -> Result<(), StateError> {
        let path = self.0.join(FILE);
        let written = path.with_extension("json.new");
        serde_json::to_vec(memory)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&written, bytes))
            .and_then(|()| fs::rename(&written, &path))
            .map_err(|source| StateError::Write { path, source })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{fs, time::Duration};

    use super::{FILE, StateDir, StateError};
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

    #[test]
    fn what_was_learnt_survives() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("new/one")).unwrap();
        assert_eq!(state.load().unwrap(), IdleMemory::default());
        state.save(&learnt()).unwrap();
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
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = StateDir::open(&file.join("below")).unwrap_err().to_string();
        assert!(error.contains("below"), "{error}");
    }
}
