//! What the kernel tells of a process in `/proc/PID/status` (proc(5)).

use std::fs;

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
