//! RabbitMQ's log, line by line: which connection ended, when, and why by the broker's own account.
//!
//! A line is cleaned ([`clean`]), taken out of what wraps it ([`wrap`], [`object`]), and read
//! ([`message`], [`reason`]). What spans several lines is put together here: the first names the
//! connection and the next one the reason. In 3.6 a report begins with a line of its own; up to 3.8
//! the reason has no prefix; since 3.9 it has the same as the first line. Lines of several sources
//! may be mixed, so that a reason is looked for by source and process.

mod clean;
#[cfg(test)]
mod forms;
mod gather;
mod held;
mod message;
mod object;
mod reason;
mod stamp;
#[cfg(test)]
mod tests;
mod unwrap;
mod wrap;

use std::collections::{HashMap, VecDeque};

use gather::{Document, instants, is_interesting};
use held::{Head, Held};
use jiff::{Timestamp, tz::TimeZone};
pub use message::Protocol;
use message::{End, Ends, Message};
pub use reason::Reason;
use stamp::{Clock, Stamp};

use crate::model::Tuple;

/// Processes of which is remembered whose connection they hold.
const PROCESSES: usize = 300_000;

/// Most that is put together of one line in pieces, bytes.
const LARGEST_LINE: usize = 1 << 20;

/// Lines in pieces, beginnings without a text, and reasons without a beginning that are remembered.
const FEW: usize = 64;

/// What RabbitMQ says about the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `None` where the log has none.
    pub time: Option<Timestamp>,
    /// Other instants that the log's time may mean.
    pub or: Vec<Timestamp>,
    /// The log's times have no fractions: it was anywhere within that second.
    pub whole_seconds: bool,
    /// In RabbitMQ's words; empty where the log has none.
    pub level: &'static str,
    /// The lines it stands in, without control characters.
    pub lines: Vec<String>,
    /// The connection, seen from the broker. `None` where the log names none, or by host names
    /// (`reverse_dns_lookups`).
    pub connection: Option<Tuple>,
    /// Ports of the client and the broker, also where host names stand for addresses.
    pub ports: Option<(u16, u16)>,
    pub protocol: Protocol,
    pub reason: Reason,
    /// The connection is still to be closed: another report will follow.
    pub still_open: bool,
    /// What the line says of where it comes from; empty where it does not.
    pub source: String,
}

impl Report {
    /// The instants that its time may mean, the likeliest first.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        self.time.into_iter().chain(self.or.iter().copied())
    }
}

/// What a log had besides reports.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Something of RabbitMQ was recognised.
    pub rabbitmq: bool,
    /// The first line that was not.
    pub first_unread: Option<String>,
    /// Lines that speak of an AMQP connection and could not be read, and the first of them.
    pub about: u64,
    pub first_about: Option<String>,
}

/// One line of text with what is known of it.
#[derive(Clone, Debug)]
struct Line<'a> {
    source: String,
    time: Option<Stamp>,
    outer: Option<Stamp>,
    level: Option<&'static str>,
    pid: Option<&'a str>,
    /// RabbitMQ's own prefix was there.
    record: bool,
    text: &'a str,
    raw: &'a str,
}

impl Line<'_> {
    /// RabbitMQ's own time.
    fn at(&self) -> Option<Timestamp> {
        self.time.as_ref().map(|time| time.first)
    }
}

/// A beginning without a text: that of a report of 3.6, or of a line that was wrapped.
#[derive(Debug)]
struct Opening {
    source: String,
    time: Option<Stamp>,
    outer: Option<Stamp>,
    level: Option<&'static str>,
    pid: Option<String>,
    raw: String,
    /// 3.6 puts the text on lines of its own.
    report: bool,
}

