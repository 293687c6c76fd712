//! Connections that died before they were open.

use std::time::Duration;

use super::{Candidate, Facts, Source, amqp::owner_is_beam};
use crate::{
    amqp::Phase,
    attribution::evidence::evidence,
    model::{CauseId, OriginKind, Role, Strength, Text},
};

/// RabbitMQ's `handshake_timeout`, 10 s by default, less the jitter of clocks.
const TIMEOUT: Duration = Duration::from_millis(9_500);

/// The AMQP handshake did not come to its end.
pub fn amqp(facts: &Facts) -> Option<Candidate> {
    let conversation = facts.conversation().filter(|_| facts.unopened())?;
    let by_an_end = facts.local_end_aborted() || matches!(facts.source, Source::Arrived(_)) && facts.origin.kind != OriginKind::Middlebox;
    if !by_an_end {
        return None;
    }
    let vhost = conversation.vhost.as_deref().map_or_else(String::new, |vhost| format!(" {vhost:?}"));
    let (stage, advice): (Text, _) = match conversation.phase? {
        Phase::Header => (
            "before the broker had answered the protocol header".into(),
            "look for a proxy without a live broker behind it, a broker at its connection limit, or a port that takes TLS or a PROXY header only",
        ),
        Phase::Start => ("before the client had sent its credentials".into(), "look at the client's log: it left after connection.start"),
        Phase::StartOk => (
            "while its credentials were being checked".into(),
            "check user name, password and mechanism (rabbitmqctl authenticate_user): RabbitMQ closes without a word on clients that do not ask for authentication_failure_close",
        ),
        Phase::Tune => ("before the client had answered connection.tune".into(), "look at the client's log: it left after it was let in"),
        _ => (
            format!("while the vhost{vhost} was being opened").into(),
            "check that the vhost exists and runs, and that the user may use it",
        ),
    };
    let late = facts.local_end_aborted()
        && facts.reset.role == Role::Broker
        && facts.reset.connection.as_ref().and_then(|connection| connection.age).is_some_and(|age| age >= TIMEOUT);
    let timeout = if late { "; RabbitMQ waits 10 s for the handshake (handshake_timeout)" } else { "" };
    Some(Candidate::reason(CauseId::HandshakeAborted, 0.85, format!("the connection died {stage}{timeout}")).advise(advice).because([
        evidence("amqp_phase", OriginKind::Unknown, Strength::Strong, format!("the AMQP handshake had come no further: it died {stage}")),
    ]))
}

/// RabbitMQ gave up a client that had not sent a byte.
pub fn silent_client(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    let age = reset.connection.as_ref()?.age.filter(|age| *age >= TIMEOUT)?;
    (facts.local_end_aborted() && reset.role == Role::Broker && owner_is_beam(reset) && facts.never_spoke()).then(|| {
        let seconds = age.as_secs_f64();
        let summary = format!("the client said nothing for {seconds:.1} s; RabbitMQ waits 10 s for the handshake (handshake_timeout)");
        Candidate::reason(CauseId::HandshakeAborted, 0.9, summary).routine()
    })
}
