//! Times and sizes as operators write them, on the command line and in the configuration.

use std::time::Duration;

/// Units of time and their lengths in milliseconds, longest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size and their lengths in bytes, largest first.
const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A time in nanoseconds; one of more than 584 years is as long as that.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A number with a unit: `250ms`, `30s`, `10m`, `2h`; `0` needs none.
///
/// # Errors
///
/// A hint, when it is none of these, or longer than a year.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HINT: &str = "give a number and a unit: 250ms, 30s, 10m, 2h";
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| HINT.to_owned())?;
    let milliseconds = match TIMES.iter().find(|(name, _)| *name == unit) {
        Some((_, length)) => number.checked_mul(*length),
        None if unit.is_empty() && number == 0 => Some(0),
        None => return Err(HINT.to_owned()),
    };
    // A year: beyond it the sum with the present overflows clocks, and no capture lasts that long.
    milliseconds
        .filter(|milliseconds| *milliseconds <= 31_536_000_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "longer than a year; leave the flag out to run until stopped".to_owned())
}

/// A number of bytes, `KiB`, `MiB` or `GiB`, that a ring buffer may have.
///
/// # Errors
///
/// A hint, when it is none, or out of range.
pub fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "give a size such as 256KiB or 4MiB".to_owned())?;
    let bytes = match SIZES.iter().find(|(name, _)| *name == unit || name.strip_suffix("iB") == Some(unit)) {
        Some((_, length)) => number.checked_mul(*length),
        None if unit.is_empty() || unit == "B" => Some(number),
        None => return Err("give a size such as 256KiB or 4MiB".to_owned()),
    };
    bytes.filter(|bytes| (4096..=1 << 30).contains(bytes)).ok_or_else(|| "out of range; give a size from 4KiB to 1GiB".to_owned())
}

/// A time as [`duration`] reads it, in the largest unit that holds it exactly; what is below a
/// millisecond is cut.
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(milliseconds, &TIMES).unwrap_or_else(|| milliseconds.to_string())
}

/// A size as [`size`] reads it, in the largest unit that holds it exactly.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES).unwrap_or_else(|| bytes.to_string())
}

fn show(number: u64, units: &[(&str, u64)]) -> Option<String> {
    let (unit, length) = units.iter().find(|(_, length)| number > 0 && number.is_multiple_of(*length))?;
    Some(format!("{}{unit}", number / length))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{duration, show_duration, show_size, size};

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["", "s", "5", "1.5s", "-1s", "5 s", "99999999h", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(size("64KiB"), Ok(65536));
        assert_eq!(size("1M"), Ok(1 << 20));
        for bad in ["", "0", "1KiB", "2GiB", "KiB", "iB", "4iB", "18446744073709551615G"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            let _ = (duration(&text), size(&text));
        }

        #[test]
        fn what_is_shown_reads_the_same(milliseconds in 0_u64..=31_536_000_000, bytes in 4096_u64..=1 << 30) {
            let time = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
