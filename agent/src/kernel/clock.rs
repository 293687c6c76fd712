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
/// The coarse clocks tick with the timer interrupt, so their resolution is `TICK_NSEC`, which no other interface tells
/// (posix_get_coarse_res(), <https://github.com/torvalds/linux/blob/v6.12/kernel/time/posix-timers.c>).
pub fn jiffy() -> Duration {
    Duration::from_nanos(nanoseconds(clock_getres(ClockId::MonotonicCoarse)))
}

/// `CONFIG_HZ`.
pub fn jiffies_a_second() -> u32 {
    let length = jiffy().as_nanos().max(1);
    u32::try_from((1_000_000_000 + length / 2) / length).unwrap_or(1000)
}

/// Wall-clock time of a moment on `CLOCK_BOOTTIME`, by the present distance of the two clocks: after a step of the wall clock, events
/// carry the corrected time.
pub fn wall_time(moment_ns: u64) -> Timestamp {
    let age = i64::try_from(boottime_ns().saturating_sub(moment_ns)).unwrap_or(i64::MAX);
    let now = Timestamp::now();
    now.checked_sub(SignedDuration::from_nanos(age)).unwrap_or(now)
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
