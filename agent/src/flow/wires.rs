//! RSTs that arrived, until the socket they ended is known, or it is clear that they ended none.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    reset::{TcpFacts, Tuple},
    wire::{Segment, Silence, Wire},
};

/// Where a packet belongs: connection and network namespace (0: not known).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub tuple: Tuple,
    pub netns: u32,
}

#[derive(Debug)]
struct Entry {
    wire: Box<Wire>,
    /// A socket was ended by it.
    claimed: bool,
}

/// What arrived, by connection.
#[derive(Debug)]
pub struct Wires {
    entries: HashMap<Place, Entry>,
    order: VecDeque<(u64, Place)>,
    capacity: usize,
    window: Duration,
    evicted: u64,
}

impl Wires {
    /// Keeps at most `capacity` connections, each until `window` has passed since its RST.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), capacity, window, evicted: 0 }
    }

    /// Takes in a RST. One that ends nothing and is followed by another is remembered with that one.
    pub fn arrived(&mut self, place: Place, mut wire: Box<Wire>) {
        if let Some(known) = self.entries.get_mut(&place) {
            if known.claimed {
                known.wire.follow(&wire.rst, true);
                return;
            }
            for earlier in known.wire.others.iter().chain([&known.wire.rst]) {
                wire.others.push(*earlier);
            }
            known.wire = wire;
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
            self.evicted += 1;
        }
        self.order.push_back((wire.rst.time_ns, place));
        self.entries.insert(place, Entry { wire, claimed: false });
    }

    /// Takes in a packet that arrived after a RST.
    pub fn followed(&mut self, place: Place, segment: &Segment) {
        if let Some(known) = self.entries.get_mut(&place) {
            known.wire.follow(segment, true);
        }
    }

    /// A socket was ended by the RST that just arrived for it; what the socket knows completes what the wire showed.
    pub fn claim(&mut self, place: Place, tcp: Option<&TcpFacts>) {
        if let Some(known) = self.entries.get_mut(&place) {
            known.claimed = true;
            if let Some(tcp) = tcp {
                complete(&mut known.wire, tcp);
            }
        }
    }

    /// The wire of a reset that goes on.
    pub fn take(&mut self, place: Place) -> Option<Box<Wire>> {
        self.entries.remove(&place).map(|entry| entry.wire)
    }

    /// The next RST whose window has passed by `now_ns` without a socket for it.
    pub fn pop_unclaimed(&mut self, now_ns: u64) -> Option<(Place, Box<Wire>)> {
        let window = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX);
        while self.order.front().is_some_and(|(at, _)| at.saturating_add(window) <= now_ns) {
            let (_, place) = self.order.pop_front()?;
            // Those with a socket leave when its reset does.
            if self.entries.get(&place).is_some_and(|entry| !entry.claimed) {
                return self.take(place).map(|wire| (place, wire));
            }
        }
        None
    }

    /// RSTs that had to make room.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// The tap sees only what arrives; of what this host sent, its socket knows the sequence numbers and the time of the last.
fn complete(wire: &mut Wire, tcp: &TcpFacts) {
    wire.receiver.last_ack = Some(tcp.rcv_nxt);
    wire.receiver.end_seq = Some(tcp.snd_nxt);
    wire.receiver.acks.push(tcp.rcv_nxt);
    let Some(since_sent) = tcp.since_sent else { return };
    let nanoseconds = u64::try_from(since_sent.as_nanos()).unwrap_or(u64::MAX);
    wire.receiver.times.last_ns = Some(wire.rst.time_ns.saturating_sub(nanoseconds));
    if let Some(silence) = wire.silence
        && tcp.bytes_in_flight > 0
        && since_sent < silence.length
    {
        // This host spoke last, and was not answered.
        wire.silence = Some(Silence { length: silence.length.saturating_sub(since_sent), broken_by_receiver: true });
    }
}
