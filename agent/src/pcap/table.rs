//! The connections of a capture that are remembered: bounded, the longest unused one goes first.

use std::collections::HashMap;

use super::{amqp::Spoken, key::Key, local::Votes};
use crate::flow::wire::{RSTS, Ring, WireFlow};

/// What is remembered of a connection.
#[derive(Debug, Default)]
pub struct Entry {
    pub flow: WireFlow,
    pub votes: Votes,
    pub spoken: Spoken,
    /// Numbers of the held RSTs that want to know what follows.
    pub watching: Ring<u64, RSTS>,
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    key: Key,
    entry: Box<Entry>,
    newer: u32,
    older: u32,
}

/// The connections, in order of use.
#[derive(Debug)]
pub struct Table {
    index: HashMap<Key, u32>,
    slots: Vec<Slot>,
    newest: u32,
    oldest: u32,
    capacity: usize,
    evicted: u64,
}

impl Table {
    /// Remembers at most `capacity` connections.
    pub fn new(capacity: usize) -> Self {
        Self { index: HashMap::new(), slots: Vec::new(), newest: NONE, oldest: NONE, capacity: capacity.max(1), evicted: 0 }
    }

    /// Connections that had to be forgotten.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What is remembered of a connection; nothing yet, if it is new.
    pub fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        let at = match self.index.get(&key) {
            Some(&at) => at,
            None => self.insert(key)?,
        };
        self.use_now(at);
        self.slot(at).map(|slot| &mut *slot.entry)
    }

    fn slot(&mut self, at: u32) -> Option<&mut Slot> {
        self.slots.get_mut(at as usize)
    }

    fn insert(&mut self, key: Key) -> Option<u32> {
        if self.slots.len() < self.capacity {
            let at = u32::try_from(self.slots.len()).ok().filter(|at| *at != NONE)?;
            self.slots.push(Slot { key, entry: Box::default(), newer: NONE, older: NONE });
            self.index.insert(key, at);
            self.push_newest(at);
            return Some(at);
        }
        let at = self.oldest;
        let slot = self.slot(at)?;
        let forgotten = std::mem::replace(&mut slot.key, key);
        *slot.entry = Entry::default();
        self.index.remove(&forgotten);
        self.index.insert(key, at);
        self.evicted += 1;
        Some(at)
    }

    fn use_now(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.push_newest(at);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older)) = self.slot(at).map(|slot| (slot.newer, slot.older)) else {
            return;
        };
        match self.slot(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slot(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn push_newest(&mut self, at: u32) {
        let newest = self.newest;
        if let Some(slot) = self.slot(newest) {
            slot.newer = at;
        } else {
            self.oldest = at;
        }
        if let Some(slot) = self.slot(at) {
            (slot.older, slot.newer) = (newest, NONE);
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use crate::flow::wire::End;
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::Table;
    use crate::pcap::key::Key;
    use crate::{flow::wire::Segment, model::Flags};

    fn key(port: u16) -> Key {
        let (a, b): (SocketAddr, SocketAddr) = ("192.0.2.1:5672".parse().unwrap(), SocketAddr::new([192, 0, 2, 2].into(), port));
        Key::of(a, b).0
    }

    fn touch(table: &mut Table, port: u16) -> u64 {
        let entry = table.entry(key(port)).unwrap();
        entry.flow.observe(&Segment { flags: Flags(Flags::ACK), ..Segment::default() }, End::First);
        entry.flow.side(End::First).packets
    }

    #[test]
    fn both_directions_have_one_key() {
        let (a, b): (SocketAddr, SocketAddr) = ("192.0.2.1:5672".parse().unwrap(), "192.0.2.2:40000".parse().unwrap());
        assert_eq!(Key::of(a, b).0, Key::of(b, a).0);
        assert_eq!(Key::of(a, b).1, Key::of(b, a).1.other());
    }

    #[test]
    fn the_longest_unused_is_forgotten() {
        let mut table = Table::new(2);
        assert_eq!((touch(&mut table, 1), touch(&mut table, 2), touch(&mut table, 1)), (1, 1, 2));
        assert_eq!(touch(&mut table, 3), 1);
        assert_eq!((touch(&mut table, 1), table.evicted()), (3, 1));
        assert_eq!((touch(&mut table, 2), table.evicted()), (1, 2));
    }

    proptest! {
        #[test]
        fn order_of_use_is_kept(ports in proptest::collection::vec(0_u16..8, 0..200)) {
            let mut table = Table::new(4);
            let mut model: Vec<(u16, u64)> = Vec::new();
            for port in ports {
                let count = match model.iter().position(|(known, _)| *known == port) {
                    Some(at) => model.remove(at).1 + 1,
                    None => 1,
                };
                if model.len() == 4 {
                    model.remove(0);
                }
                model.push((port, count));
                prop_assert_eq!(touch(&mut table, port), count);
            }
        }
    }
}
