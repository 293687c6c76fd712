//! RSTs that arrived, until the socket they ended is known, or it is clear that they ended none.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    flow::{
        reset::TcpFacts,
        wire::{Segment, Side, Silence, Wire, near},
    },
    model::ConnectionKey,
    units::nanoseconds,
};

#[derive(Debug)]
struct Entry {
    wire: Box<Wire>,
    /// A socket was ended by it.
    claimed: bool,
}

/// A socket that was ended.
#[derive(Debug)]
struct Expected {
    tcp: Option<TcpFacts>,
    /// When: `CLOCK_BOOTTIME`, ns.
    at_ns: u64,
}

/// What arrived, by connection.
#[derive(Debug)]
pub struct Wires {
    entries: HashMap<ConnectionKey, Entry>,
    order: VecDeque<(u64, ConnectionKey)>,
    /// Sockets ended by a RST whose packet is still to come: since Linux 6.15 packet sockets of one
    /// namespace come after the protocols
    /// (<https://github.com/torvalds/linux/blob/v6.15/net/core/dev.c>, `__netif_receive_skb_core`).
    expected: HashMap<ConnectionKey, Expected>,
    expected_order: VecDeque<(u64, ConnectionKey)>,
    capacity: usize,
    window: Duration,
    evicted: u64,
}

impl Wires {
    /// Keeps at most `capacity` connections, each until `window` has passed since its RST.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            expected: HashMap::new(),
            expected_order: VecDeque::new(),
            capacity,
            window,
            evicted: 0,
        }
    }

    /// Takes in a RST. One that ends nothing and is followed by another is remembered with that
    /// one.
    pub fn arrived(&mut self, place: ConnectionKey, mut wire: Box<Wire>) {
        let expected = self.expected.remove(&place);
        let claimed = expected.is_some();
        if let Some(tcp) = expected.and_then(|expected| expected.tcp) {
            complete(&mut wire, &tcp);
        }
        if let Some(known) = self.entries.get_mut(&place) {
            if known.claimed && !claimed {
                known.wire.follow(&wire.rst, true);
                return;
            }
            for earlier in known.wire.others.iter().chain([&known.wire.rst]) {
                wire.others.push(*earlier);
            }
            known.wire = wire;
            known.claimed = claimed;
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
            self.evicted += 1;
        }
        self.order.push_back((wire.rst.time_ns, place));
        self.entries.insert(place, Entry { wire, claimed });
    }

    /// Takes in a packet that arrived after a RST.
    pub fn followed(&mut self, place: ConnectionKey, segment: &Segment) {
        if let Some(known) = self.entries.get_mut(&place) {
            known.wire.follow(segment, true);
        }
    }

    /// A socket was ended by a RST; what the socket knows completes what the wire showed. Its
    /// packet may be the one that came last, or still be on its way here: it is expected for one
    /// window, since another connection may have the same ports later.
    pub fn claim(&mut self, place: ConnectionKey, tcp: Option<&TcpFacts>, at_ns: u64) {
        let exact = |wire: &Wire| tcp.is_none_or(|tcp| acceptable(wire, tcp));
        match self.entries.get_mut(&place) {
            Some(known) if exact(&known.wire) => {
                known.claimed = true;
                if let Some(tcp) = tcp {
                    complete(&mut known.wire, tcp);
                }
            }
            _ => {
                if self.expected_order.len() >= self.capacity {
                    self.expect_no_more();
                }
                self.expected.insert(place, Expected { tcp: tcp.cloned(), at_ns });
                self.expected_order.push_back((at_ns, place));
            }
        }
    }

    /// RSTs that are remembered.
    pub fn remembered(&self) -> usize {
        self.entries.len()
    }

    /// The wire of a reset that goes on.
    pub fn take(&mut self, place: ConnectionKey) -> Option<Box<Wire>> {
        self.entries.remove(&place).map(|entry| entry.wire)
    }

    /// The next RST whose window has passed by `now_ns` without a socket for it.
    pub fn pop_unclaimed(&mut self, now_ns: u64) -> Option<(ConnectionKey, Box<Wire>)> {
        let window = nanoseconds(self.window);
        let is_over = |(at, _): &(u64, ConnectionKey)| at.saturating_add(window) <= now_ns;
        while self.expected_order.front().is_some_and(is_over) {
            self.expect_no_more();
        }
        while self.order.front().is_some_and(is_over) {
            let (_, place) = self.order.pop_front()?;
            // Those with a socket leave when its reset does, or here when that has left before
            // them.
            let unclaimed = self.entries.get(&place).is_some_and(|entry| !entry.claimed);
            if let Some(wire) = self.take(place)
                && unclaimed
            {
                return Some((place, wire));
            }
        }
        None
    }

    /// Gives up the packet that is expected longest.
    fn expect_no_more(&mut self) {
        let Some((at_ns, place)) = self.expected_order.pop_front() else { return };
        // One that came meanwhile is there no more, and a later socket of the same ports has a turn
        // of its own.
        if self.expected.get(&place).is_some_and(|expected| expected.at_ns == at_ns) {
            self.expected.remove(&place);
        }
    }

    /// RSTs that had to make room.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// Whether a socket acts on such a RST: exactly the expected sequence number, or one before it
/// after a FIN (RFC 5961, section 3), or in answer to a SYN.
fn acceptable(wire: &Wire, tcp: &TcpFacts) -> bool {
    let ahead = tcp.rcv_nxt.wrapping_sub(wire.rst.seq);
    // A socket in SYN_SENT expects no number yet.
    let opening = tcp.rcv_nxt == 0 && tcp.bytes_received == 0;
    ahead <= 1 || opening && wire.rst.flags.ack() && wire.rst.ack == tcp.snd_nxt
}

