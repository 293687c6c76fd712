//! What a reset contributes to the patterns, and what is known of its peer.

use super::{linux::Linux, *};
use crate::{
    attribution::Memory,
    event::{Direction, Severity},
    flow::wire::{VendorText, Way, Wire},
};

fn arrived(wire: Option<Wire>) -> Reset {
    Reset { direction: Direction::Received, active: false, role: Role::Client, wire: wire.map(Box::new), ..testing::reset() }
}

/// How many patterns six alike within 60 ms make.
fn patterns(reset: &Reset) -> usize {
    let mut memory = Memory::default();
    let mut last = 0;
    for number in 0..6_u16 {
        let mut tuple = reset.tuple;
        let client = if reset.role == Role::Broker { &mut tuple.peer } else { &mut tuple.local };
        client.set_port(20_000 + number);
        let timestamp = reset.timestamp + jiff::SignedDuration::from_millis(i64::from(number) * 10);
        let mut next = Reset { tuple, timestamp, boottime_ns: u64::from(number) * 10_000_000, ..reset.clone() };
        last = memory.attribute(&mut next).patterns.len();
    }
    last
}

#[test]
fn only_a_loss_counts_towards_a_pattern_and_only_once() {
    let pair = |direction| Some(Pair { id: "test-2".to_owned(), direction, process: None });
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
        assert_eq!(patterns(&reset) > 0, counts, "{name}");
    }
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
    (translated.way, translated.sender.handshake_ttl) = (Some(Way::default()), None);
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
