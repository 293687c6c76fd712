//! How sure the first act makes a cause: numbers, with the reason of each.

use std::time::Duration;

use crate::flow::idle::candidates;

/// A timer fires this much late, at most, where nothing is overloaded. One that people set is a
/// whole number of seconds.
const LATE: Duration = Duration::from_millis(60);

/// A broker's address closed by FIN, AMQP open and heartbeats off. RabbitMQ ends by RST
/// (`linger {true,0}`), also when it is killed, and never for idleness: left are proxies, and
/// brokers that are configured or built otherwise.
pub const BROKER_CLOSED: f64 = 0.9;
/// A client's address. Clients that exit or are killed look the same, but for when it happens.
pub const CLIENT_CLOSED: f64 = 0.55;
/// The same by a RST from a living socket: programs end by FIN, as a rule.
pub const CLIENT_ABORTED: f64 = 0.5;
/// A broker that is killed aborts as well: RabbitMQ sets `linger {true,0}`.
pub const BROKER_ABORTED: f64 = 0.3;
/// More, where the silence is a whole number of seconds: one in sixteen is by chance.
pub const WHOLE_SECONDS: f64 = 0.15;
/// More, where it is what a product ships with.
pub const SHIPPED: f64 = 0.2;
/// Less, where heartbeats were on, but longer than the silence.
pub const HEARTBEATS_ON: f64 = 0.1;
/// Both connections of a process of this host after the same silence.
pub const BOTH_LEGS: f64 = 0.96;
/// One that it took, and that was not closed by AMQP.
pub const FRONT_CLOSED: f64 = 0.75;
/// The same silence at least three times.
pub const LEARNT: f64 = 0.93;
/// The address is that of a load balancer or proxy, as the configuration says.
pub const CONFIGURED: f64 = 0.85;
/// AMQP was open when the peer closed: it may have had a reason that this host cannot see.
pub const PEER_LEFT: f64 = 0.85;
/// A leg ended a moment after the other one's peer had left: it may have been chance.
pub const PASSED_ON: f64 = 0.9;
/// A process closed while AMQP was open, seen from both ends of the conversation.
pub const LEFT_OPEN: f64 = 0.95;
/// The same, of a conversation that was not seen.
pub const LEFT_UNSEEN: f64 = 0.8;
/// The kernel's own error.
pub const TIMED_OUT: f64 = 0.95;
/// What is less likely than something else is not said.
pub const LIKELY: f64 = 0.5;
/// Never more from timing alone.
pub const CEILING: f64 = 0.95;

/// How sure it is that a timer ended the silence, from how sure it was before its length and the
/// heartbeat were looked at. In hundredths: nothing finer is known.
pub fn weighed(before: f64, silence: Duration, heartbeat: Option<u16>) -> f64 {
    let mut confidence = before;
    if Duration::from_nanos(u64::from(silence.subsec_nanos())) <= LATE {
        confidence += WHOLE_SECONDS;
    }
    if !candidates(silence).is_empty() {
        confidence += SHIPPED;
    }
    if heartbeat != Some(0) {
        confidence -= HEARTBEATS_ON;
    }
    hundredths(confidence.min(CEILING))
}

pub fn hundredths(confidence: f64) -> f64 {
    (confidence * 100.0).round() / 100.0
}
