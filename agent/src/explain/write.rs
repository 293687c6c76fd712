//! Answers into text.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    join::{Answer, Found},
    log::{Reason, Report},
};
use crate::{
    event::Direction,
    output::{Format, pretty::token},
};

/// One answer as JSON.
#[derive(Serialize)]
struct Explained<'a> {
    log: LogPart<'a>,
    /// `reset`, `no_reset` or `not_seen`.
    answer: &'static str,
    /// One sentence.
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<&'a Found>,
    /// How long before the report the reset happened; negative: after.
    #[serde(skip_serializing_if = "Option::is_none")]
    before_ms: Option<i64>,
}

#[derive(Serialize)]
struct LogPart<'a> {
    timestamp: Timestamp,
    level: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<std::net::SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<std::net::SocketAddr>,
    lines: &'a [String],
}

/// Writes one answer.
///
/// # Errors
///
/// That of writing.
pub fn answer(out: &mut impl Write, format: Format, report: &Report, answer: &Answer) -> io::Result<()> {
    match format {
        Format::Pretty => pretty(out, report, answer),
        Format::Json => json(out, report, answer),
    }
}

fn pretty(out: &mut impl Write, report: &Report, answer: &Answer) -> io::Result<()> {
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "    {}", detail(report, answer))?;
    if let Answer::Reset(found) = answer
        && let Some(advice) = &found.cause.advice
    {
        writeln!(out, "    {advice}")?;
    }
    Ok(())
}

fn json(out: &mut impl Write, report: &Report, answer: &Answer) -> io::Result<()> {
    let (name, reset) = match answer {
        Answer::Reset(found) => ("reset", Some(&**found)),
        Answer::NoReset(_) => ("no_reset", None),
        Answer::NotSeen(_) => ("not_seen", None),
    };
    let explained = Explained {
        log: LogPart {
            timestamp: report.time,
            level: &report.level,
            reason: report.reason.token(),
            client: report.connection.map(|connection| connection.peer),
            broker: report.connection.map(|connection| connection.local),
            lines: &report.lines,
        },
        answer: name,
        detail: detail(report, answer),
        reset,
        before_ms: reset.map(|found| before_ms(report, found)),
    };
    serde_json::to_writer(&mut *out, &explained).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

fn before_ms(report: &Report, found: &Found) -> i64 {
    i64::try_from(report.time.duration_since(found.timestamp).as_millis()).unwrap_or(i64::MAX)
}

fn detail(report: &Report, answer: &Answer) -> String {
    match answer {
        Answer::Reset(found) => reset(report, found),
        Answer::NoReset(None) => format!("no RST was seen{}", without(report)),
        Answer::NoReset(Some(doubts)) => format!("no RST was seen, but {doubts}"),
        Answer::NotSeen(why) => format!("not known: {why}"),
    }
}

fn reset(report: &Report, found: &Found) -> String {
    let sure = |confidence: Option<f64>| confidence.map_or_else(String::new, |confidence| format!(" ({:.0}%)", confidence * 100.0));
    let way = if found.direction == Direction::Sent { "sent" } else { "received" };
    let host = found.host.as_ref().map_or_else(String::new, |host| format!(" by {}", host.name));
    let when = match before_ms(report, found) {
        0 => "in the same millisecond".to_owned(),
        before @ 1.. => format!("{before} ms before"),
        after => format!("{} ms after", after.saturating_neg()),
    };
    let name = found.origin.name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    format!(
        "RST {way}{host} {when}: {}{name}{}, {}{}: {}",
        token(found.origin.kind),
        sure(found.origin.confidence),
        token(found.cause.id),
        sure(found.cause.confidence),
        found.cause.summary
    )
}

/// What it means that there was no RST, where that is certain.
const fn without(report: &Report) -> &'static str {
    match report.reason {
        Reason::ClientClosedTcp => ": the end of the connection came as a FIN",
        _ if report.still_open => " yet: the connection was still open",
        _ => "",
    }
}
