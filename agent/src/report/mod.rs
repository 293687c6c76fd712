//! `rstblame report`: event files as one page that one can mail.
//!
//! The page is one file. It loads nothing and sends nothing: style and script stand in it, and its
//! content security policy lets no others run. What events say is data throughout: a text of JSON
//! that the script puts into the page as text, never as markup. Where there is no script, the story
//! is there still.
//!
//! [`rows`] turns events into columns, [`details`] keeps each whole and compressed, [`page`] puts
//! the file together.

mod details;
mod page;
mod rows;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use thiserror::Error;

use crate::{
    cli::ReportArgs,
    progress::Progress,
    reader::{Files, ReaderError},
    story::Story,
};
use rows::Rows;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Read(#[from] ReaderError),
    #[error("cannot write the report {}: {source}; name a place that can be written with --output", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the report cannot be put together: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the report cannot be compressed: {0}")]
    Compress(#[source] io::Error),
}

/// Runs `rstblame report`.
pub fn run(args: &ReportArgs) -> ExitCode {
    match report(args) {
        Ok(said) => {
            crate::log::failed(said);
            ExitCode::SUCCESS
        }
        Err(ReportError::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            crate::log::failed(error);
            ExitCode::FAILURE
        }
    }
}

/// Reads the files, and writes the page; what to say of it.
fn report(args: &ReportArgs) -> Result<String, ReportError> {
    let mut files = Files::new(&args.files)?;
    let (mut story, mut rows) = (Story::default(), Rows::new(args.lines as usize));
    let progress = Progress::of_bytes(files.done(), files.total());
    let mut failed = None;
    let counts = files.events(|event| {
        story.event(&event);
        match rows.event(&event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    drop(progress);
    if let Some(error) = failed {
        return Err(error);
    }
    let page = page::of(&args.files, &story, rows, &counts)?;
    write(&args.output, &page).map_err(|source| ReportError::Write { path: args.output.clone(), source })?;
    let unread = if counts.is_whole() { String::new() } else { format!("; {counts}") };
    let kilobytes = page.len().div_ceil(1024);
    Ok(format!("{} events, {kilobytes} KiB, in {}{unread}", counts.events, args.output.display()))
}

/// Writes all of it or nothing: half a page would be opened as one that has no events.
fn write(path: &Path, page: &str) -> io::Result<()> {
    if path == Path::new("-") {
        return io::Write::write_all(&mut io::stdout(), page.as_bytes());
    }
    if !path.metadata().is_ok_and(|about| about.is_file()) && path.exists() {
        return fs::write(path, page);
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = fs::write(&new, page).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _best_effort = fs::remove_file(&new);
    }
    written
}
