//! The signals: what the wire says about who made a RST that arrived.
//!
//! A signal is one file and one line in [`SIGNALS`]. Each gives a likelihood ratio, P(seen |
//! something between made the RST) over P(seen | the host at the peer address made it): above one
//! it speaks for a middlebox, below one for the peer. Ratios of one group are not independent, so
//! each group is capped; the groups are, and add up as log odds, on those of [`PRIOR`].

mod answer_delay;
mod burst;
mod causality;
mod challenge;
mod closing;
mod idle;
mod link;
mod mirror;
mod on_link;
mod one_machine;
pub mod path;
mod sequence;
mod stack;
#[cfg(test)]
mod tests;
pub mod ttl;
mod unprompted;
mod vendor_text;
mod went_on;

use super::shape::Shape;
use crate::{
    flow::{Reset, wire::Wire},
    model::{Evidence, OriginKind, Strength, Text},
};

/// What a signal looks at.
pub struct Scene<'a> {
    pub reset: &'a Reset,
    pub wire: &'a Wire,
    pub shape: Shape,
}

/// What a signal found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Likelihood ratio, above zero and finite.
    pub ratio: f64,
    /// The numbers.
    pub detail: Text,
}

impl Finding {
    fn new(ratio: f64, detail: impl Into<Text>) -> Self {
        Self { ratio, detail: detail.into() }
    }
}

/// Signals whose errors have a common cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What a dead end of a connection cannot do, and what no stack does.
    NearProof,
    /// Whether the peer's stack builds such a RST.
    Stack,
    /// Whether it came the way the peer's packets come.
    Path,
    /// Whether time and the connection's life fit.
    Timing,
}

impl Group {
    pub const ALL: [Self; 4] = [Self::NearProof, Self::Stack, Self::Path, Self::Timing];

    /// Lowest and highest likelihood ratio that the group may contribute.
    const fn cap(self) -> (f64, f64) {
        match self {
            Self::NearProof => (0.05, 2000.0),
            Self::Stack => (0.01, 150.0),
            Self::Path => (0.1, 20.0),
            Self::Timing => (0.1, 50.0),
        }
    }
}

/// A signal: its group, its name in the evidence, and how it looks.
type Signal = (Group, &'static str, fn(&Scene) -> Option<Finding>);

/// All signals.
const SIGNALS: [Signal; 18] = [
    (Group::NearProof, "peer_kept_talking", went_on::look),
    (Group::NearProof, "challenge_ack_answered", challenge::look),
    (Group::NearProof, "acknowledged_too_early", causality::acknowledged_too_early),
    (Group::NearProof, "answered_too_early", causality::answered_too_early),
    (Group::NearProof, "other_link_source", link::look),
    (Group::NearProof, "passed_no_router", on_link::look),
    (Group::NearProof, "one_machine", one_machine::look),
    (Group::NearProof, "vendor_text", vendor_text::look),
    (Group::NearProof, "mirrored_header", mirror::look),
    (Group::NearProof, "impossible_burst", burst::look),
    (Group::NearProof, "sequence_number", sequence::look),
    (Group::Stack, "stack_template", stack::look),
    (Group::Path, "ttl", path::look),
    (Group::Timing, "after_fin", closing::look),
    (Group::Timing, "unprompted_answer", unprompted::look),
    (Group::Timing, "prompted_answer", unprompted::prompted),
    (Group::Timing, "answer_delay", answer_delay::look),
    (Group::Timing, "idle_timeout", idle::look),
];

/// Odds of a middlebox before anything is known of a RST. Most RSTs come from the host whose
/// address they bear: programs that close with data unread, are killed, or are gone. An estimate;
/// no measurement of AMQP connections is known.
const PRIOR: f64 = 1.0 / 3.0;

/// Everything the signals said.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<(Group, &'static str, Finding)>);

impl Findings {
    /// Asks every signal.
    pub fn gather(scene: &Scene) -> Self {
        Self(SIGNALS.iter().filter_map(|(group, name, look)| look(scene).map(|finding| (*group, *name, finding))).collect())
    }

    /// Probability that something between made the RST.
    pub fn probability(&self) -> f64 {
        let log_odds: f64 = Group::ALL
            .iter()
            .map(|group| {
                let (lowest, highest) = group.cap();
                let sum: f64 = self.0.iter().filter(|(of, ..)| of == group).map(|(.., finding)| finding.ratio.ln()).sum();
                sum.clamp(lowest.ln(), highest.ln())
            })
            .sum();
        1.0 / (1.0 + (-log_odds - PRIOR.ln()).exp())
    }

    /// Whether a near-proof spoke for something between.
    pub fn proven(&self) -> bool {
        self.0.iter().any(|(group, _, finding)| *group == Group::NearProof && finding.ratio >= PROOF)
    }

    /// What `name` found.
    pub fn find(&self, name: &str) -> Option<&Finding> {
        self.0.iter().find(|(_, known, _)| *known == name).map(|(.., finding)| finding)
    }

    /// As evidence of the contract.
    pub fn into_evidence(self) -> Vec<Evidence> {
        let mut strongest_first = self.0;
        strongest_first.sort_by(|(.., a), (.., b)| b.ratio.ln().abs().total_cmp(&a.ratio.ln().abs()));
        strongest_first.into_iter().map(|(_, name, finding)| evidence(name, finding)).collect()
    }

    /// Adds a finding, for tests of how findings combine.
    #[cfg(test)]
    pub fn with(mut self, group: Group, ratio: f64) -> Self {
        self.0.push((group, "test", Finding::new(ratio, "")));
        self
    }
}

/// A likelihood ratio from which a signal counts as proof.
const PROOF: f64 = 100.0;

/// A likelihood ratio from which a signal counts as strong.
const STRONG: f64 = 5.0;

fn evidence(name: &'static str, finding: Finding) -> Evidence {
    let weight = finding.ratio.max(finding.ratio.recip());
    let strength = match weight {
        weight if weight >= PROOF => Strength::Proof,
        weight if weight >= STRONG => Strength::Strong,
        _ => Strength::Weak,
    };
    let points_to = match finding.ratio {
        ratio if ratio > 1.0 => OriginKind::Middlebox,
        ratio if ratio < 1.0 => OriginKind::RemotePeer,
        _ => OriginKind::Unknown,
    };
    Evidence { signal: name.into(), points_to, strength, detail: finding.detail }
}
