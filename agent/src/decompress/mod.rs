//! Streams as they are, or compressed by gzip or zstd, which are known by their magic numbers.

mod zstd;

use std::io::{self, BufReader, Cursor, Read, Seek as _};

use flate2::bufread::MultiGzDecoder;

/// RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes of a compressed stream that are read at once.
const CHUNK: usize = 1 << 16;

/// Whether a file is compressed, by its beginning, to which it is put back.
///
/// # Errors
///
/// When it cannot be read or has no beginning to be put back to.
pub fn is_compressed(mut file: &std::fs::File) -> io::Result<bool> {
    let mut magic = Vec::with_capacity(4);
    file.take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(magic.starts_with(&GZIP) || zstd::begins(&magic))
}

/// The uncompressed stream of `raw`. One that is not compressed comes through as it is, without
/// another buffer.
///
/// # Errors
///
/// When the first bytes cannot be read, or are those of a zstd frame that cannot be.
pub fn open(mut raw: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(4);
    raw.by_ref().take(4).read_to_end(&mut magic)?;
    let (gzip, zstd) = (magic.starts_with(&GZIP), zstd::begins(&magic));
    let whole = Cursor::new(magic).chain(raw);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, whole)))
    } else if zstd {
        Box::new(zstd::Frames::new(BufReader::with_capacity(CHUNK, whole))?)
    } else {
        Box::new(whole)
    })
}
