//! RSTs that the local end of a capture sent: the packets are all there is, so the kernel's path follows from the RST's shape.

use super::{Cause, Origin, Verdict, shape::Shape};
use crate::{
    event::{CauseId, Effect, Evidence, OriginKind, Severity, Strength},
    flow::{Reset, Trigger, wire::Wire},
};

/// Confidence where the shape alone tells.
const BY_SHAPE: f64 = 0.85;

const HERE: [OriginKind; 2] = [OriginKind::LocalProcess, OriginKind::LocalHost];

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let Some(wire) = &reset.wire else {
        return undecided("the capture shows nothing of the RST but that it was sent");
    };
    let verdict = match Shape::of(wire) {
        Shape::Active => active(wire),
        Shape::Answer | Shape::OtherAnswer => answer(reset, wire),
        Shape::Foreign => undecided("the local end sent a RST that none of the usual stacks builds; a device or program on it may have"),
    };
    Verdict {
        evidence: vec![Evidence {
            signal: "sent_shape".to_owned(),
            points_to: verdict.origin.kind,
            strength: Strength::Strong,
            detail: format!(
                "flags {}, window {}, {} TCP options",
                wire.rst.flags.letters(),
                wire.rst.window,
                if wire.rst.options.is_empty() { "no" } else { "with" }
            ),
        }],
        ..verdict
    }
}

fn undecided(summary: &str) -> Verdict {
    Verdict {
        effect: Effect::ConnectionReset,
        origin: Origin::unknown(&HERE),
        cause: Cause::unknown(summary),
        severity: Severity::Warning,
        evidence: Vec::new(),
    }
}

fn active(wire: &Wire) -> Verdict {
    let origin = Origin { possible: HERE.to_vec(), ..Origin::settled(OriginKind::LocalProcess, BY_SHAPE) };
    let (cause, severity) = if wire.sender.fin || wire.receiver.fin {
        (Cause::new(CauseId::RoutineClose, BY_SHAPE, "the local end cut short a close that was under way"), Severity::Info)
    } else {
        let cause = Cause::unknown("the local end aborted the connection from a living socket; a capture does not show why")
            .advise("run `rstblame capture` on that host: its kernel knows the reason and the process");
        (cause, Severity::Warning)
    };
    Verdict { effect: Effect::ConnectionReset, origin, cause, severity, evidence: Vec::new() }
}

fn answer(reset: &Reset, wire: &Wire) -> Verdict {
    let origin =
        Origin { possible: vec![OriginKind::LocalHost, OriginKind::LocalProcess], ..Origin::settled(OriginKind::LocalHost, BY_SHAPE) };
    let (effect, cause, severity) = if reset.trigger.is_some_and(Trigger::opens) {
        (
            Effect::ConnectionRefused,
            Cause::new(
                CauseId::NoListener,
                BY_SHAPE,
                format!("nothing listens on port {}, or a firewall rejects", reset.tuple.local.port()),
            ),
            Severity::Warning,
        )
    } else if wire.sender.fin {
        (
            Effect::Answered,
            Cause::new(CauseId::DataAfterClose, 0.7, "the local end had closed, and the other went on sending"),
            Severity::Warning,
        )
    } else {
        (
            Effect::Answered,
            Cause::new(CauseId::StaleConnection, 0.7, "a segment arrived for a connection that the local end no longer had"),
            Severity::Warning,
        )
    };
    Verdict { effect, origin, cause, severity, evidence: Vec::new() }
}
