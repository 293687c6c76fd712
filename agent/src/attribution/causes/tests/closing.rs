use super::*;
use crate::{
    amqp::Tls,
    flow::{Earlier, SocketKind, Trigger},
    model::{KnownFrom, OriginKind, ProcessEnd},
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
        trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(0x10) }),
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
            Reset { earlier: None, trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(0x11) }), ..stale(true) },
            "stale_connection info",
        ),
    ]
}

#[test]
fn ordinary_ends_are_info() {
    check(routine());
    for (name, reset, _) in routine() {
        let severity = attribute(&reset).severity;
        assert_eq!(severity, crate::model::Severity::Info, "{name}");
    }
}

#[test]
fn what_looks_like_an_ordinary_end_and_is_none() {
    let unused = Reset { tcp: Some(TcpFacts::default()), ..broker_closes(None) };
    let half_used = TcpFacts { bytes_received: 8, ..TcpFacts::default() };
    let fin_received = SocketFacts { owned: true, linger_zero: true, fin_received: true, ..SocketFacts::default() };
    let stale = Reset {
        active: false,
        socket_kind: SocketKind::None,
        trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(0x10) }),
        ..testing::reset()
    };
    let signed = convict(bare_answer(61, seconds(1), false));
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
    let failed = Conversation { close: Some(close(Side::Local, 541, "INTERNAL_ERROR")), ..open() };
    check([
        ("killed", left(end(Some(9), None), None), "process_killed error"),
        ("killed, connection open", left(end(Some(9), None), Some(open())), "process_killed error"),
        ("killed after its farewell", left(end(Some(9), None), Some(in_order.clone())), "routine_close info"),
        ("exited, connection open", left(end(None, Some(0)), Some(open())), "process_exited warning"),
        ("exited after its farewell", left(end(None, Some(0)), Some(in_order)), "routine_close info"),
        ("exited after it had named an error", left(end(None, Some(1)), Some(failed)), "forced_close warning"),
        ("exited, nothing seen of AMQP", left(end(None, Some(0)), None), "routine_close info"),
        // What its kernel did on its own, later, has another reason.
        (
            "killed, and no memory for what it had left",
            Reset {
                direction: Direction::Sent,
                active: true,
                wire: None,
                reason: Some(crate::flow::Reason { code: 1, name: Some("TCP_ABORT_ON_MEMORY".to_owned()) }),
                ..left(end(Some(9), None), None)
            },
            "out_of_memory error",
        ),
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

/// Where one fact less makes a loss of what looks like routine, or one more.
#[test]
fn the_edges_of_routine() {
    let no_close = Conversation { phase: Some(Phase::Closed), ..open() };
    let success_0 = Conversation { close: Some(close(Side::Peer, 0, "")), ..open() };
    let lingers = |fin_received| Some(SocketFacts { owned: true, linger_zero: true, fin_received, ..SocketFacts::default() });
    let heard = |milliseconds, reset: Reset| {
        let tcp = TcpFacts { since_received: Some(Duration::from_millis(milliseconds)), ..used() };
        Reset { tcp: Some(tcp), ..reset }
    };
    let encrypted = |followed_peer| Conversation { followed_peer, ..Conversation::of(Protocol::Tls) };
    let amqp_1 = Conversation { phase: None, followed_peer: true, ..Conversation::of(Protocol::Amqp10) };
    check([
        // Only the answer was seen.
        ("closed, by whom was not seen", broker_closes(Some(no_close)), "routine_close info"),
        ("a client that leaves the reply-code at 0", broker_closes(Some(success_0)), "routine_close info"),
        ("the last frame 999 ms before", heard(999, broker_closes(None)), "routine_close info"),
        ("the last frame a second before", heard(1_000, broker_closes(None)), "linger_abort warning"),
        ("TLS hides a farewell", broker_closes(Some(encrypted(true))), "routine_close info"),
        ("AMQP 1.0 is not followed so far", broker_closes(Some(amqp_1)), "routine_close info"),
        ("an open connection hides none", broker_closes(Some(open())), "linger_abort warning"),
        ("a client that lingers after the FIN", Reset { socket: lingers(true), ..client_closes_read(None) }, "routine_close info"),
        ("a client that lingers", Reset { socket: lingers(false), ..client_closes_read(None) }, "linger_abort warning"),
    ]);
    let cause = |reset| attribute(&reset).cause;
    let unanswered = Conversation { phase: Some(Phase::Closing), ..closed(Side::Peer, 200, "bye") };
    for (conversation, confidence, summary) in [
        (
            closed(Side::Peer, 200, "bye"),
            0.98,
            "the client had closed the AMQP connection, and the other end had agreed; the RST only ended the socket",
        ),
        (unanswered, 0.9, "the client had closed the AMQP connection; the RST came instead of the rest of the farewell"),
    ] {
        let cause = cause(broker_closes(Some(conversation)));
        assert_eq!((cause.confidence, &*cause.summary), (Some(confidence), summary));
    }
    let after_fin = Reset { socket: lingers(true), ..client_closes_read(None) };
    assert_eq!(cause(after_fin).confidence, Some(0.95));
    let by_nobody = cause(broker_closes(Some(Conversation { phase: Some(Phase::Closed), ..open() })));
    assert_eq!(
        (by_nobody.confidence, &*by_nobody.summary),
        (Some(0.7), "the AMQP connection had been closed; the RST only ended the socket")
    );
}

/// A client with nothing unread that closes.
fn client_closes_read(conversation: Option<Conversation>) -> Reset {
    Reset { tcp: Some(used()), ..client_closes(conversation) }
}

#[test]
fn a_rst_that_finds_this_host_closing() {
    let closing = |state, conversation| Reset { state: Some(state), ..arrives(Role::Client, conversation) };
    let signed = convict(bare_answer(61, seconds(1), false));
    let failed = Conversation { close: Some(close(Side::Local, 541, "INTERNAL_ERROR")), ..open() };
    // It cannot answer with a number that nobody had acknowledged.
    let mut far_on = signed.clone();
    far_on.rst.seq += 2;
    let made_up = Reset { wire: Some(Box::new(far_on)), ..closing(TcpState::Established, None) };
    let convicted = |state| Reset { wire: Some(Box::new(signed.clone())), ..closing(state, None) };
    check([
        ("LAST_ACK", closing(TcpState::LastAck, None), "routine_close info"),
        ("CLOSING", closing(TcpState::Closing, None), "routine_close info"),
        ("the client had named an error", closing(TcpState::FinWait1, Some(failed)), "forced_close warning"),
        // RFC 1337: nothing is left to shorten, and the RST does not matter.
        ("TIME_WAIT", closing(TcpState::TimeWait, None), "unknown warning"),
        // The accusation stands, though nothing was lost by it.
        ("a box that is convicted, FIN_WAIT_1", convicted(TcpState::FinWait1), "state_lost info"),
        ("a box that is convicted, in the handshake", convicted(TcpState::SynRecv), "handshake_aborted info"),
        ("a box that is convicted, with a number of its own", made_up, "injected warning"),
        ("a box that is convicted, open", convicted(TcpState::Established), "state_lost warning"),
    ]);
    // The peer is not considered where a box is convicted.
    let considered = attribute(&convicted(TcpState::CloseWait));
    assert!(!considered.evidence.iter().any(|evidence| evidence.detail.starts_with("peer_gone")), "{considered:#?}");
    let cause = |conversation| attribute(&closing(TcpState::FinWait2, conversation)).cause;
    assert_eq!(cause(None).confidence, Some(0.9));
    let unclosed = cause(Some(open()));
    assert_eq!(unclosed.confidence, Some(0.6), "it had a reason that is not known");
    assert!(unclosed.summary.contains("without closing the AMQP connection (FIN_WAIT"), "{}", unclosed.summary);
}

#[test]
fn a_health_check_says_nothing_and_goes_away_by_itself() {
    let mute = |reset: Reset| Reset { tcp: Some(TcpFacts::default()), ..reset };
    let seen = |state, reset| Reset { state, ..mute(reset) };
    let by = |bytes_received, bytes_sent, reset: Reset| Reset {
        tcp: Some(TcpFacts { bytes_received, bytes_sent, ..TcpFacts::default() }),
        ..reset
    };
    let broker = || arrives(Role::Broker, None);
    // Convicted by all its fields together, none of which is proof by itself.
    let forged = {
        let wire = bare_answer(255, seconds(1), false);
        Wire { rst: Segment { ip_id: Some(1), dont_fragment: Some(false), window: 8192, ..wire.rst }, ..wire }
    };
    let disconnects =
        Reset { reason: Some(crate::flow::Reason { code: 1, name: Some("TCP_STATE".to_owned()) }), ..mute(client_closes_read(None)) };
    check([
        ("open", mute(broker()), "routine_close info"),
        ("after its FIN", seen(Some(TcpState::CloseWait), broker()), "routine_close info"),
        ("its state is not known", seen(None, broker()), "peer_aborted warning"),
        ("it said something", by(1, 0, broker()), "peer_aborted warning"),
        ("the broker said something", by(0, 1, broker()), "peer_aborted warning"),
        ("nothing is known of what was said", Reset { tcp: None, ..broker() }, "peer_aborted warning"),
        ("AMQP was spoken", mute(arrives(Role::Broker, Some(open()))), "peer_aborted warning"),
        ("by connect() to AF_UNSPEC, on its own host", disconnects, "routine_close info"),
        ("the packet was not seen", mute(Reset { wire: None, ..broker() }), "routine_close info"),
        ("a box between made it", Reset { wire: Some(Box::new(forged)), ..mute(broker()) }, "injected warning"),
    ]);
    let named = Reset { known_middlebox: Some("lb-1".to_owned()), ..mute(broker()) };
    assert_eq!(attribute(&named).cause.summary, "lb-1 (192.0.2.2) connected, said nothing and went away, as health checks do");
    assert_eq!(attribute(&mute(broker())).cause.summary, "192.0.2.2 connected, said nothing and went away, as health checks do");
}
