//! What the wire says about a RST that arrived: who, and why.

#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

use super::{
    Cause, Origin, Verdict,
    received::EITHER,
    shape::Shape,
    signals::{Findings, Scene, path},
};
use crate::{
    event::{CauseId, Effect, Evidence, OriginKind, Severity, Strength},
    flow::{
        LocalKnown, Reset, TcpState,
        idle::candidates,
        wire::{Wire, seq_after},
    },
};

/// Probability of a middlebox from which it is called one: an accusation that sends somebody to search a network must not be wrong.
const ACCUSED: f64 = 0.9;

/// Probability of a middlebox up to which the peer is named. To name it costs a look at its logs, and `confidence` says how sure it is; between
/// the two lies `unknown`.
const ACQUITTED: f64 = 0.2;

/// Probability beyond which the other side is excluded, if nothing structural keeps it possible.
const SETTLED: f64 = 0.97;

/// Highest probability ever claimed: wire evidence is forgeable in principle.
const CEILING: f64 = 0.995;

/// An answer comes within this time of what it answers, where the round-trip time is not known.
const ANSWER: Duration = Duration::from_secs(1);

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
        verdict.severity = Severity::Info;
    }
    let open = !reset.state.is_some_and(|state| state.in_handshake() || state.fin_sent() || state == TcpState::CloseWait);
    let middlebox = verdict.origin.kind == OriginKind::Middlebox;
    if open || middlebox {
        verdict.cause = cause(&scene, &findings, &verdict.origin, probability);
    }
    let others = std::mem::replace(&mut verdict.evidence, findings.evidence());
    verdict.evidence.extend(others);
    verdict.evidence.extend(assumption(reset));
}

fn origin(scene: &Scene, findings: &Findings, probability: f64) -> Origin {
    let mut origin = if probability >= ACCUSED {
        // What an answer of the peer's own firewall would look like stays possible unless something proves more.
        let settled = probability >= SETTLED
            && !translates(scene, findings)
            && (findings.proven() || scene.shape == Shape::Foreign && path::distance(scene.wire) != path::Distance::Same);
        let possible = if settled { vec![OriginKind::Middlebox] } else { vec![OriginKind::Middlebox, OriginKind::RemotePeer] };
        Origin { possible, ..Origin::settled(OriginKind::Middlebox, probability.min(CEILING)) }
    } else if probability <= ACQUITTED && findings.find("peer_kept_talking").is_none() {
        // A bare answer is the same from any Linux box at the peer's distance. A full proxy that is the endpoint bears the peer's address.
        let settled = probability <= 1.0 - SETTLED && scene.shape == Shape::Active;
        let possible = if settled { vec![OriginKind::RemotePeer] } else { EITHER.to_vec() };
        Origin { possible, ..Origin::settled(OriginKind::RemotePeer, (1.0 - probability).min(CEILING)) }
    } else {
        Origin::unknown(&EITHER)
    };
    if origin.kind == OriginKind::Middlebox {
        (origin.address, origin.name) = box_on_link(scene, findings);
        let copied = matches!(path::distance(scene.wire), path::Distance::Same);
        origin.hops = (!copied).then(|| path::hops(scene.wire.rst.ttl).1).filter(|hops| *hops < 40);
    }
    origin
}

/// Whether the RST came from the machine at the peer's address itself, which is on the link, while the peer's packets come from beyond it: a
/// translating router is peer and middlebox at once.
fn translates(scene: &Scene, findings: &Findings) -> bool {
    findings.find("passed_no_router").is_some() && scene.wire.way.as_ref().is_some_and(|way| way.gateway.is_none())
}

/// Address and configured name of the box: the other end of another tunnel; or the machine on the link, where it made the RST and did not only
/// hand it on.
fn box_on_link(scene: &Scene, findings: &Findings) -> (Option<IpAddr>, Option<String>) {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    let tunnel = rst.outer_source.filter(|its| sender.outer_source.is_some_and(|theirs| theirs != *its));
    if tunnel.is_some() {
        return (tunnel, None);
    }
    let made_there = findings.find("passed_no_router").is_some() || findings.find("other_link_source").is_some() && path::fresh(rst.ttl);
    let way = scene.wire.way.as_ref().filter(|_| made_there);
    let own = translates(scene, findings).then(|| scene.reset.tuple.peer.ip());
    (way.and_then(|way| way.sender).or(own), way.and_then(|way| way.sender_name.clone()))
}

