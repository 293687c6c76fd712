//! Why a connection was torn down.
//!
//! A cause is decided by rules, each of them small, pure, and one line in [`RULES`]: facts in, a
//! candidate out, or silence. A rule speaks only when its evidence stands; what was not seen is
//! silence as well. Several may speak: a [`Rank::Reason`] explains more than a [`Rank::Mechanism`],
//! and among equals the more probable wins. What the others had to say stays in the evidence.

mod amqp;
mod answer;
mod broker;
mod captured;
mod channel;
mod closing;
mod confidence;
mod first_act;
mod handshake;
mod heartbeat;
mod here;
mod idle;
pub(super) mod keepalive;
mod left;
mod nat;
mod owner;
mod path;
mod protocol;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod vendor;
mod wire;

use super::{
    Cause, Origin, Verdict,
    evidence::evidence,
    kernel_path::Path,
    maker::Maker,
    shape::Shape,
    signals::{Findings, Scene},
};
use crate::{
    flow::{Act, Reset},
    model::{CauseId, Effect, Evidence, OriginKind, Severity, Strength, Text},
};

/// Where the RST came from, as far as this host's own sources tell.
pub(super) enum Source<'a> {
    /// This kernel sent it, by this path, which is so sure.
    Kernel { path: Path, sure: f64 },
    /// It left this host, and its TCP did not make it.
    Left(Option<Maker>),
    /// The local end of a capture sent it. `None`: not even its packet is known.
    Capture(Option<Shape>),
    /// It arrived.
    Arrived(Option<Testimony<'a>>),
    /// There was none: the connection ended by its first act.
    Ended,
}

/// What the wire said of a RST that arrived.
pub(super) struct Testimony<'a> {
    pub scene: &'a Scene<'a>,
    pub findings: &'a Findings,
    /// That something between made the RST.
    pub probability: f64,
}

/// What a rule looks at.
struct Facts<'a> {
    reset: &'a Reset,
    origin: &'a Origin,
    source: &'a Source<'a>,
}

impl<'a> Facts<'a> {
    /// What the wire said, where it was asked.
    const fn testimony(&self) -> Option<&'a Testimony<'a>> {
        match self.source {
            Source::Arrived(testimony) => testimony.as_ref(),
            _ => None,
        }
    }

    /// The path this host's kernel took, and how sure it is.
    const fn path(&self) -> Option<(&'a Path, f64)> {
        match self.source {
            Source::Kernel { path, sure } => Some((path, *sure)),
            _ => None,
        }
    }

    /// The local end ended the connection by a decision of its own, rather than by answering a
    /// segment.
    fn local_end_aborted(&self) -> bool {
        match self.source {
            Source::Kernel { .. } => self.origin.kind == OriginKind::LocalProcess,
            Source::Capture(shape) => *shape == Some(Shape::Active),
            Source::Arrived(_) | Source::Left(_) => false,
            Source::Ended => self.acted_locally(),
        }
    }

    /// A process of this host ended the connection, before any RST.
    fn acted_locally(&self) -> bool {
        self.reset.act().is_some_and(Act::is_local_close)
    }

    /// The peer, or something in its name, ended the connection by a FIN, before any RST.
    fn peer_acted(&self) -> bool {
        self.reset.act() == Some(Act::PeerClose)
    }

    /// The RST may be the other end's decision: it arrived, it is no answer to a segment, and
    /// nothing convicts something between.
    fn peer_may_have_aborted(&self) -> bool {
        if self.peer_acted() {
            return true;
        }
        let Source::Arrived(testimony) = self.source else { return false };
        let abort = testimony.as_ref().is_none_or(|it| it.scene.shape == Shape::Active);
        abort && self.origin.kind != OriginKind::Middlebox
    }
}

/// How deep an explanation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// How the connection ended: the path of a kernel, the shape of a packet.
    Mechanism,
    /// What an end did first, but not why.
    Act,
    /// Why whoever ended it did.
    Reason,
}

/// What a rule proposes.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    rank: Rank,
    cause: Cause,
    severity: Severity,
    /// What it rests on, beyond what is in evidence anyway.
    evidence: Vec<Evidence>,
}

impl Candidate {
    fn mechanism(id: CauseId, confidence: f64, summary: impl Into<Text>) -> Self {
        Self { rank: Rank::Mechanism, cause: Cause::new(id, confidence, summary), severity: Severity::Warning, evidence: Vec::new() }
    }

    fn act(id: CauseId, confidence: f64, summary: impl Into<Text>) -> Self {
        Self { rank: Rank::Act, ..Self::mechanism(id, confidence, summary) }
    }

    fn reason(id: CauseId, confidence: f64, summary: impl Into<Text>) -> Self {
        Self { rank: Rank::Reason, ..Self::mechanism(id, confidence, summary) }
    }

    fn advise(mut self, advice: impl Into<Text>) -> Self {
        self.cause = self.cause.advise(advice);
        self
    }

