//! The header fields of a RST against those of the connection's other packets: each field by
//! itself, with its boundaries.

use super::{super::stack, ask};
use crate::{
    attribution::tests::linux::{ACK, Linux, MS, RST},
    flow::wire::{IpIds, Timestamps, VendorText, Wire},
    model::Flags,
};

/// A case: its name, the wire, and what must be remarked: each ratio, and how its sentence begins.
type Row<'a> = (&'a str, Wire, &'a [(f64, &'a str)]);

fn check<'a>(rows: impl IntoIterator<Item = Row<'a>>) {
    for (name, wire, expected) in rows {
        let found = ask(stack::look, &wire);
        let details: Vec<&str> = found.iter().flat_map(|found| found.detail.split("; ")).collect();
        let same = details.len() == expected.len() && details.iter().zip(expected).all(|(detail, (_, begins))| detail.starts_with(begins));
        assert!(same, "{name}: {found:?}");
        let ratio = expected.iter().map(|(ratio, _)| ratio).product::<f64>().clamp(0.01, 150.0);
        assert!(found.is_none_or(|found| (found.ratio - ratio).abs() < 1e-9), "{name}: expected {ratio}");
    }
}

/// An abort of the peer's socket, changed. The connection's latest IP-ID is 40006, its latest
/// window 502.
fn abort(change: impl FnOnce(&mut Wire)) -> Wire {
    let mut it = Linux::new(61, 6);
    let rst = it.active();
    changed(it.wire(&rst), change)
}

/// A bare answer of a host, changed.
fn answer(change: impl FnOnce(&mut Wire)) -> Wire {
    let it = Linux::new(61, 6);
    changed(it.wire(&it.answer(61)), change)
}

fn changed(mut wire: Wire, change: impl FnOnce(&mut Wire)) -> Wire {
    change(&mut wire);
    wire
}

/// Only the timestamp speaks: IPv6 without a label, and a window of its own.
fn stamped(value: u32, after_ms: u64) -> Wire {
    abort(|wire| {
        (wire.rst.ip_id, wire.rst.window) = (None, 77);
        let (last, last_ns) = wire.sender.last_timestamp.unwrap();
        wire.rst.timestamps = Some(Timestamps { value: last.value.wrapping_add(value), echo: 1 });
        wire.rst.time_ns = last_ns + after_ms * MS;
    })
}

/// The peer's clock counted so much in so many milliseconds, and by 5000 more when it sent the RST
/// at once.
fn clock(ticks: u32, milliseconds: u64) -> Wire {
    changed(stamped(5_000, 0), |wire| {
        let (last, last_ns) = wire.sender.last_timestamp.unwrap();
        let first = Timestamps { value: last.value.wrapping_sub(ticks), echo: 1 };
        wire.sender.first_timestamp = Some((first, last_ns - milliseconds * MS));
    })
}

