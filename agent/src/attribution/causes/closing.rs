//! Ends that belong to normal operation. RabbitMQ listens with `linger {true,0}`, so that most of
//! its connections end in a RST.

use std::time::Duration;

use super::{
    Candidate, Facts, Rank, Source,
    amqp::{owner_is_beam, subject},
};
use crate::{
    amqp::Phase,
    attribution::{evidence::evidence, kernel_path::Path, shape::Shape},
    model::{CauseId, Direction, OriginKind, Role, Strength, TcpState, Text},
};

/// RabbitMQ closes a connection a moment after the client's last frame, and every other close of
/// its own (missed heartbeats, handshake timeout) only after seconds of silence: the shortest
/// heartbeat is one second, and it waits for two.
const JUST_BEFORE: Duration = Duration::from_secs(1);

/// AMQP had taken leave: whoever closes the socket then, and how, closes nothing that anybody
/// misses.
pub fn amqp_finished(facts: &Facts) -> Option<Candidate> {
    if !facts.finished_in_order() {
        return None;
    }
    let conversation = facts.conversation()?;
    let closed = conversation.phase == Some(Phase::Closed);
    let by = conversation.close.as_ref().map(|close| facts.name(close.from));
    let confidence = match (by, closed) {
        (Some(_), true) => 0.98,
        // The answer may have gone by unseen, or may not have been waited for.
        (Some(_), false) => 0.9,
        (None, _) => 0.7,
    };
    let summary: Text = match (by, closed) {
        (Some(by), true) => {
            format!("{by} had closed the AMQP connection, and the other end had agreed; the RST only ended the socket").into()
        }
        (Some(by), false) => format!("{by} had closed the AMQP connection; the RST came instead of the rest of the farewell").into(),
        (None, _) => "the AMQP connection had been closed; the RST only ended the socket".into(),
    };
    Some(Candidate::reason(CauseId::RoutineClose, confidence, summary).routine().because(facts.close_evidence()))
}

/// This host's FIN was out when the RST came.
pub fn tcp_finished(facts: &Facts) -> Option<Candidate> {
    let Source::Arrived(_) = facts.source else { return None };
    let state = facts.reset.state.filter(|state| state.fin_sent() && *state != TcpState::TimeWait)?;
    // Who did that while AMQP was open ended it.
    if facts.acted_locally() && facts.left_open() {
        return None;
    }
    (facts.origin.kind != OriginKind::Middlebox).then(|| {
        // Without a farewell of AMQP it had a reason, which is not known; in the handshake, where
        // it stood says more.
        let (unclosed, confidence) = if facts.abandoned() {
            (", without closing the AMQP connection", 0.6)
        } else if facts.unopened() {
            (", before the AMQP connection was open", 0.6)
        } else {
            ("", 0.9)
        };
        let summary = format!("this host had closed already{unclosed} ({}); the RST only shortened the close", state.name());
        Candidate::reason(CauseId::RoutineClose, confidence, summary).routine()
    })
}

/// The peer's FIN had come, and the owner closed with `SO_LINGER` 0; or in a capture, a FIN of
/// either end had gone by. Where AMQP was followed and nobody had closed it, the peer's FIN is the
/// end of a connection that was in use.
pub fn peer_finished(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    if facts.peer_acted() && facts.abandoned() {
        return None;
    }
    let summary: Text = match facts.source {
        Source::Kernel { path: Path::Linger, .. } if reset.socket.as_ref().is_some_and(|socket| socket.fin_received) => {
            format!("{} closed after the peer had, with SO_LINGER 0", subject(reset)).into()
        }
        Source::Kernel { path: Path::OrphanTimeout, .. } => {
            return Some(
                Candidate::reason(CauseId::RoutineClose, 0.8, "the owner had closed, and the kernel stopped waiting for the peer's FIN")
                    .routine(),
            );
        }
        Source::Capture(Some(Shape::Active)) if reset.wire.as_deref().is_some_and(|wire| wire.sender.fin || wire.receiver.fin) => {
            "the local end cut short a close that was under way".into()
        }
        _ => return None,
    };
    let peer_left = reset.socket.as_ref().is_some_and(|socket| socket.fin_received)
        || reset.wire.as_deref().is_some_and(|wire| wire.receiver.fin && !wire.sender.fin);
    if facts.abandoned() && peer_left {
        let (peer, name) = (reset.tuple.peer, facts.name(crate::amqp::Side::Peer));
        let summary = format!("{name} at {peer} closed its TCP connection without closing the AMQP connection");
        return Some(
            Candidate::reason(CauseId::PeerGone, 0.85, summary)
                .advise(format!("look at the program behind {peer}: it exited, was killed, or closed its socket only"))
                .because([evidence(
                    "amqp_not_closed",
                    OriginKind::RemotePeer,
                    Strength::Strong,
                    "the AMQP connection was open, and neither end had sent connection.close",
                )]),
        );
    }
    // Whoever leaves in the midst of the handshake has a reason: where it stood says more than how
    // it left.
    let confidence = match reset.capture {
        _ if facts.unopened() => 0.6,
        Some(_) => 0.85,
        None => 0.95,
    };
    Some(Candidate::reason(CauseId::RoutineClose, confidence, summary).routine())
}

