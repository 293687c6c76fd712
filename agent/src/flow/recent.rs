//! Which connections were reset a moment ago, so that what was still under way on them is not taken for news.
//!
//! Pure and bounded; time comes in with the resets.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    time::Duration,
};

use super::{Earlier, Reset, Tuple};

/// Connections remembered at once.
const CONNECTIONS: usize = 8192;

/// Retransmissions of what was under way come within this time, unless the path is very slow.
const WINDOW: Duration = Duration::from_secs(10);

/// A connection: its ends, and the network namespace they are told apart by.
type Key = (Tuple, Option<u32>);

/// The memory.
#[derive(Debug, Default)]
pub struct Recent {
    latest: HashMap<Key, Entry>,
    /// In order of arrival; entries that a later reset of the same connection replaced have another time.
    order: VecDeque<(Key, i128)>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    time_ns: i128,
    routine: bool,
}

impl Recent {
    /// The reset of the same connection shortly before `reset`.
    pub fn before(&self, reset: &Reset) -> Option<Earlier> {
        let entry = self.latest.get(&(reset.tuple, reset.netns))?;
        let ago = Duration::from_nanos(u64::try_from(time_ns(reset) - entry.time_ns).ok()?);
        (ago <= WINDOW).then(|| Earlier { id: entry.id.clone(), ago, routine: entry.routine })
    }

    /// Remembers a reset that ended a connection.
    pub fn note(&mut self, reset: &Reset, routine: bool) {
        let (key, time_ns) = ((reset.tuple, reset.netns), time_ns(reset));
        let window = i128::try_from(WINDOW.as_nanos()).unwrap_or(i128::MAX);
        while let Some((oldest, at)) = self.order.front()
            && (self.order.len() >= CONNECTIONS || time_ns - at > window)
        {
            if let hash_map::Entry::Occupied(entry) = self.latest.entry(*oldest)
                && entry.get().time_ns == *at
            {
                entry.remove();
            }
            self.order.pop_front();
        }
        self.latest.insert(key, Entry { id: reset.id.clone(), time_ns, routine });
        self.order.push_back((key, time_ns));
    }
}

/// The clock that does not step, where there is one; a capture has only its own time.
fn time_ns(reset: &Reset) -> i128 {
    if reset.capture.is_some() { reset.timestamp.as_nanosecond() } else { reset.boottime_ns.into() }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS, Recent};
    use crate::{flow::Reset, testing};

    fn at(milliseconds: u64) -> Reset {
        Reset { boottime_ns: milliseconds * 1_000_000, ..testing::reset() }
    }

    #[test]
    fn only_what_came_a_moment_before_on_the_same_connection_counts() {
        let mut recent = Recent::default();
        recent.note(&at(1_000), true);
        let earlier = recent.before(&at(1_007));
        assert!(earlier.is_some_and(|earlier| earlier.routine && earlier.ago.as_millis() == 7));
        assert!(recent.before(&at(12_000)).is_none(), "long ago");
        assert!(recent.before(&at(900)).is_none(), "not before");
        assert!(recent.before(&Reset { netns: Some(7), ..at(1_007) }).is_none(), "another namespace");
        assert!(recent.before(&Reset { tuple: at(0).tuple.reversed(), ..at(1_007) }).is_none(), "the other end");
    }

    #[test]
    fn the_latest_replaces_and_the_memory_is_bounded() {
        let mut recent = Recent::default();
        recent.note(&at(0), true);
        recent.note(&at(1), false);
        assert!(recent.before(&at(2)).is_some_and(|earlier| !earlier.routine));
        for number in 0..=u32::try_from(CONNECTIONS).unwrap_or(u32::MAX) {
            recent.note(&Reset { netns: Some(number), ..at(3) }, true);
        }
        assert!(recent.latest.len() <= CONNECTIONS && recent.order.len() <= CONNECTIONS);
        assert!(recent.before(&at(4)).is_none(), "the oldest made room");
    }
}
