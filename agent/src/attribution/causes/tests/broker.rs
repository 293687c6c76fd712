use super::*;
use crate::amqp::Blocked;

const SHUTDOWN: &str = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
const DRAIN: &str = "CONNECTION_FORCED - Node was put into maintenance mode";
const BY_HAND: &str = "CONNECTION_FORCED - Closed via management plugin";

/// The broker's close from the broker's and from the client's host.
fn both(name: &'static str, code: u16, text: &str, expected: &'static str) -> [Row; 2] {
    [
        (name, broker_closes(Some(closed(Side::Local, code, text))), expected),
        (name, arrives(Role::Client, Some(closed(Side::Peer, code, text))), expected),
    ]
}

#[test]
fn the_brokers_close_says_why() {
    check(
        vec![
            both("stop_app", 320, SHUTDOWN, "broker_shutdown warning"),
            both("drain", 320, DRAIN, "broker_shutdown warning"),
            both("320 without a text", 320, "", "broker_shutdown warning"),
            both("management", 320, BY_HAND, "forced_close warning"),
            both("rabbitmqctl close_connection", 320, "CONNECTION_FORCED - go away", "forced_close warning"),
            both("wrong password", 403, "ACCESS_REFUSED - Login was refused", "forced_close warning"),
            both("vhost", 530, "NOT_ALLOWED - vhost prod not found", "forced_close warning"),
            both("frame", 501, "FRAME_ERROR - type 65", "forced_close warning"),
            both("channel", 504, "CHANNEL_ERROR - expected 'channel.open'", "forced_close warning"),
            both("internal", 541, "INTERNAL_ERROR", "forced_close warning"),
            both("unheard of", 599, "", "forced_close warning"),
            both("success", 200, "bye", "routine_close info"),
        ]
        .into_iter()
        .flatten(),
    );
}

#[test]
fn code_and_text_are_named() {
    let summary = |code, text: &str| attribute(&broker_closes(Some(closed(Side::Local, code, text)))).cause.summary;
    assert_eq!(
        summary(320, BY_HAND),
        "somebody had the broker close the connection (320 CONNECTION_FORCED): \"Closed via management plugin\""
    );
    assert_eq!(summary(530, "NOT_ALLOWED - no"), "the broker closed the connection with 530 \"NOT_ALLOWED - no\"");
    assert_eq!(summary(504, ""), "the broker closed the connection with 504 CHANNEL_ERROR");
    for code in [402, 403, 501, 502, 503, 504, 505, 506, 530, 540, 541] {
        let cause = attribute(&broker_closes(Some(closed(Side::Local, code, "")))).cause;
        assert!(cause.advice.is_some() && !cause.summary.ends_with("an error"), "{cause:?}");
    }
}

#[test]
fn a_client_that_names_an_error_gave_up() {
    let by_client = closed(Side::Peer, 541, "INTERNAL_ERROR - oops");
    check([
        ("seen by the broker", broker_closes(Some(by_client)), "forced_close warning"),
        ("seen by the client", client_closes(Some(closed(Side::Local, 320, "shutting down"))), "forced_close warning"),
    ]);
    let without_a_text = attribute(&client_closes(Some(closed(Side::Local, 320, "")))).cause.summary;
    assert_eq!(without_a_text, "the client closed the connection with 320 CONNECTION_FORCED");
}

const ALARM: &str = "broker_resource_alarm warning";

