//! Folding: of resets that are alike, only so many a second go out whole; the others are counted,
//! exactly.
//!
//! A [`Key`] has a window of one second from its first reset on. When it ends, what was folded in
//! it is one line, and the next reset of that key begins another: a flood that goes on is one line
//! a second, and one that is over leaves nothing behind.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use jiff::Timestamp;

use super::reset::Reset;
use crate::model::{CauseId, Direction, OriginKind, Role};

/// Length of a window.
const WINDOW_NS: u64 = 1_000_000_000;

/// What is folded: each kind has books and lines of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Resets.
    #[default]
    Reset,
    /// Ends of connections without a RST.
    Ending,
}

/// What makes resets alike. Where there were too many keys, the place is left out, and the key sums
/// up all those that had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub kind: Kind,
    pub direction: Option<Direction>,
    pub origin: OriginKind,
    pub cause: CauseId,
    pub place: Option<Place>,
}

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Network namespace by inode number.
    pub netns: Option<u32>,
    pub peer: IpAddr,
    /// The end that has the watched port: the other's changes with every connection.
    pub role: Role,
    /// That port.
    pub port: u16,
}

impl Place {
    pub const fn of(reset: &Reset) -> Self {
        Self { netns: reset.netns, peer: reset.tuple.peer.ip(), role: reset.role, port: reset.service_port() }
    }
}

impl Key {
    /// What is left of it where there is no room for one more.
    const fn summary(self) -> Self {
        Self { place: None, ..self }
    }
}

/// Resets that were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub resets: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Count {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { resets: self.resets.saturating_add(other.resets), first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// What was folded of one key in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded<S> {
    pub key: Key,
    pub count: Count,
    /// One of them, or one like them.
    pub sample: Option<S>,
}

#[derive(Debug)]
struct Window<S> {
    /// Its key has a place.
    placed: bool,
    whole: u32,
    folded: Option<(Count, Option<S>)>,
}

/// The windows that are open. Time comes in from outside, in nanoseconds of a clock that does not
/// go back.
#[derive(Debug)]
pub struct Fold<S> {
    above: u32,
    capacity: usize,
    lines: usize,
    /// Windows with a place in which something is folded: so many lines will come of them.
    folding: usize,
    windows: HashMap<Key, Window<S>>,
    /// When each of them ends. They are all as long, so that they end in the order in which they
    /// began.
    ends: VecDeque<(u64, Key)>,
}

impl<S> Fold<S> {
    /// Folds what is above so many of a key in its window; 0 for none. Of at most `capacity` keys
    /// at once, into `lines` at most; what is beyond is summed up without its place, and of such
    /// sums there are as few as there are causes.
    pub fn new(above: u32, capacity: usize, lines: usize) -> Self {
        Self { above, capacity, lines, folding: 0, windows: HashMap::new(), ends: VecDeque::new() }
    }

    /// Another rate from now on.
    pub const fn set_above(&mut self, above: u32) {
        self.above = above;
    }

    /// Takes in one reset, and gives it back if it goes out whole. What is over has to be taken out
    /// before, with [`Fold::pop_due`].
    pub fn see(&mut self, key: Key, at: Timestamp, now_ns: u64, reset: S) -> Option<S> {
        if self.above == 0 {
            return Some(reset);
        }
        let above = self.above;
        let window = self.window(key, now_ns);
        if window.whole < above {
            window.whole += 1;
            return Some(reset);
        }
        self.add(key, Count { resets: 1, first: at, last: at }, now_ns, Some(reset));
        None
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, key: Key, count: Count, now_ns: u64, sample: Option<S>) {
        let full = self.folding >= self.lines;
        let room = !full || self.windows.get(&key).is_some_and(|window| window.folded.is_some());
        let window = self.window(if room { key } else { key.summary() }, now_ns);
        let begins = window.folded.is_none() && window.placed;
        window.fold(count, sample);
        self.folding += usize::from(begins);
    }

    /// The next window that is over by `now_ns` and in which something was folded.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Folded<S>> {
        while self.ends.front().is_some_and(|(end, _)| *end <= now_ns) {
            if let Some(folded) = self.close_first() {
                return Some(folded);
            }
        }
        None
    }

    /// The next window in which something was folded, over or not.
    pub fn pop(&mut self) -> Option<Folded<S>> {
        while !self.ends.is_empty() {
            if let Some(folded) = self.close_first() {
                return Some(folded);
            }
        }
        None
    }

    /// What was folded of one kind in windows that are still open.
    pub fn pending(&self, kind: Kind) -> u64 {
        self.windows.iter().filter(|(key, _)| key.kind == kind).filter_map(|(_, window)| Some(window.folded.as_ref()?.0.resets)).sum()
    }

    /// When the next window ends.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.ends.front().map(|(end, _)| *end)
    }

    fn window(&mut self, key: Key, now_ns: u64) -> &mut Window<S> {
        let key = if self.windows.len() < self.capacity || self.windows.contains_key(&key) { key } else { key.summary() };
        self.windows.entry(key).or_insert_with(|| {
            self.ends.push_back((now_ns.saturating_add(WINDOW_NS), key));
            Window { placed: key.place.is_some(), whole: 0, folded: None }
        })
    }

    fn close_first(&mut self) -> Option<Folded<S>> {
        let (_, key) = self.ends.pop_front()?;
        let (count, sample) = self.windows.remove(&key)?.folded?;
        self.folding = self.folding.saturating_sub(usize::from(key.place.is_some()));
        Some(Folded { key, count, sample })
    }
}

impl<S> Window<S> {
    fn fold(&mut self, count: Count, sample: Option<S>) {
        self.folded = Some(match self.folded.take() {
            None => (count, sample),
            Some((sum, earlier)) => (sum.and(count), earlier.or(sample)),
        });
    }
}

#[cfg(test)]
mod tests;
