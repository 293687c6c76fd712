//! A place in a text, and the numbers, names and zones that may stand there.

use jiff::tz::Offset;

/// Months, as C and Erlang abbreviate them.
const MONTHS: [&[u8; 3]; 12] = [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

const WEEKDAYS: [&[u8; 3]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];

/// Zones that journalctl and date(1) name, and that have one meaning in practice; hours east of
/// UTC.
const ZONES: [(&str, i8); 17] = [
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("EST", -5),
    ("EDT", -4),
    ("CDT", -5),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("JST", 9),
    ("AEST", 10),
];

/// A place in a text.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    /// There was a fraction of a second.
    pub fraction: bool,
}

impl Cursor<'_> {
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn next_is_digit(&self, ahead: usize) -> bool {
        self.bytes.get(self.at + ahead).is_some_and(u8::is_ascii_digit)
    }

    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub fn eat_any(&mut self, bytes: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|byte| bytes.contains(byte))?;
        self.at += 1;
        Some(byte)
    }

    pub fn spaces(&mut self) -> usize {
        let before = self.at;
        while self.eat(b' ') {}
        self.at - before
    }

    /// How many digits come next.
    pub fn run(&self) -> usize {
        self.bytes.iter().skip(self.at).take(24).take_while(|byte| byte.is_ascii_digit()).count()
    }

    pub fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.run().min(most);
        if count < least {
            return None;
        }
        let digits = self.bytes.get(self.at..self.at + count)?;
        self.at += count;
        digits.iter().try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
    }

    /// Digits after a point, as nanoseconds.
    pub fn fraction(&mut self) -> i64 {
        self.fraction = true;
        let mut nanoseconds = 0;
        let mut scale = 100_000_000;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            nanoseconds += i64::from(digit - b'0') * scale;
            scale /= 10;
            self.at += 1;
        }
        nanoseconds
    }

    /// The letters that come next, in lower case.
    fn word<const LENGTH: usize>(&self) -> Option<[u8; LENGTH]> {
        let word = self.bytes.get(self.at..)?.first_chunk::<LENGTH>()?;
        word.iter().all(u8::is_ascii_alphabetic).then(|| word.map(|byte| byte.to_ascii_lowercase()))
    }

    pub fn month(&mut self) -> Option<i64> {
        let word = self.word()?;
        let month = MONTHS.iter().position(|month| **month == word)?;
        if self.bytes.get(self.at + 3).is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        self.at += 3;
        i64::try_from(month + 1).ok()
    }

    pub fn weekday(&mut self) {
        if self.word().is_some_and(|word| WEEKDAYS.contains(&&word)) {
            let before = self.at;
            self.at += 3;
            self.eat(b',');
            if self.spaces() == 0 {
                self.at = before;
            }
        }
    }

    /// Hours, minutes, seconds, nanoseconds.
    pub fn time(&mut self) -> Option<(i64, i64, i64, i64)> {
        let mut hour = self.number(1, 2)?;
        let compact = !self.eat(b':');
        let minute = self.number(2, 2)?;
        if !compact && !self.eat(b':') {
            return None;
        }
        let second = self.number(2, 2)?;
        let mut nanosecond = 0;
        if matches!(self.peek(), Some(b'.' | b',')) && self.next_is_digit(1) {
            self.at += 1;
            nanosecond = self.fraction();
        }
        let mut probe = *self;
        probe.spaces();
        if let Some([half @ (b'a' | b'p'), b'm']) = probe.word() {
            probe.at += 2;
            if probe.boundary() && hour <= 12 {
                hour = hour % 12 + if half == b'p' { 12 } else { 0 };
                *self = probe;
            }
        }
        (hour < 24 && minute < 60 && second <= 60).then_some((hour, minute, second, nanosecond))
    }

    pub fn offset(&mut self) -> Option<Offset> {
        if self.eat(b'Z') || self.eat(b'z') {
            return Some(Offset::UTC);
        }
        let mut probe = *self;
        probe.spaces();
        let offset = match probe.peek()? {
            sign @ (b'+' | b'-') => {
                probe.at += 1;
                let hours = probe.number(2, 2)?;
                let minutes = if probe.eat(b':') || probe.next_is_digit(0) { probe.number(2, 2)? } else { 0 };
                let seconds = i32::try_from(hours * 3_600 + minutes * 60).ok()?;
                Offset::from_seconds(if sign == b'-' { -seconds } else { seconds }).ok()?
            }
            b'A'..=b'Z' => {
                let length = probe.bytes.iter().skip(probe.at).take_while(|byte| byte.is_ascii_uppercase()).count();
                let name = probe.bytes.get(probe.at..probe.at + length)?;
                let (_, hours) = ZONES.iter().find(|(zone, _)| zone.as_bytes() == name)?;
                probe.at += length;
                Offset::from_hours(*hours).ok()?
            }
            _ => return None,
        };
        if !probe.boundary() {
            return None;
        }
        *self = probe;
        Some(offset)
    }

    /// Whether a word ends here.
    pub fn boundary(&self) -> bool {
        self.peek().is_none_or(|byte| !byte.is_ascii_alphanumeric() && byte != b'_')
    }
}
