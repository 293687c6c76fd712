//! Which connections were reset a moment ago, so that what was still under way on them is not taken
//! for news.
//!
//! Pure and bounded; time comes in with the resets.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    mem,
    time::Duration,
};

use super::{Earlier, Reset};

/// Connections remembered at once, at most; at least the latest half of them.
const CONNECTIONS: usize = 8192;

/// Retransmissions of what was under way come within this time, unless the path is very slow.
const WINDOW: Duration = Duration::from_secs(10);

/// A connection: a keyed hash of its ends, and of the network namespace they are told apart by.
/// Every reset writes one at random, and with the ends themselves the memory outgrows the
/// processor's cache. That two connections are taken for one is as likely as 1 in 2^51.
type Key = u64;

/// The memory, in two generations: what is old is forgotten all at once, and not searched for one
/// by one.
#[derive(Debug, Default)]
pub struct Recent {
    newer: HashMap<Key, Entry>,
    older: HashMap<Key, Entry>,
    /// When the newer one began.
    began_ns: i64,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    id: String,
    time_ns: i64,
    routine: bool,
}

impl Recent {
    /// The reset of the same connection shortly before `reset`.
    pub fn before(&self, reset: &Reset) -> Option<Earlier> {
        let key = self.key(reset);
        let entry = self.newer.get(&key).or_else(|| self.older.get(&key))?;
        let ago = Duration::from_nanos(u64::try_from(time_ns(reset).checked_sub(entry.time_ns)?).ok()?);
        (ago <= WINDOW).then(|| Earlier { id: entry.id.clone(), ago, routine: entry.routine })
    }

    /// Remembers a reset that ended a connection.
    pub fn note(&mut self, reset: &Reset, routine: bool) {
        let time_ns = time_ns(reset);
        let age = time_ns.saturating_sub(self.began_ns);
        if self.newer.len() >= CONNECTIONS / 2 || u128::try_from(age).is_ok_and(|age| age > WINDOW.as_nanos()) {
            mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
            self.began_ns = time_ns;
        }
        self.newer.insert(self.key(reset), Entry { id: reset.id.clone(), time_ns, routine });
    }

    fn key(&self, reset: &Reset) -> Key {
        self.hasher.hash_one((reset.tuple, reset.netns))
    }
}

/// The clock that does not step, where there is one; a capture has only its own time.
fn time_ns(reset: &Reset) -> i64 {
    let time = if reset.capture.is_some() { reset.timestamp.as_nanosecond() } else { reset.boottime_ns.into() };
    i64::try_from(time).unwrap_or(i64::MAX)
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
        assert!(recent.newer.len() + recent.older.len() <= CONNECTIONS);
        assert!(recent.before(&at(4)).is_none(), "the oldest made room");
    }
}
