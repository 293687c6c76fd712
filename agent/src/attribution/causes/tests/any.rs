//! Any facts at all: no rule may panic, claim more than certainty, or make a loss of what is
//! routine.

use proptest::{option, prelude::*, sample::select};

use super::{super::RULES, *};
use crate::{
    amqp::{Blocked, Tls},
    flow::{Connection, Earlier, Reason, SocketKind, Trigger, idle::Learnt},
    model::{OriginKind, ProcessEnd, Severity},
};

fn any_time() -> impl Strategy<Value = Duration> {
    prop_oneof![(0_u64..400_000).prop_map(Duration::from_millis), any::<u64>().prop_map(Duration::from_nanos)]
}

fn any_side() -> impl Strategy<Value = Side> {
    any::<bool>().prop_map(|local| if local { Side::Local } else { Side::Peer })
}

fn any_close() -> impl Strategy<Value = Close> {
    let codes = select(vec![0, 200, 320, 402, 403, 501, 504, 530, 541, 999]);
    (any_side(), codes, "\\PC{0,40}", any_time()).prop_map(|(from, code, text, before)| Close { from, code, text, method: None, before })
}

fn any_last() -> impl Strategy<Value = LastSeen> {
    (option::of(any_time()), option::of(any_time())).prop_map(|(local, peer)| LastSeen { local, peer })
}

fn any_tls() -> impl Strategy<Value = Tls> {
    any::<[bool; 5]>().prop_map(|[client_hello, server_hello, application_data, alert_from_local, alert_from_peer]| Tls {
        client_hello,
        server_hello,
        application_data,
        alert_from_local,
        alert_from_peer,
    })
}

fn any_conversation() -> impl Strategy<Value = Conversation> {
    let protocols = select(vec![Protocol::Amqp091, Protocol::Amqp10, Protocol::Tls, Protocol::Http, Protocol::Other]);
    let answers = option::of(select(vec![Protocol::Amqp091, Protocol::Amqp10, Protocol::Tls, Protocol::Http, Protocol::Other]));
    let phases = select(vec![
        Phase::Header,
        Phase::Start,
        Phase::StartOk,
        Phase::Tune,
        Phase::TuneOk,
        Phase::Opening,
        Phase::Open,
        Phase::Closing,
        Phase::Closed,
    ]);
    let heartbeats = select(vec![0_u16, 1, 5, 60, 600, u16::MAX]);
    let blocked = (any_time(), any::<bool>()).prop_map(|(before, still)| Blocked { before, still });
    let known =
        (option::of(phases), option::of(heartbeats), option::of(blocked), option::of(any_close()), any_last(), option::of(any_tls()));
    (protocols, answers, known, any::<[bool; 2]>()).prop_map(
        |(protocol, answer, (phase, heartbeat, blocked, close, last_payload, tls), [followed_local, followed_peer])| Conversation {
            answer,
            phase,
            heartbeat,
            blocked,
            close,
            last_payload,
            tls,
            followed_local,
            followed_peer,
            ..Conversation::of(protocol)
        },
    )
}

fn any_wire() -> impl Strategy<Value = Wire> {
    (any::<[bool; 4]>(), any_time(), any::<u8>()).prop_map(|([active, broken_by_receiver, sender_fin, receiver_fin], silence, ttl)| {
        let mut wire = if active { abort_of_a_socket() } else { bare_answer(ttl, silence, broken_by_receiver) };
        wire.sender.fin = sender_fin;
        wire.receiver.fin = receiver_fin;
        wire
    })
}

fn any_tcp() -> impl Strategy<Value = TcpFacts> {
    let times = (option::of(any_time()), option::of(any_time()), option::of(any_time()));
    (0_u32..3, 0_u64..3, 0_u64..3, times).prop_map(
        |(unread_bytes, bytes_received, bytes_sent, (since_received, since_sent, since_heard))| TcpFacts {
            unread_bytes,
            bytes_received,
            bytes_sent,
            since_received,
            since_sent,
            since_heard,
            ..TcpFacts::default()
        },
    )
}

fn any_end() -> impl Strategy<Value = ProcessEnd> {
    (option::of(any::<u8>()), option::of(any::<u8>()), any::<bool>(), any::<bool>()).prop_map(|(code, signal, oom, before)| ProcessEnd {
        code,
        signal,
        core_dumped: false,
        oom,
        sent_by: None,
        at_ns: if before { 0 } else { u64::MAX },
    })
}

