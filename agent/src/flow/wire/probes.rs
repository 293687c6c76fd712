//! Keepalive probes in a row without an answer.
//!
//! A probe bears the last sequence number that was sent, once more, with no payload or one byte of
//! it (RFC 9293, section 3.8.4; RFC 1122, section 4.2.3.6). Whoever gives up sends a RST one
//! interval after the last of them (`tcp_keepalive_timer()`,
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_timer.c>).

use std::time::Duration;

use super::segment::Segment;
use crate::model::Flags;

/// Timers of hosts are so exact, at least.
const SLACK: Duration = Duration::from_millis(500);

/// Probes that make a row: one may be anything.
const ROW: u32 = 2;

/// The probes of one end since the other was last heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    pub count: u32,
    last_ns: u64,
    /// Shortest and longest time between two.
    between: Option<(u64, u64)>,
}

impl Probes {
    /// Takes in a segment of this end. `end`: highest sequence number it had sent before, plus one.
    pub(super) fn observe(&mut self, segment: &Segment, end: Option<u32>) {
        let other = Flags::SYN | Flags::FIN | Flags::RST;
        let again = end.is_some_and(|end| segment.seq.wrapping_add(1) == end);
        if !again || segment.payload > 1 || !segment.flags.ack() || segment.flags.0 & other != 0 {
            *self = Self::default();
            return;
        }
        if self.count > 0 {
            let since = segment.time_ns.saturating_sub(self.last_ns);
            self.between = Some(match self.between {
                Some((shortest, longest)) => (shortest.min(since), longest.max(since)),
                None => (since, since),
            });
        }
        self.count = self.count.saturating_add(1);
        self.last_ns = segment.time_ns;
    }

    /// The interval of an evenly spaced row that ended with this RST of the same end: the RST came
    /// in the place of the next probe.
    pub fn given_up_by(&self, rst: &Segment) -> Option<Duration> {
        let (shortest, longest) = self.between.filter(|_| self.count >= ROW)?;
        let waited = Duration::from_nanos(rst.time_ns.saturating_sub(self.last_ns));
        let (shortest, longest) = (Duration::from_nanos(shortest), Duration::from_nanos(longest));
        let slack = SLACK.max(longest / 20);
        (longest.saturating_sub(shortest) <= slack && waited.abs_diff(longest) <= slack).then_some(longest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Flags, Probes, Segment};

    const SECOND: u64 = 1_000_000_000;

    fn probe(at: u64) -> Segment {
        let flags = Flags(Flags::ACK);
        Segment { time_ns: at * SECOND, seq: 99, flags, ..Segment::default() }
    }

    fn row(times: &[u64]) -> Probes {
        let mut probes = Probes::default();
        for at in times {
            probes.observe(&probe(*at), Some(100));
        }
        probes
    }

    #[test]
    fn an_even_row_and_a_rst_in_the_place_of_the_next() {
        for (times, rst, interval) in [
            (&[0, 75, 150][..], 225, Some(75)),
            (&[0, 1], 2, Some(1)),
            (&[0, 10, 20, 31], 41, None),
            (&[0, 60, 120], 130, None),
            (&[0], 75, None),
            (&[], 75, None),
        ] {
            let given_up = row(times).given_up_by(&probe(rst));
            assert_eq!(given_up, interval.map(Duration::from_secs), "{times:?} {rst}");
        }
    }

    #[test]
    fn anything_else_ends_the_row() {
        for other in [
            Segment { seq: 100, ..probe(3) },
            Segment { payload: 2, ..probe(3) },
            Segment { flags: Flags(Flags::ACK | Flags::FIN), ..probe(3) },
        ] {
            let mut probes = row(&[0, 1, 2]);
            probes.observe(&other, Some(100));
            assert_eq!(probes, Probes::default());
        }
    }
}
