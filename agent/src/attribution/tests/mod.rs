//! One row for each code path: what the kernel reports, and what is made of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any;
mod captured;
mod details;
mod ends;
mod left;
pub(super) mod linux;
mod received;
mod remembered;
pub(in crate::attribution) mod sent;
mod shape;

use std::time::Duration;

use super::{Verdict, attribute};
use crate::{
    flow::{Pair, Reason, Reset, SocketFacts, SocketKind, TcpFacts, Trigger},
    host::process::ProcessFacts,
    model::{CauseId, Flags, KnownFrom, OriginKind, ProcessEnd, Role, Task, TcpState},
    testing,
};

/// One reset: its name, what was reported, and what is expected: effect, origin, cause and severity
/// in the words of the contract.
type Row = (&'static str, Reset, &'static str);

fn check(rows: impl IntoIterator<Item = Row>) {
    for (name, reset, expected) in rows {
        let verdict = attribute(&reset);
        assert_eq!(words(&verdict), expected, "{name}: {verdict:#?}");
        assert_sound(name, &verdict);
    }
}

/// Effect, origin, cause and severity in the words of the contract.
fn words(verdict: &Verdict) -> String {
    let words = serde_json::to_value((verdict.effect, verdict.origin.kind, verdict.cause.id, verdict.severity)).unwrap();
    let words: Vec<&str> = words.as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
    words.join(" ")
}

/// What holds for every verdict.
fn assert_sound(name: &str, verdict: &Verdict) {
    assert!(!verdict.evidence.is_empty(), "{name}: no evidence");
    assert!(verdict.evidence.is_sorted_by(|a, b| a.strength >= b.strength), "{name}: strongest is not first: {:#?}", verdict.evidence);
    assert!(verdict.evidence.iter().all(|evidence| !evidence.signal.is_empty() && !evidence.detail.is_empty()), "{name}: empty evidence");
    assert!(!verdict.cause.summary.is_empty() && !verdict.cause.summary.ends_with('.'), "{name}: {:?}", verdict.cause.summary);
    let settled = verdict.origin.kind != OriginKind::Unknown;
    assert_eq!(verdict.origin.confidence.is_some(), settled, "{name}: {:?}", verdict.origin);
    assert_eq!(verdict.origin.possible.contains(&verdict.origin.kind), settled, "{name}: {:?}", verdict.origin);
    assert_eq!(verdict.origin.possible.len() == 1, settled, "{name}: {:?}", verdict.origin);
    assert_eq!(verdict.cause.confidence.is_some(), verdict.cause.id != CauseId::Unknown, "{name}: {:?}", verdict.cause);
    for confidence in [verdict.origin.confidence, verdict.cause.confidence].into_iter().flatten() {
        assert!((0.0..=1.0).contains(&confidence), "{name}: {confidence}");
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of the field it is for")]
fn reason(name: &str) -> Option<Reason> {
    // The number plays no part: kernels number their reasons differently.
    Some(Reason { code: 77, name: Some(name.to_owned()) })
}

fn owned() -> SocketFacts {
    SocketFacts { owned: true, ..SocketFacts::default() }
}

fn beam() -> Task {
    Task { pid: 4312, start_boottime_ns: Some(1), comm: "beam.smp".to_owned(), uid: 105, end: None }
}

/// A RST that a `close()` made: the socket is CLOSE before it goes out, in the context of the task
/// that closes.
fn closed(socket: SocketFacts, tcp: TcpFacts) -> Reset {
    Reset { active: true, closed_first: true, socket: Some(socket), tcp: Some(tcp), actor: Some(beam()), ..testing::reset() }
}

/// A RST that the kernel made for a socket without a `close()`.
fn aborted(state: TcpState, socket: SocketFacts, since_heard: Option<Duration>) -> Reset {
    let tcp = TcpFacts { since_heard, ..TcpFacts::default() };
    Reset { active: true, closed_first: false, state: Some(state), socket: Some(socket), tcp: Some(tcp), ..testing::reset() }
}

/// A RST that answered a segment.
fn answered(socket_kind: SocketKind, flags: u16) -> Reset {
    let state = (socket_kind == SocketKind::Connection).then_some(TcpState::Established);
    Reset { active: false, socket_kind, state, trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(flags) }), ..testing::reset() }
}
