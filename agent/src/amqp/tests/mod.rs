//! Conversations as they are, and what becomes of them in segments.

mod any;
pub mod script;

use std::time::Duration;

use script::{PASSWORD, close, frame, method, open, start, start_ok, tune};

use super::{Blocked, Chunk, Conversation, Follower, Phase, Protocol, Side};
use crate::model::Role;

pub const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
const ISN: u32 = u32::MAX - 20;

/// A follower that is fed segment by segment, one a second, without holes.
struct Wire {
    follower: Follower,
    sent: [u32; 2],
    now_s: u64,
}

impl Wire {
    fn new() -> Self {
        let mut follower = Follower::default();
        follower.open(Role::Client, ISN);
        follower.open(Role::Broker, ISN);
        Self { follower, sent: [0; 2], now_s: 0 }
    }

    fn send(&mut self, from: Role, bytes: &[u8]) -> &mut Self {
        self.send_cut(from, bytes, bytes.len())
    }

    /// Of which only so many bytes are captured.
    fn send_cut(&mut self, from: Role, bytes: &[u8], captured: usize) -> &mut Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let sent = match (from, &mut self.sent) {
            (Role::Client, [client, _]) => client,
            (Role::Broker, [_, broker]) => broker,
        };
        let seq = ISN.wrapping_add(1).wrapping_add(*sent);
        *sent = sent.wrapping_add(length);
        self.now_s += 1;
        let captured = bytes.get(..captured).unwrap_or(bytes);
        self.follower.segment(from, &Chunk { seq, captured, length, time_ns: self.now_s * 1_000_000_000 });
        self
    }

    fn handshake(&mut self, heartbeat: u16) -> &mut Self {
        self.send(Role::Client, HEADER)
            .send(Role::Broker, &start())
            .send(Role::Client, &start_ok())
            .send(Role::Broker, &tune(30, 60))
            .send(Role::Client, &[tune(31, heartbeat), open(b"prod")].concat())
            .send(Role::Broker, &method(41, &[0]))
    }

    /// Seen from the broker's host, a second later.
    fn conversation(&self) -> Option<Conversation> {
        self.follower.conversation((self.now_s + 1) * 1_000_000_000, Role::Broker)
    }

    fn known(&self) -> Conversation {
        self.conversation().unwrap_or_else(|| unreachable!("the protocol is known"))
    }
}

#[test]
fn a_handshake_is_followed_to_open() {
    let mut wire = Wire::new();
    assert_eq!(wire.conversation(), None);
    wire.handshake(0);
    let conversation = wire.known();
    assert_eq!((conversation.protocol, conversation.phase), (Protocol::Amqp091, Some(Phase::Open)));
    assert_eq!((conversation.heartbeat_offered, conversation.heartbeat), (Some(60), Some(0)));
    assert_eq!(conversation.vhost.as_deref(), Some("prod"));
    assert!(conversation.followed_local && conversation.followed_peer);
    assert_eq!(conversation.last_payload.local, Some(Duration::from_secs(1)));
    assert_eq!(conversation.last_payload.peer, Some(Duration::from_secs(2)));
}

#[test]
fn each_phase_has_its_method() {
    let mut wire = Wire::new();
    let steps: [(Role, Vec<u8>, Phase); 10] = [
        (Role::Client, HEADER.to_vec(), Phase::Header),
        (Role::Broker, start(), Phase::Start),
        (Role::Client, start_ok(), Phase::StartOk),
        (Role::Broker, method(20, b"\0\0\0\x02hi"), Phase::StartOk),
        (Role::Client, method(21, b"\0\0\0\x02ho"), Phase::StartOk),
        (Role::Broker, tune(30, 60), Phase::Tune),
        (Role::Client, tune(31, 60), Phase::TuneOk),
        (Role::Client, open(b"/"), Phase::Opening),
        (Role::Broker, method(41, &[0]), Phase::Open),
        (Role::Client, close(200, b"bye", (0, 0)), Phase::Closing),
    ];
    for (from, bytes, phase) in steps {
        assert_eq!(wire.send(from, &bytes).known().phase, Some(phase));
    }
    assert_eq!(wire.send(Role::Broker, &method(51, &[])).known().phase, Some(Phase::Closed));
}

