//! Time between what this host sent and a RST.

use std::time::Duration;

use super::{
    super::{answer_delay, causality, closing, idle, unprompted},
    arrived, ask, check, check_with,
};
use crate::{
    attribution::tests::linux::{ACK, Linux, MS, PSH, RST},
    flow::{CapturePosition, LocalKnown, Reset, SocketFacts, TcpFacts, idle::Learnt, wire::Wire},
    model::{Flags, TcpState},
};

/// A connection with round trips of 20 ms on which this host, after a pause, said something so long
/// before.
fn spoke(pause_ms: u64, before_ns: u64) -> Linux {
    let mut it = Linux::new(61, 6);
    it.wait(pause_ms);
    it.send(PSH, 50);
    it.now += before_ns;
    it
}

fn answer(pause_ms: u64, before_ns: u64) -> Wire {
    let it = spoke(pause_ms, before_ns);
    it.wire(&it.answer(61))
}

fn abort(pause_ms: u64, before_ns: u64) -> Wire {
    let mut it = spoke(pause_ms, before_ns);
    let rst = it.active();
    it.wire(&rst)
}

fn changed(mut wire: Wire, change: impl FnOnce(&mut Wire)) -> Wire {
    change(&mut wire);
    wire
}

#[test]
fn nobody_acknowledges_what_cannot_have_arrived() {
    // Nine segments at once, the first of which has fallen out of memory; the RST acknowledges none
    // of them.
    let mut it = Linux::new(61, 6);
    let rst = it.active();
    it.wait(500);
    for _ in 0..9 {
        it.send(PSH, 50);
    }
    let forgotten = changed(it.wire(&rst), |wire| wire.rst.time_ns = it.now + MS);
    let remembered = changed(forgotten.clone(), |wire| wire.receiver.packets = 8);
    let samples = |samples| changed(abort(400, MS), |wire| wire.sender.rtt_samples = samples);
    check(
        causality::acknowledged_too_early,
        [
            ("half a round trip after it was sent", abort(400, 10 * MS), None),
            ("less", abort(400, 10 * MS - 1), Some(1000.0)),
            // Without ACK, the field says nothing.
            ("a bare answer", answer(400, MS), None),
            ("three round trips were measured", samples(3), Some(1000.0)),
            ("two are too few", samples(2), None),
            ("what it acknowledges has been forgotten", forgotten, None),
            ("it is the first of all", remembered, Some(1000.0)),
        ],
    );
}

#[test]
fn a_sockets_round_trip_counts_as_well() {
    let socket = |micros| arrived(Some(TcpFacts { min_rtt: Some(Duration::from_micros(micros)), ..TcpFacts::default() }));
    let unseen = || changed(abort(400, MS / 2), |wire| wire.sender.rtt_samples = 0);
    check_with(
        causality::acknowledged_too_early,
        [
            ("no round trip is known", unseen(), arrived(None), None),
            ("the socket's", unseen(), socket(2_000), Some(1000.0)),
            // Within the jitter of hosts.
            ("too short", unseen(), socket(1_999), None),
            ("the shorter one counts", abort(400, 9 * MS), socket(18_000), None),
            ("the longer one does not", abort(400, 9 * MS), socket(90_000), Some(1000.0)),
        ],
    );
}

#[test]
fn nothing_answers_before_it_can_have_been_asked() {
    // Quiet for a second, and three round trips for what was under way.
    check(
        causality::answered_too_early,
        [
            ("half a round trip after the question", answer(1_060, 10 * MS), None),
            ("less", answer(1_060, 10 * MS - 1), Some(50.0)),
            ("at the same moment", answer(1_060, 0), Some(50.0)),
            ("a shorter pause: it may answer what went before", answer(1_059, MS), None),
            // It needs no question.
            ("an abort", abort(1_060, MS), None),
            (
                "the RST itself broke the silence",
                changed(answer(1_060, MS), |wire| wire.silence.as_mut().unwrap().broken_by_receiver = false),
                None,
            ),
            ("no silence", changed(answer(1_060, MS), |wire| wire.silence = None), None),
        ],
    );
}

