//! What is wrong with a configuration, in one line.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}; name a file with --config", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is larger than {limit} bytes, no configuration is; name the right file with --config", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    /// What stands on one line makes no sense. `problem` ends with a hint.
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: String },
}