#[test]
fn an_abort_continues_its_sockets_timestamps() {
    let absent = |change: fn(&mut Wire)| {
        abort(|wire| {
            wire.rst.timestamps = None;
            wire.rst.window = 77;
            change(wire);
        })
    };
    let peers = |with, without| changed(stamped(0, 0), |wire| wire.sender.timestamped = (with, without));
    check([
        ("at the same tick", stamped(0, 0), &[(0.2, "TSval advanced by 0 in 0 ms")] as &[_]),
        ("as much as time went by", stamped(300, 300), &[(0.2, "TSval advanced by 300")]),
        // PAWS (RFC 7323, section 5): a socket never goes back.
        ("one back", stamped(u32::MAX, 300), &[(10.0, "TSval")]),
        ("a second of slack", stamped(1_000, 0), &[(0.2, "TSval advanced by 1000 in 0 ms")]),
        ("more than that", stamped(1_001, 0), &[(10.0, "TSval advanced by 1001 in 0 ms")]),
        ("a twentieth of slack", stamped(11_500, 10_000), &[(0.2, "TSval advanced by 11500")]),
        ("more than a twentieth", stamped(11_501, 10_000), &[(10.0, "TSval advanced by 11501")]),
        // tcp_usec_ts: what counts microseconds has counted so before.
        ("a clock of microseconds", clock(1_000_000, 1_000), &[(0.2, "TSval advanced by 5000")]),
        ("a clock of milliseconds", clock(1_000, 1_000), &[(10.0, "TSval advanced by 5000")]),
        ("as fast as milliseconds with their slack", clock(3_000, 1_000), &[(10.0, "TSval advanced by 5000")]),
        ("faster", clock(3_001, 1_000), &[(0.2, "TSval advanced by 5000")]),
        ("one packet tells nothing of a clock", clock(0, 0), &[(0.2, "TSval advanced by 5000")]),
        ("none, from Linux", absent(|_| ()), &[(100.0, "no timestamp, though every packet of the peer has one and it counts")]),
        (
            "none, from a stack that counts no IP-IDs by socket",
            absent(|wire| (wire.sender.ip_ids, wire.rst.ip_id) = (IpIds::default(), Some(0))),
            &[(15.0, "no timestamp, though every packet of the peer has one")],
        ),
        (
            "none, from Windows, and a number of another counter",
            absent(|wire| (wire.sender.ttl.mode, wire.rst.ip_id) = (125, Some(9))),
            &[(15.0, "no timestamp, though every packet of the peer has one"), (2.0, "IP-ID 9, while")],
        ),
        (
            "none, from a host that is not Linux, and the next number of its counter",
            absent(|wire| wire.sender.ttl.mode = 125),
            &[(2.0, "no timestamp, though every packet of the peer has one"), (0.1, "IP-ID 40007 is 1 on in the counter")],
        ),
        ("one, where none was agreed on", peers(0, 9), &[(8.0, "a timestamp, though the peer's packets have none")]),
        // It does use them (RFC 7323, section 3.2, wants them on every segment then, which not
        // every stack keeps to).
        ("one, where some packets have none", peers(1, 8), &[]),
        ("one, where nothing was seen of the peer", peers(0, 0), &[]),
    ]);
}

#[test]
fn an_abort_continues_its_sockets_ip_ids() {
    let id = |id: u16| {
        abort(|wire| {
            (wire.rst.ip_id, wire.rst.window) = (Some(id), 77);
            (wire.rst.timestamps, wire.sender.timestamped) = (None, (0, 0));
        })
    };
    let shared = |step: u16| {
        changed(id(40_006_u16.wrapping_add(step)), |wire| {
            wire.sender.ip_ids = IpIds { last: Some(40_006), forward: 9, ..IpIds::default() };
        })
    };
    check([
        ("the next", id(40_007), &[(0.05, "IP-ID 40007 is the next")] as &[_]),
        ("one went unseen", id(40_008), &[(0.2, "IP-ID 40008 is 2 on")]),
        ("three went unseen", id(40_010), &[(0.2, "IP-ID 40010 is 4 on")]),
        ("too far on", id(40_011), &[(6.0, "IP-ID 40011, while the socket's counter stood at 40006")]),
        ("the same again", id(40_006), &[(6.0, "IP-ID 40006, while")]),
        ("another counter's", id(0), &[(6.0, "IP-ID 0, while")]),
        ("a shared counter, next", shared(1), &[(0.4, "IP-ID 40007 is 1 on")]),
        ("a shared counter, busy", shared(2048), &[(0.4, "IP-ID 42054 is 2048 on")]),
        ("a shared counter, too far on", shared(2049), &[]),
        ("a shared counter, the same again", shared(0), &[]),
        ("IPv6 has none", changed(id(0), |wire| wire.rst.ip_id = None), &[]),
        ("nothing to compare with", changed(id(7), |wire| wire.sender.ip_ids = IpIds::default()), &[]),
        (
            "copied, without what the socket would not leave out",
            changed(id(40_010), |wire| wire.sender.timestamped = (9, 0)),
            &[(100.0, "no timestamp")],
        ),
        (
            "not even copied",
            changed(id(40_011), |wire| wire.sender.timestamped = (9, 0)),
            &[(100.0, "no timestamp"), (6.0, "IP-ID 40011, while")],
        ),
    ]);
}

