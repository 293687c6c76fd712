//! A zstd stream of any number of frames one after the other, as `cat`, rotating writers and
//! parallel compressors leave them (RFC 8878, section 3.1).

use std::io::{self, BufRead, Read};

use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

/// What a stream begins with: a frame, or (upper 28 bits alone) a skippable one.
const FRAME: u32 = 0xfd2f_b528;
const SKIPPABLE: u32 = 0x184d_2a50;

/// The largest window a frame may ask for, bytes: what `zstd -d` takes unasked, `--long` and
/// `--ultra -22` included. The decoder needs about twice as much at most.
const MAX_WINDOW: u64 = 128 << 20;

/// Whether a stream that begins like this is of zstd.
pub fn begins(magic: &[u8]) -> bool {
    magic.first_chunk().is_some_and(|magic| {
        let magic = u32::from_le_bytes(*magic);
        magic == FRAME || magic & !0xf == SKIPPABLE
    })
}

/// The uncompressed stream.
pub struct Frames<R: BufRead> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Frames<R> {
    /// Reads up to the first frame that holds something.
    ///
    /// # Errors
    ///
    /// Of the stream underneath, and when it does not begin with a frame.
    pub fn new(source: R) -> io::Result<Self> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        let mut frames = Self { source, decoder, in_frame: false };
        frames.next_frame()?;
        Ok(frames)
    }

    /// Begins the next frame, over those that are to be skipped.
    fn next_frame(&mut self) -> io::Result<()> {
        while !self.in_frame && !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => self.in_frame = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.in_frame {
            // A block may only fill the window, which is handed out later.
            while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                let missing = buffer.len() - self.decoder.can_collect();
                self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(missing)).map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.in_frame = false;
            self.next_frame()?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::{Cursor, Read as _};

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::{FRAME, Frames, SKIPPABLE, begins};

    fn frame(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn skippable(content: &[u8]) -> Vec<u8> {
        [(SKIPPABLE + 3).to_le_bytes().as_slice(), &u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
    }

    fn read(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
        assert!(begins(&bytes));
        let mut whole = Vec::new();
        Frames::new(Cursor::new(bytes))?.read_to_end(&mut whole)?;
        Ok(whole)
    }

    #[test]
    fn all_frames_are_read_and_skippable_ones_skipped() {
        let long = vec![7; 300_000];
        let stream = [skippable(b"index"), frame(b"one "), frame(b""), skippable(b""), frame(&long), frame(b" end"), skippable(b"x")];
        assert_eq!(read(stream.concat()).unwrap(), [b"one ", long.as_slice(), b" end"].concat());
    }

    /// A frame that asks for a window of `1 << log` bytes, and has one empty block.
    fn window(log: u8) -> Vec<u8> {
        // No content size, no single segment; exponent without mantissa; a last raw block of 0
        // bytes.
        [FRAME.to_le_bytes().as_slice(), &[0, (log - 10) << 3], &[1, 0, 0]].concat()
    }

    #[test]
    fn a_window_is_bounded_before_it_is_allocated() {
        assert_eq!(read(window(27)).unwrap(), b"");
        for log in 28..=41 {
            assert!(read(window(log)).is_err(), "2^{log}");
            // The second frame of a stream is none better.
            assert!(read([frame(b"x"), window(log)].concat()).is_err(), "2^{log}");
        }
    }

    /// One block whose sequences all are of the longest match: 32,511 of them in 74 KiB, which come
    /// to 4 GiB. All three tables are in RLE mode, so that no code takes any bits.
    fn swollen_block() -> Vec<u8> {
        const SEQUENCES: u16 = 0x7eff;
        // No literals; then the number of sequences, the modes, and the codes: no literals, offsets
        // of 2 bits, matches of 65,539 and 16 bits.
        let mut block = vec![0, 0xfe, 0xff, 0b0101_0100, 0, 2, 52];
        // 18 bits each, all of them ones, and a one that ends the stream.
        block.extend(vec![0xff; usize::from(SEQUENCES) * 18 / 8]);
        block.push(0x7f);
        block
    }

    #[test]
    fn a_block_is_no_longer_than_blocks_are() {
        let header = |length: usize, kind: u32, last: u32| (u32::try_from(length).unwrap() << 3 | kind << 1 | last).to_le_bytes();
        let block = swollen_block();
        let bomb = [
            FRAME.to_le_bytes().as_slice(),
            &[0, (20 - 10) << 3],
            &header(16, 0, 0)[..3],
            &[b'a'; 16],
            &header(block.len(), 2, 1)[..3],
            &block,
        ]
        .concat();
        let error = read(bomb).unwrap_err().to_string();
        assert!(error.contains("sequence") || error.contains("131072"), "{error}");
    }

    #[test]
    fn what_breaks_off_or_is_no_frame_is_an_error() {
        let whole = [frame(b"one"), frame(b"two")].concat();
        assert!(read(whole.get(..whole.len() - 2).unwrap().to_vec()).is_err());
        assert!(read([frame(b"one"), b"garbage".to_vec()].concat()).is_err());
        assert!(read(skippable(b"index").get(..10).unwrap().to_vec()).is_err());
    }
}
