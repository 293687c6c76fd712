//! `rstblame events`: the events of files that answer a question, as lines, a table or for a
//! spreadsheet.

mod error;
mod rows;

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use error::EventsError;

use crate::{
    cli::{EventsArgs, EventsFormat, USAGE},
    log,
    output::pretty::Style,
    progress::Progress,
    query::Query,
    reader::{Counts, Files, Line, event},
    text,
};

/// Runs `rstblame events`.
pub fn run(args: &EventsArgs) -> ExitCode {
    match list(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(EventsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            log::failed(&error);
            if let (EventsError::Question(error), Some(question), true) = (&error, &args.question, io::stderr().is_terminal()) {
                // Nobody may be looking.
                let _gone = writeln!(io::stderr(), "{}", error.pointer(question));
            }
            if matches!(error, EventsError::Question(_)) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn list(args: &EventsArgs) -> Result<(), EventsError> {
    let question = args.question.as_deref().map(Query::parse).transpose()?;
    let since = args.since.map(|since| Query::parse(&format!("timestamp >= {since}"))).transpose()?;
    let asked: Vec<Query> = question.into_iter().chain(since).collect();
    let terminal = io::stdout().is_terminal();
    let format = args.format.unwrap_or(if terminal { EventsFormat::Table } else { EventsFormat::Json });
    let mut files = Files::new(&args.files)?;
    let progress = (!terminal).then(|| Progress::of_bytes(files.done(), files.total()));
    // What reads a pipe has a width of its own.
    let style = if terminal { Style::of_stdout(0, true) } else { Style { columns: usize::MAX, ..Style::PLAIN } };
    let mut writer = Writer { out: BufWriter::with_capacity(1 << 16, io::stdout().lock()), format, terminal, style };
    writer.begin()?;
    let mut written = Ok(());
    let counts = files.lines(|line, counts| {
        // What the question does not name is passed over unread.
        if !asked.iter().all(|query| query.matches_line(event::trim(line.bytes))) {
            return ControlFlow::Continue(());
        }
        written = writer.line(line, counts);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    drop(progress);
    written?;
    writer.out.flush()?;
    if !counts.is_whole() {
        tracing::warn!("{counts}");
    }
    Ok(())
}

/// Where answers go.
struct Writer<W> {
    out: W,
    format: EventsFormat,
    terminal: bool,
    style: Style,
}

impl<W: Write> Writer<W> {
    fn begin(&mut self) -> io::Result<()> {
        match self.format {
            EventsFormat::Json => Ok(()),
            EventsFormat::Table => self.out.write_all(rows::heading(self.style).as_bytes()),
            EventsFormat::Csv => self.out.write_all(rows::csv_heading().as_bytes()),
        }
    }

    /// Writes a line that is an answer.
    fn line(&mut self, line: Line<'_>, counts: &mut Counts) -> io::Result<()> {
        let Some(event) = event::read_line(line, counts) else { return Ok(()) };
        match self.format {
            EventsFormat::Json if self.terminal => writeln!(self.out, "{}", text::clean(&String::from_utf8_lossy(event::trim(line.bytes)))),
            // As it was written: members that this version does not know go through.
            EventsFormat::Json => {
                self.out.write_all(event::trim(line.bytes))?;
                self.out.write_all(b"\n")
            }
            EventsFormat::Table => self.out.write_all(rows::row(&event, self.style).as_bytes()),
            EventsFormat::Csv => self.out.write_all(rows::csv(&event).as_bytes()),
        }
    }
}
