//! The shape of a RST, by its header.

use super::linux::{ACK, Linux, RST};
use crate::{
    attribution::shape::Shape,
    flow::wire::{OptionKinds, Segment},
    model::Flags,
};

/// Linux signs its answers where it has a key for the address (`tcp_v4_send_reset()`): such options
/// do not make them foreign.
#[test]
fn a_signed_answer_is_an_answer() {
    let it = Linux::new(61, 1);
    for (kind, answers) in [(19, true), (29, true), (8, false), (34, false)] {
        let mut options = OptionKinds::default();
        options.push(kind);
        let wire = it.wire(&Segment { options, ..it.answer(61) });
        assert_eq!(Shape::of(&wire).answers(), answers, "option {kind}");
    }
}

/// DF that is clear makes a RST foreign only where the peer's packets are not known to leave it
/// clear.
#[test]
fn the_shape_of_a_rst() {
    let rst = |rst: Segment, theirs: (u64, u64)| {
        let it = Linux::new(61, 1);
        let mut wire = it.wire(&rst);
        wire.sender.dont_fragment = theirs;
        wire.sender.handshake_dont_fragment = None;
        Shape::of(&wire)
    };
    let mut it = Linux::new(61, 1);
    let (active, bare) = (it.active(), it.answer(61));
    let fragmentable = |segment| Segment { dont_fragment: Some(false), ..segment };
    for (name, segment, theirs, shape) in [
        ("an abort", active, (9, 0), Shape::Active),
        ("an abort, window 0", Segment { window: 0, ..active }, (9, 0), Shape::Active),
        ("an abort without timestamp", Segment { timestamps: None, ..active }, (9, 0), Shape::Active),
        ("a fragmentable abort", fragmentable(Segment { ip_id: Some(7), ..active }), (9, 0), Shape::Foreign),
        ("a fragmentable abort that is the next packet of its host", fragmentable(active), (9, 0), Shape::Active),
        ("the window of the latest packet, without ACK", Segment { window: 502, ..bare }, (9, 0), Shape::Active),
        ("a fragmentable abort of a host that does so", fragmentable(active), (0, 9), Shape::Active),
        ("a fragmentable abort, nothing known", fragmentable(Segment { ip_id: Some(7), ..active }), (0, 0), Shape::Foreign),
        ("an answer", bare, (9, 0), Shape::Answer),
        ("an answer over IPv6", Segment { ip_id: None, dont_fragment: None, ..bare }, (0, 0), Shape::Answer),
        ("an answer with an IP-ID", Segment { ip_id: Some(1), ..bare }, (9, 0), Shape::OtherAnswer),
        ("an answer with ACK", Segment { flags: Flags(RST | ACK), ..bare }, (9, 0), Shape::OtherAnswer),
        ("an answer to a SYN", Segment { flags: Flags(RST | ACK), seq: 0, ..bare }, (0, 0), Shape::Answer),
        ("a fragmentable answer", fragmentable(bare), (9, 0), Shape::Foreign),
        ("a fragmentable answer of a host that does so", fragmentable(bare), (0, 9), Shape::Answer),
        ("an answer to a SYN with a window", Segment { flags: Flags(RST | ACK), seq: 0, window: 1, ..bare }, (9, 0), Shape::Foreign),
        ("a window without ACK", Segment { window: 1, ..bare }, (9, 0), Shape::Foreign),
        ("payload", Segment { payload: 1, ..bare }, (9, 0), Shape::Foreign),
        ("PSH", Segment { flags: Flags(RST | Flags::PSH), ..bare }, (9, 0), Shape::Foreign),
    ] {
        assert_eq!(rst(segment, theirs), shape, "{name}");
    }
}
