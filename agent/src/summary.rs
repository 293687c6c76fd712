//! `rstblame summary`: what a file of events comes to, told to a person.

use std::{
    io::{self, Write as _},
    ops::ControlFlow,
    process::ExitCode,
};

use thiserror::Error;

use crate::{
    cli::{SummaryArgs, SummaryFormat},
    log,
    output::pretty::{self, Paint, Style, columns::wrap},
    progress::Progress,
    reader::{Counts, Files, ReaderError},
    story::{Paragraph, Story},
};

#[derive(Debug, Error)]
enum SummaryError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Runs `rstblame summary`.
pub fn run(args: &SummaryArgs) -> ExitCode {
    match summarise(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(SummaryError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            log::failed(error);
            ExitCode::FAILURE
        }
    }
}

fn summarise(args: &SummaryArgs) -> Result<(), SummaryError> {
    let mut files = Files::new(&args.files)?;
    let mut story = Story::default();
    let progress = Progress::of_bytes(files.done(), files.total());
    let counts = files.events(|event| {
        story.event(&event);
        ControlFlow::Continue(())
    })?;
    drop(progress);
    let paragraphs = story.paragraphs();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.format {
        SummaryFormat::Pretty => out.write_all(text(&paragraphs, &counts, Style::of_stdout(0, true)).as_bytes())?,
        SummaryFormat::Json => {
            for paragraph in &paragraphs {
                serde_json::to_writer(&mut out, paragraph).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
            if !counts.is_whole() {
                tracing::warn!("{counts}");
            }
        }
    }
    Ok(out.flush()?)
}

/// The story, and what of the files could not be read.
fn text(paragraphs: &[Paragraph], counts: &Counts, style: Style) -> String {
    let mut text = pretty::story(paragraphs, style);
    if !counts.is_whole() {
        let mut unread = String::new();
        wrap(&mut unread, &format!("? {counts}."), 0, 2, style.columns);
        text.push_str(&style.paint(&unread, Paint::Quiet));
        text.push('\n');
    }
    text
}
