//! What the packets of a RST that arrived say of its cause.

use std::time::Duration;

use super::{Candidate, Facts, Testimony};
use crate::{
    attribution::shape::Shape,
    model::{CauseId, OriginKind, Severity, TcpState, seq_after},
};

/// An answer comes within this time of what it answers, where the round-trip time is not known.
const ANSWER: Duration = Duration::from_secs(1);

/// How the RST was made: out of nothing, as an answer, or from a living socket.
pub fn packets(facts: &Facts) -> Option<Candidate> {
    let testimony = facts.testimony()?;
    let state = facts.reset.state;
    let middlebox = facts.origin.kind == OriginKind::Middlebox;
    let open = !state.is_some_and(|state| state.in_handshake() || state.fin_sent() || state == TcpState::CloseWait);
    if !open && !middlebox {
        return None;
    }
    let candidate = if middlebox { between(facts, testimony) } else { peer(facts, testimony)? };
    // What was being closed anyway, or was not open yet, is no loss.
    let unused = state.is_some_and(|state| state.fin_sent() || matches!(state, TcpState::SynRecv | TcpState::NewSynRecv));
    Some(if unused { candidate.severity(Severity::Info) } else { candidate })
}

fn between(facts: &Facts, testimony: &Testimony) -> Candidate {
    let peer = facts.reset.tuple.peer;
    if ends_at_proxy(testimony) {
        let summary =
            format!("what made the handshake in the name of {peer} aborted the connection: a proxy or load balancer that ends it there");
        return Candidate::mechanism(CauseId::PeerAborted, testimony.probability.min(0.8), summary)
            .advise("look at the proxy or load balancer at that address: at its timeouts, and at the connection on its other side");
    }
    if testimony.scene.shape.answers() && answers_segment(testimony) {
        let summary = format!("something between no longer knew the connection to {peer} and answered its next segment by a RST");
        return Candidate::mechanism(CauseId::StateLost, testimony.probability.min(0.9), summary)
            .advise("look for a firewall, NAT or load balancer on the path that was restarted, failed over or timed the connection out");
    }
    let how = if testimony.findings.find("peer_kept_talking").is_some() { ", which went on talking" } else { "" };
    Candidate::mechanism(
        CauseId::Injected,
        testimony.probability.min(0.95),
        format!("something between sent a RST in the name of {peer}{how}"),
    )
    .advise("look for a device on the path that inspects or limits connections; its distance is an estimate from the return path")
}

/// The RST came from where the handshake came from, and the packets between from elsewhere.
fn ends_at_proxy(testimony: &Testimony) -> bool {
    let (rst, sender) = (&testimony.scene.wire.rst, &testimony.scene.wire.sender);
    let elsewhere = sender.ttl.count > 0 && sender.ttl.mode != rst.ttl;
    elsewhere && sender.handshake_ttl == Some(rst.ttl) && testimony.scene.shape == Shape::Active
}

fn peer(facts: &Facts, testimony: &Testimony) -> Option<Candidate> {
    let peer = facts.reset.tuple.peer;
    let sure = 1.0 - testimony.probability;
    let shape = testimony.scene.shape;
    if sure <= 0.5 {
        return None;
    }
    if shape == Shape::Active {
        let unclosed = if facts.abandoned() { ", without closing the AMQP connection" } else { "" };
        let summary = format!(
            "{peer} aborted the connection from a living socket{unclosed}: its program closed hard, was killed, or its kernel gave up"
        );
        return Some(
            Candidate::mechanism(CauseId::PeerAborted, sure.min(0.95), summary)
                .advise(format!("look at the program behind {peer} at that time")),
        );
    }
    shape.answers().then(|| {
        let summary = format!("{peer}, or a box as far away, no longer had the connection and answered a segment by a RST");
        Candidate::mechanism(CauseId::PeerGone, sure.min(0.9), summary)
            .advise(format!("look for a restart or crash of {}, or a firewall on it that rejects", peer.ip()))
    })
}

/// Whether the receiver had sent something that the RST can be the answer to.
fn answers_segment(testimony: &Testimony) -> bool {
    let (wire, reset) = (testimony.scene.wire, testimony.scene.reset);
    let window = wire.min_rtt().map_or(ANSWER, |rtt| (rtt * 3).max(Duration::from_millis(200)));
    let spoke = wire.since_receiver_spoke().or_else(|| reset.tcp.as_ref().and_then(|tcp| tcp.since_sent));
    let beyond = wire.sender.end_seq.is_some_and(|end| seq_after(wire.rst.seq, end.wrapping_add(1)));
    !beyond && spoke.is_some_and(|since| since <= window)
}
