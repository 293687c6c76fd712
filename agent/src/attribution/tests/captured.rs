//! Resets of a capture: the packets are all there is.

use super::{linux::Linux, *};
use crate::{
    amqp::{Conversation, Phase, Protocol},
    flow::{
        CapturePosition, LocalKnown,
        wire::{Ring, Segment, Wire},
    },
    model::{Direction, Effect, Severity},
};

const SYN: u16 = 0x02;
const DATA: u16 = 0x18;

/// A RST of a capture, on the side of the client.
fn captured(direction: Direction, wire: Option<Wire>) -> Reset {
    let position = CapturePosition { file: "a.pcap".to_owned(), frame: 9, local_known: LocalKnown::Told };
    Reset {
        direction,
        role: Role::Client,
        active: false,
        state: None,
        socket_kind: SocketKind::Unseen,
        wire: wire.map(Box::new),
        capture: Some(Box::new(position)),
        ..testing::reset()
    }
}

fn changed(mut wire: Wire, change: impl FnOnce(&mut Wire)) -> Wire {
    change(&mut wire);
    wire
}

fn abort(exchanges: u32) -> Wire {
    let mut it = Linux::new(64, exchanges);
    let rst = it.active();
    it.wire(&rst)
}

fn answer() -> Wire {
    let it = Linux::new(64, 3);
    it.wire(&it.answer(64))
}

#[test]
fn what_the_local_end_sent_is_told_by_its_shape() {
    let sent = |wire: Wire| captured(Direction::Sent, Some(wire));
    let to = |flags, wire| Reset { trigger: Some(Trigger { seq: 1, ack: 0, flags: Flags(flags) }), ..sent(wire) };
    let other = || changed(answer(), |wire| wire.rst.ip_id = Some(7));
    let foreign = changed(answer(), |wire| wire.rst.payload = 4);
    let finned = |wire: Wire, sender, receiver| changed(wire, |wire| (wire.sender.fin, wire.receiver.fin) = (sender, receiver));
    let open = Conversation { phase: Some(Phase::Open), followed_peer: true, ..Conversation::of(Protocol::Amqp091) };
    let in_use = |wire| Reset { amqp: Some(Box::new(open.clone())), ..sent(wire) };
    // The tap began in the middle: that nothing was seen does not mean that nothing was said.
    let from_the_middle = changed(abort(0), |wire| wire.receiver.initial_seq = None);
    for (name, reset, expected) in [
        ("an abort", sent(abort(3)), "connection_reset local_process unknown warning"),
        ("an abort of what never spoke", sent(abort(0)), "connection_reset local_process routine_close info"),
        ("the same, on the broker", Reset { role: Role::Broker, ..sent(abort(0)) }, "connection_reset local_process unknown warning"),
        ("the same, opened before the capture", sent(from_the_middle), "connection_reset local_process unknown warning"),
        ("an abort after its own FIN", sent(finned(abort(3), true, false)), "connection_reset local_process routine_close info"),
        ("an abort after the peer's FIN", sent(finned(abort(3), false, true)), "connection_reset local_process routine_close info"),
        ("the same, AMQP in use", in_use(finned(abort(3), false, true)), "connection_reset local_process peer_gone warning"),
        // It had closed first itself: the peer's FIN is the answer.
        (
            "an abort after both FINs, AMQP in use",
            in_use(finned(abort(3), true, true)),
            "connection_reset local_process routine_close info",
        ),
        ("an answer to a SYN", to(SYN, answer()), "connection_refused local_host no_listener warning"),
        ("another stack's answer to a SYN", to(SYN, other()), "connection_refused local_host no_listener warning"),
        ("an answer to data", to(DATA, answer()), "answered local_host stale_connection warning"),
        ("an answer to what was not seen", sent(other()), "answered local_host stale_connection warning"),
        ("an answer to data after a FIN", to(DATA, finned(answer(), true, false)), "answered local_host data_after_close warning"),
        ("an answer after the peer's FIN", to(DATA, finned(answer(), false, true)), "answered local_host stale_connection warning"),
        ("of no template", sent(foreign), "connection_reset unknown unknown warning"),
        ("not even the packet", captured(Direction::Sent, None), "connection_reset unknown unknown warning"),
    ] {
        assert_eq!(words(&attribute(&reset)), expected, "{name}: {:#?}", attribute(&reset));
    }
}

