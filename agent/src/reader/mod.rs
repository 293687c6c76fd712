//! Event files read back: the one reader for whatever looks at them later.
//!
//! Files outlive agents. A line may be half written, of an agent that knew more or less than this
//! one, or of another program whose output went to the same place; files may be rotated and
//! compressed, and gigabytes long. [`Files`] hands on lines in memory that does not grow;
//! [`event::read`] makes of a line the event that it holds, as far as it can be understood, or says
//! why it cannot; [`Counts`] tells what was read, and of everything that was not how much.

mod counts;
pub mod event;
mod files;
mod lenient;
mod lines;
pub mod record;
mod tail;
#[cfg(test)]
mod tests;

pub use counts::{Counts, Unread};
pub use files::{Files, ReaderError};
pub use lines::{Line, Lines};
pub use tail::{Tail, Watch};

use std::io::{self, Read};

/// Reads once, however often a signal comes between.
///
/// # Errors
///
/// That of `source`.
pub fn read(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
