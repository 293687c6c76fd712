//! Idle timeouts: the silence before the RST, against what was learnt, what devices ship with, and
//! what heartbeats would have kept busy.

use std::time::Duration;

use super::{
    Candidate, Facts, Testimony,
    confidence::{self, weighed},
};
use crate::{
    amqp::Side,
    attribution::{evidence::evidence, shape::Shape},
    flow::{
        idle::{Learnt, candidates},
        wire::Silence,
    },
    model::{CauseId, Evidence, OriginKind, Role, Strength, TcpState, Text},
};

/// A shorter silence is an ordinary pause.
pub(super) const SHORTEST: Duration = Duration::from_secs(10);

/// Longest heartbeat to recommend: RabbitMQ's default.
pub(super) const LONGEST_HEARTBEAT: u64 = 60;

/// The silence is that of a timeout which earlier resets of this destination taught.
pub fn learnt(facts: &Facts) -> Option<Candidate> {
    let (silence, _) = silence(facts)?;
    let learnt = facts.reset.learnt_idle.as_deref().filter(|learnt| learnt.explains(silence))?;
    let timeout = learnt.timeout.as_secs_f64();
    let names = candidates(learnt.timeout);
    let known = if names.is_empty() { String::new() } else { format!("; this is the default of {}", names.join(", ")) };
    let pattern = if learnt.on_next_segment { "the first segment after it is answered by a RST" } else { "the RST comes when it ends" };
    let summary = format!(
        "connections to this destination are cut after {timeout:.0} s of silence, {} times so far: {pattern}{known}{}",
        learnt.repeats,
        heartbeats(facts, learnt.timeout)
    );
    let advice = advice(facts, learnt.timeout, &format!("half of the {timeout:.0} s learnt"), &names);
    let confidence = if learnt.repeats >= 5 { 0.95 } else { 0.9 };
    Some(Candidate::reason(CauseId::IdleTimeout, confidence, summary).advise(advice).because(heartbeat_evidence(facts, silence.length)))
}

/// Nothing was learnt yet, but heartbeats were off or longer than the silence, and something
/// between, or a shipped default, fits.
pub fn unprotected(facts: &Facts) -> Option<Candidate> {
    let (silence, testimony) = silence(facts)?;
    facts.conversation()?.heartbeat?;
    if silence.length < SHORTEST || facts.heartbeat_was_due(silence.length) {
        return None;
    }
    let names = candidates(silence.length);
    let middlebox = facts.origin.kind == OriginKind::Middlebox;
    let answers = testimony.scene.shape.answers();
    let confidence = match (middlebox, names.is_empty()) {
        (true, false) => 0.85,
        (true, true) if answers => 0.7,
        (false, false) if answers => 0.6,
        _ => return None,
    };
    let seconds = silence.length.as_secs_f64();
    let summary =
        format!("the connection was cut after {seconds:.0} s of silence{}{}", default_of(&names), heartbeats(facts, silence.length));
    let advice = advice(facts, silence.length, &format!("half of the {seconds:.0} s it was silent"), &names);
    Some(Candidate::reason(CauseId::IdleTimeout, confidence, summary).advise(advice).because(heartbeat_evidence(facts, silence.length)))
}

/// A proxy or load balancer that the agent was told of ended a connection that had been silent for
/// long, by a RST, or by a FIN and a RST after it. Payload is counted, so that the FIN does not end
/// the silence.
pub fn known_proxy(facts: &Facts) -> Option<Candidate> {
    let testimony = facts.testimony().filter(|it| it.scene.shape == Shape::Active)?;
    let name = facts.reset.known_middlebox.as_deref()?;
    let conversation = facts.conversation().filter(|it| it.close.is_none())?;
    conversation.heartbeat?;
    let length = conversation.last_payload.local?.min(conversation.last_payload.peer?);
    // Whoever closed first had a reason of its own.
    let this_host_closed = testimony.scene.wire.receiver.fin || facts.reset.state.is_some_and(TcpState::fin_sent);
    if this_host_closed || length < SHORTEST || facts.heartbeat_was_due(length) {
        return None;
    }
    let seconds = length.as_secs_f64();
    let names = candidates(length);
    let summary = format!("{name} ended the connection after {seconds:.0} s without payload{}", heartbeats(facts, length));
    let advice = advice(facts, length, &format!("half of the {seconds:.0} s it was silent"), &names);
    Some(Candidate::reason(CauseId::IdleTimeout, 0.8, summary).advise(advice).because(heartbeat_evidence(facts, length)))
}