/// A connection opened and torn down without a byte, by the end that opened it: a health check.
/// RabbitMQ says nothing before the client does.
pub fn health_check(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    let by_client = match (facts.source, reset.role) {
        (Source::Arrived(testimony), Role::Broker) => {
            let open = matches!(reset.state, Some(TcpState::Established | TcpState::CloseWait));
            let accused = facts.origin.kind == OriginKind::Middlebox || testimony.as_ref().is_some_and(|it| it.findings.proven());
            open && !accused
        }
        (Source::Kernel { path: Path::Linger | Path::Disconnect, .. } | Source::Capture(Some(Shape::Active)), Role::Client) => true,
        _ => false,
    };
    if !by_client || !facts.never_spoke() {
        return None;
    }
    let (who, name) = match reset.direction {
        Direction::Sent => ("this host".to_owned(), None),
        Direction::Received => (reset.tuple.peer.ip().to_string(), reset.known_middlebox.as_deref()),
    };
    let who = name.map_or(who.clone(), |name| format!("{name} ({who})"));
    Some(
        Candidate::reason(CauseId::RoutineClose, 0.85, format!("{who} connected, said nothing and went away, as health checks do"))
            .routine()
            .because([evidence(
                "never_spoke",
                OriginKind::Unknown,
                Strength::Strong,
                "no payload went either way between handshake and RST",
            )]),
    )
}

/// A segment that was under way when the connection was reset, or that a peer sends which knows
/// nothing of it, is answered by another RST. Where it is known who ended the connection first, and
/// why, that is the cause of this one as well.
pub fn late_segment(facts: &Facts) -> Option<Candidate> {
    let (Path::NoSocket | Path::NoSocketBlind | Path::TimeWait | Path::MetListener, _) = facts.path()? else { return None };
    let earlier = facts.reset.earlier.as_deref()?;
    let when = format!("{} ms before (event {})", earlier.ago.as_millis(), earlier.id);
    let candidate = if earlier.routine {
        Candidate::reason(CauseId::RoutineClose, 0.95, format!("a segment came for a connection that had ended in order {when}"))
    } else {
        Candidate::reason(CauseId::StaleConnection, 0.97, format!("a segment came for a connection that had been reset {when}"))
    };
    let rank = if facts.reset.first_act.is_some() { Rank::Mechanism } else { candidate.rank };
    let candidate = Candidate { rank, ..candidate };
    let detail = format!("the same connection was reset {when}");
    Some(candidate.routine().because([evidence("reset_before", OriginKind::LocalHost, Strength::Strong, detail)]))
}

/// RabbitMQ closed right after the client's last frame, where nothing more is known of the
/// conversation.
pub fn rabbitmq_after_last_frame(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    let (Path::Linger, _) = facts.path()? else { return None };
    // What was followed and shows no farewell had none.
    let followed = facts.conversation().is_some_and(|it| it.followed_peer && it.phase.is_some());
    let just_spoken = reset.tcp.as_ref().and_then(|tcp| tcp.since_received).is_some_and(|since| since < JUST_BEFORE);
    let linger = reset.role == Role::Broker && owner_is_beam(reset) && just_spoken && !followed;
    linger.then(|| {
        let who = subject(reset);
        let summary = format!("{who} ended the connection right after the client's last frame; RabbitMQ closes by RST (linger {{true,0}})");
        Candidate::reason(CauseId::RoutineClose, 0.85, summary).routine()
    })
}
