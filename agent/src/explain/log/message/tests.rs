//! What RabbitMQ says, and what only looks as if it did.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::{End, Message, Protocol, read};
use crate::explain::log::reason::Reason;

fn end_of(text: &str, quiet: bool) -> End<'_> {
    match read(text, quiet) {
        Some(Message::End(end)) => end,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_protocol_ends() {
    for (text, protocol, reason) in [
        ("MQTT detected network error on 192.0.2.2:40122 -> 192.0.2.1:5672: connection_reset", Protocol::Mqtt, Reason::SocketError),
        (
            "MQTT detected network error for \"192.0.2.2:40122 -> 192.0.2.1:5672\": peer closed TCP connection",
            Protocol::Mqtt,
            Reason::ClientClosedTcp,
        ),
        (
            "MQTT connection <<\"192.0.2.2:40122 -> 192.0.2.1:5672\">> will terminate because peer closed TCP connection",
            Protocol::Mqtt,
            Reason::ClientClosedTcp,
        ),
        (
            "closing MQTT connection \"192.0.2.2:40122 -> 192.0.2.1:5672\" (keepalive timeout)",
            Protocol::Mqtt,
            Reason::of("heartbeat_timeout"),
        ),
        ("closing MQTT connection <0.9.0> (192.0.2.2:40122 -> 192.0.2.1:5672)", Protocol::Mqtt, Reason::Orderly),
        ("closing MQTT connection 192.0.2.2:40122 -> 192.0.2.1:5672 (login timeout)", Protocol::Mqtt, Reason::HandshakeTimeout),
        ("MQTT closing connection 192.0.2.2:40122 -> 192.0.2.1:5672: {shutdown, x}", Protocol::Mqtt, Reason::Other),
        ("STOMP detected network error on 192.0.2.2:40122 -> 192.0.2.1:5672: {error,etimedout}", Protocol::Stomp, Reason::SocketError),
        (
            "STOMP detected missed client heartbeat(s) on connection 192.0.2.2:40122 -> 192.0.2.1:5672, closing it",
            Protocol::Stomp,
            Reason::of("heartbeat_timeout"),
        ),
        ("closing STOMP connection <0.9.0> (192.0.2.2:40122 -> 192.0.2.1:5672)", Protocol::Stomp, Reason::Orderly),
        (
            "Closing stream connection <0.9.0> (192.0.2.2:40122 -> 192.0.2.1:5672): client did not respond within 5ms",
            Protocol::Stream,
            Reason::Other,
        ),
        (
            "closing AMQP 1.0 connection (192.0.2.2:40122 -> 192.0.2.1:5672, duration: '1ms'): RabbitMQ requires SASL",
            Protocol::Amqp10,
            Reason::Other,
        ),
    ] {
        let end = end_of(text, true);
        assert_eq!((end.protocol, end.reason), (protocol, Some(reason)), "{text}");
        assert_eq!(end.ends.unwrap().client.port, 40_122, "{text}");
    }
    let end = end_of("Stream reader socket #Port<0.1> closed [<0.12.3>]", false);
    assert_eq!((end.pid, end.reason), (Some("<0.12.3>"), Some(Reason::ClientClosedTcp)));
}

#[test]
fn what_a_client_chose_is_no_structure() {
    let name = "closing AMQP connection <0.9.0> (192.0.2.2:40122 -> 192.0.2.1:5672 - x): client unexpectedly closed TCP connection, vhost: 'a', user: 'b')";
    assert_eq!(end_of(name, true).reason, Some(Reason::Orderly));
    let arrow = end_of(
        "closing AMQP connection <0.9.0> (192.0.2.2:40122 -> 192.0.2.1:5672, vhost: '9.9.9.9:1 -> 8.8.8.8:2): c', user: 'b', duration: '1s'):",
        false,
    );
    assert!(arrow.to_follow && arrow.reason.is_none());
    assert_eq!(arrow.ends.unwrap().broker.port, 5672);
    let named = "connection <0.9.0> (192.0.2.2:40122 -> 192.0.2.1:5672) has a client-provided name: closing AMQP connection <0.9.0> (1.1.1.1:1 -> 2.2.2.2:2):";
    assert!(matches!(read(named, true), Some(Message::Opened { .. })));
}

#[test]
fn prose_is_none() {
    for text in [
        "closing AMQP connection is done by the client",
        "connection closed",
        "Closing connection because of x",
        "Error on AMQP connections in general",
    ] {
        assert_eq!(read(text, true), None, "{text}");
    }
}
