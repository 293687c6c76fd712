//! Each signal by itself: a RST on a connection, and what the signal says of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::large_stack_arrays, reason = "tables of cases")]

mod burst;
mod labels;
mod link;
mod numbers;
mod path;
mod stack;
mod timing;
mod went_on;

use super::{Finding, Findings, Group, Scene};
use crate::{
    attribution::shape::Shape,
    flow::{Reset, TcpFacts, wire::Wire},
    model::{Direction, OriginKind, Strength},
    testing,
};

type Signal = fn(&Scene) -> Option<Finding>;

/// What `signal` says of the RST of `wire`, on a connection of which the socket says nothing.
fn ask(signal: Signal, wire: &Wire) -> Option<Finding> {
    ask_with(signal, wire, &arrived(None))
}

/// A RST that an open connection took in.
fn arrived(tcp: Option<TcpFacts>) -> Reset {
    Reset { direction: Direction::Received, active: false, tcp, ..testing::reset() }
}

fn ask_with(signal: Signal, wire: &Wire, reset: &Reset) -> Option<Finding> {
    signal(&Scene { reset, wire, shape: Shape::of(wire) })
}

/// A case: its name, the wire, and the likelihood ratio; `None` where the signal has to be silent.
type Row = (&'static str, Wire, Option<f64>);

fn check(signal: Signal, rows: impl IntoIterator<Item = Row>) {
    for (name, wire, expected) in rows {
        compare(name, ask(signal, &wire).as_ref(), expected);
    }
}

/// The same, with a socket that has something to say.
fn check_with(signal: Signal, rows: impl IntoIterator<Item = (&'static str, Wire, Reset, Option<f64>)>) {
    for (name, wire, reset, expected) in rows {
        compare(name, ask_with(signal, &wire, &reset).as_ref(), expected);
    }
}

fn compare(name: &str, found: Option<&Finding>, expected: Option<f64>) {
    let same = match (found, expected) {
        (Some(found), Some(expected)) => (found.ratio - expected).abs() < 1e-9,
        (None, None) => true,
        _ => false,
    };
    assert!(same, "{name}: {found:?}, expected {expected:?}");
}

/// Both ways from 1 a ratio weighs the same; 1 itself speaks for nobody.
#[test]
fn a_ratio_says_whom_it_speaks_for_and_how_loudly() {
    for (ratio, points_to, strength) in [
        (1000.0, OriginKind::Middlebox, Strength::Proof),
        (100.0, OriginKind::Middlebox, Strength::Proof),
        (99.0, OriginKind::Middlebox, Strength::Strong),
        (5.0, OriginKind::Middlebox, Strength::Strong),
        (4.9, OriginKind::Middlebox, Strength::Weak),
        (1.0, OriginKind::Unknown, Strength::Weak),
        (0.21, OriginKind::RemotePeer, Strength::Weak),
        (0.2, OriginKind::RemotePeer, Strength::Strong),
        (0.01, OriginKind::RemotePeer, Strength::Proof),
    ] {
        let evidence = Findings::default().with(Group::Stack, ratio).into_evidence();
        let found = evidence.first().map(|evidence| (evidence.points_to, evidence.strength));
        assert_eq!(found, Some((points_to, strength)), "{ratio}");
    }
}
