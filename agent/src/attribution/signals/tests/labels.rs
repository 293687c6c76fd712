//! IPv6 flow labels: of a socket, of a host that answers without one, of netfilter, of a forger
//! that copies.

use super::{super::stack, check};
use crate::{
    attribution::tests::linux::{ACK, Linux, RST},
    flow::wire::{IpIds, Segment, Wire},
    model::Flags,
};

const THEIRS: u32 = 0x4_5678;

/// A RST over IPv6 with this label, on a connection whose packets have that one.
fn labelled(rst: &Segment, it: &Linux, its: Option<u32>, theirs: Option<u32>) -> Wire {
    let mut wire = it.wire(&Segment { ip_id: None, dont_fragment: None, flow_label: its, ..*rst });
    (wire.sender.ip_ids, wire.sender.dont_fragment, wire.sender.flow_label) = (IpIds::default(), (0, 0), theirs);
    // Neither timestamps nor windows are to speak.
    (wire.sender.timestamped, wire.sender.window) = ((0, 0), None);
    wire
}

#[test]
fn labels_tell_what_made_a_rst() {
    let mut it = Linux::new(61, 6);
    let active = Segment { timestamps: None, ..it.active() };
    let answer = it.answer(61);
    let acked = Segment { flags: Flags(RST | ACK), ..answer };
    let payload = Segment { payload: 4, ..answer };
    let went_on = |rst, its| {
        let mut wire = labelled(rst, &it, its, Some(THEIRS));
        wire.after.sender_went_on = Some((90_000_000, 4));
        wire
    };
    let quiet = |its| {
        let mut wire = labelled(&answer, &it, its, Some(THEIRS));
        wire.rst.time_ns += 10_000_000_000;
        wire
    };
    let other = Some(0x1_2345);
    let of = |rst, its| labelled(rst, &it, its, Some(THEIRS));
    let theirs = Some(THEIRS);
    let speaks = [
        // An abort goes out by the socket's own way, with its label.
        ("a socket's", of(&active, theirs), Some(0.3)),
        ("a socket's, none", of(&active, Some(0)), Some(8.0)),
        ("a socket's, another", of(&active, other), Some(3.0)),
        ("copied, and the peer goes on", went_on(&active, theirs), None),
        ("an answer's, of the connection", of(&answer, theirs), Some(0.3)),
        ("an answer's, none", of(&answer, Some(0)), Some(2.5)),
        ("an answer's, another", of(&answer, other), Some(0.4)),
        ("copied, and nothing had asked for it", quiet(theirs), None),
        ("another stack's answer, none", of(&acked, Some(0)), Some(2.5)),
        ("another stack's answer, another", of(&acked, other), None),
        ("of no stack, copied", of(&payload, theirs), Some(6.0)),
        ("of no stack, none", of(&payload, Some(0)), Some(6.0 * 2.5)),
        ("of no stack, another", of(&payload, other), Some(6.0)),
        ("the peer's packets have none", labelled(&active, &it, theirs, Some(0)), None),
        ("nothing to compare with", labelled(&active, &it, theirs, None), None),
        ("IPv4 has none", labelled(&active, &it, None, theirs), None),
    ];
    check(stack::look, speaks);
}
