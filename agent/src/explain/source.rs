//! A log as bytes: in UTF-8 or UTF-16, with a byte order mark or without.

use crate::reader::Lines;

/// Bytes read at once.
pub const CHUNK: usize = 1 << 18;

/// How a log is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { little: bool },
}

/// Bytes into lines of UTF-8.
#[derive(Debug, Default)]
pub struct Decoder {
    lines: Lines,
    encoding: Option<Encoding>,
    /// The first bytes, before the encoding is known; later half of a UTF-16 unit.
    rest: Vec<u8>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

impl Decoder {
    /// Takes in bytes and hands on each line that they complete.
    pub fn feed(&mut self, bytes: &[u8], each: impl FnMut(&[u8])) {
        match self.encoding {
            Some(Encoding::Utf8) => self.lines.feed(bytes, each),
            Some(Encoding::Utf16 { little }) => self.utf16(bytes, little, each),
            None => {
                self.rest.extend_from_slice(bytes);
                if self.rest.len() >= 4 || self.rest.contains(&b'\n') {
                    self.decide(each);
                }
            }
        }
    }

    /// The last line, if it has no end.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if self.encoding.is_none() && !self.rest.is_empty() {
            self.decide(&mut each);
        }
        self.lines.finish(each);
    }

    /// Decides by the byte order mark, or by the zeros that every second byte of Latin letters is.
    fn decide(&mut self, each: impl FnMut(&[u8])) {
        let bytes = std::mem::take(&mut self.rest);
        let (encoding, mark) = match bytes.as_slice() {
            [0xff, 0xfe, ..] => (Encoding::Utf16 { little: true }, 2),
            [0xfe, 0xff, ..] => (Encoding::Utf16 { little: false }, 2),
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
            [first, 0, second, 0, ..] if *first != 0 && *second != 0 => (Encoding::Utf16 { little: true }, 0),
            [0, first, 0, second, ..] if *first != 0 && *second != 0 => (Encoding::Utf16 { little: false }, 0),
            _ => (Encoding::Utf8, 0),
        };
        self.encoding = Some(encoding);
        self.feed(bytes.get(mark..).unwrap_or_default(), each);
    }

    fn utf16(&mut self, bytes: &[u8], little: bool, each: impl FnMut(&[u8])) {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() & !1;
        if whole == 0 {
            return;
        }
        let mut text = String::with_capacity(whole / 2);
        let units = self.rest.get(..whole).unwrap_or_default().as_chunks::<2>().0.iter();
        let units: Vec<u16> = units.map(|unit| if little { u16::from_le_bytes(*unit) } else { u16::from_be_bytes(*unit) }).collect();
        self.rest.drain(..whole);
        let pending = self.high.take();
        let last_is_high = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        let kept = if last_is_high { units.len() - 1 } else { units.len() };
        self.high = if last_is_high { units.last().copied() } else { None };
        let decoded = char::decode_utf16(pending.into_iter().chain(units.iter().take(kept).copied()));
        text.extend(decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        self.lines.feed(text.as_bytes(), each);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Decoder;

    fn lines(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.feed(piece, |line| found.push(String::from_utf8_lossy(line).into_owned()));
        }
        decoder.finish(|line| found.push(String::from_utf8_lossy(line).into_owned()));
        found
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    proptest! {
        #[test]
        fn every_encoding_gives_the_same_lines(text in "[a-z]{4}[a-zé\u{1f600}\n]{0,40}", piece in 1_usize..9, little: bool, mark: bool) {
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            let marked = if mark { format!("\u{feff}{text}") } else { text };
            prop_assert_eq!(&lines(marked.as_bytes(), piece), &expected);
            prop_assert_eq!(&lines(&utf16(&marked, little), piece), &expected);
        }
    }
}