/// Any reset, sent or received, seen in every detail or in none.
pub(super) fn any_reset() -> impl Strategy<Value = Reset> {
    let kinds = select(vec![SocketKind::None, SocketKind::Listener, SocketKind::TimeWait, SocketKind::Connection, SocketKind::Unseen]);
    let reasons = select(vec![
        "NOT_SPECIFIED",
        "TCP_ABORT_ON_CLOSE",
        "TCP_ABORT_ON_DATA",
        "TCP_STATE",
        "TCP_KEEPALIVE_TIMEOUT",
        "INVALID_SYN",
        "SOMETHING_NEW",
    ]);
    let reason = option::of(reasons).prop_map(|name| name.map(|name| Reason { code: 7, name: Some(name.to_owned()) }));
    let socket = option::of(any::<[bool; 4]>()).prop_map(|bits| {
        bits.map(|[linger_zero, fin_received, orphan, owned]| SocketFacts {
            linger_zero,
            fin_received,
            orphan,
            owned,
            ..SocketFacts::default()
        })
    });
    let owner = (select(vec!["beam.smp", "python3"]), option::of(any_end())).prop_map(|(comm, end)| Task { end, ..task(comm) });
    let learnt = any_time().prop_map(|timeout| Learnt { timeout, repeats: 3, spread: Duration::ZERO, on_next_segment: true });
    let kernel = (kinds, reason, socket, option::of(any_tcp()), option::of(owner), option::of(any::<u8>()));
    let around = (option::of(any_conversation()), option::of(any_wire()), option::of(learnt), option::of(any_time()), any::<u8>());
    (any::<[bool; 6]>(), kernel, around).prop_map(
        |([sent, active, closed_first, broker, earlier, ignored], kernel, (conversation, wire, learnt, age, state))| {
            let (socket_kind, reason, socket, tcp, actor, flags) = kernel;
            let before = |ago| Box::new(Earlier { id: "test-0".to_owned(), ago, routine: broker });
            Reset {
                direction: if sent { Direction::Sent } else { Direction::Received },
                role: if broker { Role::Broker } else { Role::Client },
                boottime_ns: 1,
                active,
                closed_first,
                socket_kind,
                reason,
                socket,
                tcp,
                actor,
                trigger: flags.map(|flags| Trigger { seq: 1, ack: 2, flags: Flags(u16::from(flags)) }),
                state: TcpState::from_kernel(state % 16),
                connection: age.map(|age| Connection { age: Some(age), active_open: false }),
                earlier: earlier.then_some(Duration::from_millis(1)).map(before),
                ignored: ignored && !sent,
                amqp: conversation.map(Box::new),
                wire: wire.map(Box::new),
                learnt_idle: learnt.map(Box::new),
                ..testing::reset()
            }
        },
    )
}

#[test]
fn every_rule_is_in_the_table_once() {
    let addresses: std::collections::BTreeSet<usize> = RULES.iter().map(|rule| *rule as usize).collect();
    assert_eq!(addresses.len(), RULES.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_cause_is_a_probability_with_a_sentence(reset in any_reset()) {
        let verdict = attribute(&reset);
        let cause = &verdict.cause;
        prop_assert_eq!(cause.confidence.is_none(), cause.id == CauseId::Unknown);
        prop_assert!(cause.confidence.is_none_or(|confidence| confidence > 0.0 && confidence <= 1.0), "{:?}", cause);
        prop_assert!(!cause.summary.is_empty() && !cause.summary.ends_with('.') && !cause.summary.contains('\n'), "{:?}", cause);
        prop_assert!(cause.advice.as_ref().is_none_or(|advice| !advice.is_empty() && !advice.ends_with('.')), "{:?}", cause);
        prop_assert!(verdict.evidence.is_sorted_by(|a, b| a.strength >= b.strength));
        let repeated = verdict.evidence.iter().enumerate().any(|(at, one)| verdict.evidence.iter().skip(at + 1).any(|other| one == other));
        prop_assert!(!repeated, "{:#?}", verdict.evidence);
    }

    #[test]
    fn routine_is_info_and_a_kill_is_an_error(reset in any_reset()) {
        let verdict = attribute(&reset);
        match verdict.cause.id {
            CauseId::RoutineClose => prop_assert_eq!(verdict.severity, Severity::Info),
            CauseId::ProcessKilled | CauseId::ProcessCrashed => prop_assert_eq!(verdict.severity, Severity::Error),
            _ => {}
        }
    }

    #[test]
    fn an_amqp_connection_closed_in_order_is_no_loss(reset in any_reset(), from in any_side()) {
        let answered = attribute(&Reset { amqp: Some(Box::new(closed(from, 200, "bye"))), ..reset });
        let settled_by_the_kernel = [CauseId::NoListener, CauseId::StaleConnection, CauseId::ListenOverflow, CauseId::Refused];
        prop_assert!(
            answered.severity == Severity::Info || settled_by_the_kernel.contains(&answered.cause.id),
            "{:#?}",
            answered
        );
    }

    #[test]
    fn absence_is_silence(reset in any_reset()) {
        // Without a conversation and a memory, nothing can be said of heartbeats, alarms or closes.
        let bare = attribute(&Reset { amqp: None, learnt_idle: None, ..reset });
        let learnt_from_amqp =
            [CauseId::HeartbeatTimeout, CauseId::BrokerResourceAlarm, CauseId::ForcedClose, CauseId::IdleTimeout];
        prop_assert!(!learnt_from_amqp.contains(&bare.cause.id), "{:#?}", bare.cause);
        prop_assert!(bare.origin.kind != OriginKind::Unknown || bare.origin.confidence.is_none());
    }
}
