//! What the wire says about who made a RST that arrived.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::{
    EITHER, Origin, Verdict,
    causes::{self, Source, Testimony},
    shape::Shape,
    signals::{Findings, Scene, path, ttl},
};
use crate::{
    flow::{LocalKnown, Reset, wire::Wire},
    model::{Effect, Evidence, OriginKind, Strength, TcpState},
};

/// Probability of a middlebox from which it is called one: an accusation that sends somebody to
/// search a network must not be wrong.
pub(super) const ACCUSED: f64 = 0.9;

/// Probability of a middlebox up to which the peer is named. To name it costs a look at its logs,
/// and `confidence` says how sure it is; between the two lies `unknown`.
const ACQUITTED: f64 = 0.2;

/// Probability beyond which the other side is excluded, if nothing structural keeps it possible.
const SETTLED: f64 = 0.97;

/// Highest probability ever claimed: wire evidence is forgeable in principle.
const CEILING: f64 = 0.995;

/// Lets the wire testify: refines origin, cause and effect of `verdict`, and adds the evidence.
pub(super) fn testify(reset: &Reset, wire: &Wire, verdict: &mut Verdict) {
    let scene = Scene { reset, wire, shape: Shape::of(wire) };
    let findings = Findings::gather(&scene);
    let probability = findings.probability();
    if verdict.origin.kind == OriginKind::Unknown {
        verdict.origin = origin(&scene, &findings, probability);
    }
    if reset.capture.is_some() && !acceptable(reset, wire) {
        verdict.effect = Effect::Ignored;
    }
    causes::decide(reset, &Source::Arrived(Some(Testimony { scene: &scene, findings: &findings, probability })), verdict);
    let others = std::mem::replace(&mut verdict.evidence, findings.into_evidence());
    verdict.evidence.extend(others);
    verdict.evidence.extend(assumption(reset));
    verdict.evidence.extend(strangers(wire));
}

fn origin(scene: &Scene, findings: &Findings, probability: f64) -> Origin {
    let mut origin = if probability >= ACCUSED {
        // What an answer of the peer's own firewall would look like stays possible unless something
        // proves more.
        let settled = probability >= SETTLED
            && !translates(scene, findings)
            && (findings.proven() || scene.shape == Shape::Foreign && path::distance(scene.wire) != path::Distance::Same);
        let possible = if settled { vec![OriginKind::Middlebox] } else { vec![OriginKind::Middlebox, OriginKind::RemotePeer] };
        Origin { possible, ..Origin::settled(OriginKind::Middlebox, probability.min(CEILING)) }
    } else if probability <= ACQUITTED
        && findings.find("peer_kept_talking").is_none()
        && !(scene.wire.strangers && scene.shape != Shape::Active)
    {
        // Who wiped out what was known of the peer shall not have acquitted anything by it. A bare
        // answer is the same from any Linux box at the peer's distance. A full proxy that is the
        // endpoint bears the peer's address.
        let settled = probability <= 1.0 - SETTLED && scene.shape == Shape::Active;
        let possible = if settled { vec![OriginKind::RemotePeer] } else { EITHER.to_vec() };
        Origin { possible, ..Origin::settled(OriginKind::RemotePeer, (1.0 - probability).min(CEILING)) }
    } else {
        Origin::unknown(&EITHER)
    };
    if origin.kind == OriginKind::Middlebox {
        (origin.address, origin.name) = box_on_link(scene, findings);
        let copied = matches!(path::distance(scene.wire), path::Distance::Same);
        // Routers on the way back. What has passed none is the next hop.
        origin.hops = (!copied).then(|| ttl::hops(scene.wire.rst.ttl).1.max(1)).filter(|hops| *hops < 40);
    }
    origin
}

/// Whether the RST came from the machine at the peer's address itself, which is on the link, while
/// the peer's packets come from beyond it: a translating router is peer and middlebox at once.
fn translates(scene: &Scene, findings: &Findings) -> bool {
    findings.find("passed_no_router").is_some() && scene.wire.way.as_ref().is_some_and(|way| way.gateway.is_none())
}

/// Address and configured name of the box: the other end of another tunnel; or the machine on the
/// link, where it made the RST and did not only hand it on.
fn box_on_link(scene: &Scene, findings: &Findings) -> (Option<IpAddr>, Option<String>) {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    let tunnel = rst.outer_source.filter(|its| sender.outer_source.is_some_and(|theirs| theirs != *its));
    if tunnel.is_some() {
        return (tunnel, None);
    }
    let made_there = findings.find("passed_no_router").is_some() || findings.find("other_link_source").is_some() && ttl::fresh(rst.ttl);
    let way = scene.wire.way.as_ref().filter(|_| made_there);
    let own = translates(scene, findings).then(|| scene.reset.tuple.peer.ip());
    (way.and_then(|way| way.sender).or(own), way.and_then(|way| way.sender_name.clone()))
}

/// Whether a TCP acts on such a RST: exactly the expected sequence number, or one before it after a
/// FIN (RFC 5961, section 3).
fn acceptable(reset: &Reset, wire: &Wire) -> bool {
    if reset.state == Some(TcpState::SynSent) {
        return wire.rst.flags.ack();
    }
    let Some(expected) = wire.expected_seq() else {
        return true;
    };
    let earlier_rst = wire.others.iter().any(|other| other.seq == expected && other.time_ns < wire.rst.time_ns);
    let seq = wire.rst.seq;
    let unacknowledged = wire.sender.end_seq.is_some_and(|end| seq == end);
    !earlier_rst && (seq == expected || unacknowledged || wire.sender.fin && seq.wrapping_add(1) == expected)
}

/// Says that the local end is a guess, where it is.
fn assumption(reset: &Reset) -> Option<Evidence> {
    reset.capture.as_ref().filter(|capture| capture.local_known == LocalKnown::Assumed).map(|_| Evidence {
        signal: "local_end_assumed".into(),
        points_to: OriginKind::Unknown,
        strength: Strength::Weak,
        detail: "the capture does not show which end it was taken at; the end that the RST was sent to is taken for local (see --local)"
            .into(),
    })
}

/// Says that somebody else's packets bore the peer's address.
fn strangers(wire: &Wire) -> Option<Evidence> {
    wire.strangers.then(|| Evidence {
        signal: "foreign_packets".into(),
        points_to: OriginKind::Unknown,
        strength: Strength::Weak,
        detail: "packets with the peer's address and ports came before whose numbers are not this connection's: made up, or of another \
                 connection; they count for nothing"
            .into(),
    })
}