#[test]
fn times_are_those_of_the_segments() {
    let mut wire = Wire::new();
    let beat = frame(8, 0, &[]);
    wire.handshake(10).send(Role::Client, &beat).send(Role::Broker, &beat).send(Role::Broker, &method(60, b"\x03low"));
    let conversation = wire.known();
    assert_eq!(conversation.last_heartbeat.peer, Some(Duration::from_secs(3)));
    assert_eq!(conversation.last_heartbeat.local, Some(Duration::from_secs(2)));
    assert_eq!(conversation.blocked, Some(Blocked { before: Duration::from_secs(1), still: true }));
    let lifted = wire.send(Role::Broker, &method(61, &[])).known();
    assert_eq!(lifted.blocked, Some(Blocked { before: Duration::from_secs(1), still: false }));
    let closed = wire.send(Role::Broker, &close(320, b"CONNECTION_FORCED", (0, 0))).send(Role::Client, &method(51, &[])).known().close;
    let closed = closed.unwrap_or_else(|| unreachable!("it was closed"));
    assert_eq!((closed.from, closed.code, closed.method), (Side::Local, 320, None));
    assert_eq!((closed.text.as_str(), closed.before), ("CONNECTION_FORCED", Duration::from_secs(2)));
}

#[test]
fn what_goes_stale_is_not_told_of_a_lost_direction() {
    let mut wire = Wire::new();
    wire.handshake(10).send(Role::Broker, &frame(8, 0, &[])).send(Role::Broker, &method(60, b"\x03low")).send(Role::Broker, &[7; 40]);
    let conversation = wire.known();
    assert_eq!((conversation.last_heartbeat.local, conversation.blocked), (None, None));
    assert!(!conversation.followed_local && conversation.followed_peer);
    assert_eq!(conversation.heartbeat, Some(10));
}

#[test]
fn long_texts_are_cut() {
    let mut wire = Wire::new();
    wire.handshake(1).send(Role::Client, &open(&[b'v'; 255])).send(Role::Broker, &close(504, &[b't'; 255], (20, 10)));
    let conversation = wire.known();
    // The first `open` stands.
    assert_eq!(conversation.vhost.as_deref(), Some("prod"));
    assert_eq!(conversation.close.map(|close| (close.text.len(), close.method)), Some((127, Some((20, 10)))));
    let mut wire = Wire::new();
    wire.send(Role::Client, HEADER).send(Role::Client, &open(&[b'v'; 255]));
    assert_eq!(wire.known().vhost.map(|vhost| vhost.len()), Some(63));
}

#[test]
fn only_the_end_that_may_send_a_method_is_believed() {
    for (from, bytes) in [
        (Role::Client, start()),
        (Role::Client, tune(30, 7)),
        (Role::Broker, start_ok()),
        (Role::Broker, tune(31, 7)),
        (Role::Broker, open(b"else")),
        (Role::Client, method(41, &[0])),
        (Role::Client, method(60, b"\0")),
        (Role::Client, method(61, &[])),
    ] {
        let mut wire = Wire::new();
        wire.handshake(10).send(from, &bytes);
        let conversation = wire.known();
        assert_eq!((conversation.followed_local, conversation.followed_peer), (from == Role::Client, from == Role::Broker), "{bytes:?}");
        assert_eq!((conversation.heartbeat, conversation.vhost.as_deref()), (Some(10), Some("prod")));
    }
}

#[test]
fn what_is_no_frame_loses_the_direction() {
    let mut broken_end = tune(31, 7);
    if let Some(last) = broken_end.last_mut() {
        *last = 0;
    }
    let wrong_size = [&[1, 0, 0, 0, 0, 0, 13, 0, 10, 0, 31][..], &[0; 9], &[0xce]].concat();
    for bytes in [
        broken_end,
        wrong_size,
        frame(4, 0, &[]),
        frame(8, 1, &[]),
        frame(8, 0, &[0]),
        frame(1, 1, &[0]),
        frame(2, 0, &[0; 14]),
        frame(3, 0, b"x"),
        vec![3, 0, 1, 0x40, 0, 0, 1],
    ] {
        let mut wire = Wire::new();
        wire.send(Role::Client, HEADER).send(Role::Client, &bytes);
        let conversation = wire.known();
        assert_eq!((conversation.heartbeat, conversation.followed_peer), (None, false), "{bytes:?}");
    }
}

