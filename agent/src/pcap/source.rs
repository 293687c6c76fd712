//! Bytes of a capture: a file or standard input, as they are or compressed, through one buffer of
//! fixed size.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::error::PcapError;
use crate::decompress;

/// The largest record that is accepted, and the size of the buffer. libpcap's own limit for a
/// snapshot is 256 KiB.
pub const LARGEST: usize = 1 << 20;

/// A window that moves over a stream.
pub struct Source {
    stream: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Offset of `start` in the uncompressed stream.
    offset: u64,
    ended: bool,
}

impl Source {
    /// Opens a file, called `name` in messages; `-` is standard input. gzip and zstd are recognised
    /// by their magic numbers.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or read.
    pub fn open(path: &Path, name: &str) -> Result<Self, PcapError> {
        let failed = |source| PcapError::Open { file: name.to_owned(), source };
        if path == Path::new("-") { Self::new(io::stdin()) } else { File::open(path).and_then(Self::new) }.map_err(failed)
    }

    /// Reads any stream.
    ///
    /// # Errors
    ///
    /// When its first bytes cannot be read.
    pub fn new(raw: impl Read + Send + 'static) -> io::Result<Self> {
        let stream = decompress::open(raw)?;
        Ok(Self { stream, buffer: vec![0; LARGEST].into_boxed_slice(), start: 0, end: 0, offset: 0, ended: false })
    }

    /// The next `length` bytes without moving on; fewer than that at the end of the stream.
    ///
    /// # Errors
    ///
    /// Of the stream underneath, a damaged compression included.
    pub fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        if self.end - self.start < length && !self.ended {
            self.fill(length)?;
        }
        let available = (self.end - self.start).min(length);
        Ok(self.buffer.get(self.start..self.start + available).unwrap_or_default())
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < length.min(self.buffer.len()) {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Moves on by `length` bytes that were peeked.
    pub fn advance(&mut self, length: usize) {
        let length = length.min(self.end - self.start);
        self.start += length;
        self.offset += length as u64;
    }

    /// Where the window stands in the uncompressed stream.
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}
