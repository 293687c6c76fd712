use super::*;
use crate::{amqp::Tls, flow::Connection};

fn at(phase: Phase) -> Conversation {
    Conversation { phase: Some(phase), ..Conversation { heartbeat: None, vhost: None, ..open() } }
}

const ABORTED: &str = "handshake_aborted warning";

#[test]
fn a_connection_that_never_opened_died_in_its_handshake() {
    let refused = Conversation { close: Some(close(Side::Peer, 403, "ACCESS_REFUSED - no")), ..at(Phase::StartOk) };
    let not_followed = Conversation { followed_local: false, followed_peer: false, ..at(Phase::StartOk) };
    check([
        ("wrong password, seen by the client", arrives(Role::Client, Some(at(Phase::StartOk))), ABORTED),
        ("wrong password, seen by the broker", broker_closes(Some(at(Phase::StartOk))), ABORTED),
        ("wrong password, and the broker said so", arrives(Role::Client, Some(refused)), "forced_close warning"),
        ("no answer to the header", arrives(Role::Client, Some(at(Phase::Header))), ABORTED),
        ("the client leaves after start", client_closes(Some(at(Phase::Start))), ABORTED),
        ("while the vhost is opened", arrives(Role::Client, Some(at(Phase::Opening))), ABORTED),
        ("open", arrives(Role::Client, Some(at(Phase::Open))), "peer_aborted warning"),
        // It may have come further.
        ("not followed", arrives(Role::Client, Some(not_followed)), "peer_aborted warning"),
        ("AMQP 1.0 has no such phases", arrives(Role::Client, Some(Conversation::of(Protocol::Amqp10))), "peer_aborted warning"),
    ]);
    let cause = attribute(&arrives(Role::Client, Some(at(Phase::StartOk)))).cause;
    assert_eq!(cause.summary, "the connection died while its credentials were being checked");
}

#[test]
fn rabbitmq_waits_ten_seconds_for_the_handshake() {
    let aged = |seconds: u64, reset: Reset| Reset {
        connection: Some(Connection { age: Some(Duration::from_secs(seconds)), active_open: false }),
        ..reset
    };
    let mute = || Reset { tcp: Some(TcpFacts::default()), ..broker_closes(None) };
    check([
        ("a client that says nothing", aged(10, mute()), "handshake_aborted info"),
        ("too early for that", aged(4, mute()), "linger_abort warning"),
        ("another program", aged(10, Reset { actor: Some(task("python3")), ..mute() }), "linger_abort warning"),
    ]);
    let cause = attribute(&aged(10, broker_closes(Some(at(Phase::Header))))).cause;
    assert!(cause.id == CauseId::HandshakeAborted && cause.summary.contains("handshake_timeout"), "{cause:?}");
}

#[test]
fn a_tls_handshake_may_fail_too() {
    let seen = |tls| Some(Conversation { tls: Some(tls), followed_local: true, ..Conversation::of(Protocol::Tls) });
    let hello = Tls { client_hello: true, ..Tls::default() };
    let alert = Tls { server_hello: true, alert_from_peer: true, ..hello };
    let data = Tls { server_hello: true, application_data: true, ..hello };
    check([
        ("after the client's hello", arrives(Role::Broker, seen(hello)), ABORTED),
        ("with an alert", arrives(Role::Broker, seen(alert)), ABORTED),
        ("after data", arrives(Role::Broker, seen(data)), "peer_aborted warning"),
        ("with nothing of TLS but its name", arrives(Role::Broker, seen(Tls::default())), "peer_aborted warning"),
    ]);
    let cause = attribute(&arrives(Role::Broker, seen(alert))).cause;
    assert!(cause.summary.contains("the client sent an alert"), "{}", cause.summary);
}

#[test]
fn a_tls_session_that_ended_by_fin_was_closed_as_a_rule() {
    let tls = Tls { client_hello: true, server_hello: true, application_data: true, ..Tls::default() };
    let session = || Some(Conversation { tls: Some(tls), ..Conversation::of(Protocol::Tls) });
    let plain = || Some(open());
    let gone = |role, conversation| Reset { state: Some(TcpState::CloseWait), ..arrives(role, conversation) };
    check([
        ("the client of a TLS session is gone after its FIN", gone(Role::Broker, session()), "routine_close info"),
        ("the broker of one is gone after its FIN", gone(Role::Client, session()), "peer_gone warning"),
        ("in the clear, a missing close is seen to be missing", gone(Role::Broker, plain()), "peer_gone warning"),
        ("the client aborts it", arrives(Role::Broker, session()), "peer_aborted warning"),
    ]);
}
