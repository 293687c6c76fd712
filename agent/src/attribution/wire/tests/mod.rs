//! The matrix of known senders, as packets: each flow is built segment by segment, as its stack
//! would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod said;
mod stack;
mod way;

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    attribution::{
        Verdict, attribute,
        signals::{Findings, Group},
        tests::linux::{ACK, Linux, MS, PSH, RST, RTT, convict},
    },
    flow::{
        Reset,
        idle::Learnt,
        wire::{End, Segment, Timestamps, VendorText, Wire, WireFlow},
    },
    model::{CauseId, Direction, Flags, OriginKind, TcpState},
    testing,
};

fn reset(wire: Wire) -> Reset {
    Reset { direction: Direction::Received, active: false, wire: Some(Box::new(wire)), ..testing::reset() }
}

fn judge(wire: Wire) -> Verdict {
    attribute(&reset(wire))
}

fn both(verdict: &Verdict) -> bool {
    verdict.origin.possible.contains(&OriginKind::RemotePeer) && verdict.origin.possible.contains(&OriginKind::Middlebox)
}

/// An injector that knows the connection: the right sequence number, all else its own.
fn forged(it: &Linux, ttl: u8) -> Segment {
    Segment { ip_id: Some(1), dont_fragment: Some(false), window: 8192, ..it.answer(ttl) }
}

#[test]
fn an_aborting_peer_is_the_peer() {
    let mut it = Linux::new(61, 6);
    let rst = it.active();
    let verdict = judge(it.wire(&rst));
    assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::RemotePeer, CauseId::PeerAborted), "{verdict:#?}");
    assert_eq!(verdict.origin.possible, [OriginKind::RemotePeer]);
}

#[test]
fn a_dead_socket_at_the_peers_distance_is_the_peer_or_a_box_as_far_away() {
    let mut it = Linux::new(61, 6);
    it.wait(300);
    it.send(PSH, 50);
    it.now += RTT;
    let verdict = judge(it.wire(&it.answer(61)));
    assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::RemotePeer, CauseId::PeerGone), "{verdict:#?}");
    assert!(both(&verdict));
}

#[test]
fn an_application_with_a_ttl_of_its_own_and_a_dead_socket_is_no_middlebox() {
    let mut it = Linux::new(97, 6);
    it.send(PSH, 50);
    it.now += RTT;
    let verdict = judge(it.wire(&it.answer(61)));
    assert_ne!(verdict.origin.kind, OriginKind::Middlebox, "{verdict:#?}");
    assert!(both(&verdict));
}

#[test]
fn a_dead_socket_after_a_change_of_route_is_no_middlebox() {
    for ttl in [62, 60, 58, 64] {
        let mut it = Linux::new(61, 6);
        it.send(PSH, 50);
        it.now += RTT;
        let verdict = judge(it.wire(&it.answer(ttl)));
        assert_ne!(verdict.origin.kind, OriginKind::Middlebox, "TTL {ttl}: {verdict:#?}");
        assert!(both(&verdict));
    }
}

#[test]
fn an_abort_after_a_change_of_route_is_the_peer() {
    let mut it = Linux::new(61, 6);
    it.peer_ttl = 58;
    let rst = it.active();
    assert_eq!(judge(it.wire(&rst)).origin.kind, OriginKind::RemotePeer);
}

#[test]
fn a_router_that_rejects_is_unknown_until_the_peer_goes_on() {
    let mut it = Linux::new(61, 6);
    it.send(PSH, 50);
    it.now += RTT / 2;
    let mut wire = it.wire(&it.answer(62));
    let verdict = judge(wire.clone());
    assert_eq!(verdict.origin.kind, OriginKind::Unknown, "{verdict:#?}");
    it.wait(30);
    let more = it.peer(PSH, 80);
    wire.follow(&more, true);
    let verdict = judge(wire);
    assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::Middlebox, CauseId::StateLost), "{verdict:#?}");
    assert_eq!(verdict.origin.possible, [OriginKind::Middlebox]);
}

#[test]
fn the_peers_own_firewall_keeps_the_peer_possible() {
    let mut it = Linux::new(61, 6);
    it.send(PSH, 50);
    it.now += RTT;
    let wire = it.wire(&it.answer(61));
    it.wait(500);
    let taken_in = it.peer(PSH, 80);
    // What is rejected is dropped, and the peer acknowledges what it had before.
    let dropped = Segment { ack: taken_in.ack - 50, ..taken_in };
    let judge_with = |more: &Segment| {
        let mut wire = wire.clone();
        wire.follow(more, true);
        judge(wire)
    };
    let verdict = judge_with(&dropped);
    assert_ne!(verdict.origin.kind, OriginKind::Middlebox, "{verdict:#?}");
    assert!(both(&verdict));
    // It had the segment that the RST answers: no firewall of its own.
    let verdict = judge_with(&taken_in);
    assert_eq!(verdict.origin.kind, OriginKind::Middlebox, "{verdict:#?}");
}

