//! Times as logs and their wrappers write them.

mod cursor;

use cursor::Cursor;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// How many years back a time without a year may be.
const YEARS: i16 = 5;

/// A moment: one instant, or the few that a text may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub first: Timestamp,
    /// Others it may be: an hour that the clocks repeat, a year or a zone that is not written.
    pub others: Vec<Timestamp>,
    /// The text says which instant it is: it has a zone, or counts from the epoch.
    pub zoned: bool,
    /// The text has no fraction of a second.
    pub whole_seconds: bool,
}

impl Stamp {
    pub const fn exact(at: Timestamp) -> Self {
        Self { first: at, others: Vec::new(), zoned: true, whole_seconds: false }
    }
}

/// Reads times.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
    now: Timestamp,
    this_year: i16,
}

impl Clock {
    /// `zone`: that of times without one.
    pub fn new(zone: TimeZone) -> Self {
        let now = Timestamp::now();
        let this_year = zone.to_datetime(now).year();
        Self { zone, now, this_year }
    }

    /// The time that `text` begins with, and its length in bytes. A time of day alone has a length
    /// and no moment.
    pub fn read(&self, text: &str) -> Option<(Option<Stamp>, usize)> {
        let mut cursor = Cursor { bytes: text.as_bytes(), at: 0, fraction: false };
        cursor.weekday();
        let read = match cursor.peek()? {
            b'0'..=b'9' => self.digits(&mut cursor),
            b'A'..=b'Z' | b'a'..=b'z' => self.month_first(&mut cursor),
            _ => None,
        }?;
        cursor.boundary().then_some((read, cursor.at))
    }

    /// A text that is a time and nothing else.
    pub fn whole(&self, text: &str) -> Option<Stamp> {
        let text = text.trim();
        let (stamp, length) = self.read(text)?;
        stamp.filter(|_| length == text.len())
    }

    /// Seconds, milliseconds, microseconds or nanoseconds since the epoch, by their size: 2001
    /// to 2100.
    pub fn epoch(number: f64) -> Option<Stamp> {
        let units = [(1e9, 1e9), (1e12, 1e6), (1e15, 1e3), (1e18, 1.0)];
        let (_, scale) = units.into_iter().find(|(floor, _)| number >= *floor && number < floor * 4.2)?;
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
        let nanoseconds = (number * scale) as i128;
        Timestamp::from_nanosecond(nanoseconds).ok().map(Stamp::exact)
    }

    #[expect(clippy::option_option, reason = "no time, a time of day, or a moment")]
    fn digits(&self, cursor: &mut Cursor) -> Option<Option<Stamp>> {
        let run = cursor.run();
        match run {
            10 | 13 | 16 | 19 => return epoch(cursor, run).map(Some),
            8 => {
                let (year, month, day) = (cursor.number(4, 4)?, cursor.number(2, 2)?, cursor.number(2, 2)?);
                if !cursor.eat(b'T') && !cursor.eat(b' ') {
                    return None;
                }
                return self.moment(cursor, &[(Some(year), month, day)]);
            }
            4 => {
                let year = cursor.number(4, 4)?;
                let separator = cursor.eat_any(b"-/.")?;
                let month = cursor.number(1, 2)?;
                if !cursor.eat(separator) {
                    return None;
                }
                let day = cursor.number(1, 2)?;
                cursor.eat(b',');
                cursor.eat_any(b" T_t")?;
                cursor.spaces();
                return self.moment(cursor, &[(Some(year), month, day)]);
            }
            1 | 2 => {}
            _ => return None,
        }
        let first = cursor.number(1, 2)?;
        let separator = cursor.eat_any(b"-/. :")?;
        if separator == b':' {
            // A time of day: nothing says which.
            cursor.at = cursor.at.saturating_sub(1).saturating_sub(run);
            cursor.time()?;
            cursor.offset();
            return Some(None);
        }
        if let Some(month) = cursor.month() {
            if !cursor.eat(separator) {
                return None;
            }
            let year = cursor.number(4, 4)?;
            cursor.eat(b',');
            cursor.eat_any(b": ")?;
            cursor.eat(b':');
            return self.moment(cursor, &[(Some(year), month, first)]);
        }
        let second = cursor.number(1, 2)?;
        if separator == b' ' || !cursor.eat(separator) {
            return None;
        }
        let year = cursor.number(4, 4)?;
        cursor.eat(b',');
        cursor.eat_any(b" T")?;
        let (day_first, month_first) = ((Some(year), second, first), (Some(year), first, second));
        match (separator, first > 12, second > 12) {
            (b'.' | b'-', ..) | (_, true, _) => self.moment(cursor, &[day_first]),
            (_, _, true) => self.moment(cursor, &[month_first]),
            _ => self.moment(cursor, &[month_first, day_first]),
        }
    }

