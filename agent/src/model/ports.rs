//! The watched ports.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use thiserror::Error;

/// Most ports or ranges one filter may name.
pub const MAX_RANGES: usize = 64;

/// One port or range of ports, host byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

impl PortRange {
    /// The port of AMQP 0-9-1 and 1.0 (IANA).
    pub const AMQP: Self = Self(5672..=5672);

    /// Whether a port is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.start() <= other.0.end() && other.0.start() <= self.0.end()
    }
}

/// Why a port or range was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PortError {
    #[error("{0:?} is not a port; give a number from 1 to 65535 or a range such as 5671-5672")]
    NotAPort(String),
    #[error("port 0 does not exist on the wire; give a number from 1 to 65535")]
    Zero,
    #[error("the range {0} runs backwards; give the lower port first")]
    Backwards(String),
    #[error("{0} ports or ranges are more than the {MAX_RANGES} one filter holds; join neighbours into ranges")]
    TooMany(usize),
}

impl PortRange {
    /// Whether `port` is in it.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = |part: &str| match part.parse::<u16>() {
            Ok(0) => Err(PortError::Zero),
            Ok(port) => Ok(port),
            Err(_) => Err(PortError::NotAPort(text.to_owned())),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(PortError::Backwards(text.to_owned()));
        }
        Ok(Self(first..=last))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.start() == self.0.end() { write!(f, "{}", self.0.start()) } else { write!(f, "{}-{}", self.0.start(), self.0.end()) }
    }
}

/// The watched ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSet(Vec<PortRange>);

impl From<PortRange> for PortSet {
    fn from(range: PortRange) -> Self {
        Self(vec![range])
    }
}

impl PortSet {
    /// No port: what a filter that lets nothing through is made of.
    pub const NONE: Self = Self(Vec::new());

    /// # Errors
    ///
    /// [`PortError::TooMany`] above [`MAX_RANGES`].
    pub fn new(ranges: Vec<PortRange>) -> Result<Self, PortError> {
        if ranges.len() > MAX_RANGES {
            return Err(PortError::TooMany(ranges.len()));
        }
        Ok(Self(ranges))
    }

    /// Whether `port` is watched.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(port))
    }

    /// The ranges in the words of the command line.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Every port of the ranges.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|range| range.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstblame_abi::port_filter::{Watch, bit, word};

    use super::{MAX_RANGES, PortError, PortRange, PortSet};

    #[test]
    fn what_is_not_a_port_is_refused_by_name() {
        for (text, expected) in [
            ("0", PortError::Zero),
            ("0-5", PortError::Zero),
            ("70000", PortError::NotAPort("70000".into())),
            ("amqp", PortError::NotAPort("amqp".into())),
            ("", PortError::NotAPort(String::new())),
            ("-1", PortError::NotAPort("-1".into())),
            ("5672-5671", PortError::Backwards("5672-5671".into())),
        ] {
            assert_eq!(text.parse::<PortRange>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn no_more_than_the_stated_number_of_ranges() {
        let range = PortRange(1..=1);
        assert!(PortSet::new(vec![range.clone(); MAX_RANGES]).is_ok());
        assert_eq!(PortSet::new(vec![range; MAX_RANGES + 1]), Err(PortError::TooMany(MAX_RANGES + 1)));
    }

    proptest! {
        #[test]
        fn the_bitmap_and_the_ranges_agree(first in 1_u16.., length in 0_u16..200, probe: u16) {
            let range = PortRange(first..=first.saturating_add(length));
            let set = PortSet(vec![range]);
            let mut watch = Watch::NOTHING;
            set.ports().for_each(|port| watch.add(port));
            prop_assert_eq!(watch.ports.get(word(probe)).is_some_and(|word| word & bit(probe) != 0), set.contains(probe));
            prop_assert_eq!(watch.summary >> (probe >> 10) & 1 != 0, (0..1024).any(|low| set.contains(probe & !1023 | low)));
        }

        #[test]
        fn a_range_prints_as_it_is_read(first in 1_u16.., length in 0_u16..200) {
            let range = PortRange(first..=first.saturating_add(length));
            prop_assert_eq!(range.to_string().parse::<PortRange>(), Ok(range));
        }
    }
}
