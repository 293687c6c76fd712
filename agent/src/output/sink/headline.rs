//! What syslog and the journal want to know of an event before they look into it.

use jiff::Timestamp;

use crate::{event::Event, model::Severity};

/// Severities of RFC 5424, section 6.2.1.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// The head of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline<'a> {
    /// Its kind, the value of `event`.
    pub kind: &'static str,
    /// RFC 5424, section 6.2.1: 3 error, 4 warning, 5 notice, 6 informational.
    pub severity: u8,
    pub timestamp: Timestamp,
    pub host: Option<&'a str>,
    /// One sentence for a person.
    pub message: String,
}

impl<'a> Headline<'a> {
    pub fn of(event: &'a Event) -> Self {
        match event {
            Event::AgentStarted(started) => Self {
                kind: "agent_started",
                severity: NOTICE,
                timestamp: started.timestamp,
                host: Some(&started.host.name),
                message: format!("rstblame {} watches port {}", started.version, started.filter.ports.join(",")),
            },
            Event::Rst(reset) | Event::RstRevised(reset) | Event::ConnectionEnded(reset) => Self {
                kind: match event {
                    Event::Rst(_) => "rst",
                    Event::RstRevised(_) => "rst_revised",
                    _ => "connection_ended",
                },
                severity: severity(reset.severity),
                timestamp: reset.timestamp,
                host: reset.host.as_ref().map(|host| host.name.as_str()),
                message: reset.message.clone(),
            },
            Event::RstSuppressed(suppressed) | Event::EndingsSuppressed(suppressed) => Self {
                kind: if matches!(event, Event::RstSuppressed(_)) { "rst_suppressed" } else { "endings_suppressed" },
                severity: suppressed.sample.as_ref().map_or(WARNING, |sample| severity(sample.severity)),
                timestamp: suppressed.timestamp,
                host: Some(&suppressed.host.name),
                message: suppressed.message.clone(),
            },
            Event::AgentReloaded(reloaded) => Self {
                kind: "agent_reloaded",
                severity: NOTICE,
                timestamp: reloaded.timestamp,
                host: Some(&reloaded.host.name),
                message: format!("rstblame read its configuration again and watches port {}", reloaded.filter.ports.join(",")),
            },
            Event::EventsLost(lost) => Self {
                kind: "events_lost",
                severity: WARNING,
                timestamp: lost.timestamp,
                host: Some(&lost.host.name),
                message: lost.sinks.iter().fold(format!("rstblame lost {} resets so far", lost.lost.total()), |text, (name, sink)| {
                    format!("{text}, and {} on their way to {name}", sink.lost)
                }),
            },
            Event::AgentStopped(stopped) => Self {
                kind: "agent_stopped",
                severity: NOTICE,
                timestamp: stopped.timestamp,
                host: Some(&stopped.host.name),
                message: format!(
                    "rstblame stopped: {} resets seen, {} emitted, {} folded, {} lost",
                    stopped.seen, stopped.emitted, stopped.suppressed, stopped.lost
                ),
            },
        }
    }
}

const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => INFORMATIONAL,
        Severity::Warning => WARNING,
        Severity::Error => ERROR,
    }
}
