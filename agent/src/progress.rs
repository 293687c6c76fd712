//! How far a long work has come, for a person who waits: on standard error, on a terminal only, and
//! only once it has taken a second.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What is shorter needs no telling.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two tellings.
const EACH: Duration = Duration::from_millis(250);

/// Tells until it is dropped, and leaves nothing behind.
#[derive(Debug)]
pub struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Tells of `done` bytes, of `total` where that is known.
    pub fn of_bytes(done: Arc<AtomicU64>, total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self { stop: None, thread: None };
        }
        let (stop, stopped) = channel::<()>();
        let begun = Instant::now();
        let thread = std::thread::Builder::new().spawn(move || {
            let mut wait = PATIENCE;
            let mut told = false;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let line = line(done.load(Ordering::Relaxed), total, begun.elapsed());
                // Nobody may be looking any more.
                let _gone = write!(io::stderr(), "\r\x1b[K{line}");
                (wait, told) = (EACH, true);
            }
            if told {
                let _gone = write!(io::stderr(), "\r\x1b[K");
            }
        });
        // Without a thread the work is done all the same.
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// How much, how fast, and how long still.
fn line(done: u64, total: Option<u64>, taken: Duration) -> String {
    const MIB: u64 = 1 << 20;
    let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1000) / millis;
    let speed = format!("{} MiB/s", rate / MIB);
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let left = total.saturating_sub(done).checked_div(rate).map_or_else(String::new, |seconds| format!(", {seconds} s left"));
            format!("{} of {} MiB ({} %), {speed}{left}", done / MIB, total / MIB, done.min(total).saturating_mul(100) / total)
        }
        None => format!("{} MiB, {speed}", done / MIB),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn rate_and_time_left_follow_from_what_is_done() {
        assert_eq!(line(256 << 20, Some(1 << 30), Duration::from_secs(2)), "256 of 1024 MiB (25 %), 128 MiB/s, 6 s left");
        assert_eq!(line(256 << 20, None, Duration::from_secs(2)), "256 MiB, 128 MiB/s");
        assert_eq!(line(0, Some(1 << 20), Duration::ZERO), "0 of 1 MiB (0 %), 0 MiB/s");
    }
}
