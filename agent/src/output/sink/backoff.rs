//! How long to wait before the next try.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// The first wait, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Twice as long each time, and a random part of that off: many hosts that lost one receiver do not
/// come back to it all at once.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(WAITS.0)
    }
}

impl Backoff {
    /// The next wait: from a half of the full one to all of it.
    pub fn next(&mut self) -> Duration {
        let full = self.0;
        self.0 = (full * 2).min(WAITS.1);
        // The standard library seeds its hashers at random; nothing more is asked of this.
        let random = RandomState::new().hash_one(0) >> 32;
        let part = u32::try_from(random).unwrap_or_default();
        full / 2 + (full / 2).mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    /// It worked.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, WAITS};

    #[test]
    fn waits_double_up_to_the_longest_and_are_not_all_alike() {
        let mut backoff = Backoff::default();
        let mut full = WAITS.0;
        for _ in 0..12 {
            let wait = backoff.next();
            assert!((full / 2..=full).contains(&wait), "{wait:?} of {full:?}");
            full = (full * 2).min(WAITS.1);
        }
        backoff.reset();
        assert!(backoff.next() <= WAITS.0);
        let firsts: Vec<Duration> = (0..8).map(|_| Backoff::default().next()).collect();
        assert!(firsts.iter().any(|wait| Some(wait) != firsts.first()), "{firsts:?}");
    }
}
