//! The agent's own process, under the names that every Prometheus client library has for them.

use std::{fmt, fs};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::page::Page;
use crate::clock;

/// Reads them when asked.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds that a process has run, and less than 1e9 ns")]
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        page.counter("process_cpu_seconds", "Processor time that all threads of the agent have taken, user and system", cpu)?;
        if let Some(pages) = resident_pages() {
            let bytes = pages.saturating_mul(page_size() as u64);
            page.gauge("process_resident_memory_bytes", "Memory of the agent that is resident", bytes)?;
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory's own.
            page.gauge("process_open_fds", "Open file descriptors", entries.count().saturating_sub(1) as u64)?;
        }
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            page.gauge("process_max_fds", "How many file descriptors may be open", limit)?;
        }
        if let Some(started) = started_at() {
            page.gauge("process_start_time_seconds", "When the agent was started, Unix time", started)?;
        }
        Ok(())
    }
}

/// Second number of `statm` (proc(5)).
fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// From `starttime` of `stat` (proc(5)): the twentieth number after the name, which is in
/// parentheses and may have any in it.
#[expect(clippy::cast_precision_loss, reason = "hundredths of a second since boot and Unix times are far below 2^53")]
fn started_at() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let since_boot = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    Some(now - clock::boottime_ns() as f64 / 1e9 + since_boot)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{resident_pages, started_at};

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert!(resident_pages().unwrap() > 0);
        let age = jiff::Timestamp::now().as_duration().as_secs_f64() - started_at().unwrap();
        assert!((-1.0..3600.0).contains(&age), "started {age} s ago");
    }
}
