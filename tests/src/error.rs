//! What can stop a scenario before its assertions do.

use std::{fmt, io};

/// A failure of the lab itself, or of the agent to be a well-behaved process.
///
/// `Debug` prints the same text as `Display`: the test harness shows an `Err` by its `Debug` form.
#[derive(thiserror::Error)]
pub enum LabError {
    /// The effective user is not root.
    #[error("the lab makes network namespaces and loads kernel programs, which needs root; run it with `cargo xtask test`")]
    NotRoot,
    /// A system call of the lab failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, to follow "cannot".
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A command ended with another status than 0.
    #[error("`{command}` ended with {status}\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to stderr, or to stdout where stderr is empty.
        output: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds} s in vain for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// The agent broke the event contract, or ended when it should not have.
    #[error("agent on {host}: {problem}\n--- its stderr ---\n{stderr}")]
    Agent {
        /// Whose view this agent had.
        host: String,
        /// What is wrong, one finding a line.
        problem: String,
        /// Everything the agent logged.
        stderr: String,
    },
    /// A client did not print what was asked of it.
    #[error("client: {0}")]
    Client(String),
}

impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl LabError {
    /// Wraps an I/O error; `doing` follows the word "cannot".
    pub fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }

    /// [`LabError::io`] for `map_err`.
    pub fn during(doing: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self::io(doing, error)
    }
}

impl From<lapin::Error> for LabError {
    fn from(error: lapin::Error) -> Self {
        Self::Client(format!("lapin: {error}"))
    }
}
