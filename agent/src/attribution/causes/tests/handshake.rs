use super::*;
use crate::{
    amqp::Tls,
    flow::{CapturePosition, Connection, LocalKnown, wire::VendorText},
};

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
    for (phase, summary) in [
        (Phase::Header, "the connection died before the broker had answered the protocol header"),
        (Phase::Start, "the connection died before the client had sent its credentials"),
        (Phase::StartOk, "the connection died while its credentials were being checked"),
        (Phase::Tune, "the connection died before the client had answered connection.tune"),
        (Phase::TuneOk, "the connection died while the vhost was being opened"),
        (Phase::Opening, "the connection died while the vhost was being opened"),
    ] {
        assert_eq!(attribute(&arrives(Role::Client, Some(at(phase)))).cause.summary, summary);
    }
}

/// What each end was heard of, and who ended it.
#[test]
fn a_handshake_dies_by_an_end_of_it() {
    let followed = |followed_local, followed_peer| Conversation { followed_local, followed_peer, ..at(Phase::StartOk) };
    let convicted =
        || Box::new(Wire { text: VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired"), ..bare_answer(61, seconds(1), false) });
    let hello =
        Conversation { tls: Some(Tls { client_hello: true, ..Tls::default() }), followed_local: true, ..Conversation::of(Protocol::Tls) };
    let by_a_box = |conversation| Reset { wire: Some(convicted()), ..arrives(Role::Broker, Some(conversation)) };
    let captured = |rst: &dyn Fn(Wire) -> Wire| {
        let position = CapturePosition { file: "a.pcap".to_owned(), frame: 9, local_known: LocalKnown::Told };
        let wire = Some(Box::new(rst(abort_of_a_socket())));
        let amqp = Some(Box::new(at(Phase::StartOk)));
        Reset { active: false, state: None, wire, amqp, capture: Some(Box::new(position)), ..testing::reset() }
    };
    let foreign = |wire: Wire| Wire { rst: Segment { payload: 4, ..wire.rst }, ..wire };
    check([
        ("this end was followed", arrives(Role::Client, Some(followed(true, false))), ABORTED),
        ("the other end was", arrives(Role::Client, Some(followed(false, true))), ABORTED),
        ("by a box between", by_a_box(at(Phase::StartOk)), "state_lost warning"),
        ("by a box between, in the handshake of TLS", by_a_box(hello), "state_lost warning"),
        ("an abort in a capture", captured(&|wire| wire), ABORTED),
        ("what no socket sends, in a capture", captured(&foreign), "unknown warning"),
    ]);
    let said_so = Conversation { close: Some(close(Side::Peer, 403, "ACCESS_REFUSED - no")), ..at(Phase::StartOk) };
    let verdict = attribute(&arrives(Role::Client, Some(said_so)));
    assert!(!signals(&verdict).contains(&"amqp_phase"), "where it stood adds nothing to what was said: {verdict:#?}");
}

/// A FIN in the midst of the handshake does not make an ordinary end of the RST that follows it.
#[test]
fn a_handshake_that_ends_in_a_fin_died_as_well() {
    let left = SocketFacts { owned: true, linger_zero: true, fin_received: true, ..SocketFacts::default() };
    let after_fin = |conversation| Reset { socket: Some(left.clone()), ..broker_closes(Some(conversation)) };
    let closing = |conversation| Reset { state: Some(TcpState::FinWait2), ..arrives(Role::Client, Some(conversation)) };
    check([
        ("the client leaves after start", after_fin(at(Phase::Start)), ABORTED),
        ("it leaves, open", after_fin(at(Phase::Open)), "peer_gone warning"),
        ("this client leaves after start", closing(at(Phase::Start)), ABORTED),
        ("this client leaves, open", closing(at(Phase::Open)), "routine_close info"),
        ("this client leaves in order", closing(closed(Side::Local, 200, "")), "routine_close info"),
    ]);
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
        ("a client that spoke", aged(10, broker_closes(None)), "routine_close info"),
        ("RabbitMQ as a client", aged(10, Reset { role: Role::Client, ..mute() }), "routine_close info"),
        ("what the client ends", aged(10, Reset { socket: None, ..arrives(Role::Broker, None) }), "peer_aborted warning"),
    ]);
    let cause = attribute(&aged(10, broker_closes(Some(at(Phase::Header))))).cause;
    assert!(cause.id == CauseId::HandshakeAborted && cause.summary.contains("handshake_timeout"), "{cause:?}");
    for (name, reset) in [
        ("too early for that", aged(4, broker_closes(Some(at(Phase::Header))))),
        ("a client's own abort", aged(10, client_closes(Some(at(Phase::Header))))),
        ("the client's abort", aged(10, arrives(Role::Broker, Some(at(Phase::Header))))),
    ] {
        let cause = attribute(&reset).cause;
        assert!(cause.id == CauseId::HandshakeAborted && !cause.summary.contains("handshake_timeout"), "{name}: {cause:?}");
    }
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
    let own = Tls { alert_from_local: true, alert_from_peer: false, ..alert };
    let cause = attribute(&arrives(Role::Broker, seen(own))).cause;
    assert!(cause.summary.contains("the broker sent an alert"), "{}", cause.summary);
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