/// Whether a TCP acts on such a RST: exactly the expected sequence number, or one before it after a FIN (RFC 5961, section 3).
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

fn cause(scene: &Scene, findings: &Findings, origin: &Origin, probability: f64) -> Cause {
    if let Some(cause) = idle_timeout(scene, origin) {
        return cause;
    }
    let peer = scene.reset.tuple.peer;
    let answers = scene.shape.answers() && answers_segment(scene);
    match origin.kind {
        OriginKind::Middlebox if answers => Cause::new(
            CauseId::StateLost,
            probability.min(0.9),
            format!("something between no longer knew the connection to {peer} and answered its next segment by a RST"),
        )
        .advise("look for a firewall, NAT or load balancer on the path that was restarted, failed over or timed the connection out"),
        OriginKind::Middlebox => {
            let how = if findings.find("peer_kept_talking").is_some() { ", which went on talking" } else { "" };
            Cause::new(CauseId::Injected, probability.min(0.95), format!("something between sent a RST in the name of {peer}{how}")).advise(
                "look for a device on the path that inspects or limits connections; its distance is an estimate from the return path",
            )
        }
        _ if scene.shape == Shape::Active && probability < 0.5 => Cause::new(
            CauseId::PeerAborted,
            (1.0 - probability).min(0.95),
            format!("{peer} aborted the connection from a living socket: its program closed hard, was killed, or its kernel gave up"),
        )
        .advise(format!("look at the program behind {peer} at that time")),
        _ if scene.shape.answers() && probability < 0.5 => Cause::new(
            CauseId::PeerGone,
            (1.0 - probability).min(0.9),
            format!("{peer}, or a box as far away, no longer had the connection and answered a segment by a RST"),
        )
        .advise(format!("look for a restart or crash of {}, or a firewall on it that rejects", peer.ip())),
        _ => Cause::unknown("a RST with the peer's address ended the connection; the wire does not settle who made it"),
    }
}

/// A silence that matches what was learnt.
fn idle_timeout(scene: &Scene, origin: &Origin) -> Option<Cause> {
    let silence = scene.wire.silence?;
    let learnt = scene.reset.learnt_idle.as_deref().filter(|learnt| learnt.explains(silence))?;
    if scene.shape == Shape::Active && origin.kind != OriginKind::Middlebox {
        return None;
    }
    let timeout = learnt.timeout.as_secs_f64();
    let names = candidates(learnt.timeout);
    let known = if names.is_empty() { String::new() } else { format!("; this is the default of {}", names.join(", ")) };
    let pattern = if learnt.on_next_segment { "the first segment after it is answered by a RST" } else { "the RST comes when it ends" };
    Some(
        Cause::new(
            CauseId::IdleTimeout,
            if learnt.repeats >= 5 { 0.95 } else { 0.9 },
            format!(
                "connections to this destination are cut after {timeout:.0} s of silence, {} times so far: {pattern}{known}",
                learnt.repeats
            ),
        )
        .advise(format!("set the AMQP heartbeat below {} s, half of it", (learnt.timeout.as_secs() / 2).max(1))),
    )
}

/// Whether the receiver had sent something that the RST can be the answer to.
fn answers_segment(scene: &Scene) -> bool {
    let window = scene.wire.min_rtt().map_or(ANSWER, |rtt| (rtt * 3).max(Duration::from_millis(200)));
    let spoke = scene.wire.since_receiver_spoke().or_else(|| scene.reset.tcp.as_ref().and_then(|tcp| tcp.since_sent));
    let beyond = scene.wire.sender.end_seq.is_some_and(|end| seq_after(scene.wire.rst.seq, end.wrapping_add(1)));
    !beyond && spoke.is_some_and(|since| since <= window)
}

/// Says that the local end is a guess, where it is.
fn assumption(reset: &Reset) -> Option<Evidence> {
    reset.capture.as_ref().filter(|capture| capture.local_known == LocalKnown::Assumed).map(|_| Evidence {
        signal: "local_end_assumed".to_owned(),
        points_to: OriginKind::Unknown,
        strength: Strength::Weak,
        detail: "the capture does not show which end it was taken at; the end that the RST was sent to is taken for local (see --local)"
            .to_owned(),
    })
}
