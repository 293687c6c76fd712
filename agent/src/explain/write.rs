//! Answers into text.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    join::{self, Answer, How},
    log::{Reason, Report},
};
use crate::{
    cli::ExplainFormat,
    reader::record::{Found, Kind},
    text::is_unsafe,
};

/// One answer as JSON.
#[derive(Serialize)]
struct Explained<'a> {
    log: LogPart<'a>,
    /// `reset`, `ending`, `no_reset` or `not_seen`.
    answer: &'static str,
    /// One sentence.
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<&'a Found>,
    /// An end without a reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<&'a Found>,
    /// How long before the report it happened; negative: after. Absent where the log's times are
    /// too coarse to tell, or missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    before_ms: Option<i64>,
    /// What other hosts saw of the same connection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<&'a Found>,
}

#[derive(Serialize)]
struct LogPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    level: &'a str,
    protocol: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<std::net::SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<std::net::SocketAddr>,
    /// Where the line comes from, by its own account: a pod, a service, a host.
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    lines: &'a [String],
}

/// A part of a verdict.
type Part = fn(&Found) -> &serde_json::Value;

/// The columns of a table.
const COLUMNS: [&str; 16] = [
    "timestamp",
    "level",
    "protocol",
    "reason",
    "client",
    "broker",
    "source",
    "answer",
    "before_ms",
    "host",
    "origin",
    "origin_confidence",
    "cause",
    "cause_confidence",
    "detail",
    "event_id",
];

/// Bytes of most answers.
const TYPICAL: usize = 1_024;

/// Writes what comes before all answers.
///
/// # Errors
///
/// That of writing.
pub fn begin(out: &mut impl Write, format: ExplainFormat) -> io::Result<()> {
    if format == ExplainFormat::Csv { row(out, &COLUMNS.map(str::to_owned)) } else { Ok(()) }
}

/// Writes one answer.
///
/// # Errors
///
/// That of writing.
pub fn answer(out: &mut impl Write, format: ExplainFormat, report: &Report, answer: &Answer) -> io::Result<()> {
    let mut text = Vec::with_capacity(TYPICAL);
    match format {
        ExplainFormat::Pretty => pretty(&mut text, report, answer)?,
        ExplainFormat::Json => json(&mut text, report, answer)?,
        ExplainFormat::Csv => csv(&mut text, report, answer)?,
    }
    if text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return out.write_all(&text);
    }
    out.write_all(shown(&text).as_bytes())
}

/// Both the log and the events may be another host's, and hold what somebody there wanted printed
/// here. What is unsafe in JSON stands in strings only, so that replacing it keeps it JSON.
fn shown(text: &[u8]) -> String {
    let safe = |c: char| if c != '\n' && is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(text).chars().map(safe).collect()
}

fn pretty(out: &mut impl Write, report: &Report, answer: &Answer) -> io::Result<()> {
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "    {}", detail(report, answer))?;
    if let Answer::Found { best, others, .. } = answer {
        let advice = printable(Found::text(&best.cause, "advice"));
        if !advice.is_empty() {
            writeln!(out, "    {advice}")?;
        }
        for other in others {
            writeln!(out, "    also {}", found(report, other, How::Addresses))?;
        }
    }
    Ok(())
}

