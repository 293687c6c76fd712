//! How often one place may speak.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Level;

/// Messages of one place that are written in a [`PERIOD`].
pub const BURST: u32 = 20;

/// How long a place is counted before its count is told and it begins anew.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Places counted at once. The agent has fewer, and what lies beyond shares one.
const PLACES: usize = 256;

/// What was left out of one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Folded {
    pub level: Level,
    pub count: u64,
    /// The last message that was left out.
    pub last: String,
}

struct Place {
    began: Instant,
    written: u32,
    folded: Option<Folded>,
}

/// Counts messages by the place in the program they come from.
#[derive(Default)]
pub struct Limiter {
    places: HashMap<u64, Place>,
}

impl Limiter {
    /// Whether this message is to be written.
    pub fn admit(&mut self, place: u64, level: Level, message: &str, now: Instant) -> bool {
        let place = if self.places.len() >= PLACES && !self.places.contains_key(&place) { u64::MAX } else { place };
        let place = self.places.entry(place).or_insert(Place { began: now, written: 0, folded: None });
        if place.written < BURST {
            place.written += 1;
            return true;
        }
        let folded = place.folded.get_or_insert(Folded { level, count: 0, last: String::new() });
        folded.count += 1;
        folded.level = folded.level.min(level);
        message.clone_into(&mut folded.last);
        false
    }

    /// What was folded in periods that are over, or in `all`; those places begin anew.
    pub fn due(&mut self, now: Instant, all: bool) -> Vec<Folded> {
        let mut due = Vec::new();
        self.places.retain(|_, place| {
            let is_over = all || now.saturating_duration_since(place.began) >= PERIOD;
            if is_over {
                due.extend(place.folded.take());
            }
            !is_over
        });
        due
    }
}
