//! Where a RST was made, by TTL, route, handshake and flow label.

use super::{judge, reset};
use crate::{
    attribution::{
        attribute,
        tests::linux::{Linux, PSH, RTT},
    },
    flow::wire::{End, PathTtl, Segment, Wire, WireFlow},
    model::{OriginKind, Route},
};

const GATEWAY: [u8; 4] = [10, 0, 0, 1];

fn routed() -> Route {
    Route { gateway: Some(GATEWAY.into()), sender: Some(GATEWAY.into()), ..Route::default() }
}

/// A bare answer with this TTL to what was just said to a peer whose packets come with `peer_ttl`.
fn answered(peer_ttl: u8, ttl: u8, way: Option<Route>) -> Wire {
    let mut it = Linux::new(peer_ttl, 6);
    it.send(PSH, 50);
    it.now += RTT;
    let mut wire = it.wire(&it.answer(ttl));
    wire.way = way;
    wire
}

#[test]
fn what_passed_no_router_is_not_from_behind_one() {
    let peer = reset(answered(61, 64, None)).tuple.peer.ip();
    let neighbour = Route { sender: Some(peer), ..routed() };
    for (what, peer_ttl, ttl, way, kind) in [
        ("the gateway answers", 61, 64, Some(routed()), OriginKind::Middlebox),
        ("an appliance answers", 61, 255, Some(routed()), OriginKind::Middlebox),
        ("the peer is a neighbour that is reached by a router", 61, 64, Some(neighbour), OriginKind::Unknown),
        ("a router that takes nothing off the TTL", 64, 64, Some(routed()), OriginKind::RemotePeer),
        ("it passed a router", 61, 63, Some(routed()), OriginKind::Unknown),
        ("nobody knows the way", 61, 64, None, OriginKind::Unknown),
        ("a translating neighbour", 63, 64, Some(Route::default()), OriginKind::Middlebox),
        ("a neighbour with a TTL of its own", 60, 64, Some(Route::default()), OriginKind::Unknown),
    ] {
        let mut wire = answered(peer_ttl, ttl, way);
        // A tap at a broker does not see what the client's SYN came with.
        wire.sender.handshake_ttl = None;
        let verdict = judge(wire);
        assert_eq!(verdict.origin.kind, kind, "{what}: {verdict:#?}");
    }
}

#[test]
fn a_box_on_the_link_has_an_address_and_a_translating_one_stays_the_peer_too() {
    let verdict = judge(answered(61, 64, Some(Route { sender_name: Some("fw-1".to_owned()), ..routed() })));
    assert_eq!((verdict.origin.address, verdict.origin.name.as_deref()), (Some(GATEWAY.into()), Some("fw-1")));
    assert_eq!(verdict.origin.possible, [OriginKind::Middlebox]);

    let mut wire = answered(63, 64, Some(Route::default()));
    wire.sender.handshake_ttl = None;
    let reset = reset(wire);
    let verdict = attribute(&reset);
    assert_eq!(verdict.origin.address, Some(reset.tuple.peer.ip()));
    assert!(super::both(&verdict), "{verdict:#?}");
}

/// Whatever a program sets IP_TTL to, and however far away it is, its kernel's answer accuses
/// nobody.
#[test]
fn no_ttl_of_its_own_makes_a_dead_peer_a_middlebox() {
    for own in 1..=u8::MAX {
        for hops in 0..own.min(12) {
            for handshake in [None, Some(64 - hops)] {
                // One or two less than an initial TTL, on the link, is what a translating neighbour
                // looks like; nobody sets such a TTL.
                let translated = hops == 0 && handshake.is_none() && [62, 63, 126, 127, 253, 254].contains(&own);
                let way = if hops == 0 { Route::default() } else { routed() };
                let mut wire = answered(own - hops, 64 - hops, Some(way));
                wire.sender.handshake_ttl = handshake;
                let verdict = judge(wire);
                assert!(translated || verdict.origin.kind != OriginKind::Middlebox, "IP_TTL {own}, {hops} hops: {verdict:#?}");
                assert!(super::both(&verdict));
            }
        }
    }
}

#[test]
fn what_comes_from_where_the_handshake_came_from_is_the_peers() {
    for peer_ttl in [96, 50, 251] {
        let mut wire = answered(peer_ttl, 61, None);
        wire.sender.handshake_ttl = Some(61);
        assert_eq!(judge(wire.clone()).origin.kind, OriginKind::RemotePeer, "TTL {peer_ttl}");
        wire.sender.handshake_ttl = Some(peer_ttl);
        assert_ne!(judge(wire).origin.kind, OriginKind::Middlebox, "TTL {peer_ttl}");
    }
}

