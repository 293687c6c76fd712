//! Errors of channels: the broker closes a channel and says why, and the connection only if its
//! client goes on using that channel.

use std::time::Duration;

use super::{Candidate, Facts, amqp::shown};
use crate::{
    amqp::{ChannelClose, Close},
    model::CauseId,
};

/// CHANNEL_ERROR (AMQP 0-9-1, section 1.3): what a client is told that goes on using a closed
/// channel.
const CHANNEL_ERROR: u16 = 504;

/// What RabbitMQ says with the same code of a channel that is opened twice
/// (`rabbit_channel:handle_method/3`), which has another reason.
const OPENED_TWICE: &str = "second 'channel.open'";

/// A client uses a channel as a rule more often than this; later, it may be a third channel that
/// the close is about.
const SOON: Duration = Duration::from_mins(1);

/// The broker had closed a channel, and then the connection, since its client went on using that
/// channel.
pub fn error_before(facts: &Facts, close: &Close) -> Option<Candidate> {
    let error = facts.conversation()?.channel_close.as_ref()?;
    let follows = close.code == CHANNEL_ERROR && !close.text.contains(OPENED_TWICE);
    if !follows || error.from != close.from || error.before < close.before {
        return None;
    }
    let (name, advice) = known(error);
    let gone = error.before.saturating_sub(close.before);
    let summary = format!(
        "the broker had closed channel {} with {} {}; the client used it {:.1} s later all the same, and got {} for the connection",
        error.channel,
        error.code,
        shown(&error.text, name),
        gone.as_secs_f64(),
        close.code
    );
    let candidate = Candidate::reason(CauseId::ForcedClose, if gone < SOON { 0.95 } else { 0.85 }, summary);
    let reopen = "open a new channel after the error of one (pika: ChannelClosedByBroker; Java: ShutdownListener)";
    Some(candidate.advise(if advice.is_empty() { reopen.to_owned() } else { format!("{advice}; {reopen}") }))
}

/// What to do about the last error of a channel, where a connection ended soon after it by
/// something else: whoever gets it may give up.
pub fn advice_before(facts: &Facts) -> Option<String> {
    let error = facts.conversation()?.channel_close.as_ref().filter(|error| error.before < SOON)?;
    let (name, advice) = known(error);
    let before = error.before.as_secs_f64();
    (!advice.is_empty()).then(|| format!("the broker had closed a channel with {} {name} {before:.1} s before: {advice}", error.code))
}

/// Name (AMQP 0-9-1, section 1.3) and remedy of an error that closes channels. RabbitMQ has many
/// errors under 406, which its text tells apart.
fn known(error: &ChannelClose) -> (&'static str, &'static str) {
    let says = |what: &str| error.text.contains(what);
    match error.code {
        311 => ("CONTENT_TOO_LARGE", "send smaller messages, or raise max_message_size"),
        403 => ("ACCESS_REFUSED", "check what the user may configure, write and read (rabbitmqctl list_permissions -p VHOST)"),
        404 => ("NOT_FOUND", "declare the queue or exchange first, and check its name and the vhost (rabbitmqctl list_queues -p VHOST)"),
        405 => (
            "RESOURCE_LOCKED",
            "an exclusive queue belongs to the connection that declared it: give each its own name, or do not declare it exclusive",
        ),
        406 if says("delivery acknowledgement on channel") => (
            "PRECONDITION_FAILED",
            "a consumer held a delivery longer than the broker's consumer_timeout (30 minutes by default): acknowledge earlier, set a smaller \
             prefetch (basic.qos), or raise consumer_timeout where work takes that long",
        ),
        406 if says("unknown delivery tag") => (
            "PRECONDITION_FAILED",
            "acknowledge each delivery once, on the channel that it came on, and not at all with automatic acknowledgement",
        ),
        406 if says("inequivalent arg") => (
            "PRECONDITION_FAILED",
            "the queue or exchange exists with other properties: declare it with the same ones, passively, or under another name",
        ),
        406 if says("message size") => ("PRECONDITION_FAILED", "send smaller messages, or raise max_message_size"),
        406 => ("PRECONDITION_FAILED", "look at the broker's text: what the client asked for contradicts what is there"),
        541 => ("INTERNAL_ERROR", "look at the broker's log: something in it failed"),
        _ => ("an error", ""),
    }
}
