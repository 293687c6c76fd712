//! Every rule with cases for it and against it: a reset, and the cause and severity that must come
//! out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any;
mod broker;
mod channel;
mod closing;
mod first_act;
mod handshake;
mod heartbeat;
mod idle;
mod protocol;
mod repeated;

use std::time::Duration;

use crate::{
    amqp::{Close, Conversation, LastSeen, Phase, Protocol, Side},
    attribution::{Verdict, attribute, tests::linux::convict},
    flow::{
        Reset, SocketFacts, TcpFacts,
        wire::{End, Segment, Silence, Timestamps, Wire, WireFlow},
    },
    model::{CauseId, Direction, Flags, Role, Task, TcpState},
    testing,
};

/// A case: its name, the reset, and the cause and severity expected of it, in the words of the
/// contract.
type Row = (&'static str, Reset, &'static str);

fn check(rows: impl IntoIterator<Item = Row>) {
    for (name, reset, expected) in rows {
        let verdict = attribute(&reset);
        let severity = serde_json::to_value(verdict.severity).unwrap();
        let words = format!("{} {}", verdict.cause.id.token(), severity.as_str().unwrap());
        assert_eq!(words, expected, "{name}: {verdict:#?}");
    }
}

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A conversation over a connection that was opened in full, followed on both sides.
fn open() -> Conversation {
    Conversation {
        phase: Some(Phase::Open),
        heartbeat_offered: Some(60),
        heartbeat: Some(60),
        vhost: Some("/".to_owned()),
        followed_local: true,
        followed_peer: true,
        ..Conversation::of(Protocol::Amqp091)
    }
}

fn close(from: Side, code: u16, text: &str) -> Close {
    Close { from, code, text: text.to_owned(), method: None, before: Duration::from_millis(2) }
}

/// The same, closed by `from`, and agreed to by the other end.
fn closed(from: Side, code: u16, text: &str) -> Conversation {
    Conversation { phase: Some(Phase::Closed), close: Some(close(from, code, text)), ..open() }
}

fn task(comm: &str) -> Task {
    Task { pid: 4312, start_boottime_ns: Some(1), comm: comm.to_owned(), uid: 105, end: None }
}

/// Payload went both ways, a moment ago.
fn used() -> TcpFacts {
    let just_now = Some(Duration::from_millis(3));
    TcpFacts {
        bytes_received: 500,
        bytes_sent: 700,
        since_received: just_now,
        since_sent: just_now,
        since_heard: just_now,
        ..TcpFacts::default()
    }
}

/// RabbitMQ closes a socket: by RST, since its listener lingers for no time.
fn broker_closes(conversation: Option<Conversation>) -> Reset {
    Reset {
        closed_first: true,
        socket: Some(SocketFacts { owned: true, linger_zero: true, ..SocketFacts::default() }),
        tcp: Some(used()),
        actor: Some(task("beam.smp")),
        amqp: conversation.map(Box::new),
        ..testing::reset()
    }
}

/// A client closes its socket with something unread.
fn client_closes(conversation: Option<Conversation>) -> Reset {
    Reset {
        role: Role::Client,
        closed_first: true,
        socket: Some(SocketFacts { owned: true, ..SocketFacts::default() }),
        tcp: Some(TcpFacts { unread_bytes: 12, ..used() }),
        actor: Some(task("python3")),
        amqp: conversation.map(Box::new),
        ..testing::reset()
    }
}

/// A RST that arrived from a living socket of the other end.
fn arrives(role: Role, conversation: Option<Conversation>) -> Reset {
    Reset {
        direction: Direction::Received,
        active: false,
        role,
        state: Some(TcpState::Established),
        tcp: Some(used()),
        wire: Some(Box::new(abort_of_a_socket())),
        amqp: conversation.map(Box::new),
        ..testing::reset()
    }
}

/// What a Linux socket at the other end puts on the wire when it aborts: like all its packets
/// before.
fn abort_of_a_socket() -> Wire {
    let mut flow = WireFlow::default();
    for number in 0..6_u32 {
        flow.observe(&data(number), End::Second);
    }
    let rst = Segment { flags: Flags(Flags::RST | Flags::ACK), payload: 0, ..data(6) };
    flow.reset(&rst, End::Second, None)
}

/// A bare answer, as from a kernel or a box that has no such connection.
fn bare_answer(ttl: u8, silence: Duration, broken_by_receiver: bool) -> Wire {
    let wire = abort_of_a_socket();
    let rst = Segment {
        flags: Flags(Flags::RST),
        window: 0,
        timestamps: None,
        ip_id: Some(0),
        ttl,
        options: crate::flow::wire::OptionKinds::default(),
        ..wire.rst
    };
    Wire { rst, silence: Some(Silence { length: silence, broken_by_receiver }), ..wire }
}

fn data(number: u32) -> Segment {
    Segment {
        time_ns: u64::from(number) * 10_000_000,
        ttl: 61,
        ip_id: u16::try_from(number).ok().map(|number| 900 + number),
        dont_fragment: Some(true),
        seq: 1_000 + 10 * number,
        ack: 50,
        flags: Flags(Flags::ACK),
        window: 500,
        timestamps: Some(Timestamps { value: 10 + 10 * number, echo: 1 }),
        payload: 10,
        ..Segment::default()
    }
}

/// Names of the evidence of a verdict.
fn signals(verdict: &Verdict) -> Vec<&str> {
    verdict.evidence.iter().map(|evidence| &*evidence.signal).collect()
}
