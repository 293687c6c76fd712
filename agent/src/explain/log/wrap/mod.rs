//! What stands before a record: what collectors, shells and people put before each line, and
//! RabbitMQ's own time, level and process.
//!
//! A line is taken apart from its left end, since what a client chose can only stand to the right
//! of RabbitMQ's own beginning. What comes before that and says where the line comes from, such as
//! a pod or a service, is its source.

mod search;
mod tag;

use search::{record_in, words};
use tag::{is_name, located, syslog_tag};

use super::{
    message,
    stamp::{Clock, Stamp},
};

/// How many pieces may stand before a record.
const PIECES: usize = 24;

/// RFC 5424, section 6.2.1, in Erlang's words.
pub const SEVERITIES: [&str; 8] = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

/// Whether and how a collector has cut a line in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Piece {
    #[default]
    Whole,
    /// More of it follows.
    Partial,
    /// The last of it.
    Last,
}

/// A line taken apart.
#[derive(Clone, Debug, Default)]
pub struct Peeled<'a> {
    /// What is left.
    pub text: &'a str,
    /// What says where the line comes from.
    pub source: Vec<&'a str>,
    /// The last time before the text: RabbitMQ's own if there is a level or a process.
    pub time: Option<Stamp>,
    /// The time before that, a collector's.
    pub outer: Option<Stamp>,
    /// In RabbitMQ's words.
    pub level: Option<&'static str>,
    /// Erlang process.
    pub pid: Option<&'a str>,
    /// It came through syslog.
    pub syslog: bool,
    pub piece: Piece,
    /// The severity that syslog gave it.
    pub severity: Option<&'static str>,
    /// A report of 3.6 begins here, `=ERROR REPORT====`.
    pub report: bool,
}

impl Peeled<'_> {
    /// Whether the line has RabbitMQ's own beginning.
    pub const fn is_record(&self) -> bool {
        self.pid.is_some() || self.report || (self.level.is_some() && self.time.is_some())
    }
}

/// Takes a line apart.
pub fn peel<'a>(clock: &Clock, line: &'a str) -> Peeled<'a> {
    let mut peeled = Peeled { text: line, ..Peeled::default() };
    peel_on(clock, &mut peeled, line);
    let json =
        peeled.text.starts_with(['{', '[']) && peeled.text.get(1..).is_some_and(|text| text.trim_start().starts_with(['"', '{', '[']));
    if !peeled.is_record()
        && !json
        && !message::begins(peeled.text)
        && let Some(at) = record_in(clock, peeled.text)
    {
        // A prefix that is not known word by word.
        let text = peeled.text;
        let (before, record) = text.split_at(at);
        let mut inner = Peeled { text: record, source: peeled.source, outer: peeled.time.or(peeled.outer), ..Peeled::default() };
        inner.syslog = peeled.syslog;
        (inner.piece, inner.severity) = (peeled.piece, peeled.severity);
        inner.source.extend(words(clock, before));
        let outer = inner.outer.take();
        peel_on(clock, &mut inner, record);
        inner.outer = inner.outer.or(outer);
        peeled = inner;
    }
    peeled
}

fn peel_on<'a>(clock: &Clock, peeled: &mut Peeled<'a>, line: &'a str) {
    let mut text = line;
    for _ in 0..PIECES {
        text = text.trim_start();
        peeled.text = text;
        let Some(first) = text.bytes().next() else { return };
        let structural = peeled.time.is_some() || peeled.pid.is_some() || peeled.level.is_some() || !peeled.source.is_empty();
        if message::begins(text) {
            return;
        }
        let next = match first {
            b'=' => report(clock, peeled, text),
            b'<' => angle(clock, peeled, text),
            b'[' => square(clock, peeled, text),
            b'{' => labels(peeled, text),
            b'`' => text.strip_prefix("```").or_else(|| text.strip_prefix('`')),
            b'>' | b'|' | b'*' => text.get(1..),
            b'"' | b'\'' | b',' | b'(' if !peeled.is_record() => text.get(1..),
            b':' | b'-' | b'/' | b'#' | b',' | b';' if structural => {
                text.get(1..).filter(|after| after.starts_with([' ', '\t', '-', ':', '"']))
            }
            _ => None,
        };
        let next = next.or_else(|| word(clock, peeled, text, structural)).or_else(|| dash(text, structural));
        match next {
            Some(next) => text = next,
            None => return,
        }
    }
}

