//! RSTs that left, until the tracepoint that announces each is known, or it is clear that none
//! does.
//!
//! A kernel announces an answer before its packet leaves, and an abort after it
//! (`tcp_v4_send_reset()`, `tcp_send_active_reset()`,
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c>, `tcp_output.c`): the two
//! meet in either order.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    flow::{
        Reset,
        wire::{Segment, Wire},
    },
    model::{ConnectionKey, Flags},
    units::nanoseconds,
};

/// Longest time between a RST's tracepoint and its packet. Both are in one run of the same softirq
/// or system call, unless the packet waits: for a neighbour that is searched for (some seconds), or
/// in a queue.
const HELD_BACK: Duration = Duration::from_mins(1);

/// The same packet on another device: a VLAN, a bond or a bridge hands it on at once.
const ONE_PACKET: Duration = Duration::from_millis(100);

/// RSTs of one connection that are kept: more of them are alike.
const OF_ONE: usize = 16;

#[derive(Debug)]
struct Left {
    wire: Box<Wire>,
    /// Jiffies then, low 32 bits.
    jiffies: u32,
    /// A tracepoint told of it, or of one like it.
    announced: bool,
}

/// A RST that no tracepoint told of.
#[derive(Debug)]
pub struct Unannounced {
    pub key: ConnectionKey,
    pub wire: Box<Wire>,
    /// Jiffies when it left, low 32 bits.
    pub jiffies: u32,
}

/// What left, by connection. Time comes in from outside.
#[derive(Debug)]
pub struct Departures {
    entries: HashMap<ConnectionKey, Vec<Left>>,
    order: VecDeque<(u64, ConnectionKey)>,
    /// When the latest RST of a connection was announced: `CLOCK_BOOTTIME`, ns.
    announced: HashMap<ConnectionKey, u64>,
    announced_order: VecDeque<(u64, ConnectionKey)>,
    capacity: usize,
    window: Duration,
    evicted: u64,
}

impl Departures {
    /// Keeps at most `capacity` RSTs, each for `window`.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            announced: HashMap::new(),
            announced_order: VecDeque::new(),
            capacity,
            window,
            evicted: 0,
        }
    }

    /// Whether a RST of this connection that leaves now was announced.
    pub fn is_announced(&self, key: ConnectionKey, at_ns: u64) -> bool {
        self.announced.get(&key).is_some_and(|announced| announced.abs_diff(at_ns) <= nanoseconds(HELD_BACK))
    }

    /// Takes in a RST that left. `announced`: it is known otherwise that this kernel made it.
    pub fn left(&mut self, key: ConnectionKey, wire: Box<Wire>, jiffies: u32, announced: bool) {
        let at_ns = wire.rst.time_ns;
        let announced = announced || self.is_announced(key, at_ns);
        let known = self.entries.entry(key).or_default();
        if known.iter().any(|other| is_again(&other.wire.rst, &wire.rst)) {
            return;
        }
        if known.len() >= OF_ONE {
            self.evicted += 1;
            return;
        }
        known.push(Left { wire, jiffies, announced });
        self.order.push_back((at_ns, key));
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
            && self.remove(oldest).is_some()
        {
            self.evicted += 1;
        }
    }

    /// A tracepoint told of a RST of this connection.
    pub fn announce(&mut self, key: ConnectionKey, at_ns: u64) {
        for left in self.entries.get_mut(&key).into_iter().flatten() {
            left.announced |= left.wire.rst.time_ns.abs_diff(at_ns) <= nanoseconds(HELD_BACK);
        }
        self.announced.insert(key, at_ns);
        self.announced_order.push_back((at_ns, key));
        if self.announced_order.len() > self.capacity {
            self.forget_announcement();
        }
    }

    /// The packet of a reset that goes on.
    pub fn take(&mut self, reset: &Reset) -> Option<Box<Wire>> {
        let left = self.entries.get_mut(&reset.key())?;
        let apart = |left: &Left| left.wire.rst.time_ns.abs_diff(reset.boottime_ns);
        let (index, _) = left
            .iter()
            .enumerate()
            .filter(|(_, left)| apart(left) <= nanoseconds(HELD_BACK))
            .min_by_key(|(_, left)| (!fits(&left.wire.rst, reset), apart(left)))?;
        let wire = left.swap_remove(index).wire;
        if left.is_empty() {
            self.entries.remove(&reset.key());
        }
        Some(wire)
    }

    /// The next RST whose window has passed by `now_ns` without an announcement.
    pub fn pop_unannounced(&mut self, now_ns: u64) -> Option<Unannounced> {
        let window = nanoseconds(self.window);
        let is_over = |(at, _): &(u64, ConnectionKey), after: u64| at.saturating_add(after) <= now_ns;
        while self.announced_order.front().is_some_and(|place| is_over(place, nanoseconds(HELD_BACK))) {
            self.forget_announcement();
        }
        while self.order.front().is_some_and(|place| is_over(place, window)) {
            let place = self.order.pop_front()?;
            if let Some(Left { wire, jiffies, announced: false }) = self.remove(place) {
                return Some(Unannounced { key: place.1, wire, jiffies });
            }
        }
        None
    }

    /// RSTs that had to make room.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    fn remove(&mut self, (at_ns, key): (u64, ConnectionKey)) -> Option<Left> {
        let left = self.entries.get_mut(&key)?;
        let index = left.iter().position(|left| left.wire.rst.time_ns == at_ns)?;
        let removed = left.swap_remove(index);
        if left.is_empty() {
            self.entries.remove(&key);
        }
        Some(removed)
    }

    fn forget_announcement(&mut self) {
        let Some((at_ns, key)) = self.announced_order.pop_front() else { return };
        if self.announced.get(&key) == Some(&at_ns) {
            self.announced.remove(&key);
        }
    }
}

