use std::sync::Arc;

use super::*;
use crate::{
    flow::{Act, FirstAct, Leg, SocketKind, Trigger, idle::Learnt},
    model::{Effect, KnownFrom, OriginKind, ProcessEnd},
};

const CLOSE: Act = Act::LocalClose { shutdown: false };

/// A connection of this host ended by `act` after so much silence, with this conversation; no RST
/// came.
fn ended(role: Role, act: Act, silence_ms: u64, amqp: Option<Conversation>) -> Reset {
    let silence = Some(Duration::from_millis(silence_ms));
    let mut reset = Reset {
        direction: if act == Act::PeerClose { Direction::Received } else { Direction::Sent },
        active: false,
        role,
        ended: true,
        boottime_ns: 60_000_000_000,
        remembered: (act == CLOSE).then(|| (task("orders"), KnownFrom::Close)),
        tcp: Some(TcpFacts { since_received: silence, since_sent: silence, ..used() }),
        amqp: amqp.map(Box::new),
        ..testing::reset()
    };
    reset.first_act = Some(Arc::new(reset.first_act_as(act)));
    reset
}

/// The same, and a segment with these flags met the dead end later.
fn answered(ended: Reset, flags: u16) -> Reset {
    Reset {
        ended: false,
        direction: Direction::Sent,
        socket_kind: SocketKind::TimeWait,
        state: None,
        trigger: Some(Trigger { seq: 1, ack: 1, flags: Flags(flags) }),
        boottime_ns: ended.boottime_ns + 1_500_000_000,
        ..ended
    }
}

fn by(mut reset: Reset, end: ProcessEnd) -> Reset {
    let mut first = FirstAct::clone(reset.first_act.as_ref().unwrap());
    first.actor = first.actor.map(|task| Task { end: Some(end), ..task });
    reset.first_act = Some(Arc::new(first));
    reset
}

fn killed() -> ProcessEnd {
    let sent_by = Some((1, "systemd".to_owned()));
    ProcessEnd { code: None, signal: Some(9), core_dumped: false, oom: false, sent_by, at_ns: 60_000_000_000 }
}

fn exited() -> ProcessEnd {
    ProcessEnd { code: Some(0), signal: None, sent_by: None, ..killed() }
}

fn without_heartbeats() -> Conversation {
    Conversation { heartbeat: Some(0), ..open() }
}

fn learnt(mut reset: Reset, timeout_ms: u64) -> Reset {
    let learnt = Learnt { timeout: Duration::from_millis(timeout_ms), repeats: 3, spread: Duration::ZERO, on_next_segment: false };
    let first = FirstAct { learnt_idle: Some(Box::new(learnt)), ..FirstAct::clone(reset.first_act.as_ref().unwrap()) };
    reset.first_act = Some(Arc::new(first));
    reset
}

fn leg(reset: Reset, ended_by_peer: bool, silence_ms: u64) -> Reset {
    let other = Leg {
        id: "other".to_owned(),
        role: reset.role.other(),
        peer: "198.51.100.7:5672".parse().unwrap(),
        ended_by_peer,
        before: Duration::from_millis(2),
        silence: Some(Duration::from_millis(silence_ms)),
    };
    Reset { other_leg: Some(Box::new(other)), ..reset }
}

fn with_process(reset: Reset, name: &str) -> Reset {
    Reset { process: Some((Arc::new(crate::attribution::tests::sent::process(name)), KnownFrom::Close)), ..reset }
}

const PSH: u16 = 0x18;
const FIN: u16 = 0x11;

#[test]
fn who_closed_while_amqp_was_open_is_named() {
    let client = |amqp| ended(Role::Client, CLOSE, 400, amqp);
    check([
        ("a living process", client(Some(open())), "closed_without_amqp_close warning"),
        ("killed", by(client(Some(open())), killed()), "process_killed error"),
        ("exited", by(client(Some(open())), exited()), "process_exited warning"),
        ("answered data later", answered(client(Some(open())), PSH), "data_after_close warning"),
        ("answered a FIN later", answered(client(Some(open())), FIN), "data_after_close warning"),
        ("killed, and data answered", answered(by(client(Some(open())), killed()), PSH), "process_killed error"),
        ("in order", answered(client(Some(closed(Side::Local, 200, "bye"))), PSH), "routine_close info"),
        ("killed after an end in order", answered(by(client(Some(closed(Side::Local, 200, ""))), killed()), PSH), "routine_close info"),
        ("AMQP not seen, data lost", answered(client(None), PSH), "data_after_close warning"),
        ("TLS, whose second alert met a dead end", answered(client(Some(Conversation::of(Protocol::Tls))), PSH), "stale_connection info"),
        ("AMQP not seen, nothing lost", answered(client(None), FIN), "data_after_close info"),
    ]);
    for reset in [client(Some(open())), answered(client(Some(open())), PSH)] {
        let verdict = attribute(&reset);
        assert_eq!((verdict.origin.kind, verdict.origin.possible), (OriginKind::LocalProcess, vec![OriginKind::LocalProcess]));
        assert!(verdict.evidence.iter().any(|evidence| evidence.signal == "first_act"));
    }
}

