//! What a reset contributes to the patterns, and what is known of its peer.

use super::{linux::Linux, *};
use crate::{
    amqp::{Close, Conversation, Phase, Protocol, Side},
    attribution::Memory,
    flow::{
        idle::Learnt,
        wire::{VendorText, Wire},
    },
    model::{Direction, PatternId, Route, Severity},
};

fn arrived(wire: Option<Wire>) -> Reset {
    Reset { direction: Direction::Received, active: false, role: Role::Client, wire: wire.map(Box::new), ..testing::reset() }
}

/// The patterns that six alike within 60 ms make.
fn patterns(reset: &Reset) -> Vec<PatternId> {
    let mut memory = Memory::default();
    let mut last = Vec::new();
    for number in 0..6_u16 {
        let mut tuple = reset.tuple;
        let client = if reset.role == Role::Broker { &mut tuple.peer } else { &mut tuple.local };
        client.set_port(20_000 + number);
        let timestamp = reset.timestamp + jiff::SignedDuration::from_millis(i64::from(number) * 10);
        let mut next = Reset { tuple, timestamp, boottime_ns: u64::from(number) * 10_000_000, ..reset.clone() };
        last = memory.attribute(&mut next).patterns.into_iter().map(|pattern| pattern.id).collect();
    }
    last
}

#[test]
fn only_a_loss_counts_towards_a_pattern_and_only_once() {
    let pair = |direction| Some(Pair { id: "test-2".to_owned(), direction, active: true, process: None });
    let by_peer = || arrived(None);
    for (name, reset, counts) in [
        ("a loss", by_peer(), true),
        ("ignored by the kernel", Reset { ignored: true, ..by_peer() }, false),
        ("routine", Reset { state: Some(TcpState::FinWait1), ..by_peer() }, false),
        ("a refusal", Reset { state: Some(TcpState::SynSent), ..by_peer() }, true),
        ("an answer that ended nothing", answered(SocketKind::None, 0x18), false),
        // The other end, on this host too, counts it.
        ("seen at both ends, the client's", Reset { pair: pair(Direction::Sent), ..by_peer() }, false),
        ("seen at both ends, the broker's", Reset { pair: pair(Direction::Sent), role: Role::Broker, ..by_peer() }, true),
    ] {
        assert_eq!(!patterns(&reset).is_empty(), counts, "{name}");
    }
}

/// A client that is turned away tries again; connections that were open are lost at once.
#[test]
fn what_never_opened_makes_a_loop_and_what_was_open_a_burst() {
    let spoken = |phase, close: Option<(Side, u16)>| {
        let close = close.map(|(from, code)| Close { from, code, text: String::new(), method: None, before: Duration::ZERO });
        Conversation { phase: Some(phase), close, followed_peer: true, ..Conversation::of(Protocol::Amqp091) }
    };
    let with = |conversation| Reset { amqp: Some(Box::new(conversation)), ..arrived(None) };
    let by_broker = |code| with(spoken(Phase::Open, Some((Side::Peer, code))));
    for (name, reset, pattern) in [
        ("a loss", arrived(None), PatternId::Burst),
        ("a refusal", Reset { state: Some(TcpState::SynSent), ..arrived(None) }, PatternId::ReconnectLoop),
        ("in the handshake of AMQP", with(spoken(Phase::StartOk, None)), PatternId::ReconnectLoop),
        ("access refused", by_broker(403), PatternId::ReconnectLoop),
        ("not allowed", by_broker(530), PatternId::ReconnectLoop),
        ("closed for an error", by_broker(541), PatternId::Burst),
    ] {
        assert_eq!(patterns(&reset), [pattern], "{name}: {:#?}", attribute(&reset));
    }
}

