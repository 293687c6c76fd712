//! Connections as rare stacks and devices make them, with numbers, distances and vendors that vary:
//! what holds for one capture has to hold for its kind.

use proptest::prelude::*;

use super::read;
use crate::{
    event::ResetEvent,
    model::{CauseId, Direction, OriginKind},
};

pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

pub const OURS: ([u8; 4], u16) = ([192, 0, 2, 10], 40_000);
pub const THEIRS: ([u8; 4], u16) = ([198, 51, 100, 15], 5672);

/// What a host puts into the headers of its segments.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    pub at: ([u8; 4], u16),
    pub ttl: u8,
    pub dont_fragment: bool,
    /// The latest identification, which each segment counts up.
    pub id: u16,
    pub window: u16,
    pub seq: u32,
    pub timestamps: bool,
}

pub fn ours() -> Stack {
    Stack { at: OURS, ttl: 64, dont_fragment: true, id: 7_000, window: 501, seq: 1_000, timestamps: false }
}

impl Stack {
    pub fn segment(&mut self, to: &Self, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.id = self.id.wrapping_add(1);
        let mut options = Vec::new();
        if self.timestamps && flags & RST == 0 {
            options.extend([1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9]);
        }
        let length = u16::try_from(40 + options.len() + payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, 6, 0, 0]);
        packet.extend(self.at.0);
        packet.extend(to.at.0);
        packet.extend(self.at.1.to_be_bytes());
        packet.extend(to.at.1.to_be_bytes());
        packet.extend(self.seq.to_be_bytes());
        packet.extend(if flags & ACK == 0 { 0 } else { to.seq }.to_be_bytes());
        packet.extend([u8::try_from((20 + options.len()) / 4).unwrap() << 4, flags]);
        packet.extend(self.window.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(options);
        packet.extend(payload);
        if flags & RST == 0 {
            self.seq += u32::try_from(payload.len()).unwrap() + u32::from(flags & SYN != 0);
        }
        packet
    }
}

/// A capture in the making, raw IP.
pub struct Tape {
    pub now: u64,
    pub frames: Vec<(u64, Vec<u8>)>,
}

impl Tape {
    pub fn new() -> Self {
        Self { now: 1_000 * SECOND, frames: Vec::new() }
    }

    pub fn wait(&mut self, ns: u64) {
        self.now += ns;
    }

    pub fn send(&mut self, from: &mut Stack, to: &Stack, flags: u8, payload: &[u8]) {
        let frame = from.segment(to, flags, payload);
        self.frames.push((self.now, frame));
    }

    /// The first end connects, and each says something so many times.
    pub fn talk(&mut self, client: &mut Stack, broker: &mut Stack, exchanges: u32) {
        self.send(client, broker, SYN, &[]);
        self.wait(20 * MS);
        self.send(broker, client, SYN | ACK, &[]);
        self.send(client, broker, ACK, &[]);
        for _ in 0..exchanges {
            self.wait(100 * MS);
            self.send(client, broker, PSH | ACK, &[0; 30]);
            self.wait(20 * MS);
            self.send(broker, client, PSH | ACK, &[0; 40]);
            self.send(client, broker, ACK, &[]);
        }
    }

    pub fn events(&self) -> Vec<ResetEvent> {
        let mut file = Vec::new();
        for value in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, 101_u32] {
            file.extend(value.to_le_bytes());
        }
        for (at, frame) in &self.frames {
            let length = u32::try_from(frame.len()).unwrap();
            let (seconds, rest) = (u32::try_from(at / SECOND).unwrap(), u32::try_from(at % SECOND).unwrap());
            for value in [seconds, rest, length, length] {
                file.extend(value.to_le_bytes());
            }
            file.extend(frame);
        }
        let (events, ended) = read(file);
        assert!(ended.is_ok(), "{ended:?}");
        events
    }

    pub fn event(&self) -> ResetEvent {
        let mut events = self.events();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }
}