#[test]
fn methods_of_other_classes_and_channels_do_not_count() {
    let mut on_a_channel = close(541, b"no", (0, 0));
    if let Some(channel) = on_a_channel.get_mut(2) {
        *channel = 1;
    }
    let mut wire = Wire::new();
    wire.handshake(10).send(Role::Broker, &on_a_channel).send(Role::Client, &frame(1, 0, &[0, 20, 0, 10, 0])).send(
        Role::Client,
        // connection.update-secret of RabbitMQ.
        &method(70, b"\0\0\0\x01x\0"),
    );
    let conversation = wire.known();
    assert_eq!((conversation.close, conversation.phase), (None, Some(Phase::Open)));
    assert!(conversation.followed_local && conversation.followed_peer);
}

/// Its connection.open-ok is not the only sign of an open connection: without it, an end after
/// hours of use would be one in the handshake. Where neither was seen, how far it had come is not
/// known.
#[test]
fn what_goes_over_a_channel_shows_that_the_connection_is_open() {
    let kinds = [(1, 0, None), (1, 1, Some(Phase::Open)), (2, 1, Some(Phase::Open)), (3, 1, Some(Phase::Open))];
    for (kind, channel, phase) in kinds {
        let mut wire = Wire::new();
        wire.send(Role::Client, HEADER).send(Role::Broker, &start()).send(Role::Client, &start_ok()).send(Role::Broker, &tune(30, 60));
        wire.send(Role::Client, &tune(31, 60)).send(Role::Client, &open(b"/")).send(Role::Broker, b"what is no frame");
        let conversation = wire.known();
        assert!(!conversation.followed_local && conversation.followed_peer);
        assert_eq!(wire.send(Role::Client, &frame(kind, channel, &[0, 20, 0, 10, 0])).known().phase, phase, "{kind} on {channel}");
    }
}

#[test]
fn a_repeated_last_byte_of_any_value_is_a_keepalive() {
    let mut wire = Wire::new();
    wire.handshake(10);
    let [client, _] = wire.sent;
    wire.follower.segment(Role::Client, &Chunk { seq: ISN.wrapping_add(client), captured: &[0], length: 1, time_ns: 0 });
    assert!(wire.known().followed_peer);
}

#[test]
fn a_body_may_have_holes_and_a_frame_head_not() {
    let body = frame(3, 1, &[b'x'; 100]);
    let (head, rest) = body.split_at(50);
    let mut wire = Wire::new();
    wire.handshake(10).send(Role::Client, head);
    let [client, broker] = wire.sent;
    let end = client + u32::try_from(rest.len()).unwrap_or(0);
    wire.sent = [end, broker];
    assert_eq!(wire.send(Role::Client, &frame(8, 0, &[])).known().last_heartbeat.peer, Some(Duration::from_secs(1)));
    wire.sent = [end + 20, broker];
    let conversation = wire.send(Role::Client, &frame(8, 0, &[])).known();
    assert_eq!((conversation.last_heartbeat.peer, conversation.followed_peer), (None, false));
}

#[test]
fn a_short_snapshot_length_is_enough_where_the_rest_is_skipped() {
    let mut wire = Wire::new();
    wire.send(Role::Client, HEADER).send_cut(Role::Broker, &start(), 20).send_cut(Role::Client, &start_ok(), 11);
    assert!(wire.known().followed_local && wire.known().followed_peer);
    wire.send_cut(Role::Client, &tune(31, 9), 18);
    assert_eq!((wire.known().heartbeat, wire.known().followed_peer), (None, false));
}

