//! What a process needs as time goes by, and whether that grows.

use std::{
    fs,
    time::{Duration, Instant},
};

use rstblame_lab::{LabError, Result, agents::status, figures::Figures};

use super::Shift;

pub const MIB: u64 = 1 << 20;

/// Between two samples.
const EVERY: Duration = Duration::from_millis(500);

/// How much more memory the last quarter may need than the one before.
const MEMORY_SLACK: u64 = 3 * MIB;

/// The same before [`SETTLED`]: what is remembered of peers and processes fills up for some
/// minutes, to bounds that their own tests hold, and an allocator takes as long to settle.
const MEMORY_SLACK_WHILE_FILLING: u64 = 2 * MEMORY_SLACK;

/// By then all of that is full.
const SETTLED: Duration = Duration::from_mins(6);

/// How many more files may be open at one moment: a namespace that passes is watched by three
/// sockets, a reload opens its file anew.
const FILES_SLACK: u64 = 8;

/// Threads that come with work and go without it, by their names, and how many of each there may
/// be: what a burst of namespaces and resets asks for is no growth. A snapshot of sockets has
/// readers of `/proc` of its own, while it is made.
const CREWS: [(&str, u64); 5] = [("tap", 16), ("proc", 32), ("netlink", 8), ("netns-open", 2), ("search", 1)];

/// Rows of the table.
const ROWS: usize = 12;

#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    /// Resident, in bytes.
    memory: u64,
    files: u64,
    /// But for those of crews.
    threads: u64,
    /// The first crew that has more threads than it may have.
    crowded: Option<&'static str>,
    /// Of all processors so far.
    worked: Duration,
}

/// The samples of one process.
pub struct Growth {
    pid: u32,
    samples: Vec<Sample>,
}

impl Growth {
    pub const fn of(pid: u32) -> Self {
        Self { pid, samples: Vec::new() }
    }

    pub fn watch(&mut self, shift: &Shift) -> Result<()> {
        let began = Instant::now();
        while shift.goes_on(EVERY) {
            self.samples.push(self.sample(began.elapsed())?);
        }
        Ok(())
    }

    fn sample(&self, at: Duration) -> Result<Sample> {
        let number = |name| status::number(self.pid, name);
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid)).map_err(|error| LabError::io("list the agent's files", error))?;
        let names = self.threads()?;
        let of = |crew: &str| names.iter().filter(|name| *name == crew).count() as u64;
        let crews: u64 = CREWS.iter().map(|(crew, _)| of(crew)).sum();
        Ok(Sample {
            at,
            memory: number("VmRSS:")? * 1024,
            files: files.count() as u64,
            threads: (names.len() as u64).saturating_sub(crews),
            crowded: CREWS.iter().find(|(crew, most)| of(crew) > *most).map(|(crew, _)| *crew),
            worked: status::processor_time(self.pid)?,
        })
    }

    /// The names of all threads.
    fn threads(&self) -> Result<Vec<String>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(|error| LabError::io("list the agent's threads", error))?;
        // One that has ended since has no name any more.
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        Ok(tasks.flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect())
    }

    /// One row for each part of the time.
    pub fn tell(&self, figures: &mut Figures) {
        let mut before = Sample { at: Duration::ZERO, memory: 0, files: 0, threads: 0, crowded: None, worked: Duration::ZERO };
        for part in self.samples.chunks(self.samples.len().div_ceil(ROWS).max(1)) {
            let last = part.last().copied().unwrap_or(before);
            let took = last.at.saturating_sub(before.at).as_secs_f64();
            let share = last.worked.saturating_sub(before.worked).as_secs_f64() / took * 100.0;
            let memory = median(part, |sample| sample.memory) / 1024;
            let (files, threads) = (median(part, |sample| sample.files), median(part, |sample| sample.threads));
            figures.row(
                format!("{} s", last.at.as_secs()),
                [memory, files, threads].map(|median| median.to_string()).into_iter().chain([format!("{share:.1}")]),
            );
            before = last;
        }
    }

    /// The most memory at any time, in bytes.
    pub fn peak(&self) -> u64 {
        self.samples.iter().map(|sample| sample.memory).max().unwrap_or(0)
    }

    /// What the last quarter has more of than the third, if it is more than chance. Each namespace
    /// that is there just now has its files, and how many there are goes up and down with the work
    /// beside: what leaks is more in the end than at any time before.
    pub fn found(&self) -> Option<&'static str> {
        let quarter = self.samples.len() / 4;
        let (before, end) = (self.samples.get(2 * quarter..3 * quarter)?, self.samples.get(3 * quarter..)?);
        let filling = end.first()?.at < SETTLED;
        let memory_slack = if filling { MEMORY_SLACK_WHILE_FILLING } else { MEMORY_SLACK };
        let grew = |of: fn(&Sample) -> u64, slack| median(end, of) > median(before, of) + slack;
        let earlier = self.samples.get(..3 * quarter)?.chunks(quarter.max(1));
        let most_files = earlier.map(|part| median(part, |sample| sample.files)).max()?;
        if let Some(crew) = self.samples.iter().find_map(|sample| sample.crowded) {
            Some(crew)
        } else if grew(|sample| sample.memory, memory_slack) {
            Some("memory")
        } else if median(end, |sample| sample.files) > most_files + FILES_SLACK {
            Some("open files")
        } else if grew(|sample| sample.threads, 1) {
            Some("threads")
        } else {
            None
        }
    }
}

fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
