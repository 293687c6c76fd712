//! RabbitMQ's log, line by line: which connection ended, when, and why by the broker's own account.
//!
//! Formats of 3.8 to 4.x (`deps/rabbit/src/rabbit_reader.erl`, <https://github.com/rabbitmq/rabbitmq-server>). A report is one or more lines. The
//! first names the connection, the next one the reason: without the prefix of time, level and process up to 3.8, with the same prefix since 3.9.
//! Times without an offset, which 3.8 writes and later versions can be told to, are local to the broker. With `log.file.formatter = json` the
//! whole report is one object.

#[cfg(test)]
mod tests;

use std::{str::FromStr as _, time::Duration};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;

use crate::flow::Tuple;

/// Longest line that is looked at and repeated, bytes; Erlang terms can have any length.
const LONGEST_LINE: usize = 2_000;

/// What RabbitMQ says about the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub time: Timestamp,
    /// `info`, `warning`, `error`.
    pub level: String,
    /// The lines it stands in, without control characters.
    pub lines: Vec<String>,
    /// The connection, seen from the broker. `None` where the report names none, or by host names (`reverse_dns_lookups`).
    pub connection: Option<Tuple>,
    pub reason: Reason,
    /// The connection is still to be closed: another report will follow.
    pub still_open: bool,
}

/// The broker's account of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Closed by `connection.close`.
    Orderly,
    /// `client unexpectedly closed TCP connection`: a FIN or a RST, which the broker cannot tell apart.
    ClientClosedTcp,
    MissedHeartbeats {
        /// The negotiated interval.
        interval: Duration,
    },
    /// `inet_error` and other errors of reading or writing.
    SocketError,
    HandshakeTimeout,
    /// `CONNECTION_FORCED`: an operator, or a shutdown.
    Forced,
    /// Anything else.
    Other,
}

impl Reason {
    /// A stable token.
    pub const fn token(&self) -> &'static str {
        match self {
            Self::Orderly => "orderly",
            Self::ClientClosedTcp => "client_closed_tcp",
            Self::MissedHeartbeats { .. } => "missed_heartbeats",
            Self::SocketError => "socket_error",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Forced => "connection_forced",
            Self::Other => "other",
        }
    }

    fn of(text: &str) -> Self {
        let has = |part: &str| text.contains(part);
        if has("client unexpectedly closed TCP connection") || has("connection_closed_abruptly") {
            Self::ClientClosedTcp
        } else if let Some((_, after)) = text.split_once("missed heartbeats from client") {
            let seconds: String = after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            // Without a number, the default (`rabbit.heartbeat`).
            Self::MissedHeartbeats { interval: Duration::from_secs(seconds.parse::<u16>().unwrap_or(60).into()) }
        } else if has("handshake_timeout") {
            Self::HandshakeTimeout
        } else if has("connection_forced") || has("CONNECTION_FORCED") {
            Self::Forced
        } else if [
            "inet_error",
            "socket_error",
            "send_failed",
            "heartbeat_send_error",
            "econnreset",
            "enotconn",
            "etimedout",
            "ssl_upgrade",
        ]
        .into_iter()
        .any(has)
        {
            Self::SocketError
        } else {
            Self::Other
        }
    }
}

/// The beginning of a message.
struct Message<'a> {
    time: Timestamp,
    level: &'a str,
    /// Erlang process; empty where there is none.
    pid: &'a str,
    text: &'a str,
}

/// A message as the formatter for JSON writes it.
#[derive(Deserialize)]
struct Object {
    time: String,
    level: String,
    msg: String,
}

/// Reads a log.
#[derive(Debug)]
pub struct LogReader {
    zone: TimeZone,
    /// A report whose reason is still to come, and the Erlang process it is about.
    head: Option<(Report, String)>,
}

impl LogReader {
    /// `zone`: that of times without an offset.
    pub const fn new(zone: TimeZone) -> Self {
        Self { zone, head: None }
    }

    /// Takes in one line without its end. At most two reports are complete with it: one that turns out to have no reason, and its own.
    pub fn line(&mut self, raw: &str) -> impl Iterator<Item = Report> + use<> {
        let line = clean(raw);
        let (before, own) = match (object(raw), self.message(&line)) {
            (Some(object), _) => (self.finish(), self.whole(&object, line)),
            (None, Some(message)) => self.begin(&message, &line),
            // An Erlang term may begin with a brace as well.
            (None, None) => (self.reason(&line, &line), None),
        };
        before.into_iter().chain(own)
    }

    /// A report is waiting for its reason.
    pub const fn is_waiting(&self) -> bool {
        self.head.is_some()
    }

