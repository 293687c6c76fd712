//! RSTs that left and that this host's TCP did not make.

use super::*;
use crate::{
    attribution::maker::{Maker, made_here},
    flow::wire::{End, Segment, Wire, WireFlow},
    model::{Direction, Effect, Severity},
};

const RST: u16 = 0x04;
const ACK: u16 = 0x10;

/// An answer as netfilter builds it, to a segment with this acknowledgement.
fn answer() -> Segment {
    Segment { ttl: 64, ip_id: Some(0), dont_fragment: Some(true), seq: 500, flags: Flags(RST), ..Segment::default() }
}

/// The same to a SYN with the number 700.
fn refusal() -> Segment {
    Segment { seq: 0, ack: 701, flags: Flags(RST | ACK), ..answer() }
}

fn left(rst: &Segment) -> Wire {
    let mut wire = WireFlow::default().reset(rst, End::First, None);
    wire.receiver.packets = 3;
    wire.receiver.last_ack = Some(500);
    wire.receiver.initial_seq = Some(700);
    wire
}

fn told(rst: &Segment) -> Verdict {
    attribute(&Reset { direction: Direction::Sent, unannounced: true, left: Some(Box::new(left(rst))), ..testing::reset() })
}

#[test]
fn a_firewall_answers_the_segment_that_it_stops() {
    for (rst, effect) in [(answer(), Effect::ConnectionReset), (refusal(), Effect::ConnectionRefused)] {
        let verdict = told(&rst);
        assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::LocalHost, CauseId::FirewallReject), "{verdict:#?}");
        assert_eq!((verdict.effect, verdict.severity), (effect, Severity::Warning));
    }
    // More of the peer's segments may have come since, but none from the future.
    for (seq, maker) in [(400, Some(Maker::Firewall)), (501, None)] {
        assert_eq!(made_here(&left(&Segment { seq, ..answer() })), maker, "{seq}");
    }
    assert_eq!(made_here(&left(&Segment { ack: 702, ..refusal() })), None);
}

#[test]
fn what_may_come_from_elsewhere_is_not_told() {
    for ttl in [63, 127, 254, 1] {
        assert_eq!(made_here(&left(&Segment { ttl, ..answer() })), None, "{ttl}");
    }
    // Of what a bridge hands on the other direction does not come by.
    let mut bridged = left(&answer());
    (bridged.receiver.packets, bridged.receiver.initial_seq) = (0, None);
    assert_eq!(made_here(&bridged), None);
}

#[test]
fn a_program_builds_what_neither_tcp_nor_a_firewall_does() {
    for rst in [Segment { window: 8192, ..answer() }, Segment { ip_id: Some(1), dont_fragment: Some(false), ..answer() }] {
        let verdict = told(&rst);
        assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::LocalProcess, CauseId::Injected), "{verdict:#?}");
        assert_eq!(verdict.origin.confidence, verdict.cause.confidence);
    }
}