#[test]
fn an_answer_takes_a_round_trip() {
    let rtt = |ns| changed(answer(400, ns), |wire| (wire.sender.handshake_rtt_ns, wire.sender.min_rtt_ns) = (Some(ns), Some(ns)));
    check(
        answer_delay::look,
        [
            ("one", answer(400, 20 * MS), Some(0.6)),
            ("0.85", answer(400, 17 * MS), Some(0.6)),
            ("just below", answer(400, 17 * MS - 1), None),
            ("one and a half", answer(400, 30 * MS), None),
            ("just below that", answer(400, 30 * MS - 1), Some(0.6)),
            ("0.4", answer(400, 8 * MS), Some(2.0)),
            ("just below that", answer(400, 8 * MS - 1), None),
            ("0.7", answer(400, 14 * MS), None),
            ("an abort takes what it takes", abort(400, 20 * MS), None),
            ("two milliseconds", rtt(2 * MS), Some(0.6)),
            ("too short to tell", rtt(2 * MS - 1), None),
        ],
    );
}

#[test]
fn a_bare_answer_answers_something() {
    let captured = || Box::new(CapturePosition { file: "a".to_owned(), frame: 1, local_known: LocalKnown::Told });
    let socket = |change: &dyn Fn(&mut TcpFacts)| {
        let mut tcp = TcpFacts { since_heard: Some(Duration::from_secs(9)), srtt: Some(Duration::from_millis(20)), ..TcpFacts::default() };
        change(&mut tcp);
        arrived(Some(tcp))
    };
    let quiet = || answer(400, 9_000 * MS);
    let keepalive = Some(SocketFacts { keepalive: true, ..SocketFacts::default() });
    let blind = || changed(quiet(), |wire| (wire.receiver.packets, wire.receiver.times.last_ns) = (0, None));
    check_with(
        unprompted::look,
        [
            ("nothing sent for 250 ms", answer(400, 250 * MS), arrived(None), None),
            ("nothing sent for longer", answer(400, 250 * MS + 1), arrived(None), Some(30.0)),
            ("the socket says the same", quiet(), socket(&|_| ()), Some(300.0)),
            ("for a second", answer(400, 1_000 * MS), arrived(None), Some(300.0)),
            ("in a capture", quiet(), Reset { capture: Some(captured()), ..arrived(None) }, Some(30.0)),
            ("only the socket says so", blind(), socket(&|_| ()), Some(10.0)),
            ("nobody says so", blind(), arrived(None), None),
            // What this host heard, it acknowledges (RFC 9293, section 3.8.6.3).
            ("heard of a moment ago", quiet(), socket(&|tcp| tcp.since_heard = Some(Duration::from_millis(250))), None),
            ("sent a moment ago", quiet(), socket(&|tcp| tcp.since_sent = Some(Duration::from_millis(250))), None),
            ("three long round trips", quiet(), socket(&|tcp| tcp.srtt = Some(Duration::from_secs(3))), None),
            ("something is under way", quiet(), socket(&|tcp| tcp.bytes_in_flight = 1), None),
            // The kernel probes the peer's window for it.
            ("something waits", quiet(), socket(&|tcp| tcp.unacknowledged_bytes = 1), None),
            ("keepalive probes", quiet(), Reset { socket: keepalive, ..arrived(None) }, None),
            ("no probes", quiet(), Reset { socket: Some(SocketFacts::default()), ..arrived(None) }, Some(300.0)),
            ("a close is under way", quiet(), Reset { state: Some(TcpState::CloseWait), ..arrived(None) }, None),
            ("the state is not known", quiet(), Reset { state: None, ..arrived(None) }, Some(300.0)),
            ("it has no connection any more", changed(quiet(), |wire| wire.after.exact_rst = Some(1)), arrived(None), None),
            ("an abort", abort(400, 9_000 * MS), arrived(None), None),
            ("with ACK", changed(quiet(), |wire| (wire.rst.seq, wire.rst.flags) = (0, Flags(RST | ACK))), arrived(None), None),
        ],
    );
}