/// An em dash, a middle dot or a bar of another alphabet as a separator.
fn dash(text: &str, structural: bool) -> Option<&str> {
    let mut characters = text.chars();
    let separator = characters.next().filter(|c| structural && matches!(c, '—' | '–' | '·' | '│' | '›' | '»' | '•'));
    separator.map(|_| characters.as_str())
}

/// `=ERROR REPORT==== 20-Nov-2026::10:00:00 ===`, as 3.6 and before begin a report; copies have
/// lost the end of it, or the time.
fn report<'a>(clock: &Clock, peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    let (level, rest) = text.trim_start_matches('=').split_once(" REPORT=")?;
    peeled.level = Some(level_of(level)?);
    peeled.report = true;
    peeled.pid = None;
    let rest = rest.trim_start_matches('=').trim_start();
    let Some((stamp, length)) = clock.read(rest) else { return Some(rest) };
    if let Some(before) = std::mem::replace(&mut peeled.time, stamp) {
        peeled.outer = Some(before);
    }
    Some(rest.get(length..)?.trim_start().trim_start_matches('='))
}

/// A process, or the priority that begins a message of syslog (RFC 5424, section 6; RFC 3164,
/// section 4.1.1).
fn angle<'a>(clock: &Clock, peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    if let Some((pid, rest)) = message::pid(text) {
        if peeled.pid.is_some() {
            return None;
        }
        peeled.pid = Some(pid);
        return Some(rest);
    }
    let (priority, rest) = text.get(1..)?.split_once('>')?;
    if let Some(level) = level_of(priority) {
        peeled.level = Some(level);
        return Some(rest);
    }
    if priority.is_empty() || priority.len() > 3 || !priority.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    peeled.syslog = true;
    let severity = priority.parse::<usize>().ok().and_then(|priority| SEVERITIES.get(priority % 8)).copied();
    let Some(rest) = rest.strip_prefix("1 ") else {
        peeled.severity = severity;
        return Some(rest);
    };
    let rest = take(clock, peeled, rest).or_else(|| rest.strip_prefix("- "))?;
    let mut fields = rest.trim_start().splitn(5, ' ');
    let (host, name, process, id, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    peeled.source.extend([host, name].into_iter().filter(|word| *word != "-"));
    let pid = [id, process].into_iter().find_map(message::pid).map(|(pid, _)| pid);
    peeled.pid = peeled.pid.or(pid);
    peeled.level = peeled.level.or(severity.filter(|_| pid.is_some()));
    structured(rest)
}

/// What follows the structured data of a message of syslog.
fn structured(text: &str) -> Option<&str> {
    let mut rest = match text.strip_prefix('-') {
        Some(rest) => return Some(rest),
        None => text,
    };
    while rest.starts_with('[') {
        let mut quoted = false;
        let mut escaped = false;
        let end = rest.char_indices().find(|(_, c)| {
            let ends = *c == ']' && !quoted && !escaped;
            quoted ^= *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        rest = rest.get(end?.0 + 1..)?;
    }
    Some(rest)
}

/// A time, and what follows it.
fn take<'a>(clock: &Clock, peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    let (stamp, length) = clock.read(text)?;
    if let Some(stamp) = stamp
        && let Some(before) = peeled.time.replace(stamp)
    {
        peeled.outer = Some(before);
    }
    text.get(length..)
}

/// `[warning]`, `[2026-11-20 10:00:00]`, `[pod/rabbitmq-0/rabbitmq]`, `[   12.345678]`.
fn square<'a>(clock: &Clock, peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    let (inner, rest) = text.get(1..)?.split_once(']')?;
    let inner = inner.trim();
    if let Some(level) = level_of(inner) {
        peeled.level = Some(level);
        return Some(rest);
    }
    if let Some((pid, "")) = message::pid(inner) {
        peeled.pid = Some(pid);
        return Some(rest);
    }
    if let Some(after) = take(clock, peeled, inner) {
        return (after.is_empty() || after.trim_start().starts_with(['[', 'U'])).then_some(rest);
    }
    // Seconds since the start, as journalctl -o short-monotonic and dmesg have it.
    if inner.parse::<f64>().is_ok() {
        peeled.syslog = true;
        return Some(rest);
    }
    let name = !inner.is_empty() && inner.len() < 200 && inner.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@:".contains(c));
    if name && rest.starts_with([' ', '\t', '[']) && (inner.contains(['/', '.', '-', '_', '@']) || peeled.time.is_some()) {
        peeled.source.push(inner);
        return Some(rest);
    }
    // journalctl -o verbose puts its cursor here.
    inner.starts_with("s=").then_some(rest)
}