#[test]
fn an_abort_has_its_sockets_window() {
    let window = |its, theirs| changed(stamped(0, 0), |wire| (wire.rst.window, wire.sender.window) = (its, theirs));
    let continues = (0.2, "TSval advanced");
    check([
        ("the same", window(502, Some(502)), &[continues, (0.6, "window 502 as on")] as &[_]),
        ("another", window(501, Some(502)), &[continues]),
        // Any bare answer has it.
        ("none", window(0, Some(0)), &[continues]),
        ("nothing seen", window(502, None), &[continues]),
    ]);
}

#[test]
fn what_no_stack_does() {
    let flags = |flags: u16| answer(|wire| wire.rst.flags.0 |= flags);
    let payload = |payload| answer(|wire| wire.rst.payload = payload);
    let mixed = |with, without| answer(|wire| (wire.rst.dont_fragment, wire.sender.dont_fragment) = (Some(false), (with, without)));
    check([
        ("an ordinary answer", answer(|_| ()), &[] as &[_]),
        ("DF clear, as on no other packet", mixed(9, 0), &[(12.0, "DF is clear")]),
        ("DF clear, as on some", mixed(9, 1), &[]),
        ("DF clear, as on all", mixed(0, 9), &[]),
        ("SYN", flags(Flags::SYN), &[(8.0, "flags SR")]),
        ("FIN", flags(Flags::FIN), &[(8.0, "flags FR")]),
        ("PSH", flags(Flags::PSH), &[(8.0, "flags RP")]),
        ("URG", flags(Flags::URG), &[(8.0, "flags RU")]),
        ("a reserved bit", flags(1 << 9), &[(8.0, "reserved bits")]),
        ("AE", flags(Flags::AE), &[(8.0, "reserved bits")]),
        // No template has it either, but RFC 3168 is silent on it.
        ("ECE", flags(Flags::ECE), &[]),
        (
            "a window without a socket",
            answer(|wire| wire.rst.window = 1),
            &[(20.0, "window 1 on a RST that no socket made"), (2.0, "a window without a timestamp")],
        ),
        ("payload", payload(1), &[(6.0, "1 bytes of payload")]),
        ("payload that a device signed", changed(payload(20), |wire| wire.text = VendorText::recognise(b"BIG-IP: [0x1:7] x")), &[]),
    ]);
}

#[test]
fn an_answer_has_the_ip_ids_of_its_host() {
    // IP-ID of the RST, against a host whose packets counted so.
    let against = |id: u16, ids: IpIds| {
        answer(|wire| {
            wire.rst.ip_id = Some(id);
            (wire.sender.ip_ids, wire.sender.handshake_ip_id) = (ids, None);
            wire.sender.timestamped = (0, 0);
        })
    };
    let shared = IpIds { last: Some(100), forward: 2, ..IpIds::default() };
    let zero = IpIds { last: Some(0), zeros: 5, ..IpIds::default() };
    let by_socket = IpIds { last: Some(100), by_one: 5, forward: 3, ..IpIds::default() };
    check([
        ("0 from Linux", against(0, by_socket), &[] as &[_]),
        ("0 from a host that counts on", against(0, shared), &[(3.0, "IP-ID 0 from a host whose packets count on")]),
        ("0, counted on once", against(0, IpIds { forward: 1, ..shared }), &[]),
        ("0 from a host that sends 0", against(0, zero), &[]),
        ("another from a host that sends 0", against(7, zero), &[(2.0, "IP-ID 7, while the peer's other packets have 0")]),
        ("one from a host that counts by socket", against(105, by_socket), &[(6.0, "IP-ID 105 on an answer")]),
        ("the next of a host that may be Linux or not", against(101, by_socket), &[(0.3, "IP-ID 101 is the next of the peer's counter")]),
        (
            "the next of Linux, which has 0 there",
            changed(against(101, by_socket), |wire| wire.sender.handshake_ip_id = Some(0)),
            &[(6.0, "IP-ID 101 on an answer")],
        ),
        (
            "the next of Windows",
            changed(against(101, by_socket), |wire| wire.sender.ttl.mode = 126),
            &[(0.1, "IP-ID 101 is the next of the counter of the peer's host")],
        ),
        ("the next of a shared counter", against(101, shared), &[(0.3, "IP-ID 101 is the next of the peer's counter")]),
        ("a busy shared counter", against(2148, shared), &[(0.3, "IP-ID 2148 is 2048 on")]),
        ("too far on", against(2149, shared), &[]),
        ("the same again", against(100, shared), &[]),
        ("nothing to compare with", against(7, IpIds::default()), &[]),
        (
            "the next after the handshake",
            changed(against(7, IpIds::default()), |wire| wire.sender.handshake_ip_id = Some(6)),
            &[(0.1, "IP-ID 7 is the next of the counter of the peer's host")],
        ),
        ("IPv6 has none", changed(against(7, by_socket), |wire| wire.rst.ip_id = None), &[]),
    ]);
}