/// Whether what the tap remembers under the peer's address can be of this socket's peer: anybody
/// may have put packets with that address on the wire, and the kernel programs do not know the
/// socket's numbers.
fn is_of(peer: &Side, tcp: &TcpFacts) -> bool {
    if tcp.rcv_nxt == 0 {
        return true;
    }
    // What was received since the SYN, and the FIN perhaps.
    let handshake = peer.initial_seq.is_none_or(|initial| {
        let received = u32::try_from(tcp.bytes_received & u64::from(u32::MAX)).unwrap_or_default();
        tcp.rcv_nxt.wrapping_sub(initial.wrapping_add(1)).wrapping_sub(received) <= 1
    });
    let sequence = peer.end_seq.is_none_or(|end| near(end, tcp.rcv_nxt));
    handshake && sequence && peer.last_ack.is_none_or(|ack| near(ack, tcp.snd_nxt))
}

/// Of what this host sent, its socket knows the sequence numbers, and the time of the last where
/// the tap does not see what leaves.
fn complete(wire: &mut Wire, tcp: &TcpFacts) {
    if !is_of(&wire.sender, tcp) {
        wire.sender = Side::default();
        wire.silence = None;
        wire.strangers = true;
    }
    wire.receiver.last_ack = Some(tcp.rcv_nxt);
    wire.receiver.end_seq = Some(tcp.snd_nxt);
    wire.receiver.acks.push(tcp.rcv_nxt);
    if wire.receiver.times.last_ns.is_some() {
        return;
    }
    let Some(since_sent) = tcp.since_sent else { return };
    wire.receiver.times.last_ns = Some(wire.rst.time_ns.saturating_sub(nanoseconds(since_sent)));
    if let Some(silence) = wire.silence
        && tcp.bytes_in_flight > 0
        && since_sent < silence.length
    {
        // This host spoke last, and was not answered.
        wire.silence = Some(Silence { length: silence.length.saturating_sub(since_sent), broken_by_receiver: true });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::Wires;
    use crate::model::ConnectionKey;
    use crate::{
        flow::{
            TcpFacts,
            wire::{End, Segment, Wire, WireFlow},
        },
        model::Flags,
        testing,
    };

    const SECOND: u64 = 1_000_000_000;

    fn place() -> ConnectionKey {
        ConnectionKey { tuple: testing::reset().tuple, netns: 1 }
    }

    fn rst(seq: u32) -> Box<Wire> {
        let segment = Segment { time_ns: SECOND, seq, flags: Flags(Flags::RST), ..Segment::default() };
        Box::new(WireFlow::default().reset(&segment, End::First, None))
    }

    fn socket(rcv_nxt: u32) -> TcpFacts {
        TcpFacts { rcv_nxt, bytes_received: 1, ..TcpFacts::default() }
    }

    fn wires() -> Wires {
        Wires::new(Duration::from_secs(1), 2)
    }

    #[test]
    fn the_packet_and_the_socket_meet_in_either_order() {
        for packet_first in [true, false] {
            let mut wires = wires();
            if packet_first {
                wires.arrived(place(), rst(7));
                wires.claim(place(), Some(&socket(7)), SECOND);
            } else {
                wires.claim(place(), Some(&socket(7)), SECOND);
                wires.arrived(place(), rst(7));
            }
            let wire = wires.take(place()).unwrap();
            assert_eq!((wire.rst.seq, wire.receiver.last_ack), (7, Some(7)), "packet first: {packet_first}");
            assert!(wires.pop_unclaimed(u64::MAX).is_none());
        }
    }

    #[test]
    fn a_stale_rst_is_not_the_one_that_ended_the_socket() {
        let mut wires = wires();
        wires.arrived(place(), rst(3_000));
        wires.claim(place(), Some(&socket(9_000)), SECOND);
        wires.arrived(place(), rst(9_000));
        let wire = wires.take(place()).unwrap();
        assert_eq!(wire.rst.seq, 9_000);
        assert_eq!(wire.others.iter().map(|other| other.seq).collect::<Vec<_>>(), [3_000]);
    }

    #[test]
    fn one_without_a_socket_comes_out_after_its_window() {
        let mut wires = wires();
        wires.arrived(place(), rst(7));
        assert!(wires.pop_unclaimed(SECOND).is_none());
        assert_eq!(wires.pop_unclaimed(2 * SECOND).unwrap().1.rst.seq, 7);
    }

    #[test]
    fn a_packet_is_expected_for_one_window() {
        for (late, claimed) in [(false, true), (true, false)] {
            let mut wires = wires();
            wires.claim(place(), Some(&socket(7)), SECOND);
            assert!(wires.pop_unclaimed(if late { 2 * SECOND } else { SECOND }).is_none());
            // The RST of a later connection with the same ports has nothing to do with that socket.
            wires.arrived(place(), rst(7));
            assert_eq!(wires.pop_unclaimed(u64::MAX).is_none(), claimed, "late: {late}");
            assert!(wires.expected.is_empty() && wires.expected_order.len() <= 1);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut wires = wires();
        for port in 1..=5 {
            let mut place = place();
            place.tuple.peer.set_port(port);
            wires.arrived(place, rst(7));
        }
        assert_eq!((wires.entries.len(), wires.evicted()), (2, 3));
        for port in 11..=15 {
            let mut place = place();
            place.tuple.peer.set_port(port);
            wires.claim(place, None, SECOND);
        }
        assert_eq!((wires.expected.len(), wires.expected_order.len()), (2, 2));
    }
}