#[test]
fn a_refusal_that_passed_no_router_is_not_laid_to_the_peer() {
    let it = Linux::new(61, 0);
    for (ttl, kind) in [(61, OriginKind::RemotePeer), (64, OriginKind::Unknown)] {
        let rst = Segment { seq: 0, ack: 77, flags: crate::model::Flags(super::RST | super::ACK), ..it.answer(ttl) };
        let mut wire = WireFlow::default().reset(&rst, End::Second, None);
        wire.receiver.end_seq = Some(77);
        wire.way = Some(routed());
        let verdict = attribute(&crate::flow::Reset { state: Some(crate::model::TcpState::SynSent), ..reset(wire) });
        assert_eq!(verdict.origin.kind, kind, "TTL {ttl}: {verdict:#?}");
    }
}

/// Netfilter leaves the flow label at zero: with one, it is no firewall of the peer's that answered
/// while its program went on.
#[test]
fn a_flow_label_is_not_netfilters() {
    for (label, kind) in [(0, OriginKind::Unknown), (0x77, OriginKind::Middlebox)] {
        let mut it = Linux::new(61, 6);
        it.send(PSH, 50);
        it.now += RTT;
        let rst = Segment { flow_label: Some(label), ip_id: None, dont_fragment: None, ..it.answer(61) };
        let mut wire = it.wire(&rst);
        wire.sender.flow_label = Some(0x77);
        it.wait(300);
        let more = it.peer(PSH, 10);
        wire.follow(&Segment { ack: more.ack - 50, ..more }, true);
        let verdict = judge(wire);
        assert_eq!(verdict.origin.kind, kind, "label {label}: {verdict:#?}");
    }
}

/// A connection on which the peer had said nothing but its part of the handshake.
#[test]
fn a_handshake_from_beyond_the_router_keeps_the_peer_from_being_blamed_for_its_answer() {
    for (handshake, speaks) in [(61, true), (64, false)] {
        let mut wire = answered(61, 64, Some(routed()));
        wire.sender.ttl = PathTtl::default();
        wire.sender.handshake_ttl = Some(handshake);
        let verdict = judge(wire);
        assert_eq!(
            verdict.evidence.iter().any(|evidence| evidence.signal == "passed_no_router"),
            speaks,
            "handshake with {handshake}: {verdict:#?}"
        );
        assert_eq!(verdict.origin.kind != OriginKind::RemotePeer, speaks, "handshake with {handshake}: {verdict:#?}");
    }
}

/// The scene of a demonstration: a router one hop away rejects the second segment of a connection,
/// of which the host had only seen the handshake. Its distance does not matter, nor does the
/// initial TTL of the router.
#[test]
fn a_router_that_rejects_after_the_handshake_is_named() {
    for hops in 1..20 {
        for (initial, fresh) in [(64, 64), (64, 255), (128, 64), (255, 255)] {
            let mut wire = answered(initial - hops, fresh, Some(routed()));
            wire.sender.ttl = PathTtl::default();
            wire.sender.handshake_ttl = Some(initial - hops);
            let verdict = judge(wire);
            let said = (verdict.origin.kind, verdict.origin.address, verdict.origin.hops);
            assert_eq!(said, (OriginKind::Middlebox, Some(GATEWAY.into()), Some(1)), "{initial} less {hops}, {fresh}: {verdict:#?}");
        }
    }
}

/// A RST out of another tunnel than the peer's packets: where it was put in is known.
#[test]
fn the_other_end_of_another_tunnel_is_named() {
    let end = |last| Some(std::net::IpAddr::from([192, 0, 2, last]));
    for (its, theirs, address) in [(end(8), end(9), end(8)), (end(9), end(9), None), (end(8), None, None), (None, end(9), None)] {
        let mut wire = answered(61, 255, Some(Route { gateway: Some(GATEWAY.into()), ..Route::default() }));
        (wire.rst.outer_source, wire.sender.outer_source) = (its, theirs);
        let verdict = judge(wire);
        assert_eq!((verdict.origin.kind, verdict.origin.address), (OriginKind::Middlebox, address), "{its:?} {theirs:?}: {verdict:#?}");
    }
}
