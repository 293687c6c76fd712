//! Distances, with their boundaries.

use super::{
    super::{path, ttl},
    check,
};
use crate::{
    attribution::tests::linux::{ACK, RST},
    flow::wire::{End, Segment, Wire, WireFlow},
    model::Flags,
};

/// What a RST may look like.
#[derive(Clone, Copy)]
enum Made {
    /// Of a socket.
    Active,
    /// A bare answer, as Linux builds it.
    Bare,
    /// A bare answer with an IP-ID.
    Other,
    /// By no template.
    Foreign,
}

/// A RST with this TTL, after a part of the handshake and segments of the peer with those.
fn came(handshake: Option<u8>, theirs: &[u8], ttl: u8, made: Made) -> Wire {
    let mut flow = WireFlow::default();
    let segment = |ttl, flags| Segment { ttl, flags: Flags(flags), ip_id: Some(0), seq: 1, ..Segment::default() };
    if let Some(ttl) = handshake {
        flow.observe(&segment(ttl, Flags::SYN | ACK), End::Second);
    }
    for ttl in theirs {
        flow.observe(&segment(*ttl, ACK), End::Second);
    }
    let rst = match made {
        Made::Active => Segment { window: 9, ..segment(ttl, RST | ACK) },
        Made::Bare => segment(ttl, RST),
        Made::Other => Segment { ip_id: Some(3), ..segment(ttl, RST) },
        Made::Foreign => Segment { window: 9, ..segment(ttl, RST) },
    };
    flow.reset(&rst, End::Second, None)
}

/// The same, where all packets of the peer had timestamps.
fn timestamped(mut wire: Wire) -> Wire {
    wire.sender.timestamped = (8, 0);
    wire
}

#[test]
fn as_far_away_as_the_peer() {
    let same = |packets: usize, made| came(None, &vec![61; packets], 61, made);
    check(
        path::look,
        [
            ("nothing to compare with", came(None, &[], 61, Made::Bare), None),
            ("the handshake only", came(Some(61), &[], 61, Made::Bare), Some(0.35)),
            ("a packet", same(1, Made::Bare), Some(0.3)),
            ("two packets", same(2, Made::Active), Some(0.3)),
            ("three packets", same(3, Made::Active), Some(0.15)),
            ("four packets", same(4, Made::Bare), Some(0.15)),
            ("five packets", same(5, Made::Active), Some(0.12)),
            ("seven packets", same(7, Made::Bare), Some(0.12)),
            ("eight packets", same(8, Made::Active), Some(0.1)),
            ("eight packets that varied", came(None, &[61, 61, 61, 61, 61, 61, 61, 60], 61, Made::Active), Some(0.15)),
            ("the latest of packets that varied", came(None, &[61, 61, 61, 60], 60, Made::Active), Some(0.15)),
            // Injectors that copy the TTL get the rest wrong.
            ("of no template", same(8, Made::Foreign), Some(0.4)),
            ("without its timestamp", timestamped(same(8, Made::Active)), Some(0.4)),
            ("an answer has none", timestamped(same(8, Made::Bare)), Some(0.1)),
        ],
    );
}

#[test]
fn a_little_off() {
    let near = |packets: usize, ttl, made| came(None, &vec![61; packets], ttl, made);
    check(
        path::look,
        [
            ("one nearer", near(4, 62, Made::Bare), Some(4.0)),
            ("two nearer", near(4, 63, Made::Bare), Some(4.0)),
            ("two nearer, another stack's", near(4, 63, Made::Other), Some(4.0)),
            // What lies between is not farther away.
            ("one farther", near(4, 60, Made::Bare), Some(1.0)),
            ("one farther, another stack's", near(4, 60, Made::Other), Some(4.0)),
            ("an abort, one nearer", near(4, 62, Made::Active), Some(2.0)),
            ("an abort, one farther", near(4, 60, Made::Active), Some(2.0)),
            ("too few packets", near(3, 62, Made::Bare), Some(1.0)),
            ("packets that varied", came(None, &[61, 60, 61, 61], 62, Made::Bare), Some(1.0)),
            ("the handshake only", came(Some(61), &[], 62, Made::Bare), Some(1.0)),
            // A route that changed just before: the latest packet came so, if not the most.
            ("near the latest", came(None, &[61, 61, 61, 50], 51, Made::Bare), Some(1.0)),
        ],
    );
}

