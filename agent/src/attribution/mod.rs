//! Evidence -> origin -> cause -> advice. Pure: a [`Reset`] in, a [`Verdict`] out; no I/O, no clock, no globals.
//!
//! Who sent a RST of this host is decided by what its own kernel says ([`sent`]). A RST that arrived is another matter: the two tracepoints prove
//! that a connection died of it, not who made it ([`received`]). Where the wire was seen, it testifies ([`wire`]). Why is for the rules in
//! [`causes`].

mod causes;
mod evidence;
mod kernel_path;
mod memory;
mod received;
mod sent;
mod sent_wire;
mod shape;
mod signals;
#[cfg(test)]
mod tests;
mod vendors;
mod wire;

use std::net::IpAddr;

pub use memory::Memory;
pub use signals::path::fresh;

use crate::{
    event::{CauseId, Direction, Effect, Evidence, OriginKind, Pattern, Severity, Text},
    flow::Reset,
};

/// What became of one reset under examination.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub effect: Effect,
    pub origin: Origin,
    pub cause: Cause,
    pub severity: Severity,
    /// Strongest first.
    pub evidence: Vec<Evidence>,
    /// What this reset has in common with others; filled in by whoever sees them all.
    pub patterns: Vec<Pattern>,
}

/// Who.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub kind: OriginKind,
    /// Probability that `kind` is right; `None` for [`OriginKind::Unknown`].
    pub confidence: Option<f64>,
    /// What the evidence has not excluded.
    pub possible: Vec<OriginKind>,
    /// Address of the sender, where it is another than the packet's.
    pub address: Option<IpAddr>,
    /// Its name from the configuration.
    pub name: Option<String>,
    /// Estimated distance of the sender in hops, from the return path: routers passed, and 1 for a sender on the link.
    pub hops: Option<u8>,
}

/// Why.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    pub id: CauseId,
    /// Probability that `id` is right; `None` for [`CauseId::Unknown`].
    pub confidence: Option<f64>,
    /// One sentence, without a full stop.
    pub summary: Text,
    pub advice: Option<Text>,
}

/// Decides one reset.
pub fn attribute(reset: &Reset) -> Verdict {
    let mut verdict = match reset.direction {
        Direction::Sent if reset.capture.is_some() => sent_wire::attribute(reset),
        Direction::Sent => sent::attribute(reset),
        Direction::Received => received::attribute(reset),
    };
    // A stable sort keeps signals of one strength in the order in which the rules gave them.
    verdict.evidence.sort_by_key(|evidence| std::cmp::Reverse(evidence.strength));
    verdict
}

impl Verdict {
    /// A verdict that lacks its cause.
    fn undecided(effect: Effect, origin: Origin, evidence: Vec<Evidence>) -> Self {
        Self { effect, origin, cause: Cause::unknown(""), severity: Severity::Warning, evidence, patterns: Vec::new() }
    }

    /// The same, as part of patterns: what repeats is an error, unless it is routine.
    #[must_use]
    pub fn repeating(mut self, patterns: Vec<Pattern>) -> Self {
        if !patterns.is_empty() && self.severity == Severity::Warning {
            self.severity = Severity::Error;
        }
        self.patterns = patterns;
        self
    }
}

impl Origin {
    /// One kind, settled.
    fn settled(kind: OriginKind, confidence: f64) -> Self {
        Self { kind, confidence: Some(confidence), possible: vec![kind], address: None, name: None, hops: None }
    }

    /// Several kinds, none of them proven.
    fn unknown(possible: &[OriginKind]) -> Self {
        Self { kind: OriginKind::Unknown, confidence: None, possible: possible.to_vec(), address: None, name: None, hops: None }
    }
}

impl Cause {
    fn new(id: CauseId, confidence: f64, summary: impl Into<Text>) -> Self {
        Self { id, confidence: Some(confidence), summary: summary.into(), advice: None }
    }

    fn unknown(summary: impl Into<Text>) -> Self {
        Self { id: CauseId::Unknown, confidence: None, summary: summary.into(), advice: None }
    }

    fn advise(mut self, advice: impl Into<Text>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
