//! From a message to standard error, or to a count.

use std::{io::Write as _, time::Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Level, LogFormat,
    limit::{Limiter, PERIOD},
    line::{Line, Value},
};

/// Where lines go.
pub trait Writer: Send + Sync {
    /// Writes a line whole, or says that it could not.
    fn write(&self, line: &str) -> bool;
}

/// Standard error. A reader that does not read must not hold up the agent.
pub struct Stderr;

impl Writer for Stderr {
    fn write(&self, line: &str) -> bool {
        let stderr = std::io::stderr();
        // A pipe that polls writable takes PIPE_BUF bytes at once (pipe(7)), and no line is longer.
        let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
        let is_ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
        is_ready && stderr.lock().write_all(line.as_bytes()).is_ok()
    }
}

/// What was written, folded and lost.
#[derive(Default)]
pub struct Outlet {
    limiter: Limiter,
    /// Lines that nobody took, and were not told of yet.
    lost: u64,
}

impl Outlet {
    /// Writes a message, or folds it.
    pub fn take(&mut self, place: u64, line: &Line<'_>, format: LogFormat, now: Instant, writer: &impl Writer) {
        self.tell(format, now, false, writer);
        if self.limiter.admit(place, line.level, &line.message, now) {
            self.write(line, format, writer);
        }
    }

    /// Tells what was folded and is due, or `all` of it.
    pub fn tell(&mut self, format: LogFormat, now: Instant, all: bool, writer: &impl Writer) {
        for folded in self.limiter.due(now, all) {
            let mut line = Line::new(Timestamp::now(), folded.level);
            line.message = format!("more of the same within {} s, left out", PERIOD.as_secs());
            line.fields = vec![("count", Value::Bare(folded.count.to_string())), ("last", Value::Text(folded.last))];
            self.write(&line, format, writer);
        }
    }

    fn write(&mut self, line: &Line<'_>, format: LogFormat, writer: &impl Writer) {
        if self.lost > 0 {
            let mut told = Line::new(line.time, Level::Warn);
            "standard error took no more for a while, log lines are lost".clone_into(&mut told.message);
            told.fields = vec![("count", Value::Bare(self.lost.to_string()))];
            if writer.write(&told.render(format)) {
                self.lost = 0;
            }
        }
        if !writer.write(&line.render(format)) {
            self.lost += 1;
        }
    }
}
