//! What every kind of sink has in common, seen from its thread.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{item::Item, queue::Fate};

/// How long one write may take before the thread looks at its queue again: what it is slow to
/// notice then is the end of the agent.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How long something that takes no more just now is left alone.
const SLOW: Duration = Duration::from_millis(20);

/// Bytes gathered for one system call, so that a burst costs few of them.
pub const BATCH: usize = 1 << 16;

/// Somewhere to write events to. Runs on a thread of its own, and may wait for about [`PATIENCE`]
/// at a time.
pub trait Destination: Send {
    /// Writes events, the oldest first. `items` is everything in flight: it begins with what an
    /// earlier call was handed and told no fate of.
    fn write(&mut self, items: &[Arc<Item>]) -> Outcome;

    /// Opens anew whatever is open.
    fn reopen(&mut self) {}

    /// Nothing more will be written.
    fn close(&mut self) {}
}

/// How far a write went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What became of the first events.
    pub fates: Vec<Fate>,
    /// How many of those that follow have begun to be written, and may not be taken back.
    pub keep: usize,
    /// When to be called again even if nothing new comes.
    pub again: Option<Duration>,
    /// Why it went no further. It is tried again later.
    pub error: Option<io::Error>,
}

impl Outcome {
    /// So many events are written.
    pub fn written(count: usize) -> Self {
        Self { fates: vec![Fate::Written; count], ..Self::default() }
    }

    /// The write ended with an error, which may only mean that the other side is slow.
    pub fn because(mut self, error: io::Error) -> Self {
        match error.kind() {
            // A send timeout shows as EAGAIN: socket(7), SO_SNDTIMEO. The pause is for what was
            // made non-blocking by whoever started us.
            io::ErrorKind::WouldBlock => self.again = Some(SLOW),
            _ => self.error = Some(error),
        }
        self
    }
}

/// An event as the bytes that go out.
pub type Encode = Box<dyn Fn(&Item) -> Bytes + Send>;

/// How much of the first line that is not whole has been written.
#[derive(Debug, Default)]
pub struct Feed {
    pub offset: usize,
}

impl Feed {
    /// Writes lines into a byte stream, going on where the last call was stopped. Returns how many
    /// were finished, and why it stopped.
    pub fn write(
        &mut self,
        items: &[Arc<Item>],
        encode: &Encode,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> (usize, io::Result<()>) {
        let mut finished = 0;
        let mut batch = Vec::with_capacity(BATCH);
        let mut lengths = Vec::new();
        while finished < items.len() {
            batch.clear();
            lengths.clear();
            for item in items.iter().skip(finished) {
                if batch.len() >= BATCH {
                    break;
                }
                let line = encode(item);
                let begun = if lengths.is_empty() { self.offset.min(line.len()) } else { 0 };
                batch.extend_from_slice(line.get(begun..).unwrap_or_default());
                lengths.push(line.len() - begun);
            }
            let (gone, result) = write_some(&batch, &mut write);
            let mut left = gone;
            for length in &lengths {
                if left < *length {
                    self.offset += left;
                    break;
                }
                left -= length;
                self.offset = 0;
                finished += 1;
            }
            if result.is_err() {
                return (finished, result);
            }
        }
        (finished, Ok(()))
    }
}

/// Writes until all is written or an error stops it, and says how much went.
fn write_some(bytes: &[u8], write: &mut impl FnMut(&[u8]) -> io::Result<usize>) -> (usize, io::Result<()>) {
    let mut gone = 0;
    while let Some(rest) = bytes.get(gone..).filter(|rest| !rest.is_empty()) {
        match write(rest) {
            Ok(0) => return (gone, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => gone += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (gone, Err(error)),
        }
    }
    (gone, Ok(()))
}

#[cfg(test)]
mod tests;
