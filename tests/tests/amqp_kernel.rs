//! The kernel program that follows AMQP against the agent's own follower: the same segments, cut
//! anywhere, lost, sent again, out of order and garbled. What the kernel says is never anything
//! else; where nothing was missed, it is all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../agent/src/amqp/tests/script.rs"]
mod script;

use std::{
    cell::{Cell, RefCell},
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::Config};
// `amqp` and `model` are where `script`, which is part of the agent, looks for them.
use rstblame::{
    amqp::{self, Chunk, Conversation, Follower, LastSeen, Phase, Protocol},
    kernel::{options::Extras, test_run::DryRun},
    model::{self, Role, Tuple, ports::PortSet},
    text,
};
use rstblame_lab::agents::kernel;

const HEADER: &[u8] = b"AMQP\0\0\x09\x01";
const PORT: u16 = 5672;
const BROKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// The kernel program, the follower, and one connection after the other.
struct Bench {
    dry: RefCell<DryRun>,
    netns: u32,
    port: Cell<u16>,
}

impl Bench {
    fn new() -> Self {
        let ports = PortSet::new(vec!["5672".parse().unwrap()]).unwrap();
        let options = kernel::dry(ports, Extras { egress: false, amqp: true });
        let netns = u32::try_from(std::fs::metadata("/proc/self/ns/net").unwrap().ino()).unwrap();
        Self { dry: RefCell::new(DryRun::new(&options).unwrap()), netns, port: Cell::new(1024) }
    }

    fn connect(&self, isn: (u32, u32)) -> Connection<'_> {
        self.port.set(self.port.get().checked_add(1).unwrap_or(1024));
        let client = SocketAddrV4::new(CLIENT, self.port.get());
        let mut follower = Follower::default();
        follower.open(Role::Client, isn.0);
        follower.open(Role::Broker, isn.1);
        let connection = Connection { bench: self, client, isn, follower };
        connection.arrive(Role::Client, isn.0, SYN, &[]);
        connection.arrive(Role::Broker, isn.1, SYN | ACK, &[]);
        connection.arrive(Role::Client, isn.0.wrapping_add(1), ACK, &[]);
        connection
    }
}

struct Connection<'a> {
    bench: &'a Bench,
    client: SocketAddrV4,
    isn: (u32, u32),
    follower: Follower,
}

impl Connection<'_> {
    /// Takes the segment of an end's stream that begins with this byte of it.
    fn segment(&mut self, from: Role, at: usize, bytes: &[u8]) {
        let isn = if from == Role::Client { self.isn.0 } else { self.isn.1 };
        let seq = isn.wrapping_add(1).wrapping_add(u32::try_from(at).unwrap());
        let length = u32::try_from(bytes.len()).unwrap();
        self.follower.segment(from, &Chunk { seq, captured: bytes, length, time_ns: 0 });
        self.arrive(from, seq, ACK, bytes);
    }

    fn arrive(&self, from: Role, seq: u32, flags: u8, payload: &[u8]) {
        let broker = SocketAddrV4::new(BROKER, PORT);
        let (source, destination) = if from == Role::Client { (self.client, broker) } else { (broker, self.client) };
        self.bench.dry.borrow_mut().arrive(&frame(source, destination, seq, flags, payload)).unwrap();
    }

    /// What the kernel says.
    fn told(&self) -> Option<Conversation> {
        let tuple = Tuple::new(SocketAddrV4::new(BROKER, PORT).into(), self.client.into());
        self.bench.dry.borrow().conversation(tuple, Role::Broker, self.bench.netns).map(timeless)
    }

    /// What the follower says.
    fn known(&self) -> Option<Conversation> {
        self.follower.conversation(0, Role::Broker).map(timeless)
    }
}

