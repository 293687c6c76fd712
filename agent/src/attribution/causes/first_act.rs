//! Who ended the connection before any RST: what came later is explained by that, and where nothing
//! came it is all there is.

use std::time::Duration;

use super::{
    Candidate, Facts, Source,
    amqp::{owner_is_beam, points_to, subject},
    confidence::{self, hundredths, weighed},
    idle::{LONGEST_HEARTBEAT, SHORTEST, default_of, heartbeat_evidence, heartbeats, keep_busy, repeated, unnamed_proxy},
};
use crate::{
    amqp::{Conversation, Phase, Protocol, Side},
    attribution::evidence::evidence,
    flow::{Act, Leg, Trigger, error_name, idle::candidates},
    model::{CauseId, Evidence, OriginKind, Role, Severity, Strength},
};

/// By how much the silences of two legs of a proxy may differ: a request on one is passed to the
/// other at once.
const LEGS_ALIKE: Duration = Duration::from_millis(1500);

/// A process of this host ended two connections together that had been silent for as long: a proxy
/// whose idle timeout ran out.
pub fn idle_legs(facts: &Facts) -> Option<Candidate> {
    let (leg, silence) = closed_with(facts)?;
    if leg.ended_by_peer || !gave_up_by_itself(facts) {
        return None;
    }
    let other = leg.silence?;
    let who = subject(facts.reset);
    let (summary, longest) = if silence >= SHORTEST && silence.abs_diff(other) <= LEGS_ALIKE {
        let both = format!("{who} is a proxy and ended both of its connections, this one and that to {}", leg.peer);
        (format!("{both}, after {:.1} s of silence{}", silence.as_secs_f64(), heartbeats(facts, silence)), silence)
    } else if other >= SHORTEST && silence < SHORTEST && !leg.before.is_zero() {
        // The first segment after it reached this leg, before the proxy noticed.
        let first = format!("{who} is a proxy and had ended its other connection, to {}", leg.peer);
        (format!("{first}, after {:.1} s of silence{}", other.as_secs_f64(), heartbeats(facts, other)), other)
    } else {
        return None;
    };
    let detail = format!(
        "silent for {:.1} s; its connection to {} ended {} ms before this one after {:.1} s (event {})",
        silence.as_secs_f64(),
        leg.peer,
        leg.before.as_millis(),
        other.as_secs_f64(),
        leg.id
    );
    let its = evidence("legs_idle", OriginKind::LocalProcess, Strength::Strong, detail);
    Some(
        Candidate::reason(CauseId::IdleTimeout, confidence::BOTH_LEGS, summary)
            .advise(own_timers(facts, longest))
            .because([its])
            .because(heartbeat_evidence(facts, longest)),
    )
}

/// A process of this host that takes AMQP connections, and is no broker that closes by AMQP, closed
/// a silent one: a proxy, before its other leg.
pub fn idle_front(facts: &Facts) -> Option<Candidate> {
    let first = facts.reset.first_act.as_deref().filter(|first| first.act.is_local_close())?;
    let silence = first.silence.filter(|silence| *silence >= SHORTEST)?;
    let served = facts.reset.role == Role::Broker && facts.reset.process.is_some() && !owner_is_beam(facts.reset);
    if !served || facts.heartbeat_was_due(silence) || !gave_up_by_itself(facts) || !facts.left_open() {
        return None;
    }
    let summary = format!(
        "{} ended the connection after {:.1} s of silence, without closing AMQP, as a proxy does when its timer is over{}",
        subject(facts.reset),
        silence.as_secs_f64(),
        heartbeats(facts, silence)
    );
    let confidence = weighed(confidence::FRONT_CLOSED, silence, facts.conversation()?.heartbeat);
    Some(
        Candidate::reason(CauseId::IdleTimeout, confidence, summary)
            .advise(own_timers(facts, silence))
            .because(heartbeat_evidence(facts, silence)),
    )
}

/// The process lives, and AMQP was not at its end.
fn gave_up_by_itself(facts: &Facts) -> bool {
    !facts.finished_in_order() && facts.reset.owner_end().is_none()
}

fn own_timers(facts: &Facts, silence: Duration) -> String {
    let advice = keep_busy(facts, silence);
    format!("{advice}; its own timers are timeout client and timeout server (HAProxy), proxy_timeout (nginx), idle_timeout (Envoy)")
}

