//! What became of the lines of event files: every line is counted once.

use std::fmt;

/// Why a line could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is of a later agent's, and says what this one has no word for.
    Later,
    /// It is another program's.
    Foreign,
    /// It is an agent's, and damaged.
    Broken,
    /// It breaks off.
    Cut,
}

/// Lines by what became of them: `lines = events + later + foreign + broken + cut`, empty ones left
/// out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that hold anything.
    pub lines: u64,
    /// Lines that were understood.
    pub events: u64,
    /// Lines of a later agent's that say what this one has no word for.
    pub later: u64,
    /// Lines of other programs.
    pub foreign: u64,
    /// Lines of an agent's that are damaged.
    pub broken: u64,
    /// Lines that break off: at the end of a file, or where another line begins.
    pub cut: u64,
    /// Files whose compression breaks off.
    pub cut_files: u64,
    /// Bytes, uncompressed.
    pub bytes: u64,
}

impl Counts {
    /// Counts a line that was understood.
    pub const fn event(&mut self) {
        self.lines += 1;
        self.events += 1;
    }

    /// Counts a line that was not.
    pub const fn unread(&mut self, why: Unread) {
        self.lines += 1;
        match why {
            Unread::Later => self.later += 1,
            Unread::Foreign => self.foreign += 1,
            Unread::Broken => self.broken += 1,
            Unread::Cut => self.cut += 1,
        }
    }

    /// Adds what was counted elsewhere.
    pub const fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.events += other.events;
        self.later += other.later;
        self.foreign += other.foreign;
        self.broken += other.broken;
        self.cut += other.cut;
        self.cut_files += other.cut_files;
        self.bytes += other.bytes;
    }

    /// Whether all was understood.
    pub const fn is_whole(&self) -> bool {
        self.lines == self.events && self.cut_files == 0
    }
}

/// What was not understood, in a sentence; empty where all was.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.foreign, "of another program", "of other programs"),
            (self.later, "of a later version that this one has no word for", "of a later version that this one has no words for"),
            (self.broken, "damaged", "damaged"),
            (self.cut, "broken off", "broken off"),
        ];
        let mut parts: Vec<String> = kinds
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        if self.cut_files > 0 {
            parts.push(format!(
                "{} with a compression that breaks off",
                if self.cut_files == 1 { "a file".to_owned() } else { format!("{} files", self.cut_files) }
            ));
        }
        let lines = self.lines - self.events;
        match (lines, parts.is_empty()) {
            (_, true) => Ok(()),
            (0, false) => write!(f, "not read to its end: {}", parts.join(", ")),
            (lines, false) => write!(f, "{lines} of {} lines could not be used: {}", self.lines, parts.join(", ")),
        }
    }
}
