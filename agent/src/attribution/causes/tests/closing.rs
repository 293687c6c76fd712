use super::*;
use crate::{
    amqp::Tls,
    event::{KnownFrom, OriginKind},
    flow::ProcessEnd,
    flow::wire::VendorText,
    flow::{Earlier, SocketKind, Trigger},
};

/// Ordinary ends, from every point of view: none of them may be more than info.
pub(super) fn routine() -> Vec<Row> {
    let by_client = || closed(Side::Peer, 200, "Normal shutdown");
    let by_us = || closed(Side::Local, 200, "Normal shutdown");
    let unanswered = |from| Conversation { phase: Some(Phase::Closing), ..closed(from, 200, "bye") };
    let fin_received = SocketFacts { owned: true, linger_zero: true, fin_received: true, ..SocketFacts::default() };
    let end = ProcessEnd { code: Some(0), signal: None, core_dumped: false, oom: false, sent_by: None, at_ns: 0 };
    let silent = TcpFacts::default;
    let lingering = || Some(SocketFacts { owned: true, linger_zero: true, ..SocketFacts::default() });
    let tls = Tls { client_hello: true, server_hello: true, application_data: true, alert_from_peer: true, ..Tls::default() };
    let session = Conversation { tls: Some(tls), ..Conversation::of(Protocol::Tls) };
    let stale = |routine| Reset {
        active: false,
        socket_kind: SocketKind::None,
        trigger: Some(Trigger { seq: 1, ack: 2, flags: 0x10 }),
        earlier: Some(Box::new(Earlier { id: "test-0".to_owned(), ago: Duration::from_millis(1), routine })),
        ..testing::reset()
    };
    vec![
        ("the broker, after close-ok", broker_closes(Some(by_client())), "routine_close info"),
        ("the broker, close-ok unseen", broker_closes(Some(unanswered(Side::Peer))), "routine_close info"),
        ("the broker, after its own close with success", broker_closes(Some(by_us())), "routine_close info"),
        ("the broker, nothing seen of AMQP", broker_closes(None), "routine_close info"),
        ("the broker, after the client's FIN", Reset { socket: Some(fin_received), ..broker_closes(None) }, "routine_close info"),
        ("the client's host, after close-ok", arrives(Role::Client, Some(by_us())), "routine_close info"),
        ("the client's host, close-ok unseen", arrives(Role::Client, Some(unanswered(Side::Local))), "routine_close info"),
        (
            "the client's host, after close-ok, in CLOSE_WAIT",
            Reset { state: Some(TcpState::CloseWait), ..arrives(Role::Client, Some(by_us())) },
            "routine_close info",
        ),
        ("the client's host, FIN sent", Reset { state: Some(TcpState::FinWait1), ..arrives(Role::Client, None) }, "routine_close info"),
        ("the client's host, no packet", Reset { wire: None, ..arrives(Role::Client, Some(by_us())) }, "routine_close info"),
        ("the client closes with close-ok unread", client_closes(Some(by_us())), "routine_close info"),
        (
            "the client exits after close-ok",
            Reset { actor: Some(Task { end: Some(end), ..task("python3") }), ..client_closes(Some(by_us())) },
            "routine_close info",
        ),
        ("the broker's host, the client resets after close-ok", arrives(Role::Broker, Some(by_client())), "routine_close info"),
        ("a health check, on the broker", Reset { tcp: Some(silent()), ..arrives(Role::Broker, None) }, "routine_close info"),
        (
            "a health check of a known balancer",
            Reset { tcp: Some(silent()), known_middlebox: Some("lb-1".to_owned()), ..arrives(Role::Broker, None) },
            "routine_close info",
        ),
        (
            "a health check, on the balancer",
            Reset { tcp: Some(silent()), socket: lingering(), ..client_closes(None) },
            "routine_close info",
        ),
        ("TLS, close_notify seen", arrives(Role::Client, Some(session)), "routine_close info"),
        ("a segment after an ordinary reset", stale(true), "routine_close info"),
        ("a segment after a reset that was told", stale(false), "stale_connection info"),
        (
            "a FIN for a connection long gone",
            Reset { earlier: None, trigger: Some(Trigger { seq: 1, ack: 2, flags: 0x11 }), ..stale(true) },
            "stale_connection info",
        ),
    ]
}

