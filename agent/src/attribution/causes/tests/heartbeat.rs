use super::*;
use crate::amqp::Blocked;

/// An open conversation with this heartbeat, in which `side` said nothing for so long.
fn silent(side: Side, heartbeat: u16, silence: Duration) -> Conversation {
    let last_payload = match side {
        Side::Local => LastSeen { local: Some(silence), peer: Some(seconds(1)) },
        Side::Peer => LastSeen { local: Some(seconds(1)), peer: Some(silence) },
    };
    Conversation { heartbeat: Some(heartbeat), last_payload, ..open() }
}

fn without_socket(reset: Reset) -> Reset {
    Reset { tcp: None, ..reset }
}

const MISSED: &str = "heartbeat_timeout warning";

#[test]
fn two_to_three_intervals_of_silence_are_missed_heartbeats() {
    let broker = |heartbeat, silence| without_socket(broker_closes(Some(silent(Side::Peer, heartbeat, silence))));
    let client = |heartbeat, silence| Reset {
        tcp: Some(TcpFacts { unread_bytes: 1, since_received: None, ..used() }),
        ..client_closes(Some(silent(Side::Peer, heartbeat, silence)))
    };
    let by_broker = |heartbeat, silence| without_socket(arrives(Role::Client, Some(silent(Side::Local, heartbeat, silence))));
    let by_client = |heartbeat, silence| without_socket(arrives(Role::Broker, Some(silent(Side::Local, heartbeat, silence))));
    check([
        ("the broker, two", broker(60, seconds(121)), MISSED),
        ("the broker, three", broker(60, seconds(180)), MISSED),
        ("the broker, heartbeat 1", broker(1, Duration::from_millis(2_300)), MISSED),
        ("the broker, one", broker(60, seconds(61)), "linger_abort warning"),
        ("the broker, four", broker(60, seconds(240)), "linger_abort warning"),
        ("the broker, heartbeats off", broker(0, seconds(121)), "linger_abort warning"),
        ("pika, one and five seconds", client(60, seconds(65)), MISSED),
        ("pika, heartbeat 1", client(1, seconds(9)), MISSED),
        ("a client, half", client(60, seconds(30)), "close_with_unread_data warning"),
        ("the client's host, two", by_broker(60, seconds(125)), MISSED),
        ("the client's host, one", by_broker(60, seconds(65)), "peer_aborted warning"),
        ("the broker's host, pika", by_client(60, seconds(66)), MISSED),
        ("the broker's host, half", by_client(60, seconds(30)), "peer_aborted warning"),
    ]);
}

#[test]
fn a_client_may_give_up_with_a_fin() {
    let client = |state, conversation| Reset { state: Some(state), ..without_socket(arrives(Role::Client, Some(conversation))) };
    let missed = || silent(Side::Peer, 1, seconds(12));
    let after_fin = |reset: Reset| {
        let mut wire = abort_of_a_socket();
        wire.sender.fin = true;
        Reset { wire: Some(Box::new(wire)), ..without_socket(reset) }
    };
    check([
        ("pika, answered by a RST", client(TcpState::FinWait2, missed()), MISSED),
        ("not silent", client(TcpState::FinWait2, silent(Side::Peer, 60, seconds(12))), "routine_close info"),
        ("closed in order", client(TcpState::FinWait2, closed(Side::Local, 200, "")), "routine_close info"),
        ("not closed", client(TcpState::Established, missed()), "peer_aborted warning"),
        ("a RST after its FIN", after_fin(client_closes(Some(missed()))), MISSED),
        ("the same, on the broker's host", after_fin(arrives(Role::Broker, Some(silent(Side::Local, 1, seconds(12))))), MISSED),
    ]);
}

#[test]
fn what_the_socket_heard_counts_as_well() {
    let heard = TcpFacts { since_received: Some(seconds(3)), ..used() };
    let reset = broker_closes(Some(silent(Side::Peer, 60, seconds(125))));
    let silent_for = |silence| Reset { tcp: Some(TcpFacts { since_received: Some(silence), ..used() }), ..reset.clone() };
    check([
        ("the socket heard something later", Reset { tcp: Some(heard), ..reset.clone() }, "linger_abort warning"),
        ("the socket agrees", silent_for(seconds(125)), MISSED),
        ("only the socket knows", Reset { amqp: Some(Box::new(open())), ..silent_for(seconds(125)) }, MISSED),
    ]);
}

#[test]
fn something_better_than_a_missed_heartbeat() {
    let long = || silent(Side::Peer, 60, seconds(125));
    let stopped = Conversation { close: Some(close(Side::Local, 320, "CONNECTION_FORCED - maintenance")), ..long() };
    let left = SocketFacts { owned: true, linger_zero: true, fin_received: true, ..SocketFacts::default() };
    let blocked = Conversation { blocked: Some(Blocked { before: seconds(130), still: true }), ..long() };
    let box_answers = Reset {
        wire: Some(Box::new(bare_answer(61, seconds(125), true))),
        ..without_socket(arrives(Role::Client, Some(silent(Side::Local, 60, seconds(125)))))
    };
    check([
        ("closed by hand", without_socket(broker_closes(Some(stopped))), "forced_close warning"),
        ("the client left", Reset { socket: Some(left), ..without_socket(broker_closes(Some(long()))) }, "peer_gone warning"),
        // RabbitMQ does not ask a client it has blocked for heartbeats.
        ("blocked", without_socket(broker_closes(Some(blocked))), "broker_resource_alarm warning"),
    ]);
    assert_ne!(attribute(&box_answers).cause.id, CauseId::HeartbeatTimeout, "an answer is nobody's decision");
    let by_the_kernel = |reason: &str| Reset {
        reason: Some(crate::flow::Reason { code: 1, name: Some(reason.to_owned()) }),
        ..without_socket(broker_closes(Some(long())))
    };
    let late = |state| Reset { active: false, state: Some(state), ..by_the_kernel("TCP_ABORT_ON_DATA") };
    check([
        ("destroyed", Reset { closed_first: false, ..by_the_kernel("TCP_STATE") }, "socket_destroyed warning"),
        // It came to life again, and found the socket closed.
        ("data after the owner had closed", late(TcpState::Established), "data_after_close warning"),
        ("the same, by a FIN", late(TcpState::FinWait2), "data_after_close warning"),
    ]);
}

#[test]
fn the_numbers_are_those_of_the_connection() {
    let cause = attribute(&without_socket(broker_closes(Some(silent(Side::Peer, 60, seconds(125)))))).cause;
    assert_eq!(cause.summary, "the broker gave up: the client had sent nothing for 125.0 s, with a heartbeat of 60 s");
    let advice = cause.advice.unwrap();
    assert!(advice.starts_with("look for a client") && advice.contains("125 s"), "{advice}");
    let cause = attribute(&without_socket(client_closes(Some(silent(Side::Peer, 60, seconds(125)))))).cause;
    assert_eq!(cause.summary, "the client gave up: the broker had sent nothing for 125.0 s, with a heartbeat of 60 s");
    let advice = cause.advice.unwrap();
    assert!(advice.starts_with("look for a broker") && advice.contains("125 s"), "{advice}");
}
