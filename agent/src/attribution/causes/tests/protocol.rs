use super::*;
use crate::{amqp::Tls, flow::Connection};

const WRONG: &str = "wrong_protocol warning";

const STRANGERS: [Protocol; 8] = [
    Protocol::AmqpOther,
    Protocol::Http,
    Protocol::Proxy1,
    Protocol::Proxy2,
    Protocol::Mqtt,
    Protocol::Stomp,
    Protocol::Other,
    Protocol::Tls,
];

fn answered(protocol: Protocol, answer: Option<Protocol>) -> Conversation {
    let tls = (protocol == Protocol::Tls).then(|| Tls { client_hello: true, ..Tls::default() });
    let phase = (protocol == Protocol::Amqp091).then_some(Phase::Header);
    Conversation { answer, tls, phase, followed_local: true, followed_peer: true, ..Conversation::of(protocol) }
}

/// The broker closes, seen by it, and by the client; and by the client's host, which had closed by
/// then.
fn both(name: &'static str, conversation: &Conversation, expected: &'static str) -> [Row; 3] {
    let mut late = arrives(Role::Client, Some(conversation.clone()));
    late.state = Some(TcpState::FinWait1);
    let silent = |reset: Reset| Reset { tcp: Some(TcpFacts { bytes_sent: 0, ..used() }), ..reset };
    [
        (name, silent(broker_closes(Some(conversation.clone()))), expected),
        (name, arrives(Role::Client, Some(conversation.clone())), expected),
        (name, late, expected),
    ]
}

#[test]
fn a_brokers_own_header_refuses_what_is_no_amqp() {
    for protocol in STRANGERS.into_iter().chain([Protocol::Amqp10]) {
        check(both("header", &answered(protocol, Some(Protocol::Amqp091)), WRONG));
    }
    check(both("AMQP 1.0 only", &answered(Protocol::Amqp091, Some(Protocol::Amqp10)), WRONG));
    let verdict = attribute(&arrives(Role::Client, Some(answered(Protocol::Http, Some(Protocol::Amqp091)))));
    assert_eq!(verdict.cause.summary, "the client spoke HTTP where the other end speaks AMQP 0-9-1");
    assert!(verdict.cause.advice.as_ref().is_some_and(|advice| advice.contains("15672")));
    let signals = signals(&verdict);
    assert!(signals.contains(&"protocol_answer") && signals.contains(&"first_bytes"), "{signals:?}");
}

#[test]
fn tls_refuses_by_an_alert() {
    for protocol in [Protocol::Amqp091, Protocol::Amqp10, Protocol::Http, Protocol::Mqtt] {
        check(both("alert", &answered(protocol, Some(Protocol::Tls)), WRONG));
    }
    // Behind the PROXY header there may have been TLS.
    let wrapped = attribute(&arrives(Role::Client, Some(answered(Protocol::Proxy2, Some(Protocol::Tls)))));
    assert_ne!(wrapped.cause.id, CauseId::WrongProtocol);
}

#[test]
fn what_is_no_broker_answers_otherwise() {
    for answer in [Protocol::Http, Protocol::Other] {
        check(both("to AMQP", &answered(Protocol::Amqp091, Some(answer)), WRONG));
    }
}

#[test]
fn what_both_ends_speak_is_right() {
    for (protocol, answer) in [
        (Protocol::Amqp10, Protocol::Amqp10),
        (Protocol::Http, Protocol::Http),
        (Protocol::Mqtt, Protocol::Other),
        (Protocol::Other, Protocol::Other),
        (Protocol::Stomp, Protocol::Http),
    ] {
        for (_, reset, _) in both("", &answered(protocol, Some(answer)), "") {
            let cause = attribute(&reset).cause;
            assert_ne!(cause.id, CauseId::WrongProtocol, "{protocol:?} {answer:?}: {cause:?}");
        }
    }
}

#[test]
fn without_an_answer_the_first_bytes_have_to_tell() {
    for protocol in [Protocol::Http, Protocol::Mqtt, Protocol::Stomp] {
        check(both("no answer", &answered(protocol, None), WRONG));
        let heard = LastSeen { local: Some(seconds(1)), peer: Some(seconds(1)) };
        let spoke = Conversation { last_payload: heard, ..answered(protocol, None) };
        assert_ne!(attribute(&arrives(Role::Client, Some(spoke.clone()))).cause.id, CauseId::WrongProtocol);
        assert_ne!(attribute(&broker_closes(Some(spoke))).cause.id, CauseId::WrongProtocol);
        // What left was not seen, and the socket counted it.
        assert_ne!(attribute(&broker_closes(Some(answered(protocol, None)))).cause.id, CauseId::WrongProtocol);
    }
    for protocol in [Protocol::Proxy1, Protocol::Proxy2, Protocol::Other, Protocol::Amqp091, Protocol::Amqp10, Protocol::Tls] {
        let cause = attribute(&arrives(Role::Client, Some(answered(protocol, None)))).cause;
        assert_ne!(cause.id, CauseId::WrongProtocol, "{protocol:?}");
    }
}

#[test]
fn a_connection_that_never_spoke_stays_a_health_check() {
    let silent = TcpFacts { bytes_received: 0, bytes_sent: 0, ..used() };
    let age = Some(Connection { age: Some(Duration::from_millis(20)), active_open: false });
    let check_of = Reset { tcp: Some(silent), connection: age, ..arrives(Role::Broker, None) };
    check([("health check", check_of, "routine_close info")]);
}
