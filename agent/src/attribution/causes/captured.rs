//! What the shape of a RST says that the local end of a capture sent.

use super::{Candidate, Facts, Source};
use crate::{
    attribution::{
        sent_wire::{BY_SHAPE, aborts},
        shape::Shape,
    },
    flow::Trigger,
    model::CauseId,
};

/// An answer tells by what it answers. An abort from a living socket keeps its reason to itself.
pub fn shape(facts: &Facts) -> Option<Candidate> {
    let Source::Capture(Some(shape @ (Shape::Answer | Shape::OtherAnswer))) = facts.source else { return None };
    if *shape == Shape::OtherAnswer && aborts(facts.reset) {
        return None;
    }
    Some(if facts.reset.trigger.is_some_and(Trigger::opens) {
        let port = facts.reset.tuple.local.port();
        Candidate::mechanism(CauseId::NoListener, BY_SHAPE, format!("nothing listens on port {port}, or a firewall rejects"))
    } else if facts.reset.wire.as_deref().is_some_and(|wire| wire.sender.fin) {
        Candidate::mechanism(CauseId::DataAfterClose, 0.7, "the local end had closed, and the other went on sending")
    } else {
        Candidate::mechanism(CauseId::StaleConnection, 0.7, "a segment arrived for a connection that the local end no longer had")
    })
}