#[test]
fn an_alarm_explains_what_happens_to_a_blocked_connection() {
    let blocked = |still| Conversation { blocked: Some(Blocked { before: seconds(40), still }), ..open() };
    let lifted = |before| Conversation { blocked: Some(Blocked { before: seconds(before), still: false }), ..open() };
    let stopped = Conversation { blocked: blocked(true).blocked, ..closed(Side::Local, 320, SHUTDOWN) };
    check([
        ("blocked, the client aborts", arrives(Role::Broker, Some(blocked(true))), ALARM),
        ("blocked, this client aborts", client_closes(Some(blocked(true))), ALARM),
        ("blocked, the broker aborts", broker_closes(Some(blocked(true))), ALARM),
        (
            "just lifted, and the client had left",
            Reset { state: Some(TcpState::CloseWait), ..arrives(Role::Broker, Some(lifted(1))) },
            ALARM,
        ),
        ("lifted long ago", Reset { state: Some(TcpState::CloseWait), ..arrives(Role::Broker, Some(lifted(9))) }, "peer_gone warning"),
        ("just lifted, and nobody had left", arrives(Role::Broker, Some(lifted(1))), "peer_aborted warning"),
        ("no longer blocked", arrives(Role::Broker, Some(blocked(false))), "peer_aborted warning"),
        ("blocked, and stopped", broker_closes(Some(stopped)), "broker_shutdown warning"),
    ]);
    let verdict = attribute(&arrives(Role::Broker, Some(blocked(true))));
    assert!(signals(&verdict).contains(&"amqp_blocked"), "{verdict:#?}");
    assert!(verdict.cause.summary.contains("40.0 s before"), "{}", verdict.cause.summary);
}

/// An end that left while the connection was blocked, known by any of the places where a FIN shows.
#[test]
fn who_left_while_it_was_blocked_shows_by_its_fin() {
    let lifted = |milliseconds| {
        let blocked = Some(Blocked { before: Duration::from_millis(milliseconds), still: false });
        Some(Conversation { blocked, ..open() })
    };
    let arrived = |milliseconds| Reset { state: None, ..arrives(Role::Broker, lifted(milliseconds)) };
    let on_the_wire = |sender, receiver| {
        let mut wire = abort_of_a_socket();
        (wire.sender.fin, wire.receiver.fin) = (sender, receiver);
        Reset { wire: Some(Box::new(wire)), ..arrived(1) }
    };
    let socket = |fin_received| Some(SocketFacts { owned: true, fin_received, ..SocketFacts::default() });
    check([
        ("nowhere", arrived(1), "peer_aborted warning"),
        ("this host's, in its state", Reset { state: Some(TcpState::FinWait1), ..arrived(1) }, ALARM),
        ("the peer's, in the state", Reset { state: Some(TcpState::CloseWait), ..arrived(1) }, ALARM),
        ("the peer's, in the socket", Reset { socket: socket(true), ..arrived(1) }, ALARM),
        ("not in the socket", Reset { socket: socket(false), ..arrived(1) }, "peer_aborted warning"),
        ("the peer's, on the wire", on_the_wire(true, false), ALARM),
        ("this host's, on the wire", on_the_wire(false, true), ALARM),
        ("lifted 1.999 s before", Reset { socket: socket(true), ..arrived(1_999) }, ALARM),
        ("lifted 2 s before", Reset { socket: socket(true), ..arrived(2_000) }, "peer_aborted warning"),
    ]);
}

/// What the kernel did of its own accord has nothing to do with an alarm.
#[test]
fn an_alarm_does_not_explain_the_kernels_own_resets() {
    let blocked = Some(Box::new(Conversation { blocked: Some(Blocked { before: seconds(40), still: true }), ..open() }));
    let by = |reason: &str| Reset {
        reason: Some(crate::flow::Reason { code: 1, name: Some(reason.to_owned()) }),
        socket: Some(SocketFacts { owned: true, ..SocketFacts::default() }),
        tcp: Some(used()),
        amqp: blocked.clone(),
        ..testing::reset()
    };
    check([
        ("destroyed", by("TCP_STATE"), "socket_destroyed warning"),
        ("keepalive", by("TCP_KEEPALIVE_TIMEOUT"), "keepalive_timeout warning"),
        ("memory", by("TCP_ABORT_ON_MEMORY"), "out_of_memory error"),
        ("Multipath TCP", by("MPTCP_RST_EBADPERF"), "unknown warning"),
        ("a close with data unread", Reset { closed_first: true, ..by("TCP_ABORT_ON_CLOSE") }, ALARM),
    ]);
}