/// After 310 s of silence, answered by a box on the link that is convicted.
#[test]
fn a_box_and_its_timeout_are_known_again() {
    let mut it = Linux::new(61, 6);
    it.wait(310_000);
    it.send(linux::PSH, 50);
    it.now += linux::RTT;
    let mut answered = it.wire(&it.answer(64));
    answered.sender.handshake_ttl = None;
    let gateway = Some([10, 0, 0, 1].into());
    answered.way = Some(Route { gateway, sender: gateway, ..Route::default() });
    let learnt =
        |seconds| Learnt { timeout: Duration::from_secs(seconds), repeats: 3, spread: Duration::from_millis(300), on_next_segment: false };
    let with = |seconds, wire: Wire| Reset { learnt_idle: Some(Box::new(learnt(seconds))), ..arrived(Some(wire)) };
    let by_peer = {
        let rst = it.active();
        it.wire(&rst)
    };
    for (name, reset, expected) in [
        (
            "the timeout that was learnt",
            with(310, answered.clone()),
            &[PatternId::Burst, PatternId::SameIdle, PatternId::OneMiddlebox] as &[_],
        ),
        ("another", with(400, answered), &[PatternId::Burst, PatternId::OneMiddlebox]),
        ("a program's own timer", with(310, by_peer), &[PatternId::Burst]),
    ] {
        assert_eq!(patterns(&reset), expected, "{name}: {:#?}", attribute(&reset));
    }
}

#[test]
fn peers_that_had_to_be_forgotten_are_counted() {
    let mut memory = Memory::default();
    let mut see = |number: u16| {
        let mut reset = arrived(None);
        let [high, low] = number.to_be_bytes();
        reset.tuple.peer.set_ip([10, 0, high, low].into());
        memory.attribute(&mut reset);
        memory.evicted()
    };
    assert_eq!((0..1_024).map(&mut see).max(), Some(0));
    assert_eq!((1_024..1_027).map(see).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_configured_proxy_is_named_for_what_bears_its_address() {
    let known = |wire| Reset { known_middlebox: Some("lb-1".to_owned()), ..arrived(wire) };
    let mut it = Linux::new(61, 6);
    let abort = it.active();
    let abort = it.wire(&abort);
    let verdict = attribute(&known(Some(abort)));
    assert_eq!((verdict.origin.kind, verdict.origin.name.as_deref()), (OriginKind::Middlebox, Some("lb-1")));
    assert_eq!(verdict.origin.address, Some(peer()));

    // A device beyond the proxy, convicted by its own words: not the proxy.
    let it = Linux::new(61, 6);
    let mut signed = it.wire(&it.answer(250));
    signed.text = VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired");
    let verdict = attribute(&known(Some(signed)));
    assert_eq!((verdict.origin.kind, verdict.origin.name.as_deref()), (OriginKind::Middlebox, None), "{verdict:#?}");

    // The machine at that very address translates, and answered for itself.
    let mut it = Linux::new(63, 6);
    it.send(linux::PSH, 50);
    it.now += linux::RTT;
    let mut translated = it.wire(&it.answer(64));
    (translated.way, translated.sender.handshake_ttl) = (Some(Route::default()), None);
    let verdict = attribute(&known(Some(translated)));
    assert_eq!((verdict.origin.address, verdict.origin.name.as_deref()), (Some(peer()), Some("lb-1")), "{verdict:#?}");
}

fn peer() -> std::net::IpAddr {
    testing::reset().tuple.peer.ip()
}

#[test]
fn what_the_kernel_ignored_accuses_nobody_of_a_loss() {
    let verdict = attribute(&Reset { ignored: true, ..arrived(None) });
    assert_eq!((verdict.cause.id, verdict.severity), (CauseId::Unknown, Severity::Info));
    assert!(!verdict.evidence.iter().any(|evidence| evidence.signal == "accepted_rst"), "{verdict:#?}");
}

#[test]
fn what_repeats_is_an_error_unless_it_is_routine() {
    let pattern = || {
        let mut memory = Memory::default();
        let mut verdicts = (0..6_u16).map(|number| {
            let mut tuple = testing::reset().tuple;
            tuple.local.set_port(20_000 + number);
            memory.attribute(&mut Reset { tuple, ..arrived(None) })
        });
        verdicts.find(|verdict| !verdict.patterns.is_empty()).unwrap().patterns
    };
    let with = |severity, patterns| Verdict { severity, ..attribute(&arrived(None)) }.repeating(patterns).severity;
    assert_eq!(with(Severity::Warning, pattern()), Severity::Error);
    assert_eq!(with(Severity::Warning, Vec::new()), Severity::Warning);
    assert_eq!(with(Severity::Info, pattern()), Severity::Info);
}
