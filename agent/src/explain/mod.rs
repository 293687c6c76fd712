//! `rstblame explain`: the broker's log with the verdict under each report of a connection that
//! ended; or, with an id, the whole reasoning about one event ([`event`]).
//!
//! The events are read first and kept, as far as they are not too many; then a log that is a file
//! is answered line by line. Where there are too many events, reports are gathered and the events
//! are searched for them in passes, so that neither has to fit into memory. A log on standard input
//! is answered while it comes: each report at once if its reset is known, else when the reset
//! appears among the events, and at the latest after [`live::PATIENCE`].

mod coverage;
mod error;
mod event;
mod join;
mod live;
mod log;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Read, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{SyncSender, sync_channel},
};

pub use crate::cli::ExplainFormat;
pub use error::ExplainError;
use jiff::tz::TimeZone;
use join::Joiner;
pub use log::{LogReader, Report, Seen};
pub use source::Decoder;
use summary::Summary;

use crate::{
    cli::ExplainArgs,
    decompress,
    reader::{Files, event::trim, read, record},
};

/// Reports of a file that are joined in one pass through the events.
const PASS: usize = 100_000;

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
    if let Some(id) = &args.id {
        return event::explain(id, &args.events);
    }
    let format = args.format.unwrap_or(if io::stdout().is_terminal() { ExplainFormat::Pretty } else { ExplainFormat::Json });
    // A host without a zone has UTC; a name in TZ that is not known would shift every time of the
    // log in silence.
    let zone = match TimeZone::try_system() {
        Err(error) if std::env::var_os("TZ").is_some_and(|zone| !zone.is_empty()) => return Err(ExplainError::Zone(error)),
        zone => zone.unwrap_or(TimeZone::UTC),
    };
    let mut explainer = Explainer::new(BufWriter::new(io::stdout().lock()), format, zone, args.events.clone());
    write::begin(&mut explainer.out, format).map_err(ExplainError::Write)?;
    let read = match args.rabbitmq_logs.as_slice() {
        [only] if only == "-" => explainer.live(),
        logs => match logs.iter().find(|log| *log == "-").and_then(|_| logs.iter().find(|log| *log != "-")) {
            Some(other) => Err(ExplainError::Mixed { other: other.clone() }),
            None => explainer.files(logs),
        },
    };
    explainer.out.flush().map_err(ExplainError::Write)?;
    explainer.end()?;
    read
}

struct Explainer<W> {
    log: LogReader,
    zone: TimeZone,
    joiner: Joiner,
    events: Vec<PathBuf>,
    out: W,
    format: ExplainFormat,
    summary: Summary,
    unreadable: u64,
}

impl<W: Write> Explainer<W> {
    fn new(out: W, format: ExplainFormat, zone: TimeZone, events: Vec<PathBuf>) -> Self {
        Self {
            log: LogReader::new(zone.clone()),
            zone,
            joiner: Joiner::default(),
            events,
            out,
            format,
            summary: Summary::default(),
            unreadable: 0,
        }
    }

    /// Explains logs that are complete, one after the other. What is wrong with one keeps none of
    /// the others from being explained.
    fn files(&mut self, logs: &[String]) -> Result<(), ExplainError> {
        self.read_events()?;
        let mut wrong = Ok(());
        for name in logs {
            let failed = |source| ExplainError::Log { name: name.clone(), source };
            let done = File::open(name).and_then(decompress::open).map_err(failed).and_then(|log| self.file(log, name));
            match done {
                Err(error @ ExplainError::Write(_)) => return Err(error),
                Err(error) if wrong.is_err() => crate::log::failed(error),
                Err(error) => wrong = Err(error),
                Ok(()) => {}
            }
        }
        wrong
    }

    /// Explains a log that is complete. One thread reads it, this one answers.
    fn file(&mut self, log: impl Read + Send, name: &str) -> Result<(), ExplainError> {
        let in_passes = self.joiner.has_forgotten();
        if in_passes {
            self.joiner = Joiner::passing();
        }
        let reader = LogReader::new(self.zone.clone());
        let (sender, reports) = sync_channel(16);
        self.log = std::thread::scope(|scope| {
            let reading = scope.spawn(move || read_log(log, reader, &sender));
            for batch in reports {
                for report in batch {
                    self.joiner.report(report);
                    if !in_passes {
                        self.answer()?;
                    }
                }
                if in_passes && self.joiner.unanswered() >= PASS {
                    self.pass()?;
                }
            }
            // A thread that panics has told why; there is nothing to add.
            let read = reading.join().unwrap_or_else(|_| Err(io::Error::other("reading stopped")));
            read.map_err(|source| ExplainError::Log { name: name.to_owned(), source })
        })?;
        if self.joiner.unanswered() > 0 {
            self.pass()?;
        }
        self.recognised(name)
    }

