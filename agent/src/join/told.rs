//! Resets that were laid to the peer and have gone out: if the peer turns out to know nothing of
//! its RST, that has to be taken back.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    flow::{Reset, SocketKind, wire::Segment},
    model::{ConnectionKey, Flags},
    units::nanoseconds,
};

/// How long what comes still tells: a peer that has nothing to say sends a heartbeat each half
/// minute, or retransmits for a quarter of an hour.
const PATIENCE: Duration = Duration::from_mins(15);

/// The latest of them. Time comes in with the packets.
#[derive(Debug)]
pub struct Told {
    entries: HashMap<ConnectionKey, Reset>,
    order: VecDeque<(u64, ConnectionKey)>,
    capacity: usize,
}

impl Told {
    /// Keeps at most `capacity` resets.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Keeps a reset that has gone out.
    pub fn note(&mut self, reset: Reset) {
        let place = (reset.boottime_ns, reset.key());
        self.entries.insert(place.1, reset);
        self.order.push_back(place);
        if self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// A packet of the peer of such a connection: the reset, with what that packet says.
    pub fn followed(&mut self, key: ConnectionKey, segment: &Segment) -> Option<&Reset> {
        while self.order.front().is_some_and(|(at_ns, _)| segment.time_ns.saturating_sub(*at_ns) > nanoseconds(PATIENCE)) {
            self.forget_oldest();
        }
        let reset = self.entries.get_mut(&key)?;
        reset.wire.as_mut()?.follow(segment, true);
        Some(reset)
    }

    /// It has been taken back.
    pub fn forget(&mut self, key: ConnectionKey) {
        self.entries.remove(&key);
    }

    fn forget_oldest(&mut self) {
        let Some((at_ns, key)) = self.order.pop_front() else { return };
        if self.entries.get(&key).is_some_and(|reset| reset.boottime_ns == at_ns) {
            self.entries.remove(&key);
        }
    }
}

/// The segment that met no socket, by the RST that answered it. As far as its flags tell it carries
/// payload; how much of it is not known.
pub fn stray(reset: &Reset) -> Option<Segment> {
    let trigger = reset.trigger.filter(|_| reset.socket_kind == SocketKind::None && !reset.active)?;
    let ends = Flags::SYN | Flags::RST;
    (trigger.flags.0 & ends == 0).then(|| Segment {
        time_ns: reset.boottime_ns,
        seq: trigger.seq,
        ack: trigger.ack,
        flags: trigger.flags,
        payload: u32::from(trigger.carries_data()),
        ..Segment::default()
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{Told, stray};
    use crate::{
        flow::{
            Reset, SocketKind, Trigger,
            wire::{End, Segment, WireFlow},
        },
        model::Flags,
        testing,
    };

    const SECOND: u64 = 1_000_000_000;

    fn received(at_ns: u64) -> Reset {
        let rst = Segment { time_ns: at_ns, seq: 700, flags: Flags(Flags::RST), ..Segment::default() };
        let mut wire = WireFlow::default().reset(&rst, End::First, None);
        wire.receiver.end_seq = Some(90);
        Reset { boottime_ns: at_ns, wire: Some(Box::new(wire)), ..testing::reset() }
    }

    fn refused(flags: u16, at_ns: u64) -> Reset {
        let trigger = Trigger { seq: 700, ack: 90, flags: Flags(flags) };
        Reset { active: false, socket_kind: SocketKind::None, trigger: Some(trigger), boottime_ns: at_ns, ..testing::reset() }
    }

    #[test]
    fn a_peer_that_goes_on_is_heard() {
        let mut told = Told::new(4);
        told.note(received(SECOND));
        let segment = stray(&refused(Flags::ACK | Flags::PSH, 31 * SECOND)).unwrap();
        let key = testing::reset().key();
        let reset = told.followed(key, &segment).unwrap();
        assert_eq!(reset.wire.as_ref().unwrap().after.sender_went_on, Some((30 * SECOND, 0)));
        told.forget(key);
        assert!(told.followed(key, &segment).is_none());
    }

    #[test]
    fn what_begins_or_ends_a_connection_is_no_sign_of_life() {
        for flags in [Flags::SYN, Flags::RST, Flags::RST | Flags::ACK] {
            assert!(stray(&refused(flags, 0)).is_none(), "{flags:#x}");
        }
        assert!(stray(&Reset { socket_kind: SocketKind::TimeWait, ..refused(Flags::ACK, 0) }).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_time() {
        let mut told = Told::new(4);
        for port in 1..=9 {
            let mut reset = received(SECOND);
            reset.tuple.peer.set_port(port);
            told.note(reset);
        }
        assert_eq!((told.entries.len(), told.order.len()), (4, 4));
        let late = stray(&refused(Flags::ACK, 1000 * SECOND)).unwrap();
        assert!(told.followed(testing::reset().key(), &late).is_none());
        assert!(told.entries.is_empty() && told.order.is_empty());
    }
}
