//! Why events cannot be listed.

use std::io;

use thiserror::Error;

use crate::{query::QueryError, reader::ReaderError};

#[derive(Debug, Error)]
pub(super) enum EventsError {
    #[error("--where, {0} (see docs/asking.md)")]
    Question(#[from] QueryError),
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}
