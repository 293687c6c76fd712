//! What the kernel tells of a process in `/proc/PID/status` and `/proc/PID/stat` (proc(5)).

use std::{fs, time::Duration};

use crate::{LabError, Result};

/// One of its numbers, such as `VmRSS:`, which is in KiB, or `Threads:`.
///
/// # Errors
///
/// [`LabError::Io`] when there is no such process, [`LabError::Client`] when there is no such number.
pub fn number(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {path}"), error))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| LabError::Client(format!("no {name} in {path}")))
}

/// Processor time that it has used, its threads that have ended included, to the clock tick.
///
/// # Errors
///
/// As [`number`].
pub fn processor_time(pid: u32) -> Result<Duration> {
    /// `utime` and `stime` among the members behind the name, which is in parentheses and may contain anything.
    const TIMES: std::ops::Range<usize> = 11..13;
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {path}"), error))?;
    let members: Vec<&str> = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks: Option<u64> = members.get(TIMES).and_then(|times| times.iter().map(|time| time.parse::<u64>().ok()).sum());
    let ticks = ticks.ok_or_else(|| LabError::Client(format!("no processor time in {path}")))?;
    Ok(Duration::from_millis(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second()))
}