/// Reads a log.
#[derive(Debug)]
pub struct LogReader {
    clock: Clock,
    held: Held,
    lines: u64,
    processes: HashMap<u64, Ends>,
    order: VecDeque<u64>,
    openings: VecDeque<Opening>,
    pieces: VecDeque<(String, String)>,
    /// A JSON document over several lines.
    document: Option<Document>,
    /// The journal's time of the entry whose members come one a line.
    journal: Option<Stamp>,
    /// The next line begins with the length of a message in the journal's export format.
    length_follows: bool,
    /// The last record about connections that was no end: its source, process and time.
    before: Option<(String, Option<String>, Option<Timestamp>)>,
    seen: Seen,
}

impl LogReader {
    /// `zone`: that of times without an offset.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            clock: Clock::new(zone),
            held: Held::default(),
            lines: 0,
            processes: HashMap::new(),
            order: VecDeque::new(),
            openings: VecDeque::new(),
            pieces: VecDeque::new(),
            document: None,
            journal: None,
            length_follows: false,
            before: None,
            seen: Seen::default(),
        }
    }

    /// Takes in one line without its end; returns the reports that are complete with it, in the
    /// order of the log.
    pub fn line(&mut self, raw: &str) -> Vec<Report> {
        self.lines += 1;
        self.held.at(self.lines);
        if self.is_idle() && !is_interesting(raw) {
            return Vec::new();
        }
        self.raw_line(raw);
        self.held.complete()
    }

    /// A report is waiting for its reason.
    pub fn is_waiting(&self) -> bool {
        self.held.is_waiting()
    }

    /// No more lines will come, or not soon: what is waiting has no reason.
    pub fn finish(&mut self) -> Vec<Report> {
        if let Some(document) = self.document.take() {
            self.give_up(&document.text);
        }
        for (_, piece) in std::mem::take(&mut self.pieces) {
            self.plain(&piece, &piece);
        }
        self.held.finish_all();
        self.held.complete()
    }

    /// What the log had besides reports.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Nothing is waiting for another line.
    fn is_idle(&self) -> bool {
        self.seen.rabbitmq
            && !self.held.is_waiting()
            && self.openings.is_empty()
            && self.pieces.is_empty()
            && self.document.is_none()
            && !self.length_follows
    }

    /// A line of text, out of all that wrapped it.
    fn read(&mut self, line: Line) {
        let text_after = |opening: &Opening| {
            if opening.source == line.source { Some(line.text) } else { gather::learned(&self.clock, &opening.source, line.text) }
        };
        let mut after = self.openings.iter().enumerate().filter(|_| !line.record);
        let Some((at, text)) = after.find_map(|(at, opening)| Some((at, text_after(opening)?))) else {
            return self.understand(&line);
        };
        let Some(opening) = self.openings.remove(at) else { return };
        if opening.report && !message::begins(text) {
            return;
        }
        // The beginning of a line that was wrapped is part of what is repeated.
        let whole = format!("{} {}", opening.raw.trim_end(), line.raw.trim_start());
        self.understand(&Line {
            source: opening.source,
            time: opening.time,
            outer: opening.outer.or(line.outer),
            level: opening.level.or(line.level),
            pid: opening.pid.as_deref(),
            record: true,
            text,
            raw: if opening.report { line.raw } else { &whole },
        });
    }

    fn understand(&mut self, line: &Line) {
        if let Some(at) = line.at().filter(|_| line.record) {
            self.held.moves(at);
        }
        match message::read(line.text, message::is_quiet(line.level.unwrap_or_default())) {
            Some(Message::End(end)) if self.is_own(line, &end) => {
                self.seen.rabbitmq = true;
                self.end(line, &end);
                self.before = None;
            }
            Some(Message::Opened { pid, ends }) => {
                self.seen.rabbitmq = true;
                if let Some(pid) = pid.or(line.pid) {
                    self.remember(&line.source, pid, ends);
                }
                self.held.ends_before(&line.source, line.pid, line.at());
                self.remember_before(line);
            }
            Some(_) => {
                self.seen.rabbitmq = true;
                self.remember_before(line);
            }
            None if line.record => {
                self.seen.rabbitmq |= line.pid.is_some();
                if !self.held.reason_of_record(line) {
                    self.unread(line, line.pid.is_some());
                }
                // A reason may stand before the line that names its connection.
                if !held::may_be_reason(line.text) {
                    self.remember_before(line);
                }
            }
            None => {
                if !self.held.reason(&self.clock, line) {
                    self.unread(line, false);
                }
            }
        }
    }

    fn remember_before(&mut self, line: &Line) {
        let Some(pid) = line.pid else { return };
        // What was there before has room for it.
        let (source, before, time) = self.before.get_or_insert_default();
        source.clone_from(&line.source);
        let before = before.get_or_insert_default();
        before.clear();
        before.push_str(pid);
        *time = line.at();
    }

    /// Whether a message is RabbitMQ's own and not one that a client put into a name: the process
    /// speaks of itself, and not in the same microsecond in which it repeated something of the
    /// client's.
    fn is_own(&self, line: &Line, end: &End) -> bool {
        if let (Some(own), Some(named)) = (line.pid, end.pid)
            && own != named
        {
            return false;
        }
        let Some((source, pid, time)) = &self.before else { return true };
        let at = line.at();
        let exact = at.is_some_and(|at| at.subsec_nanosecond() % 1_000_000 != 0);
        !(exact && *time == at && pid.as_deref() == line.pid && *source == line.source)
    }

    fn end(&mut self, line: &Line, end: &End) {
        let pid = end.pid.or(line.pid);
        let ends = end.ends.or_else(|| pid.and_then(|pid| self.ends_of(&line.source, pid)));
        let (time, or) = instants(line.time.as_ref(), line.outer.as_ref());
        let report = Report {
            time,
            or,
            whole_seconds: line.time.as_ref().or(line.outer.as_ref()).is_some_and(|stamp| stamp.whole_seconds),
            level: line.level.unwrap_or_default(),
            lines: vec![clean::repeated(line.raw)],
            connection: ends.and_then(|ends| ends.tuple()),
            ports: ends.map(|ends| ends.ports()),
            protocol: end.protocol,
            reason: end.reason.clone().unwrap_or(Reason::Other),
            still_open: end.still_open,
            source: line.source.clone(),
        };
        let head = Head {
            report,
            pid: pid.map(str::to_owned),
            own: line.at(),
            wrapped_in_time: line.outer.is_some(),
            torn: end.torn.then(|| line.text.to_owned()),
            term: String::new(),
            line: self.lines,
            fallback: None,
        };
        let waits = end.torn || end.to_follow || end.reason.is_none();
        self.held.head(head, waits, end.echo);
    }

    fn unread(&mut self, line: &Line, rabbitmq: bool) {
        if !rabbitmq && self.seen.first_unread.is_none() && !line.raw.trim().is_empty() {
            self.seen.first_unread = Some(clean::repeated(line.raw));
        }
        if line.raw.contains("AMQP connection") && !line.record {
            self.seen.about += 1;
            if self.seen.first_about.is_none() {
                self.seen.first_about = Some(clean::repeated(line.raw));
            }
        }
    }

    fn remember(&mut self, source: &str, pid: &str, ends: Ends) {
        let key = key(source, pid);
        if self.processes.insert(key, ends).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > PROCESSES
            && let Some(oldest) = self.order.pop_front()
        {
            self.processes.remove(&oldest);
        }
    }

    fn ends_of(&self, source: &str, pid: &str) -> Option<Ends> {
        self.processes.get(&key(source, pid)).copied()
    }
}

/// Remembers one more; at most that many, the latest.
fn remember<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(one);
}

/// A number for a process of a source.
fn key(source: &str, pid: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (source, pid).hash(&mut hasher);
    hasher.finish()
}

/// Where lines come from, as one line of text: a wrapper may have said anything.
fn one_line(source: &str) -> String {
    let words = source.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}
