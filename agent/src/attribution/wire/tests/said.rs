//! What is said of an origin, beyond its kind: how sure it is, what stays possible, how far away it
//! is, and at which address.

use std::net::IpAddr;

use super::*;
use crate::model::Route;

/// A RST on a connection with `exchanges` behind it, after half a second of silence.
fn came(exchanges: u32, make: impl FnOnce(&mut Linux) -> Segment) -> Wire {
    let mut it = Linux::new(61, exchanges);
    it.wait(500);
    let rst = make(&mut it);
    it.wire(&rst)
}

fn forgery(ttl: u8) -> Wire {
    came(6, |it| forged(it, ttl))
}

/// An abort of a stack without timestamps and with no IP-ID to compare: only its TTL and its number
/// speak.
fn plain_abort(exchanges: u32, ttl: u8) -> Wire {
    let mut wire = came(exchanges, |it| Segment { ttl, ip_id: None, timestamps: None, ..it.active() });
    wire.sender.timestamped = (0, 9);
    wire
}

#[test]
fn the_peer_is_excluded_by_proof_or_by_a_foreign_header_from_elsewhere() {
    let stale = came(9, |it| Segment { seq: 7_000, ..forged(it, 61) });
    let mut signed = came(6, |it| it.answer(255));
    signed.text = VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired");
    for (name, wire, excluded) in [
        ("a foreign header, from elsewhere", forgery(62), true),
        // Scrubbing firewalls rewrite RSTs, and those of the peer's own host have its TTL.
        ("a foreign header and a stale number, as far away as the peer", stale, false),
        (
            "an answer from the link that nothing had asked for",
            came(6, |it| {
                it.wait(9_000);
                it.answer(255)
            }),
            false,
        ),
        ("an answer that a device signed", signed, true),
    ] {
        let verdict = judge(wire);
        assert_eq!(verdict.origin.kind, OriginKind::Middlebox, "{name}: {verdict:#?}");
        assert!(verdict.origin.confidence > Some(0.97), "{name}: {verdict:#?}");
        assert_eq!(!both(&verdict), excluded, "{name}: {verdict:#?}");
    }
}

#[test]
fn the_confidence_is_the_probability_that_the_kind_is_right() {
    for (name, wire, confidence, settled, cause) in [
        ("little speaks for the peer", plain_abort(1, 61), 0.954_198, false, 0.95),
        ("less, from a little nearer", plain_abort(3, 62), 0.862_069, false, 0.862_069),
        ("more", plain_abort(6, 61), 0.981_162, true, 0.95),
        ("all, and a RST can be forged", came(6, Linux::active), 0.995, true, 0.95),
    ] {
        let verdict = judge(wire);
        assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::RemotePeer, CauseId::PeerAborted), "{name}: {verdict:#?}");
        assert!((verdict.origin.confidence.unwrap() - confidence).abs() < 1e-6, "{name}: {verdict:#?}");
        assert!((verdict.cause.confidence.unwrap() - cause).abs() < 1e-6, "{name}: {verdict:#?}");
        assert_eq!(!both(&verdict), settled, "{name}: {verdict:#?}");
    }
    // More likely made by something between than by the peer: then the peer is not said to be gone
    // either.
    let unasked = judge(came(1, |it| {
        it.wait(9_000);
        it.answer(61)
    }));
    assert_eq!((unasked.origin.kind, unasked.cause.id), (OriginKind::Unknown, CauseId::Unknown), "{unasked:#?}");
}

/// A TTL that is the peer's may have been copied; more hops than paths have are none.
#[test]
fn a_box_is_as_far_away_as_its_ttl_says() {
    for (ttl, hops) in [(61, None), (62, Some(2)), (255, Some(1)), (25, Some(39)), (24, None)] {
        let verdict = judge(forgery(ttl));
        assert_eq!((verdict.origin.kind, verdict.origin.hops), (OriginKind::Middlebox, hops), "TTL {ttl}: {verdict:#?}");
    }
    assert_eq!(judge(came(6, Linux::active)).origin.hops, None, "the peer's distance is nobody's question");
}

/// The machine that handed a RST on need not have made it.
#[test]
fn an_address_on_the_link_is_that_of_what_made_the_rst_there() {
    let neighbour: IpAddr = [10, 0, 0, 9].into();
    let peer = reset(forgery(62)).tuple.peer.ip();
    let signed = |ttl, other_mac, sender| {
        let mut wire = came(6, |it| it.answer(ttl));
        wire.text = VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired");
        wire.sender.source_mac = Some([2, 0, 0, 0, 0, 1]);
        wire.rst.source_mac = Some([2, 0, 0, 0, 0, if other_mac { 2 } else { 1 }]);
        wire.way = Some(Route { gateway: Some([10, 0, 0, 1].into()), sender: Some(sender), ..Route::default() });
        wire
    };
    for (name, wire, address) in [
        ("another MAC, no router passed", signed(255, true, neighbour), Some(neighbour)),
        ("no router passed", signed(255, false, neighbour), Some(neighbour)),
        ("another MAC, a router passed", signed(250, true, neighbour), None),
        ("a router passed", signed(250, false, neighbour), None),
        // It is reached by a router, and answers directly: that it passed none says nothing then.
        ("the peer's own machine, no router passed", signed(255, false, peer), None),
    ] {
        let verdict = judge(wire);
        assert_eq!((verdict.origin.kind, verdict.origin.address), (OriginKind::Middlebox, address), "{name}: {verdict:#?}");
    }
}

/// A box that lost the connection answers within three round trips, and one that makes RSTs up
/// needs nothing to answer.
#[test]
fn what_a_box_can_have_answered() {
    for (rtt_ms, before_ms, cause) in
        [(20, 200, CauseId::StateLost), (20, 201, CauseId::Injected), (100, 300, CauseId::StateLost), (100, 301, CauseId::Injected)]
    {
        let mut wire = came(6, |it| {
            it.send(PSH, 50);
            it.wait(before_ms);
            it.answer(62)
        });
        wire = convict(wire);
        (wire.sender.handshake_rtt_ns, wire.sender.min_rtt_ns) = (Some(rtt_ms * MS), Some(rtt_ms * MS));
        let verdict = judge(wire);
        assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::Middlebox, cause), "{rtt_ms} ms, {before_ms} ms: {verdict:#?}");
    }
}
