//! Missed heartbeats.
//!
//! RabbitMQ looks once in each interval whether anything came, and gives up at the second look in
//! vain: two to three intervals after the last byte (`rabbit_heartbeat.erl`). It then closes
//! without a word. Clients differ: the Java client waits for two intervals, pika for one and five
//! seconds, looked at as seldom, so that it may take two and ten seconds.

use std::time::Duration;

use super::{Candidate, Facts, Source, amqp::points_to};
use crate::{
    amqp::Side,
    attribution::evidence::evidence,
    flow::Reset,
    model::{CauseId, Direction, Strength, TcpState},
};

/// Timers fire late, never early; the byte before may have been looked at just after it came.
const JITTER: Duration = Duration::from_millis(1500);

/// This host's end gave the other up: by a RST, or by a FIN that the other end, once it was back,
/// answered with one.
pub fn local_gave_up(facts: &Facts) -> Option<Candidate> {
    // The answer to a segment is not given after silence.
    let aborted = (facts.reset.active || facts.reset.capture.is_some()) && facts.local_end_aborted();
    let closed = matches!(facts.source, Source::Arrived(_)) && facts.abandoned() && left(facts, Side::Local);
    (aborted || closed).then(|| gave_up(facts, Side::Local))?
}

/// The other end gave this one up.
pub fn peer_gave_up(facts: &Facts) -> Option<Candidate> {
    facts.peer_may_have_aborted().then(|| gave_up(facts, Side::Peer))?
}

/// A FIN of this end had gone by.
fn left(facts: &Facts, side: Side) -> bool {
    let Reset { state, socket, wire, direction, .. } = facts.reset;
    let seen = match side {
        Side::Local => state.is_some_and(TcpState::fin_sent),
        Side::Peer => *state == Some(TcpState::CloseWait) || socket.as_ref().is_some_and(|socket| socket.fin_received),
    };
    let of_rst = if *direction == Direction::Sent { Side::Local } else { Side::Peer };
    seen || wire.as_deref().is_some_and(|wire| if side == of_rst { wire.sender.fin } else { wire.receiver.fin })
}

/// `by` missed the other's heartbeats.
fn gave_up(facts: &Facts, by: Side) -> Option<Candidate> {
    let conversation = facts.conversation()?;
    let interval = Duration::from_secs(conversation.heartbeat.filter(|heartbeat| *heartbeat > 0)?.into());
    let broker = by == facts.broker();
    let silent = if by == Side::Local { Side::Peer } else { Side::Local };
    // An end that had left is not waited for. A broker that blocks a connection does not ask for
    // its heartbeats.
    if conversation.close.is_some() || left(facts, silent) || broker && conversation.blocked.is_some_and(|blocked| blocked.still) {
        return None;
    }
    let (seen, counted) = match by {
        Side::Local => (conversation.last_payload.peer, facts.reset.tcp.as_ref().and_then(|tcp| tcp.since_received)),
        Side::Peer => (conversation.last_payload.local, facts.reset.tcp.as_ref().and_then(|tcp| tcp.since_sent)),
    };
    let silence = seen.into_iter().chain(counted).min()?;
    let strict = (interval * 2).mul_f64(0.95)..=interval * 3 + JITTER;
    let lenient = interval..=interval * 2 + Duration::from_secs(10) + JITTER;
    let confidence = match (broker, strict.contains(&silence), lenient.contains(&silence)) {
        (_, true, _) => 0.93,
        (false, false, true) => 0.7,
        _ => return None,
    };
    let (giver, silent_name) = (facts.name(by), facts.name(silent));
    let (seconds, heartbeat) = (silence.as_secs_f64(), interval.as_secs());
    let summary = format!("{giver} gave up: {silent_name} had sent nothing for {seconds:.1} s, with a heartbeat of {heartbeat} s");
    let advice = if silent_name == "the client" {
        format!(
            "look for a client that blocks its I/O loop or was paused for {seconds:.0} s (pika: call process_data_events() during long work), or \
             a path that drops packets; rather than a longer heartbeat than {heartbeat} s"
        )
    } else {
        format!("look for a broker that was paused or overloaded for {seconds:.0} s, or a path that drops packets without a word")
    };
    Some(Candidate::reason(CauseId::HeartbeatTimeout, confidence, summary).advise(advice).because([evidence(
        "heartbeat_missed",
        points_to(by),
        Strength::Strong,
        format!(
            "heartbeat {heartbeat} s agreed on; last byte from {silent_name} {seconds:.1} s before, {:.1} intervals",
            seconds / interval.as_secs_f64()
        ),
    )]))
}
