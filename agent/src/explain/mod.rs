//! `rstblame explain`: the broker's log with the verdict under each report of a connection that ended.
//!
//! A log that is a file is read to its end, then the events are searched for the resets that belong to it, so that neither has to fit into memory.
//! A log on standard input is answered while it comes: each report at once if its reset is known, else when the reset appears among the events, and
//! at the latest after [`PATIENCE`].

mod coverage;
mod error;
mod join;
mod lines;
mod log;
mod tail;
#[cfg(test)]
mod tests;
mod write;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Read, Write},
    path::Path,
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

pub use error::ExplainError;
use jiff::tz::TimeZone;
use join::Joiner;
pub use lines::Lines;
pub use log::{LogReader, Report};
use tail::{Tail, Watch};

use crate::{cli::ExplainArgs, output::Format};

/// How long a report of a live log waits for its reset, which the agent holds back for its settle window (`--settle`, 1 s).
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a line of a live log may wait for the one that holds the reason. RabbitMQ writes both at once.
const SECOND_LINE: Duration = Duration::from_millis(250);

/// Reports of a file that are joined in one pass through the events.
const PASS: usize = 20_000;

/// Bytes read at once.
const CHUNK: usize = 1 << 16;

/// Runs `rstblame explain`.
pub fn run(args: &ExplainArgs) -> ExitCode {
    match explain(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ExplainError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            crate::log::failed(error);
            ExitCode::FAILURE
        }
    }
}

fn explain(args: &ExplainArgs) -> Result<(), ExplainError> {
    let zone = TimeZone::system();
    let format = args.format.unwrap_or(if io::stdout().is_terminal() { Format::Pretty } else { Format::Json });
    let mut explainer =
        Explainer { log: LogReader::new(zone), joiner: Joiner::default(), out: BufWriter::new(io::stdout().lock()), format };
    if args.rabbitmq_log == "-" {
        explainer.live(&args.events)?;
    } else {
        let log = File::open(&args.rabbitmq_log).map_err(|source| ExplainError::Log { name: args.rabbitmq_log.clone(), source })?;
        explainer.file(log, &args.rabbitmq_log, &args.events)?;
    }
    explainer.out.flush().map_err(ExplainError::Write)
}

struct Explainer<W> {
    log: LogReader,
    joiner: Joiner,
    out: W,
    format: Format,
}

impl<W: Write> Explainer<W> {
    /// Explains a log that is complete.
    fn file(&mut self, mut log: impl Read, name: &str, events: &Path) -> Result<(), ExplainError> {
        let mut unreadable = 0;
        let mut lines = Lines::default();
        let mut buffer = vec![0; CHUNK];
        let mut ended = false;
        while !ended {
            let count = read(&mut log, &mut buffer).map_err(|source| ExplainError::Log { name: name.to_owned(), source })?;
            ended = count == 0;
            let mut reports = Vec::new();
            lines.feed(buffer.get(..count).unwrap_or_default(), |line| reports.extend(self.log.line(&String::from_utf8_lossy(line))));
            if ended {
                lines.finish(|line| reports.extend(self.log.line(&String::from_utf8_lossy(line))));
                reports.extend(self.log.finish());
            }
            for report in reports {
                self.joiner.report(report);
            }
            if (ended || self.joiner.unanswered() >= PASS) && self.joiner.unanswered() > 0 {
                unreadable = self.pass(events)?;
            }
        }
        tell_unreadable(unreadable, events);
        Ok(())
    }

    /// Joins what was read of the log with all events; returns how many lines of them could not be read.
    fn pass(&mut self, path: &Path) -> Result<u64, ExplainError> {
        let failed = |source| ExplainError::Events { path: path.to_owned(), source };
        let mut events = Tail::open(path).map_err(failed)?;
        let mut unreadable = 0;
        events.read(|line| unreadable += u64::from(!take(&mut self.joiner, line))).map_err(failed)?;
        events.finish(|line| unreadable += u64::from(!take(&mut self.joiner, line)));
        while self.joiner.unanswered() > 0 {
            self.answer()?;
        }
        self.joiner = Joiner::default();
        Ok(unreadable)
    }