fn json(out: &mut impl Write, report: &Report, answer: &Answer) -> io::Result<()> {
    let best = best(answer);
    let explained = Explained {
        log: LogPart {
            timestamp: report.time,
            level: report.level,
            protocol: report.protocol.token(),
            reason: report.reason.token(),
            client: report.connection.map(|connection| connection.peer),
            broker: report.connection.map(|connection| connection.local),
            source: &report.source,
            lines: &report.lines,
        },
        answer: name(answer),
        detail: detail(report, answer),
        reset: best.filter(|found| found.kind == Kind::Reset),
        ending: best.filter(|found| found.kind == Kind::Ending),
        before_ms: best.and_then(|found| before_ms(report, found)),
        others: match answer {
            Answer::Found { others, .. } => others.iter().map(|other| &**other).collect(),
            _ => Vec::new(),
        },
    };
    serde_json::to_writer(&mut *out, &explained).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

fn csv(out: &mut impl Write, report: &Report, answer: &Answer) -> io::Result<()> {
    let best = best(answer);
    let text = |value: Option<String>| value.unwrap_or_default();
    let part = |pick: Part, name: &str| text(best.map(|found| Found::text(pick(found), name).to_owned()));
    let sure = |pick: Part| text(best.and_then(|found| pick(found).get("confidence").map(ToString::to_string)));
    let (origin, cause): (Part, Part) = (|found| &found.origin, |found| &found.cause);
    row(
        out,
        &[
            text(report.time.map(|time| time.to_string())),
            report.level.to_owned(),
            report.protocol.token().to_owned(),
            report.reason.token().to_owned(),
            text(report.connection.map(|connection| connection.peer.to_string())),
            text(report.connection.map(|connection| connection.local.to_string())),
            report.source.clone(),
            name(answer).to_owned(),
            text(best.and_then(|found| before_ms(report, found)).map(|before| before.to_string())),
            text(best.and_then(|found| found.host.as_ref()).map(|host| host.name.clone())),
            part(origin, "kind"),
            sure(origin),
            part(cause, "id"),
            sure(cause),
            detail(report, answer),
            text(best.map(|found| found.id.clone())),
        ],
    )
}

/// RFC 4180; a field that a spreadsheet would take for a formula is told to be a text.
fn row(out: &mut impl Write, fields: &[String; COLUMNS.len()]) -> io::Result<()> {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let guard = if field.starts_with(['=', '+', '@']) { "'" } else { "" };
        if field.contains([',', '"', '\n', '\r']) || !guard.is_empty() {
            write!(out, "\"{guard}{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

fn best(answer: &Answer) -> Option<&Found> {
    match answer {
        Answer::Found { best, .. } => Some(best),
        _ => None,
    }
}

/// A stable token.
pub fn name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Found { best, .. } if best.kind == Kind::Ending => "ending",
        Answer::Found { .. } => "reset",
        Answer::NoReset { .. } => "no_reset",
        Answer::NotSeen { .. } => "not_seen",
    }
}

fn before_ms(report: &Report, found: &Found) -> Option<i64> {
    let before = report.time?.duration_since(found.timestamp);
    // Within the second that the log names: neither before nor after.
    if report.whole_seconds && !before.is_positive() && -before <= join::slack(report) {
        return None;
    }
    let before = before.as_millis();
    Some(i64::try_from(before).unwrap_or(i64::MAX))
}

fn detail(report: &Report, answer: &Answer) -> String {
    match answer {
        Answer::Found { best, how, .. } => found(report, best, *how),
        Answer::NoReset { host, doubts: None, broker } => {
            let host = host.as_deref().filter(|host| !host.is_empty()).unwrap_or("the agent's host");
            format!("no RST was seen on {}, an end of this connection{}", printable(host), without(report, *broker))
        }
        Answer::NoReset { doubts: Some(doubts), .. } => format!("no RST was seen, but {}", printable(doubts)),
        Answer::NotSeen { why, .. } => format!("not known: {}", printable(why)),
    }
}

fn found(report: &Report, found: &Found, how: How) -> String {
    let sure = |part: &serde_json::Value| {
        part.get("confidence")
            .and_then(serde_json::Value::as_f64)
            .map_or_else(String::new, |confidence| format!(" ({:.0}%)", confidence * 100.0))
    };
    let host = found.host.as_ref().map_or_else(String::new, |host| format!(" by {}", host.name));
    let what = match found.kind {
        Kind::Reset => format!("RST {}{host}", found.direction.as_deref().unwrap_or("seen")),
        Kind::Ending => format!("{}, without a RST, seen{host}", ending(&found.effect)),
    };
    let when = match before_ms(report, found) {
        None => format!("at {}", found.timestamp.strftime("%FT%TZ")),
        Some(0) => "in the same millisecond".to_owned(),
        Some(before @ 1..) => format!("{before} ms before"),
        Some(after) => format!("{} ms after", after.saturating_neg()),
    };
    let how = match how {
        How::Addresses => String::new(),
        How::Nat => format!(" (this connection is {} -> {} behind NAT on that host)", found.peer, found.local),
        How::Sequence => format!(" (there it is {} -> {}, by its initial sequence numbers)", found.peer, found.local),
        How::Ports => format!(" (by its ports alone: {} -> {})", found.peer, found.local),
    };
    let name = Found::text(&found.origin, "name");
    let text = format!(
        "{what} {when}{how}: {}{}{name}{}, {}{}: {}",
        Found::text(&found.origin, "kind"),
        if name.is_empty() { "" } else { " " },
        sure(&found.origin),
        Found::text(&found.cause, "id"),
        sure(&found.cause),
        Found::text(&found.cause, "summary")
    );
    printable(&text)
}

/// An end without a RST, in words.
fn ending(effect: &str) -> String {
    match effect {
        "closed_without_amqp_close" => "closed by FIN without an AMQP close".to_owned(),
        "timed_out" => "timed out".to_owned(),
        "connect_timed_out" => "never connected".to_owned(),
        other => other.replace('_', " "),
    }
}

/// Events are others' texts: nothing of them may steer a terminal.
fn printable(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().filter(|c| !c.is_control()).collect()
}

/// What it means that there was no RST where one could have been seen.
const fn without(report: &Report, broker: bool) -> &'static str {
    match report.reason {
        _ if !broker => "; one that something between the hosts sent to the broker alone is not seen there",
        Reason::ClientClosedTcp => ", so that the client's end may have come as a FIN",
        _ if report.still_open => " yet: the connection was still open",
        _ => "",
    }
}