#[test]
fn neither_the_process_nor_its_kernel_is_excluded_by_a_shape() {
    for wire in [Some(abort(3)), Some(answer()), None] {
        let mut possible = attribute(&captured(Direction::Sent, wire)).origin.possible;
        possible.sort_by_key(|kind| *kind != OriginKind::LocalProcess);
        assert_eq!(possible, [OriginKind::LocalProcess, OriginKind::LocalHost]);
    }
}

#[test]
fn the_header_is_in_the_evidence() {
    let detail = |wire: Wire| attribute(&captured(Direction::Sent, Some(wire))).evidence.first().unwrap().detail.clone();
    assert_eq!(detail(abort(3)), "flags R., window 502, no TCP options");
    let with = changed(abort(3), |wire| wire.rst.options.push(8));
    assert_eq!(detail(with), "flags R., window 502, with TCP options");
}

/// RFC 5961, section 3.2, with the exceptions of Linux: a RST that is not exactly at the expected
/// number ends nothing.
#[test]
fn a_rst_that_no_tcp_acts_on_is_ignored() {
    // The local end had acknowledged all that the peer sent, up to `at`.
    let at = answer().expected_seq().unwrap();
    let arrives = |change: &dyn Fn(&mut Wire)| captured(Direction::Received, Some(changed(answer(), change)));
    let seq = |seq: u32| arrives(&|wire| wire.rst.seq = seq);
    let before = |milliseconds: u64| {
        arrives(&|wire| {
            let first = Segment { time_ns: wire.rst.time_ns - milliseconds * 1_000_000, ..wire.rst };
            wire.others = Ring::default();
            wire.others.push(first);
        })
    };
    let after_inexact = arrives(&|wire| {
        let first = Segment { time_ns: wire.rst.time_ns - 1, seq: at + 9, ..wire.rst };
        wire.others.push(first);
    });
    let refused = |ack: u16| Reset {
        state: Some(TcpState::SynSent),
        ..arrives(&|wire| {
            wire.rst.seq = 0;
            wire.rst.flags.0 |= ack;
        })
    };
    for (name, reset, ignored) in [
        ("exactly", seq(at), false),
        ("one before", seq(at - 1), true),
        // The FIN was acknowledged, and the peer's kernel counts from before it.
        ("one before, after a FIN", arrives(&|wire| (wire.rst.seq, wire.sender.fin) = (at - 1, true)), false),
        ("two before, after a FIN", arrives(&|wire| (wire.rst.seq, wire.sender.fin) = (at - 2, true)), true),
        ("one beyond", seq(at + 1), true),
        (
            "after payload that is not acknowledged yet",
            arrives(&|wire| (wire.rst.seq, wire.sender.end_seq) = (at + 80, Some(at + 80))),
            false,
        ),
        ("within that payload", arrives(&|wire| (wire.rst.seq, wire.sender.end_seq) = (at + 40, Some(at + 80))), true),
        ("the second one, after one that was not exact", after_inexact, false),
        ("the second one", before(1), true),
        ("the first of two", before(0), false),
        ("nothing known", arrives(&|wire| (wire.receiver.last_ack, wire.sender.end_seq) = (None, None)), false),
        // RFC 9293, section 3.10.7.3: in SYN-SENT only an acceptable acknowledgement counts.
        ("a refusal", refused(linux::ACK), false),
        ("a refusal without ACK", refused(0), true),
    ] {
        let verdict = attribute(&reset);
        assert_eq!(verdict.effect == Effect::Ignored, ignored, "{name}: {verdict:#?}");
        assert!(!ignored || verdict.severity == Severity::Info, "{name}: {verdict:#?}");
    }
    // Live, the kernel itself says what it acted on.
    let live = Reset { capture: None, ..seq(at + 1) };
    assert_eq!(attribute(&live).effect, Effect::ConnectionReset);
}

#[test]
fn a_local_end_that_was_guessed_is_said_to_be() {
    for (known, said) in [(LocalKnown::Told, false), (LocalKnown::FreshTtl, false), (LocalKnown::Assumed, true)] {
        let mut reset = captured(Direction::Received, Some(answer()));
        reset.capture.as_mut().unwrap().local_known = known;
        let verdict = attribute(&reset);
        assert_eq!(verdict.evidence.iter().any(|evidence| evidence.signal == "local_end_assumed"), said, "{known:?}");
        // A capture does not show what a socket made of the packet.
        assert!(!verdict.evidence.iter().any(|evidence| evidence.signal == "accepted_rst"));
    }
}
