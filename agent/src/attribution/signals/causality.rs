//! A RST that came before the peer can have known what it answers.
//!
//! Source: causality. Only the shortest of several round trips counts, and only half of it: delayed
//! acknowledgements and queues lengthen samples, and the first packets of a connection wait for
//! address resolution and for firewalls to make up their mind; nothing shortens them. Measured on
//! public captures, no injector was that fast (0 of 170), so silence of these signals says nothing.
//!
//! Failure modes: the handshake answered by a proxy nearer than the peer makes the round trip look
//! shorter, which is the safe side; a path that became shorter by half does not happen at round
//! trips worth the name.

use std::time::Duration;

use super::{Finding, Scene};
use crate::model::seq_at_or_after;

/// Shorter round trips are within the jitter of hosts.
const SHORTEST_RTT: Duration = Duration::from_millis(2);

/// The receiver must have been quiet for so long that no earlier segment can be what was answered.
const QUIET: Duration = Duration::from_secs(1);

/// Round trips that the shortest must have been chosen from: the handshake's alone may have been a
/// slow one.
const SAMPLES: u32 = 3;

fn rtt(scene: &Scene) -> Option<Duration> {
    let seen = scene.wire.min_rtt().filter(|_| scene.wire.sender.rtt_samples >= SAMPLES);
    // The socket's is the shortest of the last minutes (`tcp_update_rtt_min()`).
    let of_socket = scene.reset.tcp.as_ref().and_then(|tcp| tcp.min_rtt);
    let shortest = seen.into_iter().chain(of_socket).min()?;
    (shortest >= SHORTEST_RTT).then_some(shortest)
}

/// The RST acknowledges bytes that were sent less than half a round trip before. Strength: 1000.
/// Only RST|ACK qualifies.
pub fn acknowledged_too_early(scene: &Scene) -> Option<Finding> {
    let (rst, rtt) = (&scene.wire.rst, rtt(scene)?);
    if !rst.flags.ack() {
        return None;
    }
    let sends = &scene.wire.receiver.times.recent;
    // The first segment that brought the sequence up to the acknowledged number. Where it has
    // fallen out of memory, the RST is late enough.
    let (_, sent_ns) = sends.iter().find(|(end, _)| seq_at_or_after(*end, rst.ack))?;
    let oldest = sends.iter().next().is_some_and(|(end, _)| seq_at_or_after(*end, rst.ack));
    let since = Duration::from_nanos(rst.time_ns.saturating_sub(*sent_ns));
    if since * 2 >= rtt || (oldest && scene.wire.receiver.packets > 8) {
        return None;
    }
    Some(Finding::new(
        1000.0,
        format!(
            "it acknowledges what was sent {} us before; the shortest round trip to the peer is {} us",
            since.as_micros(),
            rtt.as_micros()
        ),
    ))
}

/// A bare answer came less than half a round trip after the only segment it can answer, sent after
/// a silence. Strength: 50. An active RST needs no segment to answer, so that it does not qualify.
pub fn answered_too_early(scene: &Scene) -> Option<Finding> {
    let rtt = rtt(scene)?;
    let silence = scene.wire.silence.filter(|silence| silence.broken_by_receiver && silence.length >= QUIET + rtt * 3)?;
    if !scene.shape.answers() {
        return None;
    }
    let rst_ns = scene.wire.rst.time_ns;
    let quiet_until = scene.wire.receiver.times.recent.iter().map(|(_, time)| *time).find(|time| {
        let since = Duration::from_nanos(rst_ns.saturating_sub(*time));
        since < silence.length
    })?;
    let since = Duration::from_nanos(rst_ns.saturating_sub(quiet_until));
    (since * 2 < rtt).then(|| {
        Finding::new(
            50.0,
            format!(
                "it came {} us after the first segment in {:.1} s; the shortest round trip to the peer is {} us",
                since.as_micros(),
                silence.length.as_secs_f64(),
                rtt.as_micros()
            ),
        )
    })
}
