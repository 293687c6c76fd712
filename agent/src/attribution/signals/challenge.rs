//! What came of a challenge ACK.
//!
//! Source: RFC 5961, section 3.2. A RST whose sequence number is in the window but not exact is not
//! acted on: the kernel asks back by an ACK. An end that no longer has the connection answers that
//! with a RST of exactly the right number; one that has it carries on.
//!
//! Strength: 0.2 for the exact RST. The other outcome, that the peer carries on, is
//! `peer_kept_talking`. Failure modes: a middlebox that lost the connection answers the challenge
//! as well, which is why the ratio is not lower.

use super::{Finding, Scene};

pub fn look(scene: &Scene) -> Option<Finding> {
    let after = &scene.wire.after;
    let exact = after.exact_rst?;
    let asked = after.receiver_spoke?;
    Some(Finding::new(
        0.2,
        format!(
            "the challenge ACK sent {:.3} ms after this RST was answered by an exact one {:.3} ms later",
            ms(asked),
            ms(exact.saturating_sub(asked))
        ),
    ))
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
