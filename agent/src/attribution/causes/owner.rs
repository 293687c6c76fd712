//! The owner did not close: it ended, and the kernel closed for it.

use super::{
    Candidate, Facts, Source,
    amqp::{Subject, owner_is_beam, subject},
};
use crate::{
    amqp::Protocol,
    attribution::kernel_path::NAMED,
    flow::Trigger,
    model::{CauseId, OriginKind, ProcessEnd, Role, Severity, TcpState},
    signal,
};

/// How the owner ended. Silent where AMQP had taken leave before: then nothing was lost by it.
pub fn ended(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    let end = reset.owner_end()?;
    // Its kernel may have sent a FIN for it, and the peer's RST answered that. A program that exits
    // may have taken leave before.
    let data_lost = facts.conversation().is_none_or(|it| it.phase.is_none() && it.protocol != Protocol::Tls)
        && reset.trigger.is_some_and(Trigger::carries_data);
    let left_open = end.signal.is_some() && !facts.never_spoke() || facts.left_open() || data_lost;
    let answered = matches!(facts.source, Source::Arrived(_)) && reset.state.is_some_and(TcpState::fin_sent) && left_open;
    // Where its end was a FIN, an ordinary one looks the same: only what was left open by it is a
    // loss.
    let ended_by_fin = facts.acted_locally();
    let by_process = facts.origin.kind == OriginKind::LocalProcess && (!ended_by_fin || left_open);
    if facts.finished_in_order() || !by_process && !answered {
        return None;
    }
    let who = subject(reset);
    Some(match end.signal {
        None => exited(facts, &who, end.code.unwrap_or(0)),
        Some(number) if signal::is_crash(number) => {
            Candidate::reason(CauseId::ProcessCrashed, NAMED, format!("{who} crashed with {}", signal::name(number)))
                .advise("look for its core dump and its last log lines (coredumpctl, journalctl)")
                .severity(Severity::Error)
        }
        Some(number) => killed(end, &who, number),
    })
}

fn exited(facts: &Facts, who: &Subject, status: u8) -> Candidate {
    if facts.reset.role == Role::Broker && owner_is_beam(facts.reset) {
        return Candidate::reason(CauseId::BrokerShutdown, 0.95, format!("the broker, {who}, exited with status {status}")).advise(
            "let clients reconnect with exponential backoff; drain the node first (rabbitmq-upgrade drain) where it is stopped on purpose",
        );
    }
    Candidate::reason(CauseId::ProcessExited, NAMED, format!("{who} exited with status {status} and left the connection open"))
        .advise("let the program close its AMQP connection before it exits")
}

fn killed(end: &ProcessEnd, who: &Subject, number: u8) -> Candidate {
    let candidate = if end.oom {
        Candidate::reason(CauseId::ProcessKilled, NAMED, format!("{who} was killed by the out-of-memory killer"))
            .advise("raise the memory limit of its container or unit, or find out what it used the memory for (dmesg | grep -i oom)")
    } else {
        let by = end.sent_by.as_ref().map_or_else(String::new, |(pid, name)| format!(" sent by {name} (pid {pid})"));
        Candidate::reason(CauseId::ProcessKilled, NAMED, format!("{who} was ended by {}{by}", signal::name(number)))
            .advise("let the program close its connections on SIGTERM, and let whoever stops it wait for that")
    };
    candidate.severity(Severity::Error)
}
