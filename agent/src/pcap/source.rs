//! Bytes of a capture: a file or standard input, as they are or compressed, through one buffer of
//! fixed size.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{error::PcapError, zstd};

/// The largest record that is accepted, and the size of the buffer. libpcap's own limit for a
/// snapshot is 256 KiB.
pub const LARGEST: usize = 1 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A window that moves over a stream.
pub struct Source {
    stream: Box<dyn Read>,
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
        let raw: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
        Self::new(raw).map_err(failed)
    }

    /// Reads any stream.
    ///
    /// # Errors
    ///
    /// When its first bytes cannot be read.
    pub fn new(mut raw: Box<dyn Read>) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(4);
        raw.by_ref().take(4).read_to_end(&mut magic)?;
        let whole = io::Cursor::new(magic.clone()).chain(raw);
        let stream: Box<dyn Read> = if magic.starts_with(&GZIP) {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, whole)))
        } else if zstd::begins(&magic) {
            Box::new(zstd::Frames::new(BufReader::with_capacity(1 << 16, whole))?)
        } else {
            Box::new(whole)
        };
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
