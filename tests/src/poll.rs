//! Waiting for a fact instead of for a while.

use std::time::{Duration, Instant};

use crate::{LabError, Result};

/// The first pause between two looks, and the longest: each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));

/// Looks again and again until `look` finds something.
///
/// # Errors
///
/// [`LabError::Timeout`] naming `what` when `limit` has passed, or the first error of `look`.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(LabError::Timeout { what: what.to_owned(), seconds: limit.as_secs() });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}