    /// No more lines will come: the report that is waiting has no reason.
    pub fn finish(&mut self) -> Option<Report> {
        self.head.take().map(|(report, _)| report)
    }

    fn whole(&self, Object { time, level, msg }: &Object, line: String) -> Option<Report> {
        let (first, rest) = msg.split_once('\n').unwrap_or((msg, ""));
        let time = self.time(&time.replacen(' ', "T", 1))?;
        let (mut report, complete) = report(&Message { time, level, pid: "", text: first }, line)?;
        if !complete {
            report.reason = Reason::of(rest);
        }
        Some(report)
    }

    fn begin(&mut self, message: &Message, line: &str) -> (Option<Report>, Option<Report>) {
        if self.head.as_ref().is_some_and(|(report, pid)| report.time == message.time && pid == message.pid) {
            return (self.reason(line, message.text), None);
        }
        let before = self.finish();
        match report(message, line.to_owned()) {
            Some((report, true)) => (before, Some(report)),
            Some((report, false)) => {
                self.head = Some((report, message.pid.to_owned()));
                (before, None)
            }
            None => (before, None),
        }
    }

    /// A line that holds the reason of the report before, if one is waiting.
    fn reason(&mut self, line: &str, text: &str) -> Option<Report> {
        if text.trim().is_empty() {
            return None;
        }
        let mut report = self.finish()?;
        report.reason = Reason::of(text);
        report.lines.push(line.to_owned());
        Some(report)
    }

    fn message<'a>(&self, line: &'a str) -> Option<Message<'a>> {
        let end = 11 + line.get(11..)?.find(' ')?;
        let (date, separator, time, rest) = (line.get(..10)?, line.get(10..11)?, line.get(11..end)?, line.get(end + 1..)?);
        if !matches!(separator, " " | "T") {
            return None;
        }
        let time = self.time(&format!("{date}T{time}"))?;
        let (level, rest) = rest.strip_prefix('[')?.split_once("] ")?;
        let (pid, text) = match rest.split_once("> ") {
            Some((pid, text)) if pid.starts_with('<') => (pid, text),
            _ => ("", rest),
        };
        Some(Message { time, level, pid, text })
    }

    fn time(&self, text: &str) -> Option<Timestamp> {
        let local = || DateTime::from_str(text).ok()?.to_zoned(self.zone.clone()).ok();
        Timestamp::from_str(text).ok().or_else(|| local().map(|zoned| zoned.timestamp()))
    }
}

fn object(line: &str) -> Option<Object> {
    if line.starts_with('{') { serde_json::from_str(line).ok() } else { None }
}

/// The report that a message begins, and whether it is complete; `None` if it is not about the end of an AMQP connection.
fn report(message: &Message, line: String) -> Option<(Report, bool)> {
    let text = message.text.trim_end();
    let error = text.starts_with("Error on AMQP connection");
    if !error && !text.starts_with("closing AMQP ") && !text.starts_with("Closing AMQP ") {
        return None;
    }
    let connection = connection(text);
    let inline = text.split_once("): ").or_else(|| text.split_once(">: ")).map(|(_, reason)| reason);
    let (reason, complete) = match inline {
        Some(reason) => (Reason::of(reason), true),
        None if text.ends_with(':') || message.level != "info" => (Reason::Other, false),
        None => (Reason::Orderly, true),
    };
    let still_open = error && connection.is_some();
    let report = Report { time: message.time, level: message.level.to_owned(), lines: vec![line], connection, reason, still_open };
    Some((report, complete))
}

/// The first `ADDRESS:PORT -> ADDRESS:PORT` of a text; IPv6 addresses stand in brackets.
fn connection(text: &str) -> Option<Tuple> {
    text.match_indices("->").find_map(|(at, arrow)| {
        let (before, after) = (text.get(..at)?.trim_end(), text.get(at + arrow.len()..)?.trim_start());
        let client = before.rsplit([' ', '(']).next()?.parse().ok()?;
        let broker = after.split([' ', ',', ')']).next()?.parse().ok()?;
        Some(Tuple::new(broker, client))
    })
}

/// Without the colours of RabbitMQ's console and without control characters, which would reach a terminal; of bounded length.
fn clean(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // ECMA-48, section 5.4: a control sequence ends with a byte from 0x40 to 0x7E.
            if characters.next() == Some('[') {
                characters.by_ref().find(|c| ('\x40'..='\x7e').contains(c));
            }
        } else if !character.is_control() {
            text.push(character);
        }
        if text.len() >= LONGEST_LINE {
            break;
        }
    }
    text
}