/// Ethernet, IPv4 and TCP without options.
fn frame(source: SocketAddrV4, destination: SocketAddrV4, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(source.ip().octets());
    frame.extend(destination.ip().octets());
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

/// Whether there is a time is compared, not which.
fn timeless(mut conversation: Conversation) -> Conversation {
    let zero = |time: Option<Duration>| time.map(|_| Duration::ZERO);
    let seen = |seen: LastSeen| LastSeen { local: zero(seen.local), peer: zero(seen.peer) };
    conversation.last_heartbeat = seen(conversation.last_heartbeat);
    conversation.last_payload = seen(conversation.last_payload);
    if let Some(close) = &mut conversation.close {
        close.before = Duration::ZERO;
    }
    if let Some(close) = &mut conversation.channel_close {
        close.before = Duration::ZERO;
    }
    if let Some(blocked) = &mut conversation.blocked {
        blocked.before = Duration::ZERO;
    }
    conversation
}

/// Whether everything that is told is known.
fn adds_nothing(told: Option<&Conversation>, known: Option<&Conversation>) -> bool {
    let Some(told) = told else { return true };
    let Some(known) = known else { return false };
    // Too few bytes were there to tell which.
    let other = told.protocol == Protocol::Other && !known.protocol.is_followed();
    (told.protocol == known.protocol || other)
        && within(told.answer.as_ref(), known.answer.as_ref())
        && told.phase <= known.phase
        && within(told.heartbeat_offered.as_ref(), known.heartbeat_offered.as_ref())
        && within(told.heartbeat.as_ref(), known.heartbeat.as_ref())
        && within(told.vhost.as_ref(), known.vhost.as_ref())
        && within(told.close.as_ref(), known.close.as_ref())
        && within(told.blocked.as_ref(), known.blocked.as_ref())
        && (told.channel_close.is_none() || known.channel_close.is_some())
        && (known.followed_local || !told.followed_local)
        && (known.followed_peer || !told.followed_peer)
        && told.tls.is_none_or(|told| {
            known.tls.is_some_and(|known| {
                known.client_hello >= told.client_hello
                    && known.server_hello >= told.server_hello
                    && known.application_data >= told.application_data
                    && known.alert_from_local >= told.alert_from_local
                    && known.alert_from_peer >= told.alert_from_peer
            })
        })
}

fn within<T: PartialEq>(told: Option<&T>, known: Option<&T>) -> bool {
    told.is_none() || told == known
}

/// How the bytes of a conversation are cut up: lengths of segments, over and over.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![4 => 1_usize..30, 1 => 30_usize..1300], 1..20)
}

type Piece = (Role, usize, Vec<u8>);

/// The segments, in the order in which the bytes were written; both ends may have written more than
/// one answer waits for.
fn pieces(messages: &[(Role, Vec<u8>)], cuts: &[usize]) -> Vec<Piece> {
    let mut lengths = cuts.iter().copied().cycle();
    let mut sent = [0, 0];
    let mut pieces = Vec::new();
    for turn in messages.chunk_by(|(a, _), (b, _)| a == b) {
        let from = turn.first().unwrap().0;
        let [client, broker] = &mut sent;
        let sent = if from == Role::Client { client } else { broker };
        let bytes: Vec<u8> = turn.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(lengths.next().unwrap().min(rest.len()));
            pieces.push((from, *sent, piece.to_vec()));
            *sent += piece.len();
            rest = after;
        }
    }
    pieces
}

fn feed(connection: &mut Connection<'_>, (from, at, bytes): &Piece) {
    connection.segment(*from, *at, bytes);
}

fn property<S: Strategy>(strategy: S, test: impl Fn(&Bench, S::Value) -> Result<(), TestCaseError>) {
    let bench = Bench::new();
    let mut runner = proptest::test_runner::TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    runner.run(&strategy, |value| test(&bench, value)).unwrap();
}

#[test]
fn nothing_is_missed_however_it_is_cut() {
    let again = vec((any::<Index>(), any::<Index>()), 0..8);
    property((script::script(), cuts(), any::<(u32, u32)>(), again), |bench, (script, cuts, isn, again)| {
        let pieces = pieces(&script.messages, &cuts);
        let mut connection = bench.connect(isn);
        for (index, piece) in pieces.iter().enumerate() {
            feed(&mut connection, piece);
            // Retransmissions of what went by.
            for (_, which) in again.iter().filter(|(at, _)| at.index(pieces.len()) == index) {
                feed(&mut connection, pieces.get(which.index(index + 1)).unwrap());
            }
        }
        prop_assert_eq!(connection.told(), Some(timeless(script.truth)));
        prop_assert_eq!(connection.told(), connection.known());
        Ok(())
    });
}

#[test]
fn holes_and_disorder_add_nothing() {
    let missing = vec(any::<Index>(), 0..3);
    let swapped = vec(any::<(Index, Index)>(), 0..3);
    property((script::script(), cuts(), any::<(u32, u32)>(), missing, swapped), |bench, (script, cuts, isn, missing, swapped)| {
        let mut pieces = pieces(&script.messages, &cuts);
        for (a, b) in swapped {
            let (a, b) = (a.index(pieces.len()), b.index(pieces.len()));
            pieces.swap(a, b);
        }
        for index in missing {
            pieces.remove(index.index(pieces.len()));
        }
        let mut connection = bench.connect(isn);
        for piece in &pieces {
            feed(&mut connection, piece);
            // The follower, which reads short strings to their ends, may give up where the program
            // need not.
            let told = connection.told();
            // Whether it is blocked changes on the way.
            let truth = Conversation { blocked: told.as_ref().and_then(|told| told.blocked), ..script.truth.clone() };
            prop_assert!(adds_nothing(told.as_ref(), Some(&truth)), "{told:?}, truth {truth:?}");
        }
        Ok(())
    });
}