/// A process of this host ended this connection because another of its connections had ended: a
/// proxy that passes it on.
pub fn passed_on(facts: &Facts) -> Option<Candidate> {
    let (leg, _) = closed_with(facts)?;
    if !leg.ended_by_peer || !gave_up_by_itself(facts) {
        return None;
    }
    let who = subject(facts.reset);
    let behind = if leg.role == Role::Client { "broker" } else { "client" };
    let (peer, before) = (leg.peer, leg.before.as_millis());
    let summary = format!("{who} is a proxy and passed on that the {behind} at {peer} had ended its connection {before} ms before");
    let detail = format!("the connection to {peer} was ended by that end {before} ms before (event {})", leg.id);
    Some(
        Candidate::reason(CauseId::PeerGone, confidence::PASSED_ON, summary)
            .advise(format!("look at the {behind} at {peer}: event {} says how it left", leg.id))
            .because([evidence("leg_ended", OriginKind::RemotePeer, Strength::Strong, detail)]),
    )
}

/// The other leg, and how long this connection had been silent; only where this host's process
/// acted first, or by the RST itself.
fn closed_with<'a>(facts: &Facts<'a>) -> Option<(&'a Leg, Duration)> {
    let by_rst = matches!(facts.source, Source::Kernel { .. }) && facts.reset.first_act.is_none() && facts.reset.closer().is_some();
    (facts.acted_locally() || by_rst).then_some(())?;
    Some((facts.reset.other_leg.as_deref()?, facts.reset.quiet()?))
}

/// A living process closed its socket while AMQP was open.
pub fn left_open(facts: &Facts) -> Option<Candidate> {
    let first = facts.reset.first_act.as_deref().filter(|first| first.act.is_local_close())?;
    if facts.reset.owner_end().is_some() || facts.finished_in_order() {
        return None;
    }
    let known = facts.left_open();
    let answers = matches!(facts.source, Source::Kernel { .. });
    // What was spoken is not known: then only data that met the dead end says that something was
    // lost.
    let lost = facts.reset.trigger.is_some_and(Trigger::carries_data);
    // TLS ends with an alert of either end: the one that comes second meets a dead end as a matter
    // of course.
    let unseen = facts.conversation().is_none_or(|it| it.protocol != Protocol::Tls && it.phase.is_none_or(|phase| phase == Phase::Open));
    if !known && (!answers || !unseen) {
        return None;
    }
    let who = subject(facts.reset);
    let how = if matches!(first.act, Act::LocalClose { shutdown: true }) { "shut down" } else { "closed" };
    let unclosed = if known { " without closing the AMQP connection" } else { "" };
    let after = first.silence.map_or_else(String::new, |silence| format!(", after {:.1} s of silence", silence.as_secs_f64()));
    let (id, what) = if answers {
        let later = first.before(facts.reset.boottime_ns).as_millis();
        let sent = if lost { "what the peer sent" } else { "a segment of the peer's" };
        (CauseId::DataAfterClose, format!("; {sent} {later} ms later was answered by a RST"))
    } else {
        (CauseId::ClosedWithoutAmqpClose, String::new())
    };
    let candidate = Candidate::act(
        id,
        if known { confidence::LEFT_OPEN } else { confidence::LEFT_UNSEEN },
        format!("{who} {how} its socket{unclosed}{after}{what}"),
    );
    let candidate = if known || lost { candidate } else { candidate.severity(Severity::Info) };
    Some(
        candidate
            .advise("let the program close the AMQP connection before the socket, and read until the other side has finished")
            .because(not_closed(facts, Side::Local)),
    )
}

/// The peer, or a proxy in its place, closed a silent connection by FIN.
///
/// A client or broker that leaves has no reason to do it when a timer is over; a proxy has. That
/// RabbitMQ ends by RST makes it near certain where a broker should be; where a client should be, a
/// process that was killed in a quiet hour looks the same, and only what repeats is told for sure.
pub fn peer_idle(facts: &Facts) -> Option<Candidate> {
    let confidence = idle_confidence(facts).filter(|confidence| *confidence >= confidence::LIKELY)?;
    let first = facts.reset.first_act.as_deref()?;
    let silence = first.silence?;
    let name = facts
        .reset
        .known_middlebox
        .as_deref()
        .map_or_else(|| unnamed_proxy(facts), |name| format!("{name} ({})", facts.reset.tuple.peer.ip()));
    let summary = format!(
        "{name} closed the connection after {:.1} s of silence{}{}{}",
        silence.as_secs_f64(),
        repeated(first.learnt_idle.as_deref()),
        default_of(&candidates(silence)),
        heartbeats(facts, silence)
    );
    Some(
        Candidate::reason(CauseId::IdleTimeout, confidence, summary)
            .advise(keep_busy(facts, silence))
            .because(not_closed(facts, Side::Peer))
            .because(heartbeat_evidence(facts, silence)),
    )
}

