//! RSTs that wait for what follows to testify, in the order in which they were captured.

use std::collections::VecDeque;

use super::{key::Key, local::Votes};
use crate::{
    amqp::Conversation,
    flow::{
        machines::CounterId,
        wire::{End, Segment, Wire},
    },
};

/// How long what follows on the same connection may testify, in capture time.
const WINDOW_NS: u64 = 2_000_000_000;

/// How long what other connections show may: which end is local, and what their RSTs have in
/// common.
const OTHERS_NS: u64 = 30_000_000_000;

/// RSTs that may wait at once. Above that the oldest goes on early.
const CAPACITY: usize = 16_384;

/// One RST of a capture.
#[derive(Debug)]
pub struct Case {
    pub key: Key,
    pub from: End,
    pub votes: Votes,
    pub frame: u64,
    pub wire: Box<Wire>,
    /// Who opened the connection.
    pub client: Option<End>,
    /// What was spoken, seen from the first end and from the second.
    pub amqp: [Option<Box<Conversation>>; 2],
    /// The counter of identifications it is of, if it was made on the link.
    pub counter: Option<CounterId>,
    /// Its numbers are such as the end whose address it bears would give it.
    pub credible: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Held {
    cases: VecDeque<Case>,
    /// Number of the first in the queue.
    first: u64,
}

impl Held {
    /// Adds a RST; gives its number.
    pub fn push(&mut self, case: Case) -> u64 {
        self.cases.push_back(case);
        self.first + (self.cases.len() as u64 - 1)
    }

    /// Shows a segment to the RST of that number, if it still waits.
    pub fn follow(&mut self, number: u64, segment: &Segment, from: End) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let case = at.and_then(|at| self.cases.get_mut(at));
        if let Some(case) = case.filter(|case| segment.time_ns.saturating_sub(case.wire.rst.time_ns) <= WINDOW_NS) {
            case.wire.follow(segment, from == case.from);
        }
    }

    /// The next RST that has waited long enough.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Case> {
        let due = self.cases.front()?.wire.rst.time_ns.saturating_add(OTHERS_NS);
        if due > now_ns && self.cases.len() <= CAPACITY { None } else { self.pop() }
    }

    /// The next RST.
    pub fn pop(&mut self) -> Option<Case> {
        let case = self.cases.pop_front()?;
        self.first += 1;
        Some(case)
    }
}
