//! Whether anything asked for a bare answer.
//!
//! Source: RFC 9293, section 3.5.2, and `tcp_v4_send_reset()`: a RST without ACK, window and
//! options is an answer to a segment. No stack sends one of its own accord.
//!
//! Strength: 300 where nothing did for long and what this host sends is seen, 30 where it was so
//! for a shorter time, or in a capture, which may have missed something; 10 where only its socket
//! says so; 0.67 where something did, since state lost on the way answers as well. Failure modes:
//! what this host sent and its socket does not time, where it is not seen: keepalive probes (the
//! signal is silent where keepalive is on), window probes (silent where anything waits to be sent),
//! updates of a window by a program that reads late, and acknowledgements delayed by more than the
//! quarter of a second that is allowed for them.

use std::time::Duration;

use super::{Finding, Scene};
use crate::{
    attribution::shape::{Shape, answers_syn},
    model::TcpState,
};

/// Longer than any delayed acknowledgement (RFC 9293, section 3.8.6.3: half a second at most;
/// stacks in use take up to 200 ms).
const DELAYED: Duration = Duration::from_millis(250);

/// A segment that is answered after so long was held up on its way for as long: a neighbour is
/// searched for three seconds (`mcast_solicit`, `retrans_time_ms`, ip-sysctl), but then something
/// is in flight.
const LONG: Duration = Duration::from_secs(1);

pub fn look(scene: &Scene) -> Option<Finding> {
    if scene.shape != Shape::Answer || scene.wire.rst.flags.ack() || scene.reset.state.is_some_and(|state| state != TcpState::Established) {
        return None;
    }
    let keepalive = scene.reset.socket.as_ref().is_some_and(|socket| socket.keepalive);
    // An end that then answered a challenge ACK (RFC 5961, section 3.2) by the exact RST has no
    // connection: it is the peer.
    if keepalive || scene.wire.after.exact_rst.is_some() {
        return None;
    }
    let spoke = scene.wire.since_receiver_spoke();
    let (quiet, rtt) = match &scene.reset.tcp {
        // A socket times its payload only; its acknowledgements follow what it heard. What is in
        // flight may have been held up on its way, by the search for a neighbour for a second and
        // more, and be answered late. What waits for the peer's window is probed for.
        Some(tcp) if tcp.bytes_in_flight > 0 || tcp.unacknowledged_bytes > 0 => return None,
        Some(tcp) => (tcp.since_heard?.min(tcp.since_sent.unwrap_or(Duration::MAX)).min(spoke.unwrap_or(Duration::MAX)), tcp.srtt),
        None => (spoke?, scene.wire.min_rtt()),
    };
    let window = rtt.map_or(Duration::from_secs(1), |rtt| (rtt * 3).max(DELAYED));
    let long = quiet >= LONG && quiet >= window * 4 && scene.reset.capture.is_none();
    let ratio = match scene.wire.receiver.packets {
        0 => 10.0,
        _ if long => 300.0,
        _ => 30.0,
    };
    (quiet > window).then(|| {
        let quiet = quiet.as_secs_f64() * 1e3;
        Finding::new(ratio, format!("a bare answer, though this host had sent nothing to be answered for {quiet:.0} ms"))
    })
}

/// The complement: there was something to answer.
pub fn prompted(scene: &Scene) -> Option<Finding> {
    let rst = &scene.wire.rst;
    // With ACK it may be an abort of another stack's, which needs nothing to answer.
    if !scene.shape.answers() || rst.flags.ack() && !answers_syn(rst) {
        return None;
    }
    let tcp = scene.reset.tcp.as_ref();
    let syn = answers_syn(rst) && scene.reset.state == Some(TcpState::SynSent);
    let unacknowledged = tcp.is_some_and(|tcp| tcp.bytes_in_flight > 0);
    let rtt = scene.wire.min_rtt().or_else(|| tcp.and_then(|tcp| tcp.srtt));
    let window = rtt.map_or(Duration::from_secs(1), |rtt| (rtt * 3).max(DELAYED));
    let recent = scene.wire.since_receiver_spoke().filter(|since| *since <= window);
    let what = match recent {
        _ if syn => "a SYN".to_owned(),
        Some(since) => format!("what this host had sent {:.3} ms before", since.as_secs_f64() * 1e3),
        None if unacknowledged => "what this host had sent, and the peer not acknowledged".to_owned(),
        None => return None,
    };
    Some(Finding::new(0.67, format!("an answer to {what}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Scene, Shape, look};
    use crate::{
        flow::{
            Reset, TcpFacts,
            wire::{End, Segment, WireFlow},
        },
        model::{Direction, Flags},
        testing,
    };

    /// Whether the signal speaks of a bare RST on an open connection with these facts.
    fn speaks(tcp: TcpFacts) -> bool {
        let rst = Segment { time_ns: 1, seq: 7, flags: Flags(Flags::RST), ..Segment::default() };
        let wire = WireFlow::default().reset(&rst, End::First, None);
        let reset = Reset { direction: Direction::Received, active: false, tcp: Some(tcp), ..testing::reset() };
        look(&Scene { reset: &reset, wire: &wire, shape: Shape::Answer }).is_some()
    }

    fn quiet_for(milliseconds: u64) -> TcpFacts {
        let time = Some(Duration::from_millis(milliseconds));
        TcpFacts { since_heard: time, since_sent: time, srtt: Some(Duration::from_millis(10)), ..TcpFacts::default() }
    }

    #[test]
    fn silence_on_both_sides_leaves_nothing_to_answer() {
        assert!(speaks(quiet_for(1_000)));
        assert!(!speaks(quiet_for(200)));
    }

    #[test]
    fn what_is_in_flight_may_be_answered_late() {
        assert!(!speaks(TcpFacts { bytes_in_flight: 1, ..quiet_for(1_000) }));
        assert!(!speaks(TcpFacts { srtt: Some(Duration::from_millis(600)), ..quiet_for(1_000) }));
    }
}