/// A living socket at the peer's address aborted a silent connection, and nobody said that a proxy
/// is there. A program may have, or a broker that was killed; a proxy does it by its nature, and
/// the more likely the more the silence looks like a timer.
pub fn aborted(facts: &Facts) -> Option<Candidate> {
    let testimony = facts.testimony().filter(|it| it.scene.shape == Shape::Active)?;
    let wire = testimony.scene.wire;
    let closing = wire.sender.fin || wire.receiver.fin || facts.reset.state.is_some_and(TcpState::fin_sent);
    let told = facts.reset.known_middlebox.is_some() || facts.origin.kind == OriginKind::Middlebox;
    if closing || told || facts.reset.first_act.is_some() || !facts.abandoned() {
        return None;
    }
    let conversation = facts.conversation()?;
    let length = conversation.last_payload.local?.min(conversation.last_payload.peer?);
    if length < SHORTEST || facts.heartbeat_was_due(length) {
        return None;
    }
    let silence = Silence { length, broken_by_receiver: false };
    let learnt = facts.reset.learnt_idle.as_deref().filter(|learnt| learnt.explains(silence));
    let before = if facts.reset.role == Role::Broker { confidence::CLIENT_ABORTED } else { confidence::BROKER_ABORTED };
    let confidence = learnt.map_or_else(|| weighed(before, length, conversation.heartbeat), |_| confidence::LEARNT);
    if confidence < confidence::LIKELY {
        return None;
    }
    let summary = format!(
        "{}, aborted the connection after {:.1} s of silence{}{}",
        unnamed_proxy(facts),
        length.as_secs_f64(),
        repeated(learnt),
        heartbeats(facts, length)
    );
    Some(
        Candidate::reason(CauseId::IdleTimeout, confidence, summary)
            .advise(keep_busy(facts, length))
            .because(heartbeat_evidence(facts, length)),
    )
}

/// The silence, unless a program's own timer fits it as well: programs abort from a living socket.
/// A proxy is such a program.
fn silence<'a>(facts: &Facts<'a>) -> Option<(Silence, &'a Testimony<'a>)> {
    let testimony = facts.testimony()?;
    let wire = testimony.scene.wire;
    let program =
        testimony.scene.shape == Shape::Active && facts.origin.kind != OriginKind::Middlebox && facts.reset.known_middlebox.is_none();
    let closing = wire.sender.fin || wire.receiver.fin || facts.finished_in_order();
    wire.silence.filter(|_| !program && !closing).map(|silence| (silence, testimony))
}

/// Who ends what is idle at the peer's address, where nobody said what is there.
pub(super) fn unnamed_proxy(facts: &Facts) -> String {
    format!("a proxy or load balancer at {}, in the name of {}", facts.reset.tuple.peer.ip(), facts.name(Side::Peer))
}

/// How often it was seen.
pub(super) fn repeated(learnt: Option<&Learnt>) -> String {
    learnt.map_or_else(String::new, |learnt| format!(", {} times so far", learnt.repeats))
}

/// Whose default a timeout is.
pub(super) fn default_of(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!(", the default of {}", names.join(", ")) }
}

/// Why heartbeats did not keep the connection busy.
pub(super) fn heartbeats(facts: &Facts, timeout: Duration) -> Text {
    match facts.conversation().and_then(|conversation| conversation.heartbeat) {
        None => "".into(),
        Some(0) => "; heartbeats are off (heartbeat 0), so that nothing kept it busy".into(),
        Some(heartbeat) if Duration::from_secs(heartbeat.into()) > timeout => {
            format!("; the heartbeat of {heartbeat} s is longer than that").into()
        }
        Some(heartbeat) => format!("; heartbeats of {heartbeat} s should have kept it busy, and did not come").into(),
    }
}

/// What was agreed on to keep the connection busy.
pub(super) fn heartbeat_evidence(facts: &Facts, silence: Duration) -> Option<Evidence> {
    let heartbeat = facts.conversation()?.heartbeat?;
    let setting = if heartbeat == 0 { "0 (off)".to_owned() } else { format!("{heartbeat} s") };
    let detail = format!("heartbeat {setting} agreed on; {:.1} s of silence", silence.as_secs_f64());
    Some(evidence("heartbeat", OriginKind::Middlebox, Strength::Weak, detail))
}

/// What to do against a timeout of this length, seen once or told by the device itself.
pub(super) fn keep_busy(facts: &Facts, silence: Duration) -> String {
    advice(facts, silence, &format!("half of the {:.0} s it was silent", silence.as_secs_f64()), &candidates(silence))
}

fn advice(facts: &Facts, timeout: Duration, half_of: &str, names: &[&str]) -> String {
    let most = (timeout.as_secs() / 2).max(1);
    let heartbeat = most.min(LONGEST_HEARTBEAT);
    let bound = if heartbeat == most { half_of.to_owned() } else { format!("at most {most}, {half_of}") };
    let agreed = facts.conversation().and_then(|conversation| conversation.heartbeat);
    if agreed.is_some_and(|agreed| agreed > 0 && u64::from(agreed) <= most) {
        return format!("find out which end sent no heartbeats: one of {heartbeat} s or less keeps the path busy ({bound})");
    }
    let device = match names {
        _ if facts.reset.known_middlebox.is_some() => {
            ", or raise the idle timeout of the device (HAProxy: timeout client and timeout server)"
        }
        [] => "",
        // Its default is also that of the NAT gateway, where it cannot be changed.
        names if names.iter().any(|name| name.starts_with("AWS network")) => {
            ", or raise tcp.idle_timeout.seconds of the listener, if it is a load balancer of AWS"
        }
        _ => ", or raise the idle timeout of the device",
    };
    format!(
        "set heartbeat={heartbeat}: {bound} (pika: ConnectionParameters(heartbeat={heartbeat}); Java: setRequestedHeartbeat({heartbeat}); \
         lapin: ?heartbeat={heartbeat} in the URI){device}"
    )
}
