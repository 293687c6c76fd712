//! Header fields that a stack would not leave out, or would.

use super::judge;
use crate::{
    attribution::tests::linux::Linux,
    flow::wire::{IpIds, Segment, Wire},
    model::OriginKind,
};

/// An abort of the peer's without its timestamp, five packets after the handshake.
fn abort_without_timestamp() -> Wire {
    let mut it = Linux::new(61, 6);
    let rst = Segment { timestamps: None, window: 400, ..it.active() };
    it.wire(&rst)
}

#[test]
fn only_linux_is_held_to_timestamps_on_its_aborts() {
    let linux = abort_without_timestamp();
    assert_eq!(judge(linux.clone()).origin.kind, OriginKind::Middlebox);
    // The BSDs and their heirs leave the timestamp out, with IP-IDs at random or zero.
    for ttl in [60, 61, 62] {
        let mut other = linux.clone();
        other.sender.ip_ids = IpIds::default();
        other.rst.ip_id = Some(0);
        other.rst.ttl = ttl;
        let verdict = judge(other);
        assert_ne!(verdict.origin.kind, OriginKind::Middlebox, "TTL {ttl}: {verdict:#?}");
    }
    // Windows counts by destination, from 128.
    let mut windows = linux;
    (windows.sender.ttl.mode, windows.sender.ttl.last, windows.rst.ttl) = (125, 125, 125);
    assert_ne!(judge(windows).origin.kind, OriginKind::Middlebox);
}

#[test]
fn one_strange_field_from_the_peers_distance_does_not_convict() {
    let it = Linux::new(61, 6);
    let answer = it.answer(61);
    for (what, rst) in [
        ("DF clear", Segment { dont_fragment: Some(false), ..answer }),
        ("a window", Segment { window: 4128, ..answer }),
        ("payload", Segment { payload: 9, ..answer }),
    ] {
        let mut wire = it.wire(&rst);
        // Nor does it lack a timestamp that others have.
        wire.sender.timestamped = (0, 13);
        let verdict = judge(wire);
        assert_ne!(verdict.origin.kind, OriginKind::Middlebox, "{what}: {verdict:#?}");
    }
    let both = Segment { dont_fragment: Some(false), window: 4128, ..answer };
    assert_eq!(judge(it.wire(&both)).origin.kind, OriginKind::Middlebox);
}

/// A socket keeps its flow label; the kernel of a host without the socket makes one up; netfilter
/// and most injectors leave it out.
#[test]
fn flow_labels_tell_who_answers() {
    let theirs = 0x4_5678;
    for (label, active, kind) in [
        (theirs, true, OriginKind::RemotePeer),
        (0, true, OriginKind::Middlebox),
        (theirs, false, OriginKind::RemotePeer),
        (0x1_2345, false, OriginKind::RemotePeer),
    ] {
        let mut it = Linux::new(61, 6);
        let mut rst = if active { Segment { timestamps: None, ..it.active() } } else { it.answer(61) };
        if label == theirs {
            rst.timestamps = it.peer(0, 0).timestamps.filter(|_| active);
        }
        (rst.ip_id, rst.dont_fragment, rst.flow_label) = (None, None, Some(label));
        let mut wire = it.wire(&rst);
        (wire.sender.ip_ids, wire.sender.dont_fragment, wire.sender.flow_label) = (IpIds::default(), (0, 0), Some(theirs));
        wire.rst.window = if active { 333 } else { 0 };
        let verdict = judge(wire);
        assert_eq!(verdict.origin.kind, kind, "label {label:#07x}, active {active}: {verdict:#?}");
    }
}
