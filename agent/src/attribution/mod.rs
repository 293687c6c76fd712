//! Evidence -> origin -> cause -> advice. Pure: a [`Reset`] in, a [`Verdict`] out; no I/O, no
//! clock, no globals.
//!
//! Who sent a RST of this host is decided by what its own kernel says ([`sent`]), or by that it
//! says nothing ([`left`]). A RST that
//! arrived is another matter: the two tracepoints prove that a connection died of it, not who made
//! it ([`received`]). Where the wire was seen, it testifies ([`wire`]). Why is for the rules in
//! [`causes`].

mod causes;
mod ended;
mod evidence;
mod kernel_path;
mod left;
mod maker;
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

pub use maker::made_here;
pub use memory::Memory;
pub use signals::ttl::fresh;

use crate::{
    amqp::Conversation,
    flow::{Act, Reset},
    model::{CauseId, Direction, Effect, Evidence, OriginKind, Pattern, Role, Severity, Text},
};

/// Who there is when it was not this host.
const EITHER: [OriginKind; 2] = [OriginKind::RemotePeer, OriginKind::Middlebox];

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
    /// Estimated distance of the sender in hops, from the return path: routers passed, and 1 for a
    /// sender on the link.
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
        _ if reset.ended => ended::attribute(reset),
        Direction::Sent if reset.capture.is_some() => sent_wire::attribute(reset),
        Direction::Sent if reset.unannounced => left::attribute(reset),
        Direction::Sent => sent::attribute(reset),
        Direction::Received => received::attribute(reset),
    };
    // A stable sort keeps signals of one strength in the order in which the rules gave them.
    verdict.evidence.sort_by_key(|evidence| std::cmp::Reverse(evidence.strength));
    verdict
}

/// What this host's own kernel and processes did, its tracepoints saw: nothing on the wire can
/// forge it.
const SEEN_HERE: f64 = 0.99;

/// How sure it is that a FIN was the peer's own where nothing speaks for a proxy in its place: one
/// that the agent was not told of bears the peer's address as well.
const PEER: f64 = 0.85;

/// How sure it is that the configuration is right about an address.
const CONFIGURED: f64 = 0.97;

/// A process of this host ended the connection before the RST.
fn acted_locally(reset: &Reset) -> bool {
    reset.act().is_some_and(Act::is_local_close) && (reset.ended || !in_order(reset))
}

/// AMQP had taken leave: nobody ended anything but the sockets, and who sent the RST is all there
/// is to say.
fn in_order(reset: &Reset) -> bool {
    reset.amqp.as_deref().is_some_and(Conversation::was_closed)
}

/// Lets the cause say who ended the connection, where the packets alone could not.
fn settle_origin(reset: &Reset, verdict: &mut Verdict) {
    // What was seen to be this host's is nobody else's.
    if reset.sender.is_some() || reset.came_over_loopback() {
        return;
    }
    let peer_acted = reset.act() == Some(Act::PeerClose);
    let by_wire = verdict.origin.kind == OriginKind::RemotePeer;
    match verdict.cause.id {
        // A proxy that nobody told of bears the peer's address.
        CauseId::IdleTimeout if peer_acted || reset.act().is_none() && by_wire => verdict.origin = proxied(reset, verdict),
        // What the packets of a RST say of its sender stands. Where there was none, or it was this
        // host's, only the FIN speaks; that of a client may be a proxy's, and one from where a
        // broker should be is so as well as not: RabbitMQ ends by RST.
        CauseId::PeerGone if peer_acted && (reset.ended || reset.direction == Direction::Sent) => {
            verdict.origin = match reset.role {
                Role::Broker => Origin { possible: EITHER.to_vec(), ..Origin::settled(OriginKind::RemotePeer, PEER) },
                Role::Client => Origin::unknown(&EITHER),
            };
        }
        _ => {}
    }
    if let Some(name) = reset.known_middlebox.as_ref().filter(|_| !acted_locally(reset)) {
        name_middlebox(reset, name, verdict);
    }
}

/// Who is at the peer's address where a timer ended the silence. No broker and no client ends a
/// connection because it was idle while AMQP is open, but by heartbeats: a proxy in its place does.
fn proxied(reset: &Reset, verdict: &Verdict) -> Origin {
    let sure = verdict.cause.confidence.unwrap_or(0.0);
    if sure < wire::ACCUSED {
        return Origin::unknown(&EITHER);
    }
    let address = Some(reset.tuple.peer.ip());
    Origin { address, possible: EITHER.to_vec(), ..Origin::settled(OriginKind::Middlebox, sure) }
}

/// The peer address belongs to a load balancer or proxy: what bears it was made by that, or by
/// something between; by the client or broker behind it in neither case.
fn name_middlebox(reset: &Reset, name: &str, verdict: &mut Verdict) {
    let peer = reset.tuple.peer.ip();
    verdict.evidence.push(evidence::configured_middlebox(peer, name));
    if verdict.origin.kind == OriginKind::Middlebox && verdict.origin.address != Some(peer) {
        return;
    }
    let inferred = reset.act() != Some(Act::PeerClose) && verdict.origin.kind == OriginKind::Middlebox;
    if inferred {
        verdict.origin.name = Some(name.to_owned());
    } else {
        verdict.origin = Origin { address: Some(peer), name: Some(name.to_owned()), ..Origin::settled(OriginKind::Middlebox, CONFIGURED) };
    }
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
