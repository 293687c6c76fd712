//! The kernel side's jiffies as times.

use std::time::Duration;

use crate::units::nanoseconds;

/// Turns jiffies (their low 32 bits) into times, by a moment of which both are known.
#[derive(Clone, Copy, Debug)]
pub struct Jiffies {
    /// That moment: `CLOCK_BOOTTIME`, ns.
    pub now_ns: u64,
    /// The same in jiffies.
    pub now: u32,
    /// Length of one.
    pub length: Duration,
}

impl Jiffies {
    /// So many of them.
    pub const fn times(&self, count: u32) -> Duration {
        self.length.saturating_mul(count)
    }

    /// How long before that moment; nothing for what came after it.
    pub fn since(&self, stamp: u32) -> Duration {
        let count = self.now.wrapping_sub(stamp);
        self.times(if count > u32::MAX / 2 { 0 } else { count })
    }

    /// `CLOCK_BOOTTIME`, ns.
    pub fn time_ns(&self, stamp: u32) -> u64 {
        self.now_ns.saturating_sub(nanoseconds(self.since(stamp)))
    }
}