/// `{app="rabbitmq", pod="rabbitmq-0"}`, as Loki's logcli puts before a line.
fn labels<'a>(peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    let (inner, rest) = text.get(1..)?.split_once('}')?;
    let name = inner.split_once('=').map_or(inner, |(name, _)| name);
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ' ')) || (!inner.is_empty() && !inner.contains("=\"")) {
        return None;
    }
    if !inner.is_empty() {
        peeled.source.push(inner);
    }
    Some(rest)
}

fn word<'a>(clock: &Clock, peeled: &mut Peeled<'a>, text: &'a str, structural: bool) -> Option<&'a str> {
    if !(peeled.pid.is_some() && peeled.time.is_some())
        && let Some(rest) = take(clock, peeled, text)
    {
        return Some(rest);
    }
    let length = text.find([' ', '\t']).unwrap_or(text.len());
    let (token, after) = text.split_at(length);
    // `warning`, `WARN:`, `level=warning`.
    let value =
        |key: &[&str]| token.split_once('=').filter(|(name, _)| key.contains(name)).map(|(_, value)| value.trim_matches(['"', ',']));
    if let Some(level) = value(&["level", "lvl", "severity"]).and_then(level_of) {
        peeled.level = Some(level);
        return Some(after);
    }
    if let Some((pid, "")) = value(&["pid", "erl_pid"]).and_then(message::pid) {
        peeled.pid = Some(pid);
        return Some(after);
    }
    for key in ["time=", "ts=", "timestamp=", "t=", "msg=", "message=", "log=", "MESSAGE=", "pid=", "line=", "body=", "@timestamp="] {
        if let Some(rest) = text.strip_prefix(key) {
            return Some(rest);
        }
    }
    if structural
        && peeled.level.is_none()
        && (peeled.time.is_some() || peeled.pid.is_some())
        && let Some(level) = level_of(token.trim_end_matches(':'))
    {
        peeled.level = Some(level);
        return Some(after);
    }
    // `warning: 2026-11-20 ...`
    if !structural
        && let Some(level) = level_of(token.trim_end_matches(':'))
        && clock.read(after.trim_start()).is_some()
    {
        peeled.level = Some(level);
        return Some(after);
    }
    if peeled.is_record() {
        // lager's own formatter puts the function after the process.
        if token.starts_with('@') && peeled.pid.is_some() {
            return Some(after);
        }
        // RabbitMQ's own beginning may hold more: a domain, a node, a module, a number of a line.
        let inner = token.trim_matches(['[', ']', '(', ')', ':', '|']);
        let own = inner.starts_with("rabbitmq.") || inner.starts_with("rabbit@") || inner == "rabbitmq" || inner.starts_with("rabbit_");
        let follows = after.trim_start();
        return (own && (message::begins(follows) || follows.starts_with(['-', '<', '[', '|', ':']))).then_some(after);
    }
    // Docker compose and docker service logs.
    let trimmed = after.trim_start();
    if let Some(rest) = trimmed.strip_prefix("| ").or_else(|| (trimmed == "|").then_some(""))
        && is_name(token)
    {
        peeled.source.push(token);
        return Some(rest);
    }
    // CRI:
    // https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
    if matches!(token, "stdout" | "stderr") && (peeled.time.is_some() || !peeled.source.is_empty()) {
        let rest = after.trim_start();
        if let Some((tag, rest)) = rest.split_once(' ').or_else(|| matches!(rest, "F" | "P").then_some((rest, ""))) {
            match tag.split(':').next() {
                Some("F") => peeled.piece = Piece::Last,
                Some("P") => peeled.piece = Piece::Partial,
                _ => return Some(after),
            }
            return Some(rest);
        }
    }
    syslog_tag(peeled, text).or_else(|| located(clock, peeled, text))
}

/// A level in RabbitMQ's words, from any of its forms (`log.file.formatter.level_format`) and those
/// of others.
pub fn level_of(text: &str) -> Option<&'static str> {
    if let Some(level) = SEVERITIES.into_iter().find(|level| *level == text) {
        return Some(level);
    }
    if text.len() > 9 || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    Some(match text.to_ascii_lowercase().as_str() {
        "debug" | "dbg" | "dbug" => "debug",
        "info" | "inf" | "information" => "info",
        "notice" | "ntc" | "noti" => "notice",
        "warning" | "warn" | "wrn" => "warning",
        "error" | "err" | "erro" => "error",
        "critical" | "crit" | "crt" => "critical",
        "alert" | "alt" | "alrt" => "alert",
        "emergency" | "emg" | "emgc" | "emerg" => "emergency",
        _ => return None,
    })
}