    fn read_events(&mut self) -> Result<(), ExplainError> {
        for path in &self.events {
            self.unreadable += read_events(path, &mut self.joiner)?;
        }
        Ok(())
    }

    /// Joins what was read of the log with all events.
    fn pass(&mut self) -> Result<(), ExplainError> {
        for path in &self.events {
            read_events(path, &mut self.joiner)?;
        }
        while self.joiner.unanswered() > 0 {
            self.answer()?;
        }
        self.joiner = Joiner::passing();
        Ok(())
    }

    fn answer(&mut self) -> Result<(), ExplainError> {
        let Some((report, answer)) = self.joiner.answer() else { return Ok(()) };
        self.summary.count(&report, &answer);
        write::answer(&mut self.out, self.format, &report, &answer).map_err(ExplainError::Write)
    }

    /// Says so if a log was none of RabbitMQ's, or had ends of connections that could not be read.
    fn recognised(&self, name: &str) -> Result<(), ExplainError> {
        let seen = self.log.seen();
        let name = if name == "-" { "standard input" } else { name };
        match (&seen.first_unread, &seen.first_about) {
            (_, Some(line)) if !self.summary.any() => {
                Err(ExplainError::Unread { name: name.to_owned(), lines: seen.about, line: line.clone() })
            }
            (Some(line), _) if !seen.rabbitmq => Err(ExplainError::NotRabbitMq { name: name.to_owned(), line: line.clone() }),
            _ => Ok(()),
        }
    }

    /// Says what all came to: under the log for people, else on standard error, where it is in no
    /// program's way.
    fn end(&mut self) -> Result<(), ExplainError> {
        if self.unreadable > 0 {
            let names = self.events.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            tracing::warn!(lines = self.unreadable, "lines of {names} are no events and were left out");
        }
        if self.format == ExplainFormat::Pretty {
            writeln!(self.out, "\n{}", self.summary).and_then(|()| self.out.flush()).map_err(ExplainError::Write)
        } else {
            // Nobody may be listening.
            let _closed = writeln!(io::stderr(), "{}", self.summary);
            Ok(())
        }
    }
}

/// Reads a log to its end and hands on its reports.
fn read_log(mut log: impl Read, mut reader: LogReader, reports: &SyncSender<Vec<Report>>) -> io::Result<LogReader> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; source::CHUNK];
    loop {
        let count = read(&mut log, &mut buffer)?;
        let mut batch = Vec::new();
        let mut line = |line: &[u8]| {
            // Much faster than to look for what is none, where there is none.
            let mut reports = match std::str::from_utf8(line) {
                Ok(line) => reader.line(line),
                Err(_) => reader.line(&String::from_utf8_lossy(line)),
            };
            batch.append(&mut reports);
        };
        if count == 0 {
            decoder.finish(&mut line);
            batch.append(&mut reader.finish());
        } else {
            decoder.feed(buffer.get(..count).unwrap_or_default(), &mut line);
        }
        // Whoever answers may have stopped: its output is closed.
        if count == 0 || (!batch.is_empty() && reports.send(std::mem::take(&mut batch)).is_err()) {
            let _gone = reports.send(batch);
            return Ok(reader);
        }
    }
}

/// Takes in all events of a file; returns how many lines are none.
fn read_events(path: &Path, joiner: &mut Joiner) -> Result<u64, ExplainError> {
    let mut unreadable = 0;
    let mut files = Files::new(&[path.to_owned()])?;
    files.lines(|line, _| {
        unreadable += u64::from(!take(joiner, line.bytes));
        ControlFlow::Continue(())
    })?;
    Ok(unreadable)
}

/// Takes in a line of the events; `false` if it is none.
fn take(joiner: &mut Joiner, line: &[u8]) -> bool {
    let line = trim(line);
    line.is_empty() || record::read(line).map(|record| joiner.event(record)).is_some()
}
