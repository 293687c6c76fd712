//! RSTs that the local end of a capture sent: the packets are all there is, so the kernel's path
//! follows from the RST's shape.

use super::{
    Origin, Verdict,
    causes::{self, Source},
    evidence,
    shape::{Shape, answers_syn},
};
use crate::{
    flow::{Reset, Trigger},
    model::{Effect, OriginKind},
};

/// Confidence where the shape alone tells.
pub(super) const BY_SHAPE: f64 = 0.85;

const HERE: [OriginKind; 2] = [OriginKind::LocalProcess, OriginKind::LocalHost];

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let shape = reset.wire.as_deref().map(Shape::of);
    let settled = |kind, other| Origin { possible: vec![kind, other], ..Origin::settled(kind, BY_SHAPE) };
    let gave_up = reset.wire.as_deref().and_then(causes::keepalive::gave_up_after).is_some();
    let (effect, origin) = match shape {
        // The kernel's own timer, whatever its stack's RSTs look like.
        _ if gave_up => (Effect::ConnectionReset, settled(OriginKind::LocalHost, OriginKind::LocalProcess)),
        // Other stacks than Linux abort with a window of 0.
        Some(Shape::OtherAnswer) if aborts(reset) => (Effect::ConnectionReset, settled(OriginKind::LocalProcess, OriginKind::LocalHost)),
        Some(Shape::Active) => (Effect::ConnectionReset, settled(OriginKind::LocalProcess, OriginKind::LocalHost)),
        Some(Shape::Answer | Shape::OtherAnswer) => {
            let opens = reset.trigger.is_some_and(Trigger::opens);
            let effect = if opens { Effect::ConnectionRefused } else { Effect::Answered };
            (effect, settled(OriginKind::LocalHost, OriginKind::LocalProcess))
        }
        Some(Shape::Foreign) | None => (Effect::ConnectionReset, Origin::unknown(&HERE)),
    };
    let seen = reset.wire.as_deref().map(|wire| evidence::sent_shape(wire, origin.kind));
    let mut verdict = Verdict::undecided(effect, origin, seen.into_iter().collect());
    causes::decide(reset, &Source::Capture(shape), &mut verdict);
    verdict
}

/// A RST with ACK of an end that had spoken before, to no SYN: an abort of a living connection.
pub(super) fn aborts(reset: &Reset) -> bool {
    reset.wire.as_deref().is_some_and(|wire| wire.rst.flags.ack() && !answers_syn(&wire.rst) && wire.sender.packets > 0)
}
