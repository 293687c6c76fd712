//! Bytes into lines, however they arrive, in bounded memory.

/// Longest line that is kept whole, bytes; an event has a few thousand.
const LONGEST: usize = 1 << 20;

/// A line, without its end.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub bytes: &'a [u8],
    /// Its end is missing: it is the last of its file, and may be half of one.
    pub is_last: bool,
}

/// A line that is still being read.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes in bytes and hands on each line that they complete, without its end. What a line has
    /// beyond the longest is dropped.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.partial.is_empty() {
                each(trim(line.get(..LONGEST).unwrap_or(line)));
            } else {
                self.keep(line);
                each(trim(&self.partial));
                self.partial.clear();
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// The last line, if it has no end.
    pub fn finish(&mut self, each: impl FnOnce(&[u8])) {
        if !self.partial.is_empty() {
            each(trim(&self.partial));
            self.partial.clear();
        }
    }

    /// Forgets the line that is still being read.
    pub fn clear(&mut self) {
        self.partial.clear();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

fn trim(line: &[u8]) -> &[u8] {
    let mut line = line;
    while let Some(before) = line.strip_suffix(b"\r") {
        line = before;
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Lines;

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n]{0,80}", cuts in proptest::collection::vec(0_usize..10, 1..20)) {
            let mut lines = Lines::default();
            let mut found: Vec<Vec<u8>> = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle().take(200) {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                lines.feed(piece, |line| found.push(line.to_vec()));
                rest = after;
            }
            lines.feed(rest, |line| found.push(line.to_vec()));
            lines.finish(|line| found.push(line.to_vec()));
            let expected: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
