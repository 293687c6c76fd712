//! Lines of many files, one file after the other, in memory that does not grow.

use std::{
    fs::File,
    io::{self, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use thiserror::Error;

use super::{Counts, Line, Lines, event, read};
use crate::{decompress, event::Event};

/// Bytes read at once.
const CHUNK: usize = 1 << 18;

/// Why a file of events could not be read.
#[derive(Debug, Error)]
pub enum ReaderError {
    #[error("cannot open the events {}: {source}; name a file that rstblame capture --format json --output has written{hint}", path.display())]
    Open {
        path: PathBuf,
        /// The name of a file beside it that is nearest, as an addition to the sentence.
        hint: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the events {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Files of events, and how far they have been read.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// Bytes of all of them; `None` where one is no file with a length.
    total: Option<u64>,
    /// Bytes read of them, compressed ones as they are.
    done: Arc<AtomicU64>,
    counts: Counts,
}

impl Files {
    /// Files by their names; `-` is standard input.
    ///
    /// # Errors
    ///
    /// When one of them is not there: better known before an hour's work than after it.
    pub fn new(paths: &[PathBuf]) -> Result<Self, ReaderError> {
        let mut total = Some(0_u64);
        for path in paths {
            let length = if path == Path::new("-") {
                None
            } else {
                let about = path.metadata().map_err(|source| open_error(path, source))?;
                if about.is_dir() {
                    return Err(open_error(path, io::ErrorKind::IsADirectory.into()));
                }
                about.is_file().then_some(about.len())
            };
            total = total.and_then(|total| length.map(|length| total.saturating_add(length)));
        }
        Ok(Self { paths: paths.to_owned(), total, done: Arc::default(), counts: Counts::default() })
    }

    /// Bytes of all files together, compressed ones as they are; `None` for a stream.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Bytes read so far, counted in the background: for whoever shows progress.
    pub fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    /// Hands on every line that is not empty until `each` breaks off, and counts bytes and files
    /// that break off. What a line is counts whoever looks at it.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened or read. That a compressed one breaks off is none: it may be
    /// still being written, or have been cut by a crash.
    pub fn lines(&mut self, mut each: impl FnMut(Line<'_>, &mut Counts) -> ControlFlow<()>) -> Result<Counts, ReaderError> {
        let mut buffer = vec![0; CHUNK];
        for path in &self.paths {
            let counts = &mut self.counts;
            let mut source = open(path, &self.done).map_err(|source| open_error(path, source))?;
            let mut lines = Lines::default();
            let mut flow = ControlFlow::Continue(());
            loop {
                let count = match read(&mut source, &mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        counts.cut_files += 1;
                        break;
                    }
                    Err(source) => return Err(ReaderError::Read { path: path.clone(), source }),
                };
                counts.bytes += count as u64;
                lines.feed(buffer.get(..count).unwrap_or_default(), |bytes| {
                    if flow.is_continue() && !bytes.is_empty() {
                        flow = each(Line { bytes, is_last: false }, counts);
                    }
                });
                if flow.is_break() {
                    return Ok(self.counts);
                }
            }
            lines.finish(|bytes| flow = each(Line { bytes, is_last: true }, counts));
            if flow.is_break() {
                break;
            }
        }
        Ok(self.counts)
    }

    /// Hands on every event that is understood, and counts all lines.
    ///
    /// # Errors
    ///
    /// As [`Files::lines`].
    pub fn events(&mut self, mut each: impl FnMut(Event) -> ControlFlow<()>) -> Result<Counts, ReaderError> {
        self.lines(|line, counts| event::read_line(line, counts).map_or(ControlFlow::Continue(()), &mut each))
    }
}

/// A file, or standard input, uncompressed; what is read of it is added to `done`.
fn open(path: &Path, done: &Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
    let done = Arc::clone(done);
    if path == Path::new("-") {
        decompress::open(Metered { source: io::stdin(), done })
    } else {
        decompress::open(Metered { source: File::open(path)?, done })
    }
}

fn open_error(path: &Path, source: io::Error) -> ReaderError {
    let hint = nearest(path).map_or_else(String::new, |name| format!(" (there is {name:?} beside it)"));
    ReaderError::Open { path: path.to_owned(), hint, source }
}

/// The file in the same directory whose name is most like that of one that is not there.
fn nearest(path: &Path) -> Option<String> {
    /// How much alike, from 0 to 1: a name with a letter wrong, or without its ending.
    const ALIKE: f64 = 0.8;
    /// Files that are looked at.
    const MOST: usize = 10_000;
    let wanted = path.file_name()?.to_str()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = directory.read_dir().ok()?.take(MOST).flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let alike = names.filter(|name| name != wanted).map(|name| (strsim::jaro_winkler(&name, wanted), name));
    alike
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0).then_with(|| other.1.cmp(&one.1)))
        .map(|(_, name)| name)
}

/// A stream whose bytes are counted.
struct Metered<R> {
    source: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
