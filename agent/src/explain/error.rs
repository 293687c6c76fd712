//! Why logs cannot be explained.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::reader::ReaderError;

/// Why logs cannot be explained, or not to their end.
#[derive(Debug, Error)]
pub enum ExplainError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
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
    #[error(
        "nothing in {name} was recognised as RabbitMQ's log; its first line that could not be read: {line:?}; give the lines as RabbitMQ wrote them \
         (its own file, or what journalctl, docker logs or kubectl logs print), each with its time, level and process"
    )]
    NotRabbitMq { name: String, line: String },
    #[error(
        "{name} speaks of {lines} ends of AMQP connections in a form that is not known; the first: {line:?}; give the lines as RabbitMQ wrote them, \
         without changes"
    )]
    Unread { name: String, lines: u64, line: String },
    #[error("the time zone of this host is not known: {0}; set TZ to the zone of the broker, such as Europe/Berlin or UTC0")]
    Zone(#[source] jiff::Error),
    #[error("standard input is read alone: give {other} in a run of its own")]
    Mixed { other: String },
    #[error("no event in the files has the id {id}{near}; ids are in the lines, and in capture -v")]
    NoEvent { id: String, near: String },
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
}