#[test]
fn ordinary_ends_are_info() {
    check(routine());
    for (name, reset, _) in routine() {
        let severity = attribute(&reset).severity;
        assert_eq!(severity, crate::event::Severity::Info, "{name}");
    }
}

#[test]
fn what_looks_like_an_ordinary_end_and_is_none() {
    let unused = Reset { tcp: Some(TcpFacts::default()), ..broker_closes(None) };
    let half_used = TcpFacts { bytes_received: 8, ..TcpFacts::default() };
    let fin_received = SocketFacts { owned: true, linger_zero: true, fin_received: true, ..SocketFacts::default() };
    let stale =
        Reset { active: false, socket_kind: SocketKind::None, trigger: Some(Trigger { seq: 1, ack: 2, flags: 0x10 }), ..testing::reset() };
    let signed = Wire { text: VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired"), ..bare_answer(61, seconds(1), false) };
    let one_sided = Conversation { followed_peer: false, ..open() };
    check([
        ("the broker, AMQP followed and not closed", broker_closes(Some(open())), "linger_abort warning"),
        ("the broker closes what never spoke", unused, "linger_abort warning"),
        (
            "FIN of a client that had not closed",
            Reset { socket: Some(fin_received.clone()), ..broker_closes(Some(open())) },
            "peer_gone warning",
        ),
        // What was not followed may have been closed.
        ("FIN of a client not followed", Reset { socket: Some(fin_received), ..broker_closes(Some(one_sided)) }, "routine_close info"),
        (
            "nothing said, and a box between convicted",
            Reset { wire: Some(Box::new(signed)), tcp: Some(TcpFacts::default()), ..arrives(Role::Broker, None) },
            "injected warning",
        ),
        ("a client that said something", Reset { tcp: Some(half_used), ..arrives(Role::Broker, None) }, "peer_aborted warning"),
        (
            "nothing said, seen by the client",
            Reset { tcp: Some(TcpFacts::default()), ..arrives(Role::Client, None) },
            "peer_aborted warning",
        ),
        ("open, seen by the client", arrives(Role::Client, Some(open())), "peer_aborted warning"),
        ("the client leaves without closing", client_closes(Some(open())), "close_with_unread_data warning"),
        ("a segment for a connection long gone", stale, "stale_connection warning"),
    ]);
}

#[test]
fn a_rst_that_answers_the_fin_of_an_owner_that_ended() {
    let end = |signal, code| ProcessEnd { code, signal, core_dumped: false, oom: false, sent_by: None, at_ns: 0 };
    let left = |end, conversation| Reset {
        state: Some(TcpState::FinWait1),
        socket: Some(SocketFacts { owned: true, orphan: true, ..SocketFacts::default() }),
        remembered: Some((Task { end: Some(end), ..task("python3") }, KnownFrom::Close)),
        ..arrives(Role::Client, conversation)
    };
    let in_order = closed(Side::Local, 200, "bye");
    check([
        ("killed", left(end(Some(9), None), None), "process_killed error"),
        ("killed, connection open", left(end(Some(9), None), Some(open())), "process_killed error"),
        ("killed after its farewell", left(end(Some(9), None), Some(in_order.clone())), "routine_close info"),
        ("exited, connection open", left(end(None, Some(0)), Some(open())), "process_exited warning"),
        ("exited after its farewell", left(end(None, Some(0)), Some(in_order)), "routine_close info"),
        ("exited, nothing seen of AMQP", left(end(None, Some(0)), None), "routine_close info"),
    ]);
}

#[test]
fn what_else_was_considered_is_in_the_evidence() {
    let verdict = attribute(&broker_closes(Some(closed(Side::Peer, 200, "Goodbye"))));
    let evidence = |name: &str| verdict.evidence.iter().find(|evidence| evidence.signal == name).unwrap();
    let close = evidence("amqp_close");
    assert_eq!(close.detail, "connection.close 200 \"Goodbye\" from the client, 2 ms before the reset");
    assert_eq!(close.points_to, OriginKind::RemotePeer);
    assert!(evidence("other_cause").detail.starts_with("linger_abort (0.90): beam.smp"), "{verdict:#?}");
}
