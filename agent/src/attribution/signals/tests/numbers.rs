//! Sequence numbers and identifications.

use super::{
    super::{mirror, sequence},
    check,
};
use crate::{
    attribution::tests::linux::{ACK, Linux, RST},
    flow::wire::{Segment, Wire},
    model::Flags,
};

/// A bare answer, changed. The peer's initial number is 6999, this host's IP-IDs are 500.
fn answer(change: impl FnOnce(&mut Wire)) -> Wire {
    let it = Linux::new(61, 6);
    let mut wire = it.wire(&it.answer(61));
    change(&mut wire);
    wire
}

/// RFC 9293, section 3.10.7.
#[test]
fn a_rst_has_a_number_that_an_end_would_give_it() {
    let at = answer(|_| ()).expected_seq().unwrap();
    let seq = |seq: u32| answer(|wire| wire.rst.seq = seq);
    // Nine acknowledgements are more than are remembered.
    let it = Linux::new(61, 9);
    let handshakes = it.wire(&Segment { seq: 7_000, ..it.answer(61) });
    // 80 bytes of the peer's are not acknowledged yet.
    let unacknowledged = |seq: u32| answer(|wire| (wire.rst.seq, wire.sender.end_seq) = (seq, Some(at + 80)));
    let to_syn = |ack: u32, opened: Option<u32>, sent: Option<u32>| {
        answer(|wire| {
            (wire.rst.seq, wire.rst.ack, wire.rst.flags) = (0, ack, Flags(RST | ACK));
            (wire.receiver.initial_seq, wire.receiver.end_seq) = (opened, sent);
        })
    };
    check(
        sequence::look,
        [
            ("the expected one", seq(at), Some(0.8)),
            // A keepalive probe is answered with its own acknowledgement; the probe lies one
            // before.
            ("one before", seq(at - 1), Some(0.8)),
            ("two before", seq(at - 2), Some(10.0)),
            ("one that had been acknowledged", seq(at - 80), Some(0.8)),
            ("the handshake's, long ago", handshakes, Some(15.0)),
            ("the handshake's, a moment ago", seq(7_000), Some(0.8)),
            ("one beyond: a FIN that was not seen", seq(at + 1), Some(1.5)),
            ("two beyond: something was lost", seq(at + 2), Some(3.0)),
            ("the end of what was sent", unacknowledged(at + 80), Some(0.8)),
            ("within what was sent", unacknowledged(at + 40), Some(1.5)),
            ("nothing known", answer(|wire| (wire.receiver.last_ack, wire.sender.end_seq) = (None, None)), None),
            ("an answer to a SYN", to_syn(401, Some(400), Some(401)), Some(0.8)),
            ("an answer to a SYN with data", to_syn(451, Some(400), Some(451)), Some(0.8)),
            ("an answer to another SYN", to_syn(402, Some(400), Some(401)), Some(5.0)),
            ("an answer to a SYN, of which only the end is known", to_syn(401, None, Some(401)), Some(0.8)),
            ("an answer to a SYN that was not seen", to_syn(401, None, None), None),
        ],
    );
}

#[test]
fn a_packet_that_was_turned_around_has_its_ip_id() {
    let id = |id: u16, theirs: u16| answer(|wire| (wire.rst.ip_id, wire.sender.ip_ids.last) = (Some(id), Some(theirs)));
    let of_the_syn = answer(|wire| (wire.rst.ip_id, wire.receiver.handshake_ip_id) = (Some(77), Some(77)));
    check(
        mirror::look,
        [
            ("this host's", id(500, 40_006), Some(100.0)),
            ("this host's SYN's", of_the_syn, Some(100.0)),
            ("another", id(501, 40_006), None),
            // The peer's counter may be there by itself.
            ("as far as the peer's counts on", id(500, 500_u16.wrapping_sub(2048)), None),
            ("farther", id(500, 500_u16.wrapping_sub(2049)), Some(100.0)),
            ("0 is common", answer(|wire| wire.receiver.ip_ids.recent.push(0)), None),
            ("IPv6 has none", answer(|wire| wire.rst.ip_id = None), None),
        ],
    );
}