/// Whether a RST is one that was seen already, on its way through another device.
fn is_again(known: &Segment, rst: &Segment) -> bool {
    known.interface != rst.interface
        && (known.seq, known.ack, known.flags) == (rst.seq, rst.ack, rst.flags)
        && known.time_ns.abs_diff(rst.time_ns) <= nanoseconds(ONE_PACKET)
}

/// Whether a RST has the numbers that this reset's has (RFC 9293, section 3.10.7.1).
fn fits(rst: &Segment, reset: &Reset) -> bool {
    match (reset.active, &reset.trigger, &reset.tcp) {
        (false, Some(trigger), _) if trigger.flags.has(Flags::ACK) => rst.seq == trigger.ack,
        // It acknowledges what came, of which the length is not known here.
        (false, Some(trigger), _) => rst.seq == 0 && rst.ack.wrapping_sub(trigger.seq).cast_signed() >= 0,
        (true, _, Some(tcp)) => rst.seq == tcp.snd_nxt,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::Departures;
    use crate::{
        flow::{
            Reset, Trigger,
            wire::{End, Segment, Wire, WireFlow},
        },
        model::Flags,
        testing,
    };

    const SECOND: u64 = 1_000_000_000;

    fn rst(seq: u32, at_ns: u64) -> Box<Wire> {
        let segment = Segment { time_ns: at_ns, seq, flags: Flags(Flags::RST), interface: Some(1), ..Segment::default() };
        Box::new(WireFlow::default().reset(&segment, End::First, None))
    }

    fn answer(ack: u32, at_ns: u64) -> Reset {
        let trigger = Trigger { seq: 1, ack, flags: Flags(Flags::ACK) };
        Reset { active: false, trigger: Some(trigger), boottime_ns: at_ns, ..testing::reset() }
    }

    fn departures() -> Departures {
        Departures::new(Duration::from_secs(1), 3)
    }

    #[test]
    fn the_packet_and_its_tracepoint_meet_in_either_order() {
        for packet_first in [true, false] {
            let mut departures = departures();
            let reset = answer(7, SECOND);
            if packet_first {
                departures.left(reset.key(), rst(7, SECOND), 0, false);
            }
            departures.announce(reset.key(), SECOND);
            if !packet_first {
                departures.left(reset.key(), rst(7, SECOND + 10), 0, false);
            }
            assert_eq!(departures.take(&reset).unwrap().rst.seq, 7, "packet first: {packet_first}");
            assert!(departures.pop_unannounced(u64::MAX).is_none());
        }
    }

    #[test]
    fn each_answer_gets_its_own_packet() {
        let mut departures = departures();
        let resets = [answer(7, SECOND), answer(9, SECOND + 1)];
        for (reset, seq) in resets.iter().zip([9, 7]) {
            departures.announce(reset.key(), reset.boottime_ns);
            departures.left(reset.key(), rst(seq, SECOND + 2), 0, false);
        }
        assert_eq!(resets.map(|reset| departures.take(&reset).unwrap().rst.seq), [7, 9]);
    }

    #[test]
    fn one_that_nothing_announced_comes_out_after_its_window() {
        let mut departures = departures();
        let key = testing::reset().key();
        departures.left(key, rst(7, SECOND), 5, false);
        departures.left(key, rst(8, SECOND), 6, true);
        assert!(departures.pop_unannounced(SECOND).is_none());
        let left = departures.pop_unannounced(2 * SECOND).unwrap();
        assert_eq!((left.wire.rst.seq, left.jiffies), (7, 5));
        assert!(departures.pop_unannounced(u64::MAX).is_none());
        assert!(departures.entries.is_empty());
    }

    #[test]
    fn an_old_announcement_is_not_of_a_new_rst() {
        let mut departures = departures();
        let key = testing::reset().key();
        departures.announce(key, SECOND);
        // It may have waited for a neighbour.
        departures.left(key, rst(7, 5 * SECOND), 0, false);
        assert!(departures.pop_unannounced(6 * SECOND).is_none());
        departures.left(key, rst(7, 90 * SECOND), 0, false);
        assert!(departures.pop_unannounced(91 * SECOND).is_some());
        assert!(departures.announced.is_empty());
    }

    #[test]
    fn a_packet_that_passes_two_devices_is_one() {
        let mut departures = departures();
        let key = testing::reset().key();
        departures.left(key, rst(7, SECOND), 0, false);
        let mut again = rst(7, SECOND + 1);
        again.rst.interface = Some(2);
        departures.left(key, again, 0, false);
        assert!(departures.pop_unannounced(u64::MAX).is_some());
        assert!(departures.pop_unannounced(u64::MAX).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut departures = departures();
        for port in 1..=5 {
            let mut key = testing::reset().key();
            key.tuple.peer.set_port(port);
            departures.left(key, rst(7, SECOND), 0, false);
            departures.announce(key, 9 * SECOND);
        }
        assert_eq!((departures.entries.len(), departures.evicted()), (3, 2));
        assert_eq!((departures.announced.len(), departures.announced_order.len()), (3, 3));
    }
}