    /// `Nov 20 10:00:00`, as syslog has it, and its relatives that have a year before or after the
    /// time.
    #[expect(clippy::option_option, reason = "no time, a time of day, or a moment")]
    fn month_first(&self, cursor: &mut Cursor) -> Option<Option<Stamp>> {
        let month = cursor.month()?;
        cursor.eat(b'.');
        if cursor.spaces() == 0 {
            return None;
        }
        let day = cursor.number(1, 2)?;
        cursor.eat(b',');
        if cursor.spaces() == 0 {
            return None;
        }
        let mut year = None;
        if cursor.run() == 4 {
            year = Some(cursor.number(4, 4)?);
            cursor.eat(b',');
            cursor.spaces();
            if cursor.eat(b'@') {
                cursor.spaces();
            }
        }
        let mut probe = *cursor;
        if year.is_none() && probe.time().is_some() && probe.eat(b' ') && probe.run() == 4 {
            // ctime(3) has the year at the end.
            year = probe.number(4, 4).filter(|year| (1990..2200).contains(year) && probe.boundary());
            if year.is_some() {
                let stamp = self.moment(cursor, &[(year, month, day)]);
                cursor.at = probe.at;
                return stamp;
            }
        }
        self.moment(cursor, &[(year, month, day)])
    }

    /// The time of day and the zone that follow a date, which may be one of several.
    #[expect(clippy::option_option, reason = "no time, a time of day, or a moment")]
    fn moment(&self, cursor: &mut Cursor, dates: &[(Option<i64>, i64, i64)]) -> Option<Option<Stamp>> {
        let (hour, minute, second, nanosecond) = cursor.time()?;
        let offset = cursor.offset();
        if let (Some(offset), [(Some(year), month, day)]) = (offset, dates) {
            let date = date(i16::try_from(*year).ok()?, *month, *day, (hour, minute, second, nanosecond))?;
            let stamp = Stamp::exact(offset.to_timestamp(date).ok()?);
            return Some(Some(Stamp { whole_seconds: !cursor.fraction, ..stamp }));
        }
        let mut instants: Vec<Timestamp> = Vec::new();
        for (year, month, day) in dates {
            let years = match year {
                Some(year) => i16::try_from(*year).map(|year| year..=year).ok()?,
                None => self.this_year - YEARS..=self.this_year + 1,
            };
            for year in years {
                let Some(date) = date(year, *month, *day, (hour, minute, second, nanosecond)) else { continue };
                if let Some(offset) = offset {
                    instants.extend(offset.to_timestamp(date));
                    continue;
                }
                let ambiguous = self.zone.to_ambiguous_zoned(date);
                let (earlier, later) = (ambiguous.clone().earlier(), ambiguous.later());
                let (Ok(earlier), Ok(later)) = (earlier, later) else { continue };
                instants.push(earlier.timestamp());
                if later.timestamp() != earlier.timestamp() {
                    instants.push(later.timestamp());
                }
            }
        }
        if dates.iter().any(|(year, ..)| year.is_none()) {
            // The latest that is not to come goes first; a clock may be a day ahead.
            let soon = self.now.as_second().saturating_add(86_400);
            instants.sort_by_key(|at| (at.as_second() > soon, at.as_second().abs_diff(self.now.as_second())));
        }
        let mut instants = instants.into_iter();
        let first = instants.next()?;
        Some(Some(Stamp {
            first,
            others: instants.collect(),
            zoned: offset.is_some() && dates.len() == 1,
            whole_seconds: !cursor.fraction,
        }))
    }
}