/// How sure it is that the peer's FIN was an idle timeout; `None` where it was not.
fn idle_confidence(facts: &Facts) -> Option<f64> {
    if !facts.peer_acted() || !facts.abandoned() {
        return None;
    }
    let first = facts.reset.first_act.as_deref()?;
    let silence = first.silence.filter(|silence| *silence >= SHORTEST)?;
    if facts.heartbeat_was_due(silence) {
        return None;
    }
    let learnt =
        first.learnt_idle.as_deref().is_some_and(|learnt| learnt.timeout.abs_diff(silence) <= LEGS_ALIKE.max(silence.mul_f64(0.01)));
    if learnt {
        return Some(confidence::LEARNT);
    }
    let confidence = if facts.reset.role == Role::Client { confidence::BROKER_CLOSED } else { confidence::CLIENT_CLOSED };
    let confidence = if facts.reset.known_middlebox.is_some() { confidence.max(confidence::CONFIGURED) } else { confidence };
    Some(weighed(confidence, silence, facts.conversation()?.heartbeat))
}

/// The peer closed its socket while AMQP was open.
pub fn peer_left(facts: &Facts) -> Option<Candidate> {
    if !facts.peer_acted() || !facts.abandoned() {
        return None;
    }
    let first = facts.reset.first_act.as_deref()?;
    let (peer, name) = (facts.reset.tuple.peer, facts.name(Side::Peer));
    let otherwise = idle_confidence(facts).unwrap_or(0.0);
    let after = first.silence.map_or_else(String::new, |silence| format!(", {:.1} s after the last payload", silence.as_secs_f64()));
    let (summary, advice) = if facts.reset.role == Role::Broker {
        (
            format!("{name} at {peer} closed its TCP connection without closing the AMQP connection{after}"),
            format!("look at the program behind {peer}: it exited, was killed, or closed its socket only"),
        )
    } else {
        (
            format!("{name} at {peer}, or a proxy in its place, closed the TCP connection without closing the AMQP connection{after}"),
            format!("look behind {peer}: for a proxy that was stopped, reloaded or lost its broker, or a broker that went down"),
        )
    };
    Some(
        Candidate::act(CauseId::PeerGone, hundredths((1.0 - otherwise).min(confidence::PEER_LEFT)), summary)
            .advise(advice)
            .because(not_closed(facts, Side::Peer)),
    )
}

/// Nothing answered any more.
pub fn timed_out(facts: &Facts) -> Option<Candidate> {
    let peer = facts.reset.tuple.peer;
    let error = |errno: u32| error_name(errno).unwrap_or("an error");
    let tcp = facts.reset.tcp.as_ref();
    match facts.reset.act()? {
        Act::TimedOut(errno) => {
            let again = tcp.map_or(0, |tcp| tcp.retransmits);
            let heard = tcp.and_then(|tcp| tcp.since_heard);
            let heard = heard.map_or_else(String::new, |heard| format!("; last heard of it {:.1} s before", heard.as_secs_f64()));
            let unanswered = tcp.map_or(0, |tcp| tcp.unacknowledged_bytes);
            let summary = format!(
                "nothing answered from {peer} any more, and this kernel gave the connection up ({}): {unanswered} bytes not acknowledged, {again} \
                 retransmissions{heard}",
                error(errno)
            );
            Some(Candidate::reason(CauseId::TimedOut, confidence::TIMED_OUT, summary).advise(format!(
                "look for a path that drops packets without a word (a security group, a firewall or load balancer that forgot the connection), or for a \
                 host {} that went down; heartbeats of {LONGEST_HEARTBEAT} s or less notice it sooner, and keep idle connections from being forgotten",
                peer.ip()
            )))
        }
        Act::ConnectTimedOut(errno) => {
            let summary = format!("nothing answered the SYN to {peer} ({})", error(errno));
            Some(Candidate::reason(CauseId::TimedOut, confidence::TIMED_OUT, summary).advise(format!(
                "check the address, and look for a firewall or security group that drops what is sent to port {} of {}",
                peer.port(),
                peer.ip()
            )))
        }
        _ => None,
    }
}

/// AMQP was open, and an end left without a word.
fn not_closed(facts: &Facts, by: Side) -> Option<Evidence> {
    facts.conversation().is_some_and(Conversation::is_open).then(|| {
        evidence(
            "amqp_not_closed",
            points_to(by),
            Strength::Strong,
            "the AMQP connection was open, and neither end had sent connection.close",
        )
    })
}
