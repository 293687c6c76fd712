//! Why a RST arrived, by what the wire showed.

use std::time::Duration;

use crate::{
    attribution::{
        Cause, Origin,
        shape::Shape,
        signals::{Findings, Scene},
    },
    event::{CauseId, OriginKind},
    flow::{idle::candidates, wire::seq_after},
};

/// An answer comes within this time of what it answers, where the round-trip time is not known.
const ANSWER: Duration = Duration::from_secs(1);

pub fn cause(scene: &Scene, findings: &Findings, origin: &Origin, probability: f64) -> Cause {
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
