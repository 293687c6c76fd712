//! The bytes of one direction, in order, cut into units (a protocol header, frames, TLS records)
//! without keeping what they hold.

use super::{
    frame, method,
    unit::{FRAME_END, Malformed, Parsed},
};
use crate::model::seq_after;

/// Payload of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Sequence number of the first byte of the payload.
    pub seq: u32,
    /// As much of it as is at hand.
    pub captured: &'a [u8],
    /// Its length by the IP header, bytes.
    pub length: u32,
    /// Any clock that does not jump, ns.
    pub time_ns: u64,
}

/// Most bytes of a unit that are looked at: a whole frame with the longest method.
pub(super) const CARRY: usize = frame::HEAD + method::LONGEST + 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Where it begins is not known.
    #[default]
    Unopened,
    /// All bytes up to `at`, and those carried, are accounted for.
    Followed,
    /// Bytes were missed, or made no sense.
    Lost,
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Direction {
    state: State,
    /// Sequence number of the first byte of the unit that is being read, or comes next.
    at: u32,
    first: u32,
    /// The beginning of that unit, where a segment ended within the bytes that are looked at. Else
    /// empty and without memory.
    carry: Vec<u8>,
    /// The last octet of the unit before `at` has to be [`FRAME_END`] and has not gone by.
    end_due: bool,
    begun: bool,
}

impl Direction {
    /// The first byte of payload will have this sequence number.
    pub(super) fn open(&mut self, first: u32) {
        *self = Self { state: State::Followed, at: first, first, ..Self::default() };
    }

    /// A unit that is no first one begins at this sequence number.
    pub(super) fn resume(&mut self, at: u32) {
        *self = Self { state: State::Followed, at, first: at, begun: true, ..Self::default() };
    }

    /// The sequence number that it was opened with.
    pub(super) fn opened_at(&self) -> Option<u32> {
        (self.state != State::Unopened).then_some(self.first)
    }

    /// Whether every unit that went by was taken.
    pub(super) fn followed(&self) -> bool {
        self.state == State::Followed
    }

    /// Whether something of it was missed, or made no sense.
    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// Whether no unit was taken yet.
    pub(super) const fn untouched(&self) -> bool {
        !self.begun
    }

    /// Bytes were missed, or make no sense: for good.
    pub(super) fn lose(&mut self) {
        self.state = State::Lost;
        self.carry = Vec::new();
    }

    /// The first byte of the unit that is being read, where a segment ended within the bytes that
    /// are looked at.
    pub(super) fn carried_first(&self) -> Option<u8> {
        self.carry.first().copied()
    }

    #[cfg(test)]
    pub(super) fn carried(&self) -> usize {
        self.carry.capacity()
    }

    /// The next unit whose beginning is complete with this chunk. To be called until there is none.
    pub(super) fn next<T>(&mut self, chunk: &Chunk, parse: impl Fn(&[u8]) -> Result<Parsed<T>, Malformed>) -> Option<T> {
        if self.state != State::Followed {
            return None;
        }
        let read = self.read(chunk, parse);
        if read.is_err() {
            self.lose();
        }
        read.ok().flatten()
    }

    fn read<T>(&mut self, chunk: &Chunk, parse: impl Fn(&[u8]) -> Result<Parsed<T>, Malformed>) -> Result<Option<T>, Malformed> {
        if self.end_due {
            self.end_due = !is_past(chunk, self.at.wrapping_sub(1))?;
        }
        // `carry` holds less than CARRY bytes.
        let needed = self.at.wrapping_add(u32::try_from(self.carry.len()).unwrap_or(u32::MAX));
        if seq_after(chunk.seq, needed) {
            return Err(Malformed);
        }
        let offset = needed.wrapping_sub(chunk.seq);
        if offset >= chunk.length {
            return Ok(None);
        }
        let new = usize::try_from(offset).ok().and_then(|offset| chunk.captured.get(offset..)).unwrap_or_default();
        let parsed = if self.carry.is_empty() { parse(new)? } else { self.complete(new, &parse)? };
        match parsed {
            Parsed::More(wanted) => {
                debug_assert!(wanted <= CARRY && new.len() < wanted, "only what is asked for is kept");
                if u32::try_from(chunk.captured.len()).is_ok_and(|captured| captured < chunk.length) {
                    // What is needed was not captured.
                    return Err(Malformed);
                }
                if self.carry.is_empty() {
                    self.carry = new.to_vec();
                }
                Ok(None)
            }
            Parsed::Unit { unit, length, end_octet } => {
                self.carry = Vec::new();
                self.at = self.at.wrapping_add(length);
                self.end_due = end_octet && !is_past(chunk, self.at.wrapping_sub(1))?;
                self.begun = true;
                Ok(Some(unit))
            }
        }
    }

    /// Adds to what is carried as much of `new` as is asked for, and no more.
    fn complete<T>(&mut self, mut new: &[u8], parse: impl Fn(&[u8]) -> Result<Parsed<T>, Malformed>) -> Result<Parsed<T>, Malformed> {
        loop {
            match parse(&self.carry)? {
                Parsed::More(wanted) if !new.is_empty() => {
                    let missing = wanted.saturating_sub(self.carry.len()).min(new.len());
                    let (taken, rest) = new.split_at_checked(missing).ok_or(Malformed)?;
                    self.carry.reserve_exact(missing);
                    self.carry.extend_from_slice(taken);
                    new = rest;
                }
                parsed => return Ok(parsed),
            }
        }
    }
}

/// Whether the octet at this sequence number has gone by with the chunk. If it was captured, it has
/// to be [`FRAME_END`].
fn is_past(chunk: &Chunk, octet: u32) -> Result<bool, Malformed> {
    let offset = octet.wrapping_sub(chunk.seq);
    match usize::try_from(offset).ok().and_then(|offset| chunk.captured.get(offset)) {
        Some(&FRAME_END) => Ok(true),
        Some(_) => Err(Malformed),
        None => Ok(offset < chunk.length),
    }
}
