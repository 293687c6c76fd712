//! The thread that writes lines, so that a slow reader never holds up signals or the ring buffer's accounting.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc;

/// Lines that may wait for the writer.
const QUEUE: usize = 4096;

/// Why output ended.
#[derive(Debug, Error)]
pub enum OutputError {
    #[error("cannot open {} for writing: {source}; name a file in a directory that exists and that this user may write", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write to {target}: {source}")]
    Write {
        target: String,
        #[source]
        source: io::Error,
    },
    #[error("the reader of {0} has gone")]
    Closed(String),
    #[error("the reader of the output does not read; its last lines are lost")]
    Stuck,
    #[error("the thread that writes {0} ended without a word")]
    Died(String),
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    /// `-` is standard output.
    pub fn parse(text: &str) -> Self {
        if text == "-" { Self::Stdout } else { Self::File(PathBuf::from(text)) }
    }

    /// Whether a person is looking.
    pub fn is_terminal(&self) -> bool {
        *self == Self::Stdout && io::stdout().is_terminal()
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn open(&self) -> Result<Box<dyn Write + Send>, OutputError> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => Box::new(open_append(path)?),
        })
    }
}

fn open_append(path: &Path) -> Result<std::fs::File, OutputError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|source| OutputError::Open { path: path.to_owned(), source })
}

/// The bounded queue in front of a [`Writer`].
pub type Queue = mpsc::Sender<Bytes>;

/// The thread that writes; it ends when its [`Queue`] is dropped, or when it can no longer write.
pub struct Writer {
    thread: JoinHandle<Result<(), OutputError>>,
    name: String,
}

impl Writer {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    ///
    /// When the target cannot be opened.
    pub fn start(target: &Target) -> Result<(Self, Queue), OutputError> {
        let sink = target.open()?;
        let name = target.name();
        let (queue, lines) = mpsc::channel(QUEUE);
        let thread_name = name.clone();
        let thread = thread::spawn(move || write_all(sink, lines, &thread_name));
        Ok((Self { thread, name }, queue))
    }

    /// Waits for the thread to end.
    ///
    /// # Errors
    ///
    /// Whatever kept it from writing everything.
    pub fn finish(self) -> Result<(), OutputError> {
        self.thread.join().unwrap_or(Err(OutputError::Died(self.name)))
    }
}

fn write_all(mut sink: Box<dyn Write + Send>, mut lines: mpsc::Receiver<Bytes>, name: &str) -> Result<(), OutputError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed(name.to_owned()),
        _ => OutputError::Write { target: name.to_owned(), source },
    };
    while let Some(first) = lines.blocking_recv() {
        // One write for what has gathered, so that a burst costs few system calls; whole lines only.
        let mut batch = Vec::from(first);
        while batch.len() < 1 << 16
            && let Ok(next) = lines.try_recv()
        {
            batch.extend_from_slice(&next);
        }
        sink.write_all(&batch).and_then(|()| sink.flush()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(Target::parse("-"), Target::Stdout);
        assert_eq!(Target::parse("./-"), Target::File("./-".into()));
    }
}
