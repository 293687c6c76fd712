#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use super::{End, Segment, Silence, WireFlow};
use crate::model::Flags;

const MS: u64 = 1_000_000;
const SYN: u16 = Flags::SYN;
const ACK: u16 = Flags::ACK;
const RST: u16 = Flags::RST;

fn segment(at_ms: u64, flags: u16, seq: u32, ack: u32, payload: u32) -> Segment {
    Segment {
        time_ns: at_ms * MS,
        ttl: 60,
        ip_id: Some(u16::try_from(at_ms % 60_000).unwrap()),
        dont_fragment: Some(true),
        seq,
        ack,
        flags: Flags(flags),
        payload,
        ..Segment::default()
    }
}

/// A handshake at 1,000 ms with a round trip of 30 ms; sequences go on at 101 and 501.
fn opened() -> WireFlow {
    let mut flow = WireFlow::default();
    flow.observe(&segment(1_000, SYN, 100, 0, 0), End::First);
    flow.observe(&Segment { ttl: 200, ip_id: Some(0), ..segment(1_030, SYN | ACK, 500, 101, 0) }, End::Second);
    flow.observe(&segment(1_031, ACK, 101, 501, 0), End::First);
    flow
}

fn rst(at_ms: u64, seq: u32) -> Segment {
    segment(at_ms, RST, seq, 0, 0)
}

#[test]
fn the_handshake_is_no_baseline() {
    let mut flow = opened();
    flow.observe(&segment(1_100, ACK, 501, 101, 10), End::Second);
    let peer = flow.side(End::Second);
    assert_eq!((peer.handshake_ttl, peer.ttl.mode, peer.ttl.count), (Some(200), 60, 1));
    assert_eq!((peer.handshake_ip_id, peer.ip_ids.last), (Some(0), Some(1_100)));
    assert_eq!(peer.handshake_rtt_ns, Some(30 * MS));
    assert_eq!(flow.side(End::First).handshake_rtt_ns, Some(MS));
}

#[test]
fn a_syn_sent_twice_measures_nothing() {
    let mut flow = WireFlow::default();
    flow.observe(&segment(1_000, SYN, 100, 0, 0), End::First);
    flow.observe(&segment(2_000, SYN, 100, 0, 0), End::First);
    flow.observe(&segment(2_010, SYN | ACK, 500, 101, 0), End::Second);
    assert_eq!(flow.side(End::Second).handshake_rtt_ns, None);
    assert_eq!(flow.reset(&rst(3_000, 501), End::Second, None).min_rtt(), None);
}

#[test]
fn the_shortest_round_trip_counts() {
    let mut flow = opened();
    flow.observe(&segment(1_100, ACK, 101, 501, 10), End::First);
    flow.observe(&segment(1_120, ACK, 501, 111, 0), End::Second);
    assert_eq!(flow.reset(&rst(1_200, 501), End::Second, None).min_rtt(), Some(Duration::from_millis(20)));
}

#[test]
fn the_majority_is_the_mode() {
    let mut flow = opened();
    for (at, ttl) in (1_100..).zip([60, 61, 60, 60, 59, 60]) {
        flow.observe(&Segment { ttl, ..segment(at, ACK, 501, 101, 0) }, End::Second);
    }
    let ttl = flow.side(End::Second).ttl;
    assert_eq!((ttl.mode, ttl.lowest, ttl.highest, ttl.count, ttl.constant()), (60, 59, 61, 6, false));
}

#[test]
fn another_syn_is_another_connection() {
    let mut flow = opened();
    flow.observe(&segment(1_500, SYN, 100, 0, 0), End::First);
    assert_eq!(flow.side(End::Second).packets, 1, "a retransmission");
    // Anybody can send a SYN; the other end answers one of its own peer.
    flow.observe(&segment(9_000, SYN, 7_000, 0, 0), End::First);
    assert_eq!((flow.side(End::First).packets, flow.side(End::Second).packets), (3, 1));
    flow.observe(&segment(9_030, SYN | ACK, 9_000, 7_002, 0), End::Second);
    assert_eq!(flow.side(End::Second).initial_seq, Some(500), "it answers another");
    flow.observe(&segment(9_030, SYN | ACK, 9_000, 7_001, 0), End::Second);
    assert_eq!((flow.side(End::First).packets, flow.side(End::Second).packets), (1, 1));
    assert_eq!((flow.side(End::First).initial_seq, flow.side(End::Second).initial_seq), (Some(7_000), Some(9_000)));
}

