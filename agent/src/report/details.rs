//! Whole events, compressed some hundreds at a time, so that the page opens what is asked for.

use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};

use super::ReportError;
use crate::{event::ResetEvent, model::Severity};

/// Events in one piece: much more and opening one takes a while, much fewer and they take more
/// room.
pub const CHUNK: usize = 500;

/// Bytes of all pieces, beyond which no more are kept: a mail takes some 25 MiB.
const MOST: usize = 12 << 20;

/// Events as in normal operation that are kept whole: few ask for them, and there are most of them.
const ROUTINE: usize = 2000;

/// What was kept.
#[derive(Default)]
pub struct Details {
    /// As JSON, but for the bracket at the end.
    open: Vec<u8>,
    in_open: usize,
    kept: usize,
    routine: usize,
    pieces: Vec<String>,
    bytes: usize,
}

impl Details {
    /// Keeps an event; its place, or nothing where there is no more room.
    ///
    /// # Errors
    ///
    /// [`ReportError::Json`], [`ReportError::Compress`].
    pub fn keep(&mut self, event: &ResetEvent) -> Result<Option<usize>, ReportError> {
        let routine = event.severity == Severity::Info;
        self.routine += usize::from(routine);
        if self.bytes > MOST || routine && self.routine > ROUTINE {
            return Ok(None);
        }
        self.open.push(if self.in_open == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.open, event)?;
        self.in_open += 1;
        let place = self.kept;
        self.kept += 1;
        if self.in_open == CHUNK {
            self.close()?;
        }
        Ok(Some(place))
    }

    fn close(&mut self) -> Result<(), ReportError> {
        if self.in_open == 0 {
            return Ok(());
        }
        self.open.push(b']');
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let compressed = encoder.write_all(&self.open).and_then(|()| encoder.finish()).map_err(ReportError::Compress)?;
        let piece = BASE64_STANDARD.encode(compressed);
        self.bytes += piece.len();
        self.pieces.push(piece);
        self.open.clear();
        self.in_open = 0;
        Ok(())
    }

    /// All pieces, in base64.
    ///
    /// # Errors
    ///
    /// [`ReportError::Compress`].
    pub fn finish(mut self) -> Result<Vec<String>, ReportError> {
        self.close()?;
        Ok(self.pieces)
    }
}