#[test]
fn first_bytes_decide() {
    for (bytes, protocol) in [
        (HEADER, Protocol::Amqp091),
        (b"AMQP\x00\x01\x00\x00", Protocol::Amqp10),
        (b"AMQP\x03\x01\x00\x00", Protocol::Amqp10),
        (b"AMQP\x01\x01\x00\x00", Protocol::AmqpOther),
        (b"AMQP\x01\x01\x08\x00", Protocol::AmqpOther),
        (b"GET / HTTP/1.1\r\n", Protocol::Http),
        (b"OPTIONS * HTTP/1.1\r\n", Protocol::Http),
        (b"PRI * HTTP/2.0\r\n", Protocol::Http),
        (b"CONNECT broker:5672 HTTP/1.1\r\n", Protocol::Http),
        (b"CONNECT\naccept-version:1.2\n", Protocol::Stomp),
        (b"STOMP\r\naccept-version:1.2\r\n", Protocol::Stomp),
        (b"PROXY TCP4 192.0.2.2 192.0.2.1 1 2\r\n", Protocol::Proxy1),
        (b"\r\n\r\n\0\r\nQUIT\n", Protocol::Proxy2),
        (b"\r\n\r\n\r\n\r\n", Protocol::Other),
        (b"\x10\x11\0\x04MQTT\x05", Protocol::Mqtt),
        (b"\x10\x80\x01\0\x04MQTT\x04", Protocol::Mqtt),
        (b"\x10\x80\x80\x01\0\x06MQIsdp\x03", Protocol::Mqtt),
        (b"\x10\x80\x80\x80\x01\0\x06MQIsdp\x03", Protocol::Mqtt),
        (b"\x10\x11\0\x05MQTTX\x05", Protocol::Other),
        (b"\x16\x03\x01\x02\x00", Protocol::Tls),
        (b"\x16\x02\x01\x02\x00", Protocol::Other),
        (b"G", Protocol::Other),
    ] {
        assert_eq!(Wire::new().send(Role::Client, bytes).follower.protocol(), Some(protocol), "{bytes:?}");
    }
    assert_eq!(Wire::new().send(Role::Client, b"AMQP").follower.protocol(), None);
}

#[test]
fn the_broker_alone_tells_what_it_can() {
    let mut follower = Follower::default();
    follower.open(Role::Broker, 99);
    let bytes = [start(), tune(30, 60)].concat();
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    follower.segment(Role::Broker, &Chunk { seq: 100, captured: &bytes, length, time_ns: 0 });
    let conversation = follower.conversation(0, Role::Client).unwrap_or_else(|| unreachable!("a start decides"));
    assert_eq!((conversation.protocol, conversation.phase), (Protocol::Amqp091, Some(Phase::Tune)));
    assert_eq!((conversation.heartbeat_offered, conversation.heartbeat), (Some(60), None));
    assert_eq!((conversation.followed_local, conversation.followed_peer), (false, true));

    let mut follower = Follower::default();
    follower.open(Role::Broker, 99);
    follower.segment(Role::Broker, &Chunk { seq: 100, captured: &tune(30, 60), length: 20, time_ns: 0 });
    assert_eq!(follower.protocol(), None);
}

#[test]
fn tls_is_told_by_the_types_of_its_records() {
    let record = |kind: u8, length: u8| [&[kind, 3, 3, 0, length][..], &vec![0x16; usize::from(length)]].concat();
    let mut wire = Wire::new();
    wire.send(Role::Client, &record(22, 200)).send(Role::Broker, &[record(22, 90), record(20, 1)].concat());
    let seen = wire.known().tls.unwrap_or_default();
    assert!(seen.client_hello && seen.server_hello && !seen.application_data);
    wire.send(Role::Client, &record(23, 40)).send(Role::Broker, &record(21, 2));
    let seen = wire.known().tls.unwrap_or_default();
    assert!(seen.application_data && seen.alert_from_local && !seen.alert_from_peer);
    assert!(wire.known().followed_local && wire.known().followed_peer);
    wire.send(Role::Client, &[23, 3, 3, 0xff, 0]);
    assert!(!wire.known().followed_peer);
}

#[test]
fn a_new_syn_is_a_new_connection() {
    let mut wire = Wire::new();
    wire.handshake(10);
    wire.follower.open(Role::Client, ISN);
    assert_eq!(wire.known().heartbeat, Some(10));
    wire.follower.open(Role::Client, 7);
    assert_eq!(wire.conversation(), None);
}

/// Whether a part of the password that is no coincidence is anywhere in memory, as text or as
/// bytes.
fn holds_password(follower: &Follower) -> bool {
    let memory = format!("{follower:?}");
    let mut parts = PASSWORD.as_bytes().windows(6);
    parts.any(|part| memory.contains(&*String::from_utf8_lossy(part)) || memory.contains(format!("{part:?}").trim_matches(['[', ']'])))
}

#[test]
fn credentials_are_nowhere_in_memory() {
    let bytes = start_ok();
    for cut in 0..=bytes.len() {
        let mut wire = Wire::new();
        wire.send(Role::Client, HEADER).send(Role::Broker, &start());
        let (first, second) = bytes.split_at(cut);
        for part in [first, second] {
            wire.send(Role::Client, part);
            assert!(!holds_password(&wire.follower), "cut at {cut}: {:?}", wire.follower);
        }
        assert_eq!(wire.known().phase, Some(Phase::StartOk));
    }
}