#[test]
fn a_hole_in_the_capture_is_got_over_by_both_ends() {
    let mut flow = opened();
    let far = 900_000_000;
    flow.observe(&segment(2_000, ACK, 501 + far, 101 + far, 10), End::Second);
    assert_eq!(flow.side(End::Second).end_seq, Some(501), "anybody's");
    flow.observe(&segment(2_001, ACK, 101 + far, 511 + far, 10), End::First);
    flow.observe(&segment(2_030, ACK, 511 + far, 111 + far, 10), End::Second);
    assert_eq!(flow.side(End::Second).end_seq, Some(521 + far));
    assert_eq!(flow.side(End::First).end_seq, Some(111 + far));
}

#[test]
fn a_silence_is_broken_by_one_end() {
    let mut flow = opened();
    let length = Duration::from_mins(4);
    let unasked = flow.reset(&rst(241_031, 501), End::Second, None).silence;
    assert_eq!(unasked, Some(Silence { length, broken_by_receiver: false }));
    flow.observe(&segment(241_031, ACK, 101, 501, 10), End::First);
    flow.observe(&segment(241_231, ACK, 101, 501, 10), End::First);
    let asked = flow.reset(&rst(241_261, 501), End::Second, None).silence;
    assert_eq!(asked, Some(Silence { length, broken_by_receiver: true }));
    // Had the peer answered, the connection had survived it.
    flow.observe(&segment(241_262, ACK, 501, 111, 0), End::Second);
    let wire = flow.reset(&rst(241_300, 501), End::Second, None);
    assert_eq!((wire.silence, wire.longest_survived), (None, length));
}

#[test]
fn what_follows_is_told_apart() {
    let flow = opened();
    let wire = flow.reset(&rst(2_000, 501), End::Second, None);
    let mut late = wire.clone();
    late.follow(&segment(2_001, ACK, 490, 101, 11), true);
    assert_eq!((late.after.late, late.after.sender_went_on), (1, None));
    let mut on = wire.clone();
    on.follow(&segment(2_050, ACK, 511, 101, 5), true);
    assert_eq!(on.after.sender_went_on, Some((50 * MS, 10)));
    let mut reopened = wire.clone();
    reopened.follow(&segment(2_010, SYN, 9_000, 0, 0), true);
    reopened.follow(&segment(2_050, ACK, 9_001, 101, 5), true);
    assert_eq!(reopened.after.sender_went_on, None);
    let mut acknowledged = wire;
    acknowledged.follow(&segment(2_010, ACK, 101, 501, 20), false);
    acknowledged.follow(&segment(2_040, ACK, 501, 121, 0), true);
    assert_eq!(acknowledged.after.sender_acknowledged, Some(40 * MS));
}

#[test]
fn rsts_of_the_same_end_are_remembered() {
    let mut flow = opened();
    for (at, seq) in (2_000..).zip([501, 601, 701, 801, 901]) {
        flow.observe(&rst(at, seq), End::Second);
    }
    flow.observe(&rst(2_100, 101), End::First);
    let wire = flow.reset(&rst(2_200, 1_001), End::Second, None);
    assert_eq!(wire.others.iter().map(|other| other.seq).collect::<Vec<_>>(), [701, 801, 901]);
}

/// A busy connection wraps counters of 32 bits when they are added up; fuzzing found it.
#[test]
fn identifications_of_a_billion_segments_are_weighed() {
    let ids = |by_one, other| super::IpIds { by_one, other, zeros: 1, ..super::IpIds::default() };
    assert!(!ids(u32::MAX, 1 << 30).per_connection());
    assert!(!ids(2, u32::MAX).per_connection());
    assert!(ids(u32::MAX, 1 << 29).per_connection());
}
