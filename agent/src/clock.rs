//! The kernel's clocks.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_getres, clock_gettime};

/// `CLOCK_BOOTTIME`, ns.
pub fn boottime_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

/// Length of a jiffy.
///
/// The coarse clocks tick with the timer interrupt, so their resolution is `TICK_NSEC`, which no
/// other interface tells (posix_get_coarse_res(),
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/time/posix-timers.c>).
pub fn jiffy() -> Duration {
    Duration::from_nanos(nanoseconds(clock_getres(ClockId::MonotonicCoarse)))
}

/// `CONFIG_HZ`.
pub fn jiffies_a_second() -> u32 {
    let length = jiffy().as_nanos().max(1);
    u32::try_from((1_000_000_000 + length / 2) / length).unwrap_or(1000)
}

/// Wall-clock time of a moment on `CLOCK_BOOTTIME`, by the present distance of the two clocks:
/// after a step of the wall clock, events carry the corrected time.
pub fn wall_time(moment_ns: u64) -> Timestamp {
    wall_time_at(moment_ns, boottime_ns(), Timestamp::now())
}

/// [`wall_time`], with what both clocks show now. Of a moment that is yet to come, or too far back
/// for a timestamp, the present one.
fn wall_time_at(moment_ns: u64, boottime_ns: u64, now: Timestamp) -> Timestamp {
    let age = i64::try_from(boottime_ns.saturating_sub(moment_ns)).unwrap_or(i64::MAX);
    now.checked_sub(SignedDuration::from_nanos(age)).unwrap_or(now)
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use jiff::Timestamp;

    use super::wall_time_at;

    const SECOND: u64 = 1_000_000_000;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_stepped_wall_clock_moves_what_is_told_after_the_step_and_not_how_long_ago_it_was() {
        // Two moments a second apart, told two seconds after the second; in between the clock was
        // set, by an hour or so.
        let (first, second, now) = (100 * SECOND, 101 * SECOND, 103 * SECOND);
        for wall in ["2026-11-21T13:00:03Z", "2026-11-21T12:00:03Z", "2026-11-21T11:00:03Z"] {
            let wall = time(wall);
            let told = [first, second].map(|moment| wall_time_at(moment, now, wall));
            let [first, second] = told.map(|told| wall.duration_since(told).as_secs());
            assert_eq!((first, second), (3, 2), "{wall}");
        }
    }

    #[test]
    fn what_happened_before_a_suspend_is_told_with_its_own_time() {
        // CLOCK_BOOTTIME goes on during a suspend, CLOCK_MONOTONIC would have stood still.
        let (before, after) = (100 * SECOND, (100 + 8 * 3600 + 5) * SECOND);
        assert_eq!(wall_time_at(before, after, time("2026-11-21T08:00:05Z")), time("2026-11-21T00:00:00Z"));
    }

    #[test]
    fn a_moment_that_no_timestamp_can_show_is_now() {
        let now = time("2026-11-21T08:00:05Z");
        assert_eq!(wall_time_at(5 * SECOND, 4 * SECOND, now), now, "another CPU's clock may be ahead");
        assert_eq!(wall_time_at(1, u64::MAX, Timestamp::MIN), Timestamp::MIN);
    }
}
