//! The peer kept talking after its own RST.
//!
//! Source: Weaver, Sommer and Paxson, "Detecting Forged TCP Reset Packets", NDSS 2009
//! (RST_SEQ_DATA). An end that reset the connection has no socket left to send from, so payload at
//! or beyond the RST's sequence number comes from an end that knows nothing of the RST.
//!
//! Strength: near-proof (1000). Failure modes: a firewall on the peer's own host resets just so
//! while the program behind it goes on, and looks like a Linux answer from the peer's distance:
//! then the signal says next to nothing (3). It is no such firewall where the peer had taken in
//! what the RST would be the answer to, since what is rejected is dropped, nor where an IPv6 RST
//! bears a flow label, which netfilter leaves at zero. Segments overtaken on the way have lower
//! sequence numbers, except for a few milliseconds around a bare answer (5). A new connection on
//! the same ports is told apart by its SYN.

use std::time::Duration;

use super::{Finding, Scene};
use crate::attribution::{
    shape::Shape,
    signals::path::{Distance, distance},
};

/// Bare answers and payload may overtake one another by so much.
const OVERTAKING: Duration = Duration::from_millis(5);

/// Longest time an answer takes where the round-trip time is not known.
const ANSWER: Duration = Duration::from_secs(1);

pub fn look(scene: &Scene) -> Option<Finding> {
    let after = &scene.wire.after;
    let (since_ns, what) = match (after.sender_went_on, after.sender_acknowledged, after.sender_took_in) {
        (Some((since, beyond)), ..) => (since, format!("payload {beyond} bytes beyond the RST's sequence number")),
        (None, Some(since), _) => (since, "an acknowledgement of what was sent only after the RST".to_owned()),
        (None, None, Some(since)) if scene.shape.answers() && Duration::from_nanos(since) >= OVERTAKING => {
            (since, "an acknowledgement of what the RST would be the answer to".to_owned())
        }
        (None, None, _) => return None,
    };
    let since = Duration::from_nanos(since_ns);
    let when = format!("{:.3} ms after the RST", since.as_secs_f64() * 1e3);
    if may_be_peers_firewall(scene) {
        return Some(Finding::new(3.0, format!("{what} came {when}; a firewall on the peer's own host resets in the same way")));
    }
    if scene.shape.answers() && since < OVERTAKING {
        return Some(Finding::new(5.0, format!("{what} came {when}, near enough to have been overtaken")));
    }
    Some(Finding::new(1000.0, format!("{what} came {when}: the peer knew nothing of it")))
}

/// A netfilter reject on the peer's host: Linux's bare answer, to a segment sent just before, from
/// where the peer's packets come from.
fn may_be_peers_firewall(scene: &Scene) -> bool {
    let labelled = scene.wire.rst.flow_label.is_some_and(|label| label != 0);
    let taken_in = scene.wire.after.sender_took_in.is_some_and(|since| Duration::from_nanos(since) >= OVERTAKING);
    if scene.shape != Shape::Answer || labelled || taken_in {
        return false;
    }
    // A tap of what arrives does not time the handshake; then the socket has to say how far the
    // peer is.
    let tcp = scene.reset.tcp.as_ref();
    let rtt = scene.wire.min_rtt().or_else(|| tcp.and_then(|tcp| tcp.srtt));
    let window = rtt.map_or(ANSWER, |rtt| (rtt * 3).max(Duration::from_millis(50)));
    // The receiver's segments are not seen by a tap of what arrives; then the socket has to say
    // when it spoke.
    let spoke = scene.wire.since_receiver_spoke().or_else(|| tcp.and_then(|tcp| tcp.since_sent));
    // What is in flight may have been held up, and be answered late.
    let answers = spoke.is_none_or(|since| since <= window) || tcp.is_some_and(|tcp| tcp.bytes_in_flight > 0);
    answers && matches!(distance(scene.wire), Distance::Unknown | Distance::Same | Distance::OwnTtl)
}