/// A stack that counts the identifications of all it sends, its SYN-ACKs included: Windows (128),
/// NetBSD, AIX and Solaris (64), IOS (255).
fn counting() -> impl Strategy<Value = Stack> {
    (prop::sample::select(vec![64_u8, 128, 255]), 1_u8..20, any::<bool>(), 1_u16..60_000, 100_u16..60_000, any::<u32>(), any::<bool>())
        .prop_map(|(initial, hops, dont_fragment, id, window, seq, timestamps)| Stack {
            at: THEIRS,
            ttl: initial - hops,
            dont_fragment,
            id,
            window,
            seq: seq >> 1,
            timestamps,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// RST and RST|ACK with window 0, with and without DF, the next number of the host's counter.
    #[test]
    fn a_rst_that_is_the_next_packet_of_its_host(mut it in counting(), exchanges in 2_u32..9, ack: bool, dont_fragment: bool, unseen in 0_u16..3) {
        let (mut tape, mut own) = (Tape::new(), ours());
        own.timestamps = it.timestamps;
        tape.talk(&mut own, &mut it, exchanges);
        tape.wait(50 * MS);
        tape.send(&mut own, &it, PSH | ACK, &[0; 10]);
        tape.wait(20 * MS);
        (it.window, it.id) = (0, it.id.wrapping_add(unseen));
        it.dont_fragment &= dont_fragment;
        tape.send(&mut it, &own, if ack { RST | ACK } else { RST }, &[]);
        let event = tape.event();
        prop_assert_eq!((event.direction, event.origin.kind), (Direction::Received, OriginKind::RemotePeer), "{:#?}", event.evidence);
    }

    /// A RST without ACK with the window of the latest segment, as Solaris, HP-UX and IOS send it:
    /// with a number of another counter, and beyond what the host had sent.
    #[test]
    fn a_rst_with_the_window_of_its_connection(mut it in counting(), exchanges in 2_u32..9, other: Option<u16>, ahead in 0_u32..50) {
        let (mut tape, mut own) = (Tape::new(), ours());
        own.timestamps = it.timestamps;
        tape.talk(&mut own, &mut it, exchanges);
        tape.wait(50 * MS);
        tape.send(&mut own, &it, PSH | ACK, &[0; 10]);
        tape.wait(20 * MS);
        it.id = other.unwrap_or(it.id);
        it.seq += ahead;
        tape.send(&mut it, &own, RST, &[]);
        let event = tape.event();
        prop_assert_ne!(event.origin.kind, OriginKind::Middlebox, "{:#?}", event.evidence);
    }

    /// Devices that say why, whatever else their RST looks like.
    #[test]
    fn a_device_that_gives_its_reason(
        initial in prop::sample::select(vec![64_u8, 128, 255]), hops in 0_u8..20, id: u16, dont_fragment: bool, line: u16,
        quiet in 0_u64..4_000,
        (text, cause) in prop::sample::select(vec![
            ("Flow expired (sweeper)", CauseId::IdleTimeout),
            ("No pool member available", CauseId::PeerGone),
            ("{peer} TCP RST from remote system", CauseId::PeerAborted),
            ("Policy action", CauseId::FirewallReject),
            ("No flow found for ACK", CauseId::StateLost),
            ("TCP retransmit timeout", CauseId::PeerGone),
        ]),
    ) {
        let (mut tape, mut own) = (Tape::new(), ours());
        let mut peer = Stack { at: THEIRS, ttl: 62, window: 509, seq: 77_000, ..ours() };
        tape.talk(&mut own, &mut peer, 4);
        tape.wait(quiet * SECOND);
        let mut device = Stack { ttl: initial - hops, id, dont_fragment, window: 0, ..peer };
        tape.send(&mut device, &own, RST | ACK, format!("BIG-IP: [0x2409a71:{line}] {text}").as_bytes());
        let event = tape.event();
        let cause = if cause == CauseId::IdleTimeout && quiet < 10 { CauseId::StateLost } else { cause };
        prop_assert_eq!((event.origin.kind, event.cause.id), (OriginKind::Middlebox, cause), "{:#?}", event.evidence);
    }

    /// A NetScaler as the end point: its handshake, and a code in the window.
    #[test]
    fn a_reset_code_in_the_window(
        hops in 0_u8..25, id: u16, ack: bool, quiet in 11_u64..4_000, exchanges in 0_u32..5,
        (code, cause) in prop::sample::select(vec![
            (8201_u16, CauseId::StateLost), (8202, CauseId::StateLost), (8212, CauseId::StateLost), (9100, CauseId::IdleTimeout),
            (9300, CauseId::IdleTimeout), (9301, CauseId::IdleTimeout), (9304, CauseId::PeerGone), (9310, CauseId::KeepaliveTimeout),
            (9401, CauseId::StateLost), (9700, CauseId::PeerAborted), (9811, CauseId::HandshakeAborted), (9814, CauseId::FirewallReject),
            (9830, CauseId::FirewallReject), (9838, CauseId::HandshakeAborted),
        ]),
    ) {
        let (mut tape, mut own) = (Tape::new(), ours());
        let mut device = Stack { at: THEIRS, ttl: 255 - hops, dont_fragment: true, id, window: 8190, seq: 77_000, timestamps: false };
        tape.send(&mut own, &device, SYN, &[]);
        tape.wait(20 * MS);
        tape.send(&mut device, &own, SYN | ACK, &[]);
        tape.send(&mut own, &device, ACK, &[]);
        device.window = 32_700;
        for _ in 0..exchanges {
            tape.send(&mut own, &device, PSH | ACK, &[0; 20]);
            tape.wait(20 * MS);
            tape.send(&mut device, &own, PSH | ACK, &[0; 20]);
        }
        tape.wait(quiet * SECOND);
        tape.send(&mut own, &device, PSH | ACK, &[0; 20]);
        tape.wait(20 * MS);
        (device.window, device.id) = (code, device.id.wrapping_add(9_000));
        tape.send(&mut device, &own, if ack { RST | ACK } else { RST }, &[]);
        let event = tape.event();
        prop_assert_eq!((event.origin.kind, event.cause.id), (OriginKind::Middlebox, cause), "{:#?}", event.evidence);
    }

    /// A host with such a window by chance is not accused.
    #[test]
    fn a_window_that_is_a_code_by_chance(mut it in counting(), code in prop::sample::select(vec![8201_u16, 9300, 9700]), exchanges in 3_u32..9) {
        let (mut tape, mut own) = (Tape::new(), ours());
        it.window = code;
        tape.talk(&mut own, &mut it, exchanges);
        tape.wait(50 * MS);
        tape.send(&mut it, &own, RST | ACK, &[]);
        let event = tape.event();
        prop_assert_ne!(event.origin.kind, OriginKind::Middlebox, "{:#?}", event.evidence);
    }

    /// Probes at even intervals, then a RST: Linux sends none or one byte with them, and Windows
    /// ten a second apart.
    #[test]
    fn keepalive_that_gives_up(
        interval in 1_u64..80, probes in 2_u64..11, idle in 1_u64..8_000, byte: bool, answered in 0_u64..3, exchanges in 0_u32..4,
        hops in 1_u8..20, window in prop::sample::select(vec![0_u16, 501]),
    ) {
        let (mut tape, mut own) = (Tape::new(), ours());
        let mut peer = Stack { at: THEIRS, ttl: 64 - hops, window: 509, seq: 77_000, ..ours() };
        tape.talk(&mut own, &mut peer, exchanges);
        let payload: &[u8] = if byte { &[0] } else { &[] };
        let probe = |tape: &mut Tape, own: &mut Stack, peer: &Stack| {
            let seq = own.seq;
            own.seq -= 1;
            tape.send(own, peer, ACK, payload);
            own.seq = seq;
        };
        for _ in 0..answered {
            tape.wait(idle * SECOND);
            probe(&mut tape, &mut own, &peer);
            tape.wait(20 * MS);
            tape.send(&mut peer, &own, ACK, &[]);
        }
        tape.wait(idle * SECOND);
        for _ in 0..probes {
            probe(&mut tape, &mut own, &peer);
            tape.wait(interval * SECOND);
        }
        own.window = window;
        tape.send(&mut own, &peer, RST | ACK, &[]);
        let event = tape.event();
        let said = (event.direction, event.origin.kind, event.cause.id);
        prop_assert_eq!(said, (Direction::Sent, OriginKind::LocalHost, CauseId::KeepaliveTimeout), "{:#?}", event.evidence);
    }

    /// The captured host answers a SYN or a stray segment: its TTL is fresh, and the other end's is
    /// not.
    #[test]
    fn an_answer_of_the_captured_host(
        initial in prop::sample::select(vec![64_u8, 128, 255]), hops in 1_u8..25, own in prop::sample::select(vec![64_u8, 128, 255]),
        syn: bool, id: Option<u16>, port in prop::sample::select(vec![5672_u16, 443, 8080]),
    ) {
        let mut tape = Tape::new();
        let mut here = Stack { at: (OURS.0, port), ttl: own, window: 0, id: id.unwrap_or(u16::MAX), ..ours() };
        let mut there = Stack { at: (THEIRS.0, 41_000), ttl: initial - hops, seq: 500, ..ours() };
        tape.send(&mut there, &here, if syn { SYN } else { PSH | ACK }, if syn { &[] } else { &[0; 8] });
        tape.wait(MS / 10);
        if syn {
            here.seq = 0;
        }
        tape.send(&mut here, &there, if syn { RST | ACK } else { RST }, &[]);
        let event = tape.event();
        let cause = if syn { CauseId::NoListener } else { CauseId::StaleConnection };
        prop_assert_eq!((event.direction, event.origin.kind, event.cause.id), (Direction::Sent, OriginKind::LocalHost, cause));
    }

    /// A capture that begins between two frames: heartbeats, a delivery in one segment, and the
    /// farewell.
    #[test]
    fn amqp_from_its_midst(code in prop::sample::select(vec![320_u16, 501, 530, 541]), heartbeats in 0_usize..4, body in prop::collection::vec(any::<u8>(), 0..60)) {
        let (mut tape, mut own) = (Tape::new(), ours());
        let mut peer = Stack { at: THEIRS, ttl: 62, window: 509, seq: 77_000, ..ours() };
        let heartbeat = [8, 0, 0, 0, 0, 0, 0, 0xce];
        for _ in 0..heartbeats {
            tape.wait(30 * SECOND);
            tape.send(&mut own, &peer, PSH | ACK, &heartbeat);
            tape.wait(20 * MS);
            tape.send(&mut peer, &own, PSH | ACK, &heartbeat);
        }
        let frame = |kind: u8, channel: u8, payload: &[u8]| {
            let mut frame = vec![kind, 0, channel];
            frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            frame.extend(payload);
            frame.push(0xce);
            frame
        };
        let delivery = [frame(1, 1, &[0, 60, 0, 60, 0]), frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]), frame(3, 1, &body)].concat();
        tape.send(&mut peer, &own, PSH | ACK, &delivery);
        tape.send(&mut own, &peer, ACK, &[]);
        let [high, low] = code.to_be_bytes();
        let close = frame(1, 0, &[&[0, 10, 0, 50, high, low, 4][..], b"gone", &[0, 0, 0, 0]].concat());
        tape.send(&mut peer, &own, PSH | ACK, &close);
        tape.wait(500 * MS);
        tape.send(&mut peer, &own, RST | ACK, &[]);
        let event = tape.event();
        let amqp = event.amqp.unwrap();
        prop_assert_eq!(amqp.close.map(|close| close.code), Some(code));
        prop_assert_eq!(event.origin.kind, OriginKind::RemotePeer);
        prop_assert!(matches!(event.cause.id, CauseId::BrokerShutdown | CauseId::ForcedClose), "{:?}", event.cause);
    }

    /// One machine on the link refuses in the name of addresses far and near.
    #[test]
    fn one_counter_behind_many_addresses(
        ttl in prop::sample::select(vec![64_u8, 128, 255]), first in 1_u16..50_000, steps in prop::collection::vec(1_u16..40, 9..20),
    ) {
        let mut tape = Tape::new();
        let mut own = Stack { ttl: 128, ..ours() };
        let mut id = first;
        for (step, number) in steps.iter().zip(0_u8..) {
            let address = match number % 3 {
                0 => [203, 0, 113, 7],
                1 => [198, 51, 100, 9],
                _ => [192, 0, 2, 77],
            };
            own.at.1 = 50_000 + u16::from(number % 3);
            let mut there = Stack { at: (address, 9_000), ttl, dont_fragment: false, id, window: 0, ..ours() };
            own.seq = 1_000;
            tape.send(&mut own, &there, SYN, &[]);
            tape.wait(200 * MS);
            id += step;
            there.id = id - 1;
            there.seq = 0;
            tape.send(&mut there, &own, RST | ACK, &[]);
            tape.wait(300 * MS);
        }
        for event in tape.events() {
            prop_assert_eq!((event.direction, event.origin.kind), (Direction::Received, OriginKind::Middlebox), "{:#?}", event.evidence);
        }
    }
}
