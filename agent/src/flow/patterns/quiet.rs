//! Quiet hours: resets after silence that come at the same time of day.
//!
//! Connections go idle when nobody uses them, at night or over lunch, and an idle timeout then
//! shows at those hours only. The agent does not count messages, so that it cannot say when a
//! service is quiet; it can say that resets after silence keep to a part of the day, on several
//! days. Were they spread evenly, nine in ten of them would fall into one third of the day by
//! chance in less than one case in a hundred.

use std::{collections::VecDeque, time::Duration};

use crate::model::{Pattern, PatternId};

const HOUR_NS: i128 = 3_600_000_000_000;
const HOURS: i128 = 24;

/// Length of the part of the day, hours.
const WINDOW: i128 = 8;

/// A silence that ends a connection because nobody uses it is longer than pauses of work.
const SHORTEST: Duration = Duration::from_secs(30);

/// Fewer resets, or days, say nothing about a part of the day.
const RESETS: usize = 10;
const DAYS: usize = 3;

/// Resets remembered.
const MEMORY: usize = 64;

/// The hours of the latest resets after silence, since 1970.
#[derive(Debug, Default)]
pub struct Hours(VecDeque<i128>);

impl Hours {
    /// Takes in one reset after silence.
    pub fn see(&mut self, time_ns: i128, idle: Duration) -> Option<Pattern> {
        if idle < SHORTEST {
            return None;
        }
        if self.0.len() >= MEMORY {
            self.0.pop_front();
        }
        let hour = time_ns.div_euclid(HOUR_NS);
        self.0.push_back(hour);
        let mut days: Vec<i128> = self.0.iter().map(|hour| hour.div_euclid(HOURS)).collect();
        days.dedup();
        if self.0.len() < RESETS || days.len() < DAYS {
            return None;
        }
        let within = |from: i128| self.0.iter().filter(|hour| (*hour - from).rem_euclid(HOURS) < WINDOW).count();
        let (from, inside) = (0..HOURS).map(|from| (from, within(from))).max_by_key(|(_, inside)| *inside)?;
        let ours = (hour - from).rem_euclid(HOURS) < WINDOW;
        (ours && inside * 10 >= self.0.len() * 9).then(|| Pattern {
            id: PatternId::QuietHours,
            count: u64::try_from(inside).unwrap_or(u64::MAX),
            window_ms: None,
            idle_ms: None,
            detail: format!(
                "{inside} of {} resets after silence came between {from:02}:00 and {:02}:00 UTC, on {} days",
                self.0.len(),
                (from + WINDOW) % HOURS,
                days.len()
            ),
        })
    }
}
