//! What the kernel tells of a process in `/proc/PID/status` (proc(5)), and by its clock.

use std::{fs, io, time::Duration};

use crate::{LabError, Result};

/// One of its numbers, such as `VmRSS:`, which is in KiB, or `Threads:`.
///
/// # Errors
///
/// [`LabError::Io`] when there is no such process, [`LabError::Client`] when there is no such
/// number.
pub fn number(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {path}"), error))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| LabError::Client(format!("no {name} in {path}")))
}

/// Processor time that it has used, its threads that have ended included, by its own clock
/// (`clock_getcpuclockid(3)`).
///
/// # Errors
///
/// [`LabError::Io`] when there is no such process.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let failed = |code| LabError::io(format!("read the processor time of process {pid}"), io::Error::from_raw_os_error(code));
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the clock's id into the place given.
    let code = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if code != 0 {
        return Err(failed(code));
    }
    // SAFETY: writes the time into the place given.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(failed(io::Error::last_os_error().raw_os_error().unwrap_or(0)));
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}