#[test]
fn far_off() {
    let far = |ttl, made| came(None, &[58; 4], ttl, made);
    check(
        path::look,
        [
            ("three nearer", far(61, Made::Bare), Some(5.0)),
            ("three farther", far(55, Made::Bare), Some(3.0)),
            ("three farther, an abort", far(55, Made::Active), Some(5.0)),
            ("three farther, another stack's", far(55, Made::Other), Some(5.0)),
            ("the handshake only", came(Some(58), &[], 61, Made::Bare), Some(2.5)),
            // A socket has one TTL for all it sends; the answer of a host has the handshake's.
            ("as the handshake, an answer", came(Some(61), &[50; 4], 61, Made::Bare), Some(1.0)),
            ("as the handshake, an abort", came(Some(61), &[50; 4], 61, Made::Active), Some(5.0)),
        ],
    );
}

#[test]
fn another_initial_ttl() {
    let off = |theirs: u8, packets: usize, ttl, made| came(None, &vec![theirs; packets], ttl, made);
    check(
        path::look,
        [
            ("128", off(61, 4, 125, Made::Bare), Some(5.0)),
            ("128, an abort", off(61, 4, 125, Made::Active), Some(20.0)),
            ("255, by a router", off(61, 4, 254, Made::Bare), Some(5.0)),
            // RFC 5082, section 3: nobody beyond a router can send this.
            ("255, from the link", off(61, 3, 255, Made::Bare), Some(20.0)),
            ("255, too few packets", off(61, 2, 255, Made::Bare), Some(5.0)),
            ("255, packets that varied", came(None, &[61, 60, 61], 255, Made::Bare), Some(5.0)),
            ("255, as the peer is on the link", off(64, 4, 255, Made::Bare), Some(5.0)),
            ("the handshake only", came(Some(61), &[], 128, Made::Bare), Some(4.0)),
            ("the handshake only, an abort", came(Some(61), &[], 128, Made::Active), Some(8.0)),
        ],
    );
}

/// A program that sets IP_TTL sends from no common initial TTL; what its host answers is not held
/// against it.
#[test]
fn a_ttl_of_the_programs_own() {
    let own = |theirs, handshake, ttl, made| came(handshake, &[theirs; 4], ttl, made);
    check(
        path::look,
        [
            ("27 hops are too many", own(101, None, 61, Made::Bare), Some(1.0)),
            ("26 hops are not", own(102, None, 61, Made::Bare), Some(5.0)),
            ("as the handshake", own(96, Some(61), 61, Made::Bare), Some(0.3)),
            ("as the handshake, an abort", own(96, Some(61), 61, Made::Active), Some(0.3)),
            ("as far from plain itself", own(96, None, 30, Made::Bare), Some(5.0)),
            ("27 hops from plain", own(96, None, 37, Made::Bare), Some(5.0)),
            ("26 hops from plain", own(96, None, 38, Made::Bare), Some(1.0)),
        ],
    );
}

#[test]
fn hops_are_counted_from_the_next_common_ttl() {
    for (ttl, initial, away, fresh) in [
        (0, 64, 64, false),
        (63, 64, 1, false),
        (64, 64, 0, true),
        (65, 128, 63, false),
        (128, 128, 0, true),
        (129, 255, 126, false),
        (255, 255, 0, true),
    ] {
        assert_eq!((ttl::hops(ttl), ttl::fresh(ttl)), ((initial, away), fresh), "TTL {ttl}");
    }
}

#[test]
fn the_numbers_are_in_the_detail() {
    let detail = |wire: &Wire| super::ask(path::look, wire).unwrap().detail;
    assert_eq!(
        detail(&came(None, &[58, 58, 57], 250, Made::Bare)),
        "TTL 250 (255 less 5), against 58 on most of 3 packets of the peer, 57 on the latest"
    );
    assert_eq!(detail(&came(Some(61), &[], 64, Made::Bare)), "TTL 64 (64 less 0), against 61 on the peer's part of the handshake");
}