    /// Explains a log while it is written.
    fn live(&mut self, path: &Path) -> Result<(), ExplainError> {
        let tail = Tail::open(path).map_err(|source| ExplainError::Events { path: path.to_owned(), source })?;
        let watch = Watch::new(path).map_err(|source| ExplainError::Watch { path: path.to_owned(), source })?;
        let mut events = Events { tail, watch };
        let news = listen(&events.watch);
        let mut unreadable = events.read(&mut self.joiner)?;
        // When each report that is not answered gives up.
        let mut due: VecDeque<Instant> = VecDeque::new();
        let mut second_line: Option<Instant> = None;
        let mut ended = false;
        while !ended || !due.is_empty() {
            let now = Instant::now();
            let next = due.front().copied().into_iter().chain(second_line).min();
            let piece = match next {
                Some(next) => news.recv_timeout(next.saturating_duration_since(now)),
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut reports: Vec<Report> = Vec::new();
            match piece {
                Ok(News::Line(line)) => {
                    reports.extend(self.log.line(&line));
                    second_line = self.log.is_waiting().then(|| Instant::now() + SECOND_LINE);
                }
                Ok(News::Events) => unreadable += events.read(&mut self.joiner)?,
                // The threads end by what they say last.
                Ok(News::Ended(Ok(()))) | Err(RecvTimeoutError::Disconnected) => ended = true,
                Ok(News::Ended(Err(source))) => return Err(ExplainError::Log { name: "-".to_owned(), source }),
                Ok(News::Blind(source)) => return Err(ExplainError::Watch { path: path.to_owned(), source }),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if ended || second_line.is_some_and(|due| due <= now) {
                reports.extend(self.log.finish());
                second_line = None;
            }
            for report in reports {
                due.push_back(now + patience(&report));
                self.joiner.report(report);
            }
            if due.front().is_some_and(|due| *due <= now) {
                // The latest word, before it is said that there is none.
                unreadable += events.read(&mut self.joiner)?;
            }
            while self.joiner.is_clear() || due.front().is_some_and(|due| *due <= now) {
                due.pop_front();
                self.answer()?;
            }
            self.out.flush().map_err(ExplainError::Write)?;
        }
        tell_unreadable(unreadable, path);
        Ok(())
    }

    fn answer(&mut self) -> Result<(), ExplainError> {
        match self.joiner.answer() {
            Some((report, answer)) => write::answer(&mut self.out, self.format, &report, &answer).map_err(ExplainError::Write),
            None => Ok(()),
        }
    }
}

/// A file of events that grows.
struct Events {
    tail: Tail,
    watch: Watch,
}

impl Events {
    /// Takes in what is new; returns how many lines could not be read.
    fn read(&mut self, joiner: &mut Joiner) -> Result<u64, ExplainError> {
        let mut unreadable = 0;
        loop {
            let replaced = self.tail.read(|line| unreadable += u64::from(!take(joiner, line)));
            let path = self.watch.path();
            if !replaced.map_err(|source| ExplainError::Events { path: path.to_owned(), source })? {
                return Ok(unreadable);
            }
            // What was written before the new file is watched is read in the next round.
            self.watch.renew().map_err(|source| ExplainError::Watch { path: path.to_owned(), source })?;
        }
    }
}

/// What a live log has to be woken up for.
enum News {
    Line(String),
    /// The file of events was written to or replaced.
    Events,
    /// Standard input is at its end, or failed.
    Ended(io::Result<()>),
    /// The file of events cannot be watched any more.
    Blind(io::Error),
}

/// Starts a thread for each source. A full channel holds its source up.
fn listen(watch: &Watch) -> Receiver<News> {
    let (sender, news) = sync_channel(256);
    let (log, events, watch) = (sender.clone(), sender, watch.clone());
    std::thread::spawn(move || {
        let ended = standard_input(&log);
        // Nobody may be listening any more.
        let _gone = log.send(News::Ended(ended));
    });
    std::thread::spawn(move || {
        loop {
            let news = watch.wait().map_or_else(News::Blind, |()| News::Events);
            let last = matches!(news, News::Blind(_));
            if events.send(news).is_err() || last {
                return;
            }
        }
    });
    news
}

fn standard_input(log: &SyncSender<News>) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut lines = Lines::default();
    let mut buffer = vec![0; CHUNK];
    let send = |line: &[u8]| {
        let _gone = log.send(News::Line(String::from_utf8_lossy(line).into_owned()));
    };
    loop {
        let count = read(&mut input, &mut buffer)?;
        if count == 0 {
            lines.finish(send);
            return Ok(());
        }
        lines.feed(buffer.get(..count).unwrap_or_default(), send);
    }
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Takes in a line of the events; `false` if it is none.
fn take(joiner: &mut Joiner, line: &[u8]) -> bool {
    line.is_empty() || serde_json::from_slice(line).map(|event| joiner.event(event)).is_ok()
}

/// A report of long ago has no reset that is still to come.
fn patience(report: &Report) -> Duration {
    let age = jiff::Timestamp::now().duration_since(report.time);
    PATIENCE.saturating_sub(Duration::try_from(age).unwrap_or_default())
}

fn tell_unreadable(lines: u64, events: &Path) {
    if lines > 0 {
        tracing::warn!(lines, "lines of {} are no events of this version and were left out", events.display());
    }
}
