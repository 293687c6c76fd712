//! Bursts of RSTs: what no stack sends, and what a dead peer does.

use super::{super::burst, check};
use crate::{
    attribution::tests::linux::{ACK, Linux, RST},
    flow::wire::{Ring, Segment, Wire},
    model::Flags,
};

/// A RST, and another one before it that differs so from it.
fn after(rst: impl FnOnce(&mut Segment), other: impl FnOnce(&mut Segment)) -> Wire {
    let mut it = Linux::new(61, 6);
    it.wait(5_000);
    let mut segment = Segment { ip_id: Some(77), ..it.answer(61) };
    rst(&mut segment);
    let mut wire = it.wire(&segment);
    let mut twin = segment;
    other(&mut twin);
    wire.others.push(twin);
    wire
}

#[test]
fn one_ip_id_on_different_rsts_is_one_machines_template() {
    let before = |ns| after(|_| (), |other| (other.window, other.time_ns) = (9, other.time_ns - ns));
    let ttl = |ttl| after(|_| (), |other| other.ttl = ttl);
    let id = |id| after(|rst| rst.ip_id = id, |other| other.window = 9);
    check(
        burst::look,
        [
            ("another window", before(0), Some(50.0)),
            ("two seconds apart", before(2_000_000_000), Some(50.0)),
            ("more than that", before(2_000_000_001), None),
            ("another sequence number", after(|_| (), |other| other.seq -= 80), Some(50.0)),
            ("two hops apart: a route that changes", ttl(63), None),
            ("three hops apart", ttl(64), Some(50.0)),
            ("another IP-ID", after(|_| (), |other| (other.ip_id, other.window) = (Some(78), 9)), None),
            ("captured twice", after(|_| (), |_| ()), None),
            // What Linux answers with, every time.
            ("IP-ID 0", id(Some(0)), None),
            ("IPv6 has none", id(None), None),
        ],
    );
}

#[test]
fn rsts_that_march_beyond_all_that_was_sent() {
    // A RST so far beyond the peer's last byte, after one so far below it.
    let step = |beyond: u32, below: u32| {
        after(
            |rst| (rst.seq, rst.ip_id) = (rst.seq + beyond, None),
            |other| (other.seq, other.time_ns) = (other.seq - below, other.time_ns - 1_000),
        )
    };
    let changed = |change: fn(&mut Wire)| {
        let mut wire = step(1_460, 1_460);
        change(&mut wire);
        wire
    };
    let answers_syn = |flags: u16| {
        let mut wire = step(1_460, 1_460);
        wire.sender.end_seq = Some(u32::MAX - 9);
        (wire.rst.seq, wire.rst.flags) = (0, Flags(flags));
        wire.others = Ring::default();
        wire.others.push(Segment { seq: u32::MAX - 9, ..wire.rst });
        wire
    };
    check(
        burst::look,
        [
            ("a segment further than the last", step(1_460, 1_460), Some(50.0)),
            // A FIN that went unseen takes one number, and a keepalive probe lies one before.
            ("two beyond", step(2, 1_460), None),
            ("three beyond", step(3, 1_460), Some(50.0)),
            ("one further than the other", step(1_460, 1), None),
            ("two further than the other", step(1_460, 2), Some(50.0)),
            ("at the peer's last byte", step(0, 1_460), None),
            ("the only one", changed(|wire| wire.others = Ring::default()), None),
            // A dead peer answers each of our segments with a RST at the number that segment
            // acknowledged.
            ("a number that was acknowledged", changed(|wire| wire.receiver.acks.push(wire.rst.seq)), None),
            ("what this end acknowledged is not seen", changed(|wire| wire.receiver.packets = 0), None),
            ("after the peer's FIN", changed(|wire| wire.sender.fin = true), None),
            ("nothing seen of the peer", changed(|wire| wire.sender.end_seq = None), None),
            ("an answer to a SYN", answers_syn(RST | ACK), None),
            ("number 0 without ACK is one like any other", answers_syn(RST), Some(50.0)),
        ],
    );
}