    /// Part of normal operation.
    fn routine(self) -> Self {
        self.severity(Severity::Info)
    }

    fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    fn because(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// A rule: facts in, a candidate out.
type Rule = fn(&Facts) -> Option<Candidate>;

/// All rules.
const RULES: &[Rule] = &[
    owner::ended,
    here::aborted,
    here::over_loopback,
    left::rejected,
    left::written,
    nat::bypassed,
    nat::collided,
    first_act::idle_legs,
    first_act::idle_front,
    first_act::passed_on,
    first_act::left_open,
    first_act::peer_idle,
    first_act::peer_left,
    first_act::timed_out,
    idle::aborted,
    broker::closed,
    broker::client_gave_up,
    broker::alarm,
    closing::amqp_finished,
    closing::tcp_finished,
    closing::peer_finished,
    closing::health_check,
    closing::late_segment,
    closing::rabbitmq_after_last_frame,
    heartbeat::local_gave_up,
    heartbeat::peer_gave_up,
    keepalive::gave_up,
    vendor::said,
    idle::learnt,
    idle::unprotected,
    idle::known_proxy,
    protocol::wrong,
    handshake::amqp,
    handshake::silent_client,
    tls::finished,
    tls::closed_unseen,
    tls::handshake,
    socket::state,
    wire::packets,
    path::active,
    answer::passive,
    captured::shape,
];

/// Finds the cause of `verdict`, and how much it matters.
pub(super) fn decide(reset: &Reset, source: &Source, verdict: &mut Verdict) {
    let facts = Facts { reset, origin: &verdict.origin, source };
    let mut candidates: Vec<Candidate> = RULES.iter().filter_map(|rule| rule(&facts)).collect();
    // Stable: of equals the first in the table wins.
    candidates.sort_by(|a, b| b.rank.cmp(&a.rank).then(b.cause.confidence.unwrap_or(0.0).total_cmp(&a.cause.confidence.unwrap_or(0.0))));
    let mut candidates = candidates.into_iter();
    let mut found = Vec::new();
    if let Some(winner) = candidates.next() {
        (verdict.cause, verdict.severity) = (winner.cause, winner.severity);
        found.extend(winner.evidence);
    } else {
        (verdict.cause, verdict.severity) = (unexplained(&facts), Severity::Warning);
    }
    // What was lost may have been given up for the error of a channel.
    if verdict.severity != Severity::Info
        && !matches!(verdict.cause.id, CauseId::ForcedClose | CauseId::IdleTimeout)
        && let Some(more) = channel::advice_before(&facts)
    {
        let advice = verdict.cause.advice.take();
        verdict.cause.advice = Some(advice.map_or_else(|| more.clone().into(), |advice| format!("{more}; {advice}").into()));
    }
    for loser in candidates {
        let Candidate { cause, evidence, .. } = loser;
        if cause.id != verdict.cause.id {
            found.push(considered(&cause, verdict.origin.kind));
        }
        found.extend(evidence);
    }
    // It ended a channel, and what its program did then may have ended the connection.
    found.extend(facts.channel_evidence());
    for evidence in found {
        if !verdict.evidence.contains(&evidence) {
            verdict.evidence.push(evidence);
        }
    }
    // Who ended the connection first has a line of its own.
    let again = verdict.effect == Effect::Answered && reset.earlier.is_some() && reset.first_act.is_some();
    if verdict.effect == Effect::Ignored || again {
        verdict.severity = Severity::Info;
    }
}

/// A cause that another one explains better.
fn considered(cause: &Cause, origin: OriginKind) -> Evidence {
    let confidence = cause.confidence.unwrap_or(0.0);
    let detail = format!("{} ({confidence:.2}): {}", cause.id.token(), cause.summary);
    evidence("other_cause", origin, Strength::Weak, detail)
}

/// What can be said where no rule speaks.
fn unexplained(facts: &Facts) -> Cause {
    match facts.source {
        Source::Kernel { path, .. } => Cause::unknown(path::unexplained(path, facts.reset)),
        Source::Left(_) => Cause::unknown("a RST left this host that its TCP did not make"),
        Source::Capture(Some(Shape::Foreign)) => {
            Cause::unknown("the local end sent a RST that none of the usual stacks builds; a device or program on it may have")
        }
        Source::Capture(Some(_)) => {
            Cause::unknown("the local end aborted the connection from a living socket; a capture does not show why")
                .advise("run `rstblame capture` on that host: its kernel knows the reason and the process")
        }
        Source::Capture(None) => Cause::unknown("the capture shows nothing of the RST but that it was sent"),
        Source::Arrived(Some(_)) => {
            Cause::unknown("a RST with the peer's address ended the connection; the wire does not settle who made it")
        }
        Source::Ended => Cause::unknown("the connection ended without a RST and without an end of AMQP"),
        Source::Arrived(None) => {
            Cause::unknown("a RST with the peer's address ended an open connection; the socket alone does not tell who made it")
        }
    }
}
