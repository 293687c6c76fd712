//! How long a bare answer took, against the round-trip time.
//!
//! Source: an answer from the peer's host takes one round trip; one from a box half way takes half.
//! Strength: 0.6 at one round trip, 2 well below. Failure modes: queues, and boxes next to the
//! peer. Round trips below two milliseconds say nothing. Half and less is `answered_too_early`.

use std::time::Duration;

use super::{Finding, Scene};

pub fn look(scene: &Scene) -> Option<Finding> {
    if !scene.shape.answers() {
        return None;
    }
    let rtt = scene.wire.min_rtt().filter(|rtt| *rtt >= Duration::from_millis(2))?;
    let took = scene.wire.since_receiver_spoke()?;
    let share = took.as_secs_f64() / rtt.as_secs_f64();
    let ratio = match share {
        share if (0.85..1.5).contains(&share) => 0.6,
        share if (0.4..0.7).contains(&share) => 2.0,
        _ => return None,
    };
    Some(Finding::new(ratio, format!("it came {share:.2} round trips ({} us) after the latest segment to the peer", took.as_micros())))
}
