//! Causes over time: what follows a reset of the same connection, and what repeats.

use std::sync::Arc;

use super::*;
use crate::{
    attribution::Memory,
    flow::{Act, Earlier, SocketKind, Trigger},
    model::{Direction, PatternId, Severity},
};

/// The same reset, so many milliseconds after the start, on a connection of its own.
fn at(milliseconds: u16, reset: Reset) -> Reset {
    let mut tuple = reset.tuple;
    let client = if reset.role == Role::Broker { &mut tuple.peer } else { &mut tuple.local };
    client.set_port(10_000 + milliseconds);
    let after = jiff::SignedDuration::from_millis(milliseconds.into());
    Reset { tuple, timestamp: jiff::Timestamp::UNIX_EPOCH + after, boottime_ns: u64::from(milliseconds) * 1_000_000, ..reset }
}

#[test]
fn a_thousand_ordinary_closes_are_no_pattern() {
    let mut memory = Memory::default();
    // What answers a late segment has its own test, since the memory says what was before.
    let routine = || closing::routine().into_iter().filter(|(_, reset, _)| reset.socket_kind != SocketKind::None);
    for (number, (name, reset, _)) in (0..50).flat_map(|_| routine()).enumerate() {
        let verdict = memory.attribute(&mut at(u16::try_from(number).unwrap(), reset));
        assert!(verdict.patterns.is_empty() && verdict.severity == Severity::Info, "{name}: {verdict:#?}");
    }
}

#[test]
fn a_burst_is_an_error() {
    let mut memory = Memory::default();
    let severities: Vec<Severity> =
        (0..6).map(|number| memory.attribute(&mut at(number * 10, arrives(Role::Broker, Some(open())))).severity).collect();
    assert_eq!(severities, [[Severity::Warning; 2], [Severity::Warning; 2], [Severity::Error; 2]].concat());
}

#[test]
fn failing_again_and_again_to_log_in_is_a_loop() {
    let mut memory = Memory::default();
    let refused = || Conversation { heartbeat: None, ..closed(Side::Peer, 403, "ACCESS_REFUSED - no") };
    let last = (0..5).map(|number| memory.attribute(&mut at(number * 5_000, arrives(Role::Client, Some(refused()))))).last().unwrap();
    assert_eq!(last.patterns.first().map(|pattern| pattern.id), Some(PatternId::ReconnectLoop), "{last:#?}");
    assert_eq!((last.cause.id, last.severity), (CauseId::ForcedClose, Severity::Error));
}

/// Where it is known who ended the connection first, and why, a segment that comes late has the
/// same cause.
#[test]
fn a_late_segment_has_the_cause_of_the_first_act() {
    let answer = || {
        let mut reset = Reset {
            active: false,
            socket_kind: SocketKind::None,
            trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(0x10) }),
            ..arrives(Role::Client, Some(open()))
        };
        reset.direction = Direction::Sent;
        let first = reset.first_act_as(Act::LocalClose { shutdown: false });
        reset.first_act = Some(Arc::new(first));
        reset
    };
    let first = attribute(&answer());
    assert_ne!(first.cause.id, CauseId::StaleConnection, "{first:#?}");
    let earlier = Earlier { id: "test-0".to_owned(), ago: Duration::from_millis(1), routine: false };
    let late = attribute(&Reset { earlier: Some(Box::new(earlier)), ..answer() });
    assert_eq!((late.cause.id, late.severity), (first.cause.id, Severity::Info), "{late:#?}");
    assert!(late.evidence.iter().any(|evidence| evidence.signal == "reset_before"), "{late:#?}");
}

#[test]
fn a_late_segment_belongs_to_the_reset_before() {
    let late = |milliseconds| {
        let answer = Reset {
            active: false,
            socket_kind: SocketKind::None,
            trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(0x10) }),
            ..testing::reset()
        };
        let tuple = at(0, testing::reset()).tuple;
        Reset { tuple, ..at(milliseconds, answer) }
    };
    let mut memory = Memory::default();
    let in_order = memory.attribute(&mut at(0, broker_closes(Some(closed(Side::Peer, 200, "bye")))));
    assert_eq!(in_order.cause.id, CauseId::RoutineClose);
    let verdict = memory.attribute(&mut late(1));
    assert_eq!((verdict.cause.id, verdict.severity), (CauseId::RoutineClose, Severity::Info), "{verdict:#?}");
    assert!(verdict.cause.summary.contains("1 ms before (event test-1)"), "{}", verdict.cause.summary);
    let verdict = memory.attribute(&mut late(20_000));
    assert_eq!((verdict.cause.id, verdict.severity), (CauseId::StaleConnection, Severity::Warning), "{verdict:#?}");
}
