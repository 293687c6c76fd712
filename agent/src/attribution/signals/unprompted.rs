//! A bare answer that nothing asked for.
//!
//! Source: RFC 9293, section 3.5.2, and `tcp_v4_send_reset()`: a RST without ACK, window and options is an answer to a segment. No stack sends one
//! of its own accord.
//!
//! Strength: 10. Failure modes: what this host sent and its socket does not time: keepalive probes (the signal is silent where keepalive is on),
//! window probes, and acknowledgements delayed by more than the quarter of a second that is allowed for them.

use std::time::Duration;

use super::{Finding, Scene};
use crate::attribution::shape::Shape;

/// Longer than any delayed acknowledgement (RFC 9293, section 3.8.6.3: half a second at most; stacks in use take up to 200 ms).
const DELAYED: Duration = Duration::from_millis(250);

pub fn look(scene: &Scene) -> Option<Finding> {
    if scene.shape != Shape::Answer
        || scene.wire.rst.flags.ack()
        || scene.reset.state.is_some_and(|state| state != crate::flow::TcpState::Established)
    {
        return None;
    }
    let keepalive = scene.reset.socket.as_ref().is_some_and(|socket| socket.keepalive);
    // An end that then answered a challenge ACK (RFC 5961, section 3.2) by the exact RST has no connection: it is the peer.
    if keepalive || scene.wire.after.exact_rst.is_some() {
        return None;
    }
    let (quiet, rtt) = match &scene.reset.tcp {
        // A socket times its payload only; its acknowledgements follow what it heard.
        Some(tcp) => (tcp.since_heard?.min(tcp.since_sent.unwrap_or(Duration::MAX)), tcp.min_rtt.or(tcp.srtt)),
        None => (scene.wire.since_receiver_spoke()?, scene.wire.min_rtt()),
    };
    let window = rtt.map_or(Duration::from_secs(1), |rtt| (rtt * 3).max(DELAYED));
    (quiet > window).then(|| {
        let quiet = quiet.as_secs_f64() * 1e3;
        Finding::new(10.0, format!("a bare answer, though this host had sent nothing to be answered for {quiet:.0} ms"))
    })
}
