//! RSTs that left this host and that its TCP did not make: Linux announces each of its own.

use super::{
    Origin, Verdict,
    causes::{self, Source},
    evidence::{self, evidence},
    maker::{Maker, made_here},
    shape::answers_syn,
};
use crate::{
    flow::Reset,
    model::{Effect, OriginKind, Strength},
};

/// How sure it is: what else could leave so is a TCP stack of another kind behind this host, whose
/// packets it does not count as forwarded.
const SURE: f64 = 0.95;

/// The same of a program.
const PROGRAM: f64 = 0.8;

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let maker = reset.left.as_deref().and_then(made_here);
    let effect = match reset.left.as_deref() {
        Some(wire) if answers_syn(&wire.rst) => Effect::ConnectionRefused,
        _ => Effect::ConnectionReset,
    };
    let here = [OriginKind::LocalHost, OriginKind::LocalProcess];
    let origin = match maker {
        Some(Maker::Firewall) => Origin { possible: here.to_vec(), ..Origin::settled(OriginKind::LocalHost, SURE) },
        Some(Maker::Program) => {
            Origin { possible: vec![OriginKind::LocalProcess, OriginKind::LocalHost], ..Origin::settled(OriginKind::LocalProcess, PROGRAM) }
        }
        None => Origin::unknown(&here),
    };
    let mut found = vec![evidence(
        "unannounced",
        origin.kind,
        Strength::Strong,
        "the RST left this host, and no socket and no answer of its TCP made it (tcp_send_reset did not fire)",
    )];
    found.extend(reset.left.as_deref().map(|wire| evidence::sent_shape(wire, origin.kind)));
    let mut verdict = Verdict::undecided(effect, origin, found);
    causes::decide(reset, &Source::Left(maker), &mut verdict);
    verdict
}
