//! The tap's reading of packet headers against the parser of captures: any frame, whole, cut short
//! or garbled, means the same to both, or nothing to the tap.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{cell::RefCell, net::SocketAddr};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::Config};
use rstblame::{
    flow::wire::{End, Segment, Side, Wire, WireFlow},
    kernel::{
        ArmOptions, Budgets,
        decode::{Decoder, Record},
        floods::budgets,
        options::Extras,
        reasons::Reasons,
        test_run::DryRun,
    },
    model::ports::PortSet,
    pcap::{self, Frame},
};
use rstblame_lab::agents::kernel;

const PORT: u16 = 5672;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A segment, and what it is wrapped in.
#[derive(Clone, Debug)]
struct Shape {
    v6: bool,
    /// Options of IPv4 in words, or extension headers of IPv6: kind and length in units of eight
    /// bytes, less one.
    options: u8,
    extensions: Vec<(u8, u8)>,
    tos: u8,
    id: u16,
    fragment: u16,
    label: u32,
    ttl: u8,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    tcp_options: Vec<u8>,
    payload: Vec<u8>,
    /// What Ethernet adds to short frames.
    padding: usize,
    /// The length in the IP header is zero, as in packets merged on their way up.
    merged: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let ip = (any::<bool>(), 0_u8..=10, vec((prop_oneof![Just(0_u8), Just(43), Just(60)], 0_u8..3), 0..=3), any::<(u8, u16, u8)>());
    let fragment = prop_oneof![4 => Just(0x4000_u16), 4 => Just(0), 1 => Just(0x2000), 1 => any::<u16>()];
    let options = prop_oneof![
        Just(vec![]),
        Just(vec![2, 4, 5, 180]),
        any::<(u32, u32)>().prop_map(|(value, echo)| [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()),
    ];
    let tcp = (0_u32..100_000, 0_u32..100_000, any::<u8>(), any::<u16>(), options, vec(any::<u8>(), 0..60));
    (ip, fragment, any::<u32>(), tcp, 0_usize..8, prop_oneof![9 => Just(false), 1 => Just(true)]).prop_map(
        |((v6, options, extensions, (tos, id, ttl)), fragment, label, (seq, ack, flags, window, tcp_options, payload), padding, merged)| {
            Shape {
                v6,
                options,
                extensions,
                tos,
                id,
                fragment,
                label: label & 0xf_ffff,
                ttl,
                seq,
                ack,
                flags,
                window,
                tcp_options,
                payload,
                padding: if merged { 0 } else { padding },
                merged,
            }
        },
    )
}

impl Shape {
    /// As an Ethernet frame from this port of the client's.
    fn frame(&self, client: u16) -> Vec<u8> {
        let mut tcp = [client.to_be_bytes(), PORT.to_be_bytes()].concat();
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([u8::try_from((20 + self.tcp_options.len()) / 4).unwrap() << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.tcp_options);
        tcp.extend(&self.payload);
        let length = |bytes: usize| if self.merged { 0 } else { u16::try_from(bytes).unwrap() }.to_be_bytes();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if self.v6 {
            let mut extensions = Vec::new();
            for (index, (_, eights)) in self.extensions.iter().enumerate() {
                let next = self.extensions.get(index + 1).map_or(6, |(kind, _)| *kind);
                extensions.extend([next, *eights, 1, 4, 0, 0, 0, 0]);
                extensions.extend(vec![0; usize::from(*eights) * 8]);
            }
            frame.extend([0x86, 0xdd]);
            frame.extend((6 << 28 | u32::from(self.tos) << 20 | self.label).to_be_bytes());
            frame.extend(length(extensions.len() + tcp.len()));
            frame.extend([self.extensions.first().map_or(6, |(kind, _)| *kind), self.ttl]);
            for last in [2, 1] {
                frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            frame.extend(extensions);
        } else {
            let header = 20 + usize::from(self.options) * 4;
            frame.extend([8, 0, 0x40 | u8::try_from(header / 4).unwrap(), self.tos]);
            frame.extend(length(header + tcp.len()));
            frame.extend(self.id.to_be_bytes());
            frame.extend(self.fragment.to_be_bytes());
            frame.extend([self.ttl, 6, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
            frame.extend(vec![1; header - 20]);
        }
        frame.extend(tcp);
        frame.extend(vec![0; self.padding]);
        frame
    }
}

/// The tap, and a new connection each time.
struct Bench {
    dry: RefCell<DryRun>,
    decoder: Decoder,
    port: std::cell::Cell<u16>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Budgets::default())
    }

    fn with(budgets: Budgets) -> Self {
        let ports = PortSet::new(vec!["5672".parse().unwrap()]).unwrap();
        let options = ArmOptions { budgets, ..kernel::dry(ports, Extras { egress: false, amqp: false }) };
        let decoder = Decoder::new(Reasons::default(), options.ports.clone());
        Self { dry: RefCell::new(DryRun::new(&options).unwrap()), decoder, port: std::cell::Cell::new(10_000) }
    }

    /// A port that no connection had before.
    fn client(&self) -> u16 {
        self.port.set(self.port.get().checked_add(1).unwrap_or(10_000));
        self.port.get()
    }

    /// What the tap says of a frame: its RST with the ends, peer first.
    fn told(&self, frame: &[u8]) -> Option<(SocketAddr, SocketAddr, Box<Wire>)> {
        let mut dry = self.dry.borrow_mut();
        dry.arrive(frame).unwrap();
        dry.records().into_iter().find_map(|record| match self.decoder.decode(&record).unwrap() {
            Record::Arrived(place, wire) => Some((place.tuple.peer, place.tuple.local, wire)),
            _ => None,
        })
    }
}

/// What the parser of captures says of a frame.
fn oracle(frame: &[u8]) -> Option<(SocketAddr, SocketAddr, Segment)> {
    let frame = Frame { number: 1, time_ns: 0, linktype: 1, data: frame, direction: None, interface: None };
    let packet = pcap::parse(&frame).ok()?;
    Some((packet.source, packet.destination, packet.segment))
}

/// Of a segment what does not depend on when and where it was seen.
fn plain(segment: &Segment) -> Segment {
    Segment { time_ns: 0, interface: None, ..*segment }
}

fn property<S: Strategy>(strategy: S, test: impl Fn(&Bench, S::Value) -> Result<(), TestCaseError>) {
    let bench = Bench::new();
    let config = Config { failure_persistence: None, cases: 4096, ..Config::default() };
    proptest::test_runner::TestRunner::new(config).run(&strategy, |value| test(&bench, value)).unwrap();
}

fn is_first_fragment(shape: &Shape) -> bool {
    // Thirteen bits of offset (RFC 791, section 3.1).
    shape.v6 || shape.fragment.trailing_zeros() >= 13
}

#[test]
fn a_rst_is_read_as_it_is() {
    property(shape(), |bench, mut shape| {
        shape.flags |= RST;
        let frame = shape.frame(bench.client());
        let (told, known) = (bench.told(&frame), oracle(&frame));
        prop_assert_eq!(told.is_some(), is_first_fragment(&shape));
        prop_assert_eq!(told.is_some(), known.is_some());
        if let (Some((peer, local, wire)), Some((source, destination, segment))) = (told, known) {
            prop_assert_eq!((peer, local), (source, destination));
            prop_assert_eq!(plain(&wire.rst), plain(&segment));
        }
        Ok(())
    });
}

#[test]
fn what_is_cut_short_or_garbled_adds_nothing() {
    let garbled = vec((any::<Index>(), any::<u8>()), 0..4);
    property((shape(), garbled, proptest::option::of(any::<Index>())), |bench, (mut shape, garbled, cut)| {
        shape.flags |= RST;
        let mut frame = shape.frame(bench.client());
        for (at, byte) in garbled {
            // The addresses of the link stay: what they say is no header fact.
            let at = 12 + at.index(frame.len() - 12);
            *frame.get_mut(at).unwrap() = byte;
        }
        if let Some(cut) = cut {
            // The kernel runs no program on less than the headers of the link and of IP.
            let least = if shape.v6 { 54 } else { 34 };
            frame.truncate(least + cut.index(frame.len() - least));
        }
        if let Some((peer, local, wire)) = bench.told(&frame) {
            let Some((source, destination, segment)) = oracle(&frame) else {
                prop_assert!(
                    lengths(&frame).is_none_or(|(contradicts, _)| contradicts),
                    "out of nothing: {:?} of {:02x?}",
                    wire.rst,
                    frame
                );
                return Ok(());
            };
            prop_assert_eq!((peer, local), (source, destination));
            prop_assert!(segment.flags.rst());
            let (mut told, known) = (plain(&wire.rst), plain(&segment));
            // Of options that break off, the tap's record has whole words, and then zeros.
            if lengths(&frame).is_none_or(|(_, end)| frame.len() < end) {
                (told.options, told.timestamps) = (known.options, known.timestamps);
            }
            // Timestamps that go on beyond their header go on with those zeros, too.
            if known.timestamps.is_none() && known.options.names().iter().any(|name| name == "timestamps") {
                told.timestamps = None;
            }
            prop_assert_eq!(told, known, "{:02x?}", frame);
        }
        Ok(())
    });
}

/// Whether the headers are of another version than the link says, or of lengths that do not go
/// together. The kernel drops such a packet when it comes to read it (`ip_rcv_core()`,
/// `tcp_v4_rcv()`), and the tap, which is asked before, does not look for that. And where the TCP
/// header ends.
fn lengths(frame: &[u8]) -> Option<(bool, usize)> {
    let byte = |at: usize| frame.get(at).copied();
    let half = |at: usize| Some(usize::from(u16::from_be_bytes([byte(at)?, byte(at + 1)?])));
    let (version, total, tcp_at) = if half(12)? == 0x86dd {
        let (mut next, mut at) = (byte(20)?, 54);
        while matches!(next, 0 | 43 | 60) {
            (next, at) = (byte(at)?, at + (usize::from(byte(at + 1)?) + 1) * 8);
        }
        let payload = half(18)?;
        (6, if payload == 0 { frame.len() - 14 } else { payload + 40 }, at)
    } else {
        let total = half(16)?;
        (4, if total == 0 { frame.len() - 14 } else { total }, 14 + usize::from(byte(14)? & 0xf) * 4)
    };
    let header = usize::from(byte(tcp_at + 12)? >> 4) * 4;
    let contradicts = byte(14)? >> 4 != version || tcp_at < 34 || header < 20 || total < tcp_at - 14 + header;
    Some((contradicts, tcp_at + header))
}

/// What the packets before a RST had in common, times left out.
fn facts(side: &Side) -> String {
    let ids = &side.ip_ids;
    let ids = (ids.last, ids.by_one, ids.zeros, ids.forward, ids.other);
    let ttl = (side.ttl.mode, side.ttl.last, side.ttl.lowest, side.ttl.highest, side.ttl.count);
    let handshake = (side.handshake_ttl, side.handshake_dont_fragment, side.handshake_ip_id, side.initial_seq);
    // Of a handshake alone, the tap keeps no more.
    let latest = (side.ttl.count > 0).then_some((side.window, side.tos, side.last_ack, side.last_timestamp.map(|(stamp, _)| stamp)));
    let counts = (side.packets, side.bytes, side.dont_fragment, side.timestamped);
    format!("{counts:?} {ttl:?} {ids:?} {handshake:?} {latest:?} {:?} {} {:?}", side.end_seq, side.fin, side.flow_label)
}

#[test]
fn a_flow_is_remembered_as_it_was() {
    property((any::<bool>(), any::<bool>(), vec(shape(), 0..12), shape(), any::<u32>()), |bench, (v6, opened, shapes, rst, isn)| {
        let client = bench.client();
        let mut flow = WireFlow::default();
        let with = |mut shape: Shape, flags: u8| {
            shape.v6 = v6;
            shape.fragment &= 0x4000;
            shape.flags = flags;
            shape.seq = isn.wrapping_add(shape.seq);
            shape
        };
        let mut frames: Vec<Vec<u8>> = Vec::new();
        if opened {
            let mut syn = with(rst.clone(), SYN);
            syn.seq = isn;
            syn.tcp_options.clear();
            syn.payload.clear();
            frames.push(syn.frame(client));
        }
        frames.extend(shapes.into_iter().map(|shape| {
            // Without ACK a segment is none of a connection's.
            let flags = shape.flags & !(SYN | RST) & (FIN | 0xe8) | ACK;
            with(shape, flags).frame(client)
        }));
        for frame in &frames {
            prop_assert!(bench.told(frame).is_none());
            flow.observe(&oracle(frame).unwrap().2, End::First);
        }
        let frame = with(rst, RST).frame(client);
        let (_, _, wire) = bench.told(&frame).unwrap();
        let known = flow.reset(&oracle(&frame).unwrap().2, End::First, None);
        prop_assert_eq!(facts(&wire.sender), facts(&known.sender));
        Ok(())
    });
}

/// What somebody makes up who does not know the numbers of a connection changes nothing that is
/// remembered of it.
#[test]
fn what_is_made_up_is_not_remembered() {
    let far = (1_u32 << 25)..(1 << 31);
    let flags = proptest::sample::select(std::vec![SYN, FIN | ACK, ACK, 0x18, FIN]);
    let made_up = (shape(), far.clone(), far, any::<bool>(), flags);
    property(
        (any::<bool>(), vec(shape(), 4..8), vec((any::<Index>(), made_up), 1..12), any::<u32>()),
        |bench, (v6, shapes, made_up, isn)| {
            let with = |mut shape: Shape, flags: u8, seq: u32, ack: u32| {
                shape.v6 = v6;
                shape.fragment &= 0x4000;
                (shape.flags, shape.seq, shape.ack) = (flags, isn.wrapping_add(seq), ack);
                shape
            };
            let genuine: Vec<Shape> = shapes
                .into_iter()
                .map(|shape| {
                    let (seq, ack) = (shape.seq, shape.ack);
                    with(shape, 0x18, seq, ack)
                })
                .collect();
            let last = genuine.last().cloned().unwrap();
            let rst = with(last, RST, 100_000, 0);
            let told = |insert: bool| {
                let client = bench.client();
                let mut frames: Vec<Shape> = genuine.clone();
                for (place, (shape, seq, ack, ahead, kind)) in made_up.iter().filter(|_| insert) {
                    // SYN, FIN, ACK and data; the SYN of somebody else is no reason to forget. A
                    // SYN-ACK is: user space holds what comes of it against the numbers of the
                    // socket.
                    let flags = *kind;
                    let seq = if *ahead { *seq } else { seq.wrapping_neg() };
                    // After two of the connection's, from which on it is one.
                    frames.insert(2 + place.index(frames.len() - 1), with(shape.clone(), flags, seq, *ack));
                }
                for shape in &frames {
                    let _nothing = bench.told(&shape.frame(client));
                }
                bench.told(&rst.frame(client)).map(|(_, _, wire)| facts(&wire.sender))
            };
            let alone = told(false);
            prop_assert_eq!(told(true), alone);
            Ok(())
        },
    );
}

/// One peer's RSTs do not use up what others' may have.
#[test]
fn a_peer_has_no_more_than_its_share() {
    // A fifth of them for what belongs to no connection: ten a second, and five of one peer.
    let bench = Bench::with(budgets(50, 0));
    let rst = Shape {
        v6: false,
        options: 0,
        extensions: Vec::new(),
        tos: 0,
        id: 1,
        fragment: 0,
        label: 0,
        ttl: 64,
        seq: 1,
        ack: 0,
        flags: RST,
        window: 0,
        tcp_options: Vec::new(),
        payload: Vec::new(),
        padding: 0,
        merged: false,
    };
    for v6 in [false, true] {
        let rst = Shape { v6, ..rst.clone() };
        // The last byte of its address, which is the last but four of the header of IPv4.
        let last = if v6 { 14 + 8 + 15 } else { 14 + 15 };
        let from = |peer: u8| {
            let mut frame = rst.frame(bench.client());
            *frame.get_mut(last).unwrap() = peer;
            bench.told(&frame).is_some()
        };
        let began = std::time::Instant::now();
        let told = (0..100).filter(|_| from(7)).count();
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
        assert!((1..=5 * seconds).contains(&told), "{told} of 100 in less than {seconds} s");
        assert!(from(8), "another peer's is told");
        // So that the next round has a second of its own.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
}