#[test]
fn a_perfect_forgery_out_of_the_blue_is_proven_by_a_peer_that_goes_on() {
    let mut it = Linux::new(61, 6);
    it.wait(9_000);
    let mut wire = it.wire(&it.answer(61));
    it.wait(700);
    let more = it.peer(PSH, 80);
    wire.follow(&more, true);
    let verdict = judge(wire);
    assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::Middlebox, CauseId::Injected), "{verdict:#?}");
}

#[test]
fn a_forgery_is_one_whatever_its_ttl() {
    for ttl in [61, 64, 40, 128, 255] {
        let mut it = Linux::new(61, 6);
        it.wait(500);
        let verdict = judge(it.wire(&forged(&it, ttl)));
        assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::Middlebox, CauseId::Injected), "TTL {ttl}: {verdict:#?}");
    }
}

#[test]
fn a_stale_number_of_the_handshake_is_a_middlebox() {
    let mut it = Linux::new(61, 6);
    it.wait(500);
    let rst = Segment { seq: 7_000, ..forged(&it, 255) };
    assert_eq!(judge(it.wire(&rst)).origin.kind, OriginKind::Middlebox);
}

#[test]
fn a_fragmentable_answer_alone_does_not_convict() {
    let mut it = Linux::new(61, 6);
    it.send(PSH, 50);
    it.now += RTT;
    let rst = Segment { dont_fragment: Some(false), ..it.answer(61) };
    assert_ne!(judge(it.wire(&rst)).origin.kind, OriginKind::Middlebox);
}

#[test]
fn nothing_known_is_unknown() {
    let it = Linux::new(61, 0);
    let wire = WireFlow::default().reset(&it.answer(61), End::Second, None);
    let verdict = judge(wire);
    assert_eq!(verdict.origin.kind, OriginKind::Unknown);
    assert!(both(&verdict));
}

#[test]
fn a_refusal_is_no_middlebox() {
    let mut flow = WireFlow::default();
    let it = Linux::new(61, 0);
    let syn = Segment { ack: 0, seq: 400, flags: Flags(Flags::SYN), ..it.own(Flags::SYN, 0) };
    flow.observe(&syn, End::First);
    let rst = Segment { seq: 0, ack: 401, flags: Flags(RST | ACK), time_ns: syn.time_ns + RTT, ..it.answer(61) };
    let verdict = attribute(&Reset { state: Some(TcpState::SynSent), ..reset(flow.reset(&rst, End::Second, None)) });
    assert_ne!(verdict.origin.kind, OriginKind::Middlebox);
    assert_eq!(verdict.cause.id, CauseId::Refused);
}

#[test]
fn another_router_answering_shows_by_its_mac() {
    let (theirs, its) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut it = Linux::new(61, 0);
    for _ in 0..6 {
        it.wait(50);
        it.send(PSH, 10);
        it.now += RTT;
        let segment = Segment { source_mac: Some(theirs), ..it.peer(PSH, 10) };
        it.flow.observe(&segment, End::Second);
        it.peer_seq = segment.end_seq();
    }
    it.send(PSH, 10);
    it.now += RTT;
    for (ttl, other_macs, kind) in [
        (64, 0, OriginKind::Middlebox),
        // A baseline that varied proves nothing.
        (64, 1, OriginKind::Unknown),
        // Handed on by the other router, and made by whoever is behind it.
        (63, 0, OriginKind::Unknown),
        (61, 0, OriginKind::RemotePeer),
    ] {
        let mut wire = it.wire(&Segment { source_mac: Some(its), ..it.answer(ttl) });
        wire.sender.source_mac = Some(theirs);
        wire.sender.other_macs = other_macs;
        let verdict = judge(wire);
        assert_eq!(verdict.origin.kind, kind, "TTL {ttl}, {other_macs} other addresses: {verdict:#?}");
    }
}