#[test]
fn garbage_adds_nothing() {
    let garbled = vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..4);
    property((script::script(), cuts(), any::<(u32, u32)>(), garbled), |bench, (script, cuts, isn, garbled)| {
        let mut pieces = pieces(&script.messages, &cuts);
        for (piece, byte, value) in garbled {
            let (_, _, bytes) = pieces.get_mut(piece.index(piece_count(&script.messages, &cuts))).unwrap();
            let byte = byte.index(bytes.len());
            *bytes.get_mut(byte).unwrap() = value;
        }
        let mut connection = bench.connect(isn);
        for piece in &pieces {
            feed(&mut connection, piece);
            let (told, known) = (connection.told(), connection.known());
            prop_assert!(adds_nothing(told.as_ref(), known.as_ref()), "{told:?}, known {known:?}");
        }
        Ok(())
    });
}

fn piece_count(messages: &[(Role, Vec<u8>)], cuts: &[usize]) -> usize {
    pieces(messages, cuts).len()
}

#[test]
fn noise_adds_nothing() {
    let beginning = || {
        prop_oneof![
            Just(HEADER.to_vec()),
            Just(b"AMQP\0\x01\0\0".to_vec()),
            Just(b"AMQP\x03\x01\0\0".to_vec()),
            Just(vec![22, 3, 1, 0, 2, 0, 0]),
            Just(vec![21, 3, 3, 0, 2, 2, 40]),
            Just(script::start()),
        ]
    };
    let noise = || vec(prop_oneof![1 => any::<u8>(), 1 => 0_u8..4, 1 => 20_u8..25, 1 => Just(0xce)], 0..600);
    let streams = vec((any::<bool>(), prop_oneof![beginning(), noise()], noise()), 0..3);
    // The client speaks first, as it does.
    property((beginning(), streams, cuts(), any::<(u32, u32)>()), |bench, (first, streams, cuts, isn)| {
        let mut messages = vec![(Role::Client, first)];
        messages.extend(streams.into_iter().map(|(client, a, b)| (if client { Role::Client } else { Role::Broker }, [a, b].concat())));
        let mut connection = bench.connect(isn);
        for piece in &pieces(&messages, &cuts) {
            feed(&mut connection, piece);
            let (told, known) = (connection.told(), connection.known());
            prop_assert!(adds_nothing(told.as_ref(), known.as_ref()), "{told:?}, known {known:?}");
        }
        Ok(())
    });
}

#[test]
fn a_connection_that_was_there_before_says_nothing() {
    let bench = Bench::new();
    let client = SocketAddrV4::new(CLIENT, 999);
    let connection = Connection { bench: &bench, client, isn: (10, 20), follower: Follower::default() };
    connection.arrive(Role::Client, 11, ACK, HEADER);
    connection.arrive(Role::Broker, 21, ACK, &script::start());
    assert_eq!(connection.told(), None);
}

#[test]
fn a_new_connection_on_the_same_ports_starts_afresh() {
    let bench = Bench::new();
    let mut first = bench.connect((1000, 2000));
    first.segment(Role::Client, 0, HEADER);
    first.segment(Role::Broker, 0, &script::start());
    first.arrive(Role::Client, 1009, FIN | ACK, &[]);
    assert!(first.told().is_some());
    first.arrive(Role::Client, 5000, SYN, &[]);
    assert_eq!(first.told().and_then(|told| told.phase), Some(Phase::Start), "of the broker's end nothing is known yet");
    first.arrive(Role::Broker, 6000, SYN | ACK, &[]);
    assert_eq!(first.told(), None);
    first.arrive(Role::Client, 5001, ACK, b"GET / HT");
    assert_eq!(first.told().map(|told| told.protocol), Some(Protocol::Http));
}

