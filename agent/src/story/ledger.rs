//! One fact for each connection that ended, however many lines tell of it and in whichever order.
//!
//! A line may be read twice, be told anew (`rst_revised`), or tell of the same connection as
//! another: both ends on one host (`related.pair`), or the end that came before the RST
//! (`related.ending`). The latest facts are kept apart for that; what is older is settled, so that
//! memory stays flat however long the files are.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher as _},
};

use jiff::Timestamp;

use crate::model::Severity;

/// Facts that are kept apart: 60 bytes each.
const OPEN: usize = 1 << 19;

/// How much a line knows: of two about the same connection the better one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The end of a connection, before the RST that may follow.
    Ending,
    /// A RST that arrived.
    Received,
    /// A RST of this host, which knows why.
    Sent,
    /// A reset told anew.
    Revised,
}

/// What is kept of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub rank: Rank,
    pub at: Timestamp,
    /// The last it stands for: that of a folded line.
    pub until: Timestamp,
    pub severity: Severity,
    /// Number of the incident it belongs to.
    pub incident: u32,
    /// Numbers of texts, see [`super::texts::Texts`].
    pub peer: u32,
    pub advice: u32,
    pub pid: u32,
    /// Milliseconds; `u32::MAX` where not known.
    pub silence_ms: u32,
    /// Seconds; `u16::MAX` where not known.
    pub heartbeat_s: u16,
    /// Of the origin, in hundredths; `u8::MAX` where not known.
    pub confidence: u8,
    /// Connections: more than one for a folded line.
    pub count: u64,
}

/// The latest facts.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<u64, Fact>,
    order: VecDeque<u64>,
}

impl Ledger {
    /// Takes in a fact of the line that `name` is the same for; gives back one that is settled now.
    pub fn add(&mut self, name: &impl Hash, fact: Fact) -> Option<Fact> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let key = hasher.finish();
        match self.open.entry(key) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                // Whatever the order of the lines, the same one is kept.
                *known = fact.max(*known);
                return None;
            }
            Entry::Vacant(room) => room.insert(fact),
        };
        self.order.push_back(key);
        if self.order.len() <= OPEN {
            return None;
        }
        self.open.remove(&self.order.pop_front()?)
    }

    /// Those that are not settled.
    pub fn open(&self) -> impl Iterator<Item = &Fact> {
        self.open.values()
    }
}