#[test]
fn a_vendor_that_signs_is_believed() {
    let it = Linux::new(61, 6);
    let wire = it.flow.reset(&it.answer(252), End::Second, VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired"));
    let verdict = judge(wire);
    assert_eq!(verdict.origin.kind, OriginKind::Middlebox);
    assert!(verdict.evidence.iter().any(|evidence| evidence.detail.contains("Flow expired")));
}

#[test]
fn an_acknowledgement_before_its_time_is_a_middlebox() {
    let mut it = Linux::new(61, 3);
    it.wait(400);
    it.send(PSH, 50);
    it.now += RTT / 10;
    let rst = Segment { window: 0, timestamps: None, ..it.active() };
    let verdict = judge(it.wire(&rst));
    assert!(verdict.evidence.iter().any(|evidence| evidence.signal == "acknowledged_too_early"), "{verdict:#?}");
    assert_eq!(verdict.origin.kind, OriginKind::Middlebox);
}

#[test]
fn an_exact_rst_after_a_challenge_ack_speaks_for_the_peer() {
    let mut it = Linux::new(61, 6);
    it.wait(500);
    let inexact = Segment { seq: it.peer_seq + 100, ..it.answer(61) };
    let alone = judge(it.wire(&inexact));
    let mut wire = it.wire(&inexact);
    it.now += MS;
    wire.follow(&it.own(ACK, 0), false);
    it.now += RTT;
    wire.follow(&it.answer(61), true);
    let answered = judge(wire);
    assert!(!alone.evidence.iter().any(|evidence| evidence.signal == "challenge_ack_answered"));
    let challenged = answered.evidence.iter().find(|evidence| evidence.signal == "challenge_ack_answered").unwrap();
    assert_eq!(challenged.detail, "the challenge ACK sent 1.000 ms after this RST was answered by an exact one 20.000 ms later");
    assert_ne!(answered.origin.kind, OriginKind::Middlebox);
}

#[test]
fn repeated_silences_make_an_idle_timeout() {
    let mut it = Linux::new(61, 6);
    it.wait(350_000);
    it.send(PSH, 8);
    it.now += RTT;
    let learnt = Learnt { timeout: Duration::from_secs(350), repeats: 5, spread: Duration::from_millis(300), on_next_segment: true };
    let wire = it.wire(&it.answer(62));
    assert_ne!(judge(wire.clone()).cause.id, CauseId::IdleTimeout);
    let verdict = attribute(&Reset { learnt_idle: Some(Box::new(learnt)), ..reset(wire) });
    assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::Middlebox, CauseId::IdleTimeout), "{verdict:#?}");
    assert!(verdict.cause.advice.unwrap().contains("175"));
    // A program's own timer ends in an active RST of the peer.
    let rst = it.active();
    let verdict = attribute(&Reset { learnt_idle: Some(Box::new(learnt)), ..reset(it.wire(&rst)) });
    assert_eq!((verdict.origin.kind, verdict.cause.id), (OriginKind::RemotePeer, CauseId::PeerAborted), "{verdict:#?}");
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let ip = (any::<u8>(), any::<u8>(), any::<Option<u16>>(), any::<Option<bool>>(), any::<Option<u32>>());
    let tcp = (0_u32..200, 0_u32..200, 0_u16..4096, any::<u16>(), any::<Option<(u32, u32)>>(), 0_u32..100);
    let link = (0_u64..10_000_000_000, any::<Option<[u8; 6]>>(), any::<Option<u32>>());
    (ip, tcp, link).prop_map(|(ip, tcp, link)| Segment {
        ttl: ip.0,
        tos: ip.1,
        ip_id: ip.2,
        dont_fragment: ip.3,
        flow_label: ip.4,
        seq: tcp.0.wrapping_sub(100),
        ack: tcp.1.wrapping_sub(100),
        flags: Flags(tcp.2),
        window: tcp.3,
        timestamps: tcp.4.map(|(value, echo)| Timestamps { value, echo }),
        payload: tcp.5,
        time_ns: link.0,
        source_mac: link.1,
        interface: link.2,
        ..Segment::default()
    })
}

proptest! {
    #[test]
    fn any_packets_give_a_probability(
        before in proptest::collection::vec((any_segment(), any::<bool>()), 0..20),
        rst in any_segment(),
        after in proptest::collection::vec((any_segment(), any::<bool>()), 0..10),
    ) {
        let mut flow = WireFlow::default();
        let end = |first| if first { End::First } else { End::Second };
        for (segment, first) in &before {
            flow.observe(segment, end(*first));
        }
        let mut wire = flow.reset(&rst, End::Second, None);
        for (segment, first) in &after {
            wire.follow(segment, !first);
        }
        let verdict = judge(wire);
        if let Some(confidence) = verdict.origin.confidence {
            prop_assert!((0.0..=1.0).contains(&confidence) && confidence >= 0.8);
        }
        prop_assert!(!verdict.origin.possible.is_empty());
    }

    #[test]
    fn what_speaks_for_the_peer_never_accuses(
        findings in proptest::collection::vec((0_usize..4, 0.01_f64..2000.0), 0..12),
        group in 0_usize..4,
        ratio in 0.001_f64..1.0,
    ) {
        let group_of = |at: usize| Group::ALL.get(at).copied().unwrap_or(Group::Path);
        let all = findings.into_iter().fold(Findings::default(), |all, (at, ratio)| all.with(group_of(at), ratio));
        let before = all.probability();
        prop_assert!((0.0..=1.0).contains(&before));
        prop_assert!(all.with(group_of(group), ratio).probability() <= before + 1e-12);
    }
}