fn date(year: i16, month: i64, day: i64, (hour, minute, second, nanosecond): (i64, i64, i64, i64)) -> Option<DateTime> {
    let small = |number: i64| i8::try_from(number).ok();
    // A leap second is the last of its minute to everything else.
    let second = small(second.min(59))?;
    DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, second, i32::try_from(nanosecond).ok()?).ok()
}

fn epoch(cursor: &mut Cursor, run: usize) -> Option<Stamp> {
    let number = cursor.number(run, run)?;
    let mut nanoseconds = i128::from(number) * i128::from(10_i64.checked_pow(u32::try_from(19_usize.checked_sub(run)?).ok()?)?);
    if run == 10 && cursor.peek() == Some(b'.') && cursor.next_is_digit(1) {
        cursor.at += 1;
        nanoseconds += i128::from(cursor.fraction());
    }
    let at = Timestamp::from_nanosecond(nanoseconds).ok()?;
    let whole_seconds = run == 10 && !cursor.fraction;
    (1_000_000_000..4_200_000_000).contains(&at.as_second()).then(|| Stamp { whole_seconds, ..Stamp::exact(at) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use jiff::{Timestamp, tz::TimeZone};

    use super::Clock;

    #[test]
    fn every_form_means_the_same_instant() {
        let clock = Clock::new(TimeZone::UTC);
        let expected: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        for text in [
            "2026-11-20 10:00:00",
            "2026-11-20T10:00:00Z",
            "2026-11-20 05:00:00.000-05:00",
            "2026-11-20 11:00:00.000000+01:00",
            "2026-11-20 10:00:00,000",
            "2026/11/20 10:00:00",
            "2026-11-20 10:00:00 +0000 UTC",
            "2026-11-20 11:00:00 CET",
            "20261120T100000Z",
            "20-Nov-2026::10:00:00",
            "20-Nov-2026::10:00:00.000000",
            "20/Nov/2026:10:00:00 +0000",
            "20 Nov 2026 10:00:00 GMT",
            "Fri, 20 Nov 2026 10:00:00 +0000",
            "Fri 2026-11-20 10:00:00 UTC",
            "Nov 20 10:00:00",
            "Nov 20 2026 10:00:00",
            "Nov 20, 2026 @ 10:00:00.000",
            "Nov 20, 2026, 10:00:00 AM",
            "Fri Nov 20 10:00:00 2026",
            "20.11.2026 10:00:00",
            "11/20/2026 10:00:00",
            "1795168800",
            "1795168800.000000",
            "1795168800000",
            "1795168800000000",
            "1795168800000000000",
        ] {
            let (stamp, length) = clock.read(text).unwrap_or_else(|| unreachable!("{text}"));
            let stamp = stamp.unwrap();
            assert!(stamp.first == expected || stamp.others.contains(&expected), "{text}: {stamp:?}");
            assert!(length >= text.len() - 4, "{text}: {length}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        let clock = Clock::new(TimeZone::UTC);
        for text in
            ["", "2026", "2026-13-40 10:00:00", "Nov", "November rain", "123456", "10.0.6.42:40122", "1795168800x", "2026-11-20", "<0.1.0>"]
        {
            assert!(clock.read(text).is_none_or(|(stamp, _)| stamp.is_none()), "{text}");
        }
    }

    #[test]
    fn an_hour_that_is_repeated_is_both() {
        let Ok(zone) = TimeZone::get("Europe/Berlin") else { return };
        let (stamp, _) = Clock::new(zone).read("2026-10-25 02:30:00.300").unwrap();
        let stamp = stamp.unwrap();
        assert_eq!(stamp.first.to_string(), "2026-10-25T00:30:00.3Z");
        assert_eq!(stamp.others.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2026-10-25T01:30:00.3Z"]);
    }
}
