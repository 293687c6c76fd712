//! Why logs cannot be explained.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why logs cannot be explained, or not to their end.
#[derive(Debug, Error)]
pub enum ExplainError {
    #[error("cannot read the log {name}: {source}")]
    Log {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the events {}: {source}; name the file that rstblame capture --format json --output writes", path.display())]
    Events {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot watch {}: {source}; raise fs.inotify.max_user_instances or max_user_watches, or give the log as a file instead of -",
        path.display()
    )]
    Watch {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
}
