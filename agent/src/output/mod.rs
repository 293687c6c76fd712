//! Events into lines, and lines into the world. Never changes what an event says.

pub mod pretty;
pub mod sink;

use std::{io, path::PathBuf};

use bytes::Bytes;
use thiserror::Error;

use crate::event::Event;

/// Room for a line of usual length, bytes.
const LINE: usize = 2048;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line, by the event contract.
    Json,
    /// One aligned line a reset, for people.
    Pretty,
}

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
    #[error("cannot start a thread for {target}: {source}; raise the limit of tasks of the agent's unit (TasksMax=)")]
    Thread {
        target: String,
        #[source]
        source: io::Error,
    },
}

/// Renders one event; empty when the format has nothing to say of it.
pub fn render(event: &Event, format: Format, style: pretty::Style) -> Bytes {
    match format {
        Format::Json => json_line(event),
        Format::Pretty => pretty::render(event, style).into(),
    }
}

/// One JSON object and a newline.
pub fn json_line(event: &Event) -> Bytes {
    // A vector and not `BytesMut`: the line is made of some hundred pieces, and this one takes each
    // in a few instructions.
    let mut line = Vec::with_capacity(LINE);
    // The types are plain data with string keys: serde_json has no way to fail on them, and half a
    // line must never go out.
    if serde_json::to_writer(&mut line, event).is_err() {
        return Bytes::new();
    }
    line.push(b'\n');
    line.into()
}
