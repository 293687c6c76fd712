//! What a peer says after a RST in its name.

use std::time::Duration;

use super::{super::went_on, arrived, check, check_with};
use crate::{
    attribution::tests::linux::{Linux, MS, PSH},
    flow::{TcpFacts, wire::Wire},
};

/// A bare answer with this TTL, so long after this host had spoken; the peer's packets come
/// with 61.
fn answer(ttl: u8, after_ms: u64, change: impl FnOnce(&mut Wire)) -> Wire {
    let mut it = Linux::new(61, 6);
    it.send(PSH, 50);
    it.wait(after_ms);
    let mut wire = it.wire(&it.answer(ttl));
    change(&mut wire);
    wire
}

fn abort(change: impl FnOnce(&mut Wire)) -> Wire {
    let mut it = Linux::new(61, 6);
    let rst = it.active();
    let mut wire = it.wire(&rst);
    change(&mut wire);
    wire
}

fn payload(since_ns: u64) -> impl Fn(&mut Wire) {
    move |wire| wire.after.sender_went_on = Some((since_ns, 80))
}

#[test]
fn a_peer_that_goes_on_did_not_reset() {
    let acknowledged = |since_ns| move |wire: &mut Wire| wire.after.sender_acknowledged = Some(since_ns);
    let took_in = |since_ns| move |wire: &mut Wire| wire.after.sender_took_in = Some(since_ns);
    let labelled = |label| {
        answer(61, 20, |wire| {
            payload(9 * MS)(wire);
            wire.rst.flow_label = Some(label);
        })
    };
    check(
        went_on::look,
        [
            ("silence", abort(|_| ()), None),
            ("payload after an abort", abort(payload(1)), Some(1000.0)),
            ("an acknowledgement after an abort", abort(acknowledged(1)), Some(1000.0)),
            // An abort answers nothing: what the peer had taken in says nothing of it.
            ("what it had taken in, after an abort", abort(took_in(9 * MS)), None),
            // netfilter on the peer's host does just this (REJECT --reject-with tcp-reset).
            ("payload after an answer from the peer's distance", answer(61, 20, payload(9 * MS)), Some(3.0)),
            ("an acknowledgement after such an answer", answer(61, 20, acknowledged(9 * MS)), Some(3.0)),
            // It drops what it rejects: the peer cannot have taken it in.
            ("what it answers was taken in", answer(61, 20, took_in(5 * MS)), Some(1000.0)),
            ("it may have been overtaken", answer(61, 20, took_in(5 * MS - 1)), None),
            (
                "payload, and what it answers was taken in",
                answer(61, 20, |wire| {
                    payload(9 * MS)(wire);
                    took_in(5 * MS)(wire);
                }),
                Some(1000.0),
            ),
            (
                "payload, and what it answers was taken in, or overtaken",
                answer(61, 20, |wire| {
                    payload(9 * MS)(wire);
                    took_in(5 * MS - 1)(wire);
                }),
                Some(3.0),
            ),
            ("from another distance", answer(62, 20, payload(5 * MS)), Some(1000.0)),
            ("from another distance, near enough to be overtaken", answer(62, 20, payload(5 * MS - 1)), Some(5.0)),
            ("far off", answer(40, 20, payload(9 * MS)), Some(1000.0)),
            // An answer takes three round trips at most, and these take 20 ms.
            ("three round trips after what it answers", answer(61, 60, payload(9 * MS)), Some(3.0)),
            ("later", answer(61, 61, payload(9 * MS)), Some(1000.0)),
            // netfilter has no flow labels.
            ("with a flow label", labelled(7), Some(1000.0)),
            ("without", labelled(0), Some(3.0)),
            (
                "another stack's answer",
                answer(61, 20, |wire| {
                    payload(9 * MS)(wire);
                    wire.rst.ip_id = Some(9);
                }),
                Some(1000.0),
            ),
        ],
    );
}

/// A tap of what arrives sees neither the handshake nor what this host sends; then its socket has
/// to say.
#[test]
fn a_socket_says_what_a_tap_of_arrivals_does_not() {
    let tap = |answers_ms| {
        answer(61, answers_ms, |wire| {
            payload(9 * MS)(wire);
            wire.receiver.times.last_ns = None;
            wire.sender.handshake_rtt_ns = None;
        })
    };
    let socket = |since_ms, srtt_ms: Option<u64>, bytes_in_flight| {
        let since_sent = Some(Duration::from_millis(since_ms));
        arrived(Some(TcpFacts { since_sent, srtt: srtt_ms.map(Duration::from_millis), bytes_in_flight, ..TcpFacts::default() }))
    };
    check_with(
        went_on::look,
        [
            ("nothing said", tap(20), arrived(None), Some(3.0)),
            ("within three round trips", tap(20), socket(300, Some(100), 0), Some(3.0)),
            ("later", tap(20), socket(301, Some(100), 0), Some(1000.0)),
            ("50 ms at least, for queues", tap(20), socket(50, Some(1), 0), Some(3.0)),
            ("later than that", tap(20), socket(51, Some(1), 0), Some(1000.0)),
            ("a second, where no round trip is known", tap(20), socket(1_000, None, 0), Some(3.0)),
            ("later than a second", tap(20), socket(1_001, None, 0), Some(1000.0)),
            // It may have waited for a neighbour to be found.
            ("something is under way still", tap(20), socket(9_000, Some(1), 1), Some(3.0)),
        ],
    );
}
