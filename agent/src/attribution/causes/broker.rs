//! What a broker says before it ends a connection: `connection.close`, `connection.blocked`.

use std::time::Duration;

use super::{
    Candidate, Facts,
    amqp::{points_to, shown},
    channel,
};
use crate::{
    amqp::Close,
    attribution::{evidence::evidence, kernel_path::Path},
    model::{CauseId, Strength},
};

/// connection-forced (AMQP 0-9-1, section 1.3).
const CONNECTION_FORCED: u16 = 320;

/// A block that was lifted so recently may still be why an end had left.
const JUST_LIFTED: Duration = Duration::from_secs(2);

/// RabbitMQ's `reply-text` when it stops or drains a node, and not one connection
/// (`rabbit_reader:handle_other/2`, `rabbit_maintenance`).
const STOPPING: [&str; 2] = ["broker forced connection closure with reason", "was put into maintenance mode"];

/// The broker closed the connection and said why.
pub fn closed(facts: &Facts) -> Option<Candidate> {
    let close = facts.close_with_error().filter(|close| close.from == facts.broker())?;
    let Close { code, text, .. } = close;
    let reason = text.split_once(" - ").map_or("", |(_, reason)| reason);
    let stopping = STOPPING.iter().any(|known| text.contains(known));
    let candidate = match *code {
        CONNECTION_FORCED if stopping || reason.is_empty() => Candidate::reason(
            CauseId::BrokerShutdown,
            // Without a text it may have been an operator's.
            if stopping { 0.98 } else { 0.7 },
            format!("the broker was stopping: it closed the connection with {code} {}", shown(text, "CONNECTION_FORCED")),
        )
        .advise("let clients reconnect with exponential backoff, to another node if there is one"),
        CONNECTION_FORCED => Candidate::reason(
            CauseId::ForcedClose,
            0.97,
            format!("somebody had the broker close the connection ({code} CONNECTION_FORCED): {reason:?}"),
        )
        .advise("ask who closed it: rabbitmqctl close_connection, the management plugin, a deleted user or vhost"),
        code => {
            let (name, advice) = known(code);
            if let Some(after) = channel::error_before(facts, close) {
                return Some(after.because(facts.close_evidence()));
            }
            let candidate = Candidate::reason(
                CauseId::ForcedClose,
                0.97,
                format!("the broker closed the connection with {code} {}", shown(text, name)),
            );
            if advice.is_empty() { candidate } else { candidate.advise(advice) }
        }
    };
    Some(candidate.because(facts.close_evidence()))
}

/// The client closed the connection and named an error.
pub fn client_gave_up(facts: &Facts) -> Option<Candidate> {
    let close = facts.close_with_error().filter(|close| close.from != facts.broker())?;
    let (name, _) = known(close.code);
    let summary = format!("the client closed the connection with {} {}", close.code, shown(&close.text, name));
    Some(
        Candidate::reason(CauseId::ForcedClose, 0.9, summary)
            .advise("look at the client's log: it closed the connection because of an error of its own, or of the broker's")
            .because(facts.close_evidence()),
    )
}

/// The connection was blocked by a memory or disk alarm. RabbitMQ stops reading from publishers
/// then; a client that waits long enough gives up, and so may anything on the way. It may have left
/// long before: the broker notices when it lifts the block, and answers what waited.
pub fn alarm(facts: &Facts) -> Option<Candidate> {
    let blocked = facts.conversation()?.blocked.filter(|blocked| blocked.still || blocked.before < JUST_LIFTED && facts.an_end_left())?;
    if let Some((Path::Destroyed | Path::Keepalive | Path::Memory | Path::Multipath(_), _)) = facts.path() {
        return None;
    }
    let seconds = blocked.before.as_secs_f64();
    let (confidence, what) = if blocked.still {
        (0.88, format!("the broker had blocked the connection {seconds:.1} s before, for lack of memory or disk space"))
    } else {
        (
            0.86,
            format!(
                "an end left while the broker had blocked the connection, for lack of memory or disk space, until {seconds:.1} s before"
            ),
        )
    };
    let seen = if blocked.still {
        format!("connection.blocked {seconds:.1} s before the reset, and no connection.unblocked since")
    } else {
        format!("connection.unblocked {seconds:.1} s before the reset, for an end that had left")
    };
    Some(
        Candidate::reason(CauseId::BrokerResourceAlarm, confidence, what)
            .advise(
                "clear the alarm (rabbitmq-diagnostics alarms; vm_memory_high_watermark, disk_free_limit), and let publishers wait for \
             connection.unblocked",
            )
            .because([evidence("amqp_blocked", points_to(facts.broker()), Strength::Strong, seen)]),
    )
}

/// Name (AMQP 0-9-1, section 1.3) and remedy of a code that closes connections.
const fn known(code: u16) -> (&'static str, &'static str) {
    match code {
        CONNECTION_FORCED => ("CONNECTION_FORCED", ""),
        402 => ("INVALID_PATH", "check the vhost that the client asks for (rabbitmqctl list_vhosts)"),
        403 => ("ACCESS_REFUSED", "check the client's user name, password and mechanism (rabbitmqctl authenticate_user)"),
        501 => ("FRAME_ERROR", "the broker got bytes that are no frame: look at the client library, or at what writes to the same socket"),
        502 => ("SYNTAX_ERROR", "the broker got a frame with an illegal field: look at the client library and its version"),
        503 => ("COMMAND_INVALID", "the client sent a method out of order: look for one connection or channel shared between threads"),
        504 => ("CHANNEL_ERROR", "the client used a channel that is not open: look for a channel used after its error, or by two threads"),
        505 => ("UNEXPECTED_FRAME", "the client sent a frame out of order: look for a channel that two threads publish on"),
        506 => ("RESOURCE_ERROR", "the broker ran out of a resource: look at its log and at its limits"),
        530 => (
            "NOT_ALLOWED",
            "check that the vhost exists and that the user may use it (rabbitmqctl list_permissions -p VHOST), and the limits of both",
        ),
        540 => ("NOT_IMPLEMENTED", "the client asked for what this broker does not have: look at the client library and its version"),
        541 => ("INTERNAL_ERROR", "look at the broker's log: something in it failed"),
        _ => ("an error", ""),
    }
}
