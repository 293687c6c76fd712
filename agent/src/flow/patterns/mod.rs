//! What resets have in common over time. Routine ones are left out by whoever reports here: a
//! broker has thousands of those an hour.
//!
//! Pure and bounded; time comes in with the resets.

mod quiet;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use quiet::Hours;

use super::idle::{Destination, Learnt};
use crate::model::{Pattern, PatternId};

/// Peers remembered at once.
const PEERS: usize = 1024;

/// Times remembered of one kind, for one peer: counts say no more than that.
const TIMES: usize = 256;

/// Resets of one peer within [`BURST_WINDOW`] that make a burst: a program has a few connections,
/// and losing them one by one is none.
const BURST: usize = 5;
const BURST_WINDOW: Duration = Duration::from_secs(1);

/// Failures to get a connection, of one peer within [`LOOP_WINDOW`], that make a loop: a client
/// that backs off exponentially from a second has tried nine times then.
const LOOP: usize = 5;
const LOOP_WINDOW: Duration = Duration::from_mins(5);

/// Resets by middleboxes within [`MIDDLEBOX_WINDOW`] that tell whether there is only one.
const MIDDLEBOX: usize = 3;
const MIDDLEBOX_WINDOW: Duration = Duration::from_mins(10);

/// One reset that was not routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Wall-clock time, ns since 1970.
    pub time_ns: i128,
    /// The peer's address and the service's port.
    pub peer: Destination,
    /// The connection never came to be open.
    pub unopened: bool,
    /// Something between made the RST, at this address where that is known.
    pub middlebox: Option<Option<IpAddr>>,
    /// The silence before it, if it was one of an idle connection.
    pub idle: Option<Duration>,
    /// What earlier resets taught of the destination's idle timeout, if this one fits.
    pub learnt: Option<Learnt>,
}

/// The memory.
#[derive(Debug, Default)]
pub struct Patterns {
    peers: HashMap<Destination, History>,
    /// By order of use, for eviction.
    by_use: BTreeMap<u64, Destination>,
    uses: u64,
    evicted: u64,
    /// Resets by middleboxes.
    middleboxes: VecDeque<(i128, Option<IpAddr>)>,
}

#[derive(Debug, Default)]
struct History {
    used: u64,
    lost: VecDeque<i128>,
    unopened: VecDeque<i128>,
    hours: Hours,
}

impl Patterns {
    /// Takes in one reset, and gives back the patterns it is part of.
    pub fn see(&mut self, sighting: &Sighting) -> Vec<Pattern> {
        let history = if let Some(known) = self.peers.get_mut(&sighting.peer) {
            known
        } else {
            self.make_room();
            self.peers.entry(sighting.peer).or_default()
        };
        // Within a burst it is the latest already. Of one that is new it is 0, which no use is.
        if history.used == 0 || history.used != self.uses {
            self.uses += 1;
            self.by_use.remove(&history.used);
            self.by_use.insert(self.uses, sighting.peer);
            history.used = self.uses;
        }
        let peer = sighting.peer.address;
        let mut found = Vec::new();
        if sighting.unopened {
            found.extend(repeat(&mut history.unopened, sighting.time_ns, LOOP_WINDOW, LOOP).map(|(count, window)| Pattern {
                id: PatternId::ReconnectLoop,
                count,
                window_ms: Some(milliseconds(window)),
                idle_ms: None,
                detail: format!("{count} connections between this host and {peer} failed to open within {:.1} s", window.as_secs_f64()),
            }));
        } else {
            found.extend(repeat(&mut history.lost, sighting.time_ns, BURST_WINDOW, BURST).map(|(count, window)| Pattern {
                id: PatternId::Burst,
                count,
                window_ms: Some(milliseconds(window)),
                idle_ms: None,
                detail: format!("{count} connections with {peer} were reset within {} ms", milliseconds(window)),
            }));
        }
        if let Some(idle) = sighting.idle {
            found.extend(history.hours.see(sighting.time_ns, idle));
        }
        found.extend(sighting.learnt.map(|learnt| same_idle(learnt, peer)));
        found.extend(self.one_middlebox(sighting));
        found
    }

    /// Peers that had to be forgotten.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets the peer that was seen last the longest time ago, if there is no room for another.
    fn make_room(&mut self) {
        if self.peers.len() >= PEERS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.peers.remove(&oldest);
            self.evicted += 1;
        }
    }

    /// Whether all resets that something between made, in the window, were made at one known
    /// address.
    fn one_middlebox(&mut self, sighting: &Sighting) -> Option<Pattern> {
        let address = sighting.middlebox?;
        push(&mut self.middleboxes, (sighting.time_ns, address), |(time, _)| since(*time, sighting.time_ns) > MIDDLEBOX_WINDOW);
        let address = address?;
        let all = self.middleboxes.iter().all(|(_, other)| *other == Some(address));
        if !all || self.middleboxes.len() < MIDDLEBOX {
            return None;
        }
        let count = count(self.middleboxes.len());
        let window = self.middleboxes.front().map_or(Duration::ZERO, |(first, _)| since(*first, sighting.time_ns));
        Some(Pattern {
            id: PatternId::OneMiddlebox,
            count,
            window_ms: Some(milliseconds(window)),
            idle_ms: None,
            detail: format!("all {count} resets by middleboxes in the last {:.0} s came from {address}", window.as_secs_f64().ceil()),
        })
    }
}

fn same_idle(learnt: Learnt, peer: IpAddr) -> Pattern {
    Pattern {
        id: PatternId::SameIdle,
        count: count(learnt.repeats),
        window_ms: None,
        idle_ms: Some(milliseconds(learnt.timeout)),
        detail: format!(
            "{} resets of connections with {peer} came after {:.1} s of silence, within {:.1} s of each other",
            learnt.repeats,
            learnt.timeout.as_secs_f64(),
            learnt.spread.as_secs_f64()
        ),
    }
}

/// How many times there are in the window with this one, and since when; `None` below `least`.
fn repeat(times: &mut VecDeque<i128>, now: i128, window: Duration, least: usize) -> Option<(u64, Duration)> {
    push(times, now, |time| since(*time, now) > window);
    let first = times.front().filter(|_| times.len() >= least)?;
    Some((count(times.len()), since(*first, now)))
}

/// Appends, after what is too old, or too much, has made room.
fn push<T>(times: &mut VecDeque<T>, item: T, old: impl Fn(&T) -> bool) {
    while times.front().is_some_and(&old) || times.len() >= TIMES {
        times.pop_front();
    }
    times.push_back(item);
}

/// From `earlier` to `now`, ns; zero where the clock was set back.
fn since(earlier: i128, now: i128) -> Duration {
    Duration::from_nanos(u64::try_from(now.saturating_sub(earlier).max(0)).unwrap_or(u64::MAX))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