#[test]
fn a_peer_that_closes_after_silence_is_a_proxy_most_likely_where_a_broker_should_be() {
    let of = |role, silence_ms| ended(role, Act::PeerClose, silence_ms, Some(without_heartbeats()));
    let heartbeat = |seconds| Conversation { heartbeat: Some(seconds), ..open() };
    check([
        ("a broker's address", of(Role::Client, 12_003), "idle_timeout warning"),
        ("a broker's address, no whole seconds", of(Role::Client, 12_500), "idle_timeout warning"),
        ("soon", of(Role::Client, 3_003), "peer_gone warning"),
        ("a client's address, whole seconds", of(Role::Broker, 12_003), "idle_timeout warning"),
        ("a heartbeat that should have come", ended(Role::Client, Act::PeerClose, 12_003, Some(heartbeat(10))), "peer_gone warning"),
        ("a heartbeat longer than the silence", ended(Role::Client, Act::PeerClose, 12_003, Some(heartbeat(60))), "idle_timeout warning"),
        ("two heartbeats missed", ended(Role::Broker, Act::PeerClose, 12_000, Some(heartbeat(5))), "heartbeat_timeout warning"),
        ("learnt", learnt(of(Role::Broker, 12_400), 12_400), "idle_timeout warning"),
    ]);
    let origin = |reset: &Reset| {
        let verdict = attribute(reset);
        (verdict.origin.kind, verdict.origin.confidence)
    };
    assert_eq!(origin(&of(Role::Client, 12_500)), (OriginKind::Middlebox, Some(0.9)));
    assert_eq!(origin(&of(Role::Broker, 12_500)).0, OriginKind::Unknown, "a client that was killed looks the same");
    assert_eq!(origin(&learnt(of(Role::Broker, 12_400), 12_400)), (OriginKind::Middlebox, Some(0.93)));
    assert_eq!(origin(&of(Role::Broker, 3_000)).0, OriginKind::RemotePeer);
    assert_eq!(origin(&of(Role::Client, 3_000)).0, OriginKind::Unknown, "RabbitMQ ends by RST, a proxy by FIN");
    let known = Reset { known_middlebox: Some("haproxy-1".to_owned()), ..of(Role::Broker, 12_500) };
    let verdict = attribute(&known);
    assert_eq!((verdict.origin.kind, verdict.origin.name.as_deref()), (OriginKind::Middlebox, Some("haproxy-1")));
    assert!(verdict.cause.summary.contains("haproxy-1") && verdict.cause.advice.unwrap().contains("heartbeat=6"));
}

#[test]
fn a_proxy_is_known_by_its_two_legs() {
    let front = || ended(Role::Broker, CLOSE, 12_010, Some(without_heartbeats()));
    let back = |silence| ended(Role::Client, CLOSE, silence, Some(without_heartbeats()));
    check([
        ("both were silent for as long", leg(front(), false, 12_012), "idle_timeout warning"),
        ("the other was not silent", leg(back(12_010), false, 900), "closed_without_amqp_close warning"),
        ("the other had been, and this one took what came then", leg(back(4), false, 12_010), "idle_timeout warning"),
        ("what it took is closed first", with_process(front(), "haproxy"), "idle_timeout warning"),
        ("a broker", with_process(front(), "beam.smp"), "closed_without_amqp_close warning"),
        ("a client that waits", back(12_010), "closed_without_amqp_close warning"),
        ("soon", leg(ended(Role::Broker, CLOSE, 400, Some(open())), false, 402), "closed_without_amqp_close warning"),
        ("its broker had gone", leg(front(), true, 12_012), "peer_gone warning"),
        ("it was killed", leg(by(front(), killed()), false, 12_012), "process_killed error"),
        ("and answered later", answered(leg(front(), false, 12_012), PSH), "idle_timeout warning"),
    ]);
    let verdict = attribute(&leg(front(), false, 12_012));
    assert_eq!(verdict.origin.kind, OriginKind::LocalProcess);
    assert!(verdict.cause.summary.contains("198.51.100.7:5672"), "{}", verdict.cause.summary);
}

#[test]
fn silence_of_the_path_is_told_with_what_was_tried() {
    let mut reset = ended(Role::Client, Act::TimedOut(110), 15_000, Some(open()));
    if let Some(tcp) = &mut reset.tcp {
        (tcp.retransmits, tcp.unacknowledged_bytes) = (7, 21);
    }
    let verdict = attribute(&reset);
    assert_eq!((verdict.effect, verdict.cause.id, verdict.origin.kind), (Effect::TimedOut, CauseId::TimedOut, OriginKind::LocalHost));
    assert!(verdict.cause.summary.contains("ETIMEDOUT") && verdict.cause.summary.contains("21 bytes"), "{}", verdict.cause.summary);
    let opening = ended(Role::Client, Act::ConnectTimedOut(113), 0, None);
    let verdict = attribute(&opening);
    assert_eq!(verdict.effect, Effect::ConnectTimedOut);
    assert!(verdict.cause.summary.contains("SYN") && verdict.cause.summary.contains("EHOSTUNREACH"), "{}", verdict.cause.summary);
}

#[test]
fn a_health_check_that_exits_is_no_loss() {
    let mut reset = by(ended(Role::Client, CLOSE, 0, None), exited());
    reset.tcp = Some(TcpFacts::default());
    let received = Reset { ended: false, direction: Direction::Received, state: Some(TcpState::FinWait2), ..reset };
    check([("exit after connect", received, "routine_close info")]);
}