#[test]
fn what_there_was_to_answer() {
    let in_flight = |bytes_in_flight, srtt: Option<u64>| {
        arrived(Some(TcpFacts { bytes_in_flight, srtt: srtt.map(Duration::from_millis), ..TcpFacts::default() }))
    };
    let to_syn = || changed(answer(400, 9_000 * MS), |wire| (wire.rst.seq, wire.rst.flags) = (0, Flags(RST | ACK)));
    let unmeasured = |before_ms| changed(answer(400, before_ms * MS), |wire| wire.sender.handshake_rtt_ns = None);
    check_with(
        unprompted::prompted,
        [
            ("said 250 ms before", answer(400, 250 * MS), arrived(None), Some(0.67)),
            ("said longer before", answer(400, 250 * MS + 1), arrived(None), None),
            ("under way still", answer(400, 9_000 * MS), in_flight(1, None), Some(0.67)),
            ("nothing under way", answer(400, 9_000 * MS), in_flight(0, None), None),
            ("a second, where no round trip is known", unmeasured(1_000), arrived(None), Some(0.67)),
            ("longer", unmeasured(1_001), arrived(None), None),
            ("three round trips of the socket's", unmeasured(300), in_flight(0, Some(100)), Some(0.67)),
            ("longer than those", unmeasured(301), in_flight(0, Some(100)), None),
            ("a SYN", to_syn(), Reset { state: Some(TcpState::SynSent), ..arrived(None) }, Some(0.67)),
            ("no SYN", to_syn(), arrived(None), None),
            ("an abort", abort(400, MS), arrived(None), None),
            // Another stack's abort may look so.
            ("with ACK", changed(answer(400, MS), |wire| wire.rst.flags = Flags(RST | ACK)), arrived(None), None),
        ],
    );
}

#[test]
fn an_end_that_closed_resets_what_still_comes() {
    let fins = |sender, receiver| changed(answer(400, MS), |wire| (wire.sender.fin, wire.receiver.fin) = (sender, receiver));
    check(
        closing::look,
        [
            ("open", fins(false, false), None),
            ("the peer had closed", fins(true, false), Some(0.2)),
            ("this end had closed", fins(false, true), Some(0.5)),
            ("both had", fins(true, true), Some(0.2)),
        ],
    );
}

/// 300 s is a default that devices are shipped with; 310 s is none.
#[test]
fn a_silence_that_devices_know() {
    let after = |seconds: u64, change: &dyn Fn(&mut Wire)| changed(answer(seconds * 1_000, 20 * MS), change);
    let aborted = {
        let mut it = spoke(300_000, 20 * MS);
        let rst = it.active();
        it.wire(&rst)
    };
    let learnt = |seconds| {
        let timeout = Duration::from_secs(seconds);
        let learnt = Learnt { timeout, repeats: 3, spread: Duration::from_millis(300), on_next_segment: true };
        Reset { learnt_idle: Some(Box::new(learnt)), ..arrived(None) }
    };
    check_with(
        idle::look,
        [
            ("a shipped default", after(300, &|_| ()), arrived(None), Some(2.0)),
            ("no default", after(310, &|_| ()), arrived(None), None),
            ("what earlier resets taught", after(310, &|_| ()), learnt(310), Some(50.0)),
            ("not what they taught", after(310, &|_| ()), learnt(400), None),
            // Programs have timers too, and end by these.
            ("an abort", aborted, learnt(300), None),
            ("the peer had closed", after(300, &|wire| wire.sender.fin = true), learnt(300), None),
            ("this end had closed", after(300, &|wire| wire.receiver.fin = true), learnt(300), None),
            ("no silence", after(300, &|wire| wire.silence = None), learnt(300), None),
        ],
    );
}

#[test]
fn times_are_told_in_milliseconds() {
    let quiet = ask(unprompted::look, &answer(400, 9_000 * MS)).unwrap().detail;
    assert_eq!(quiet, "a bare answer, though this host had sent nothing to be answered for 9000 ms");
}
