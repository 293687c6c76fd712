//! Why, in the words of the device that made the RST.

use super::{Candidate, Facts, idle};
use crate::{
    attribution::vendors,
    model::{CauseId, OriginKind},
};

/// How sure a device's own word for it is.
const SAID: f64 = 0.95;

/// The device says why.
pub fn said(facts: &Facts) -> Option<Candidate> {
    let testimony = facts.testimony().filter(|_| facts.origin.kind == OriginKind::Middlebox)?;
    let wire = testimony.scene.wire;
    let said = vendors::said(wire)?;
    let (cause, what) = said.cause(wire);
    let summary = format!("{} ended the connection: {what} ({})", said.vendor, said.literal);
    let advice = match (cause, wire.silence) {
        (CauseId::IdleTimeout, Some(silence)) => idle::keep_busy(facts, silence.length),
        _ => said.meaning.advice.to_owned(),
    };
    let mut candidate = Candidate::reason(cause, SAID, summary).advise(advice);
    if cause == CauseId::Unknown {
        candidate.cause.confidence = None;
    }
    Some(candidate)
}