/// What else is spoken to brokers, in one piece and byte by byte, and what comes back.
#[test]
fn first_bytes_and_answers_are_the_same_on_both_sides() {
    const HEADERS: [&[u8]; 9] = [
        HEADER,
        b"AMQP\0\x01\0\0",
        b"AMQP\x01\x01\x08\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.2 192.0.2.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        b"\x10\x11\0\x04MQTT\x04\x02\0\x3c",
        b"CONNECT\naccept-version:1.2\n\n\0",
        b"nothing that is known",
    ];
    const ANSWERS: [&[u8]; 8] = [
        &[],
        HEADER,
        b"AMQP\x03\x01\0\0",
        &[21, 3, 3, 0, 2, 2, 10],
        &[22, 3, 3, 0, 2, 2, 10],
        b"HTTP/1.1 400 Bad Request\r\n",
        b"SSH-2.0-",
        b"SSH",
    ];
    let bench = Bench::new();
    let hello = [&[22, 3, 1, 0, 200][..], &[1; 200]].concat();
    for header in HEADERS.into_iter().chain([hello.as_slice()]) {
        for answer in ANSWERS.into_iter().chain([script::start().as_slice()]) {
            for length in [1, 5, 1000] {
                let mut connection = bench.connect((7, 7));
                for (from, bytes) in [(Role::Client, header), (Role::Broker, answer)] {
                    for (index, piece) in bytes.chunks(length).enumerate() {
                        connection.segment(from, index * length, piece);
                    }
                }
                let (told, known) = (connection.told(), connection.known());
                let what = format!("{} answered by {}", header.escape_ascii(), answer.escape_ascii());
                let spoken = |conversation: &Conversation| (conversation.protocol, conversation.answer);
                assert_eq!(told.as_ref().map(spoken), known.as_ref().map(spoken), "{what}");
                assert!(adds_nothing(told.as_ref(), known.as_ref()), "{what}: {told:?}, known {known:?}");
            }
        }
    }
}

/// As many of the smallest frames as go into a segment of the Internet's usual size.
#[test]
fn a_segment_full_of_heartbeats_is_followed() {
    let bench = Bench::new();
    let mut connection = bench.connect((7, 7));
    connection.segment(Role::Client, 0, HEADER);
    connection.segment(Role::Broker, 0, &script::start());
    let heartbeats = script::frame(8, 0, &[]).repeat(180);
    connection.segment(Role::Client, 8, &heartbeats);
    connection.segment(Role::Client, 8 + heartbeats.len(), &script::close(200, b"bye", (0, 0)));
    let close = connection.told().and_then(|told| told.close).unwrap();
    assert_eq!((close.code, close.text.as_str()), (200, "bye"));
    assert_eq!(connection.told(), connection.known());
}

/// The segment with `open-ok` comes behind the next one, or not at all (it may have been seen on
/// another CPU, later): what goes over a channel says that the connection is open.
#[test]
fn a_frame_on_a_channel_is_of_an_open_connection() {
    let bench = Bench::new();
    for late in [false, true] {
        for from in [Role::Client, Role::Broker] {
            let mut connection = bench.connect((7, 7));
            let client = [HEADER, &script::start_ok(), &script::tune(31, 60), &script::open(b"/")].concat();
            let broker = [script::start(), script::tune(30, 60)].concat();
            let open_ok = script::method(41, &[0]);
            let on_a_channel = script::frame(1, 1, &[0, 20, 0, 10, 0]);
            connection.segment(Role::Client, 0, &client);
            connection.segment(Role::Broker, 0, &broker);
            assert_eq!(connection.told().and_then(|told| told.phase), Some(Phase::Opening));
            let behind = broker.len() + open_ok.len();
            connection.segment(Role::Broker, behind, &script::frame(1, 1, &[0, 20, 0, 11, 0, 0, 0, 0]));
            assert_eq!(connection.told().and_then(|told| told.phase), None, "how far it had come is not known any more");
            if late {
                connection.segment(Role::Broker, broker.len(), &open_ok);
            }
            let at = if from == Role::Client { client.len() } else { behind + 100 };
            connection.segment(from, at, &on_a_channel);
            let open = (from == Role::Client).then_some(Phase::Open);
            assert_eq!(connection.told().and_then(|told| told.phase), open, "late {late}, {from:?}");
            assert_eq!(connection.told(), connection.known());
        }
    }
}

/// The first segment of an end went by unseen: how far the handshake had come is not known then,
/// whatever the other end says.
#[test]
fn an_end_that_is_followed_from_its_second_segment_on_is_known_to_be_lost() {
    let bench = Bench::new();
    for (missing, acknowledged) in [Role::Client, Role::Broker].into_iter().flat_map(|end| [(end, false), (end, true)]) {
        let mut connection = bench.connect((7, 7));
        if acknowledged {
            // So that it is known already when its second segment comes.
            connection.arrive(missing, 8, ACK, &[]);
        }
        let ends = [
            (Role::Client, vec![HEADER.to_vec(), script::start_ok(), script::tune(31, 60), script::open(b"/")]),
            (Role::Broker, vec![script::start(), script::tune(30, 60), script::method(41, &[0])]),
        ];
        for (from, segments) in ends {
            let mut at = 0;
            for (index, bytes) in segments.iter().enumerate() {
                if from != missing || index > 0 {
                    connection.segment(from, at, bytes);
                }
                at += bytes.len();
            }
        }
        let phase = connection.told().map(|told| told.phase);
        let reached = if missing == Role::Broker { None } else { Some(Phase::Open) };
        assert_eq!(phase, Some(reached), "without the first of {missing:?}, acknowledged {acknowledged}");
    }
}