#[test]
fn an_answer_with_ack_is_not_from_a_host_that_uses_timestamps() {
    let acked = |seq| answer(|wire| (wire.rst.seq, wire.rst.flags) = (seq, Flags(RST | ACK)));
    check([
        ("RST|ACK", acked(9), &[(3.0, "RST|ACK without window or timestamp")] as &[_]),
        ("no timestamps agreed on", changed(acked(9), |wire| wire.sender.timestamped = (0, 9)), &[]),
        // RFC 9293, section 3.10.7.1: such an answer has to have it.
        ("an answer to a SYN", acked(0), &[]),
    ]);
}

/// `tcp_v4_send_reset()` copies the TOS of the segment it answers; `nf_send_reset()` sends 0.
#[test]
fn an_answer_copies_the_tos() {
    let tos = |its, ours, theirs| answer(|wire| (wire.rst.tos, wire.receiver.tos, wire.sender.tos) = (its, ours, theirs));
    check([
        ("copied", tos(0x88, Some(0x88), Some(0)), &[(0.5, "TOS 0x88 of the segment")] as &[_]),
        // ECN bits are set and cleared on the way (RFC 3168).
        ("copied, but for ECN", tos(0x89, Some(0x8a), Some(0)), &[(0.5, "TOS 0x8a of the segment")]),
        ("copied, or of the peer's own", tos(0x88, Some(0x88), Some(0x88)), &[]),
        ("left out", tos(0, Some(0x88), Some(0)), &[(2.0, "TOS 0 in answer to 0x88")]),
        ("another", tos(0x20, Some(0x88), Some(0)), &[]),
        ("nothing to copy", tos(0, Some(0), Some(0)), &[]),
        ("nothing but ECN to copy", tos(0, Some(2), Some(0)), &[]),
        ("what this host sends is not seen", tos(0, None, None), &[]),
    ]);
}

#[test]
fn a_rst_of_no_template_may_not_have_the_sockets_fields() {
    // A window makes it foreign; TSval is not looked at.
    let foreign = |id: Option<u16>| {
        answer(|wire| {
            (wire.rst.window, wire.rst.ip_id) = (9, id);
            wire.rst.timestamps = Some(Timestamps { value: 1, echo: 1 });
        })
    };
    let window = (20.0, "window 9");
    check([
        ("the next IP-ID", foreign(Some(40_007)), &[window] as &[_]),
        ("one of the next", foreign(Some(40_010)), &[window]),
        ("too far on", foreign(Some(40_011)), &[window, (5.0, "IP-ID 40011 is not of")]),
        ("the same again", foreign(Some(40_006)), &[window, (5.0, "IP-ID 40006 is not of")]),
        ("0", foreign(Some(0)), &[window]),
        ("IPv6 has none", foreign(None), &[window]),
        ("the peer counts otherwise", changed(foreign(Some(9)), |wire| wire.sender.ip_ids = IpIds::default()), &[window]),
        ("no timestamp", changed(foreign(None), |wire| wire.rst.timestamps = None), &[window, (2.0, "a window without a timestamp")]),
        (
            "no timestamp, and none agreed on",
            changed(foreign(None), |wire| (wire.rst.timestamps, wire.sender.timestamped) = (None, (0, 9))),
            &[window],
        ),
    ]);
}
