//! Standard output. A line that a full pipe took half of is finished when there is room.

use std::{io, sync::Arc};

use super::{
    destination::{Destination, Encode, Feed, Outcome},
    item::Item,
};

/// Standard output.
pub struct Stdout {
    encode: Encode,
    feed: Feed,
}

impl Stdout {
    pub fn new(encode: Encode) -> Self {
        Self { encode, feed: Feed::default() }
    }
}

impl Destination for Stdout {
    fn write(&mut self, items: &[Arc<Item>]) -> Outcome {
        // Not by the standard library, whose buffer would keep what an error left over.
        let (finished, result) = self.feed.write(items, &self.encode, |bytes| {
            let count = rustix::io::write(io::stdout(), bytes)?;
            Ok(count)
        });
        let outcome = Outcome { keep: usize::from(self.feed.offset > 0), ..Outcome::written(finished) };
        match result {
            Ok(()) => outcome,
            Err(error) => outcome.because(error),
        }
    }
}
