//! RabbitMQ's log, line by line: which connection ended, when, and why by the broker's own account.
//!
//! A line is cleaned ([`clean`]), taken out of what wraps it ([`wrap`], [`object`]), and read ([`message`], [`reason`]). What spans several lines
//! is put together here: the first names the connection and the next one the reason. In 3.6 a report begins with a line of its own; up to 3.8 the
//! reason has no prefix; since 3.9 it has the same as the first line. Lines of several sources may be mixed, so that a reason is looked for by source
//! and process.

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
mod wrap;

use std::collections::{HashMap, VecDeque};

use gather::{Document, after_tag, assigned, instants, is_interesting, is_member, may_be_json, unquoted_field};
use held::{Head, Held};
use jiff::{Timestamp, tz::TimeZone};
pub use message::Protocol;
use message::{End, Ends, Message};
use object::Taken;
pub use reason::Reason;
use stamp::{Clock, Stamp};
use wrap::Piece;

use crate::flow::Tuple;

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
    /// The connection, seen from the broker. `None` where the log names none, or by host names (`reverse_dns_lookups`).
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

    /// Takes in one line without its end; returns the reports that are complete with it, in the order of the log.
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

    fn raw_line(&mut self, raw: &str) {
        if std::mem::take(&mut self.length_follows) {
            // systemd's JOURNAL_EXPORT_FORMATS: eight bytes of length, least significant first.
            let after = raw.char_indices().nth(8).map_or("", |(at, _)| raw.get(at..).unwrap_or_default());
            let line = clean::clean(after).into_owned();
            return self.journal_message(&line, &line);
        }
        let line = clean::clean(raw);
        let trimmed = line.trim();
        if let Some(document) = &mut self.document {
            if document.push(&line) {
                self.end_document();
            }
            return;
        }
        if trimmed.is_empty() || trimmed.starts_with("```") && trimmed.len() < 12 && !trimmed.contains(' ') {
            return;
        }
        if trimmed == "MESSAGE" {
            self.length_follows = true;
            return;
        }
        if let Some(time) = trimmed.strip_prefix("__REALTIME_TIMESTAMP=") {
            self.journal = self.clock.whole(time);
            return;
        }
        if let Some(message) = trimmed.strip_prefix("MESSAGE=") {
            return self.journal_message(message, &line);
        }
        if trimmed.starts_with(|c: char| c.is_ascii_uppercase()) && trimmed.contains(" [s=") {
            self.journal = wrap::peel(&self.clock, trimmed).time;
            return;
        }
        if self.journal.is_some() && is_member(trimmed) {
            return;
        }
        if memchr::memchr(b'"', trimmed.as_bytes()).is_some()
            && let Some(taken) = assigned(&self.clock, trimmed)
        {
            return self.taken(taken, &line);
        }
        self.plain(&line, &line);
    }

    fn journal_message(&mut self, message: &str, raw: &str) {
        let taken = Taken { text: message.to_owned(), time: self.journal.clone(), ..Taken::default() };
        self.taken(taken, raw);
    }

    /// A line as it stands in a file.
    fn plain(&mut self, line: &str, raw: &str) {
        let mut peeled = wrap::peel(&self.clock, line);
        if peeled.time.is_none() && peeled.level.is_none() && self.held.mends(&self.clock, raw) {
            return;
        }
        let source = one_line(&peeled.source.join(" "));
        let mut whole = None;
        if peeled.piece == Piece::Partial || (peeled.piece == Piece::Last && self.pieces.iter().any(|(other, _)| *other == source)) {
            let before = self.pieces.iter().position(|(other, _)| *other == source).and_then(|at| self.pieces.remove(at));
            let mut text = before.map_or_else(String::new, |(_, text)| text);
            if text.len() < LARGEST_LINE {
                // What had been peeled off belongs to the piece, if the piece begins in the middle of a record.
                text.push_str(after_tag(line).unwrap_or(peeled.text));
            }
            if peeled.piece == Piece::Partial {
                push_few(&mut self.pieces, (source, text));
                return;
            }
            whole = Some(text);
        }
        if let Some(whole) = whole {
            let inner = Taken { text: whole, time: peeled.outer.or(peeled.time), source: vec![source], ..Taken::default() };
            return self.taken(inner, raw);
        }
        if peeled.text.starts_with(['{', '['])
            && let Some(done) = self.json(peeled.text, raw, &source)
        {
            return done;
        }
        if !peeled.is_record()
            && !message::begins(peeled.text)
            && let Some(at) = peeled.text.find("{\"")
            && let (Some(before), Some(text)) = (peeled.text.get(..at), peeled.text.get(at..))
            && let Some(Ok(value)) = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>().next()
        {
            let source = one_line(&[source.as_str(), before.trim()].join(" "));
            for mut taken in object::taken(&self.clock, &value) {
                if taken.source.is_empty() {
                    taken.source.push(source.clone());
                }
                taken.time = taken.time.or_else(|| peeled.time.clone());
                self.taken(taken, raw);
            }
            return;
        }
        let field = unquoted_field(line, peeled.text);
        if let Some(field) = &field {
            peeled.text = field;
        }
        peeled.level = peeled.level.or(peeled.severity);
        let record = peeled.is_record();
        if record && peeled.text.trim().is_empty() {
            if peeled.pid.is_some() {
                self.seen.rabbitmq = true;
            }
            let opening = Opening {
                source,
                time: peeled.time,
                outer: peeled.outer,
                level: peeled.level,
                pid: peeled.pid.map(str::to_owned),
                raw: raw.to_owned(),
                report: peeled.report,
            };
            self.seen.rabbitmq |= opening.report;
            self.openings.retain(|other| other.source != opening.source);
            push_few(&mut self.openings, opening);
            return;
        }
        self.seen.rabbitmq |= peeled.report;
        let (time, outer, level, pid) = (peeled.time, peeled.outer, peeled.level, peeled.pid);
        let mut first = true;
        for text in clean::unfolded(peeled.text) {
            let line = Line {
                source: source.clone(),
                time: time.clone(),
                outer: outer.clone(),
                level,
                pid,
                // What was folded into one line of syslog is one message.
                record: record || !first,
                text: &text,
                raw,
            };
            self.read(line);
            first = false;
        }
    }

    /// JSON, whole or the beginning of a document over several lines; `None` if it is neither.
    fn json(&mut self, text: &str, raw: &str, source: &str) -> Option<()> {
        match serde_json::from_str(text) {
            Ok(value) => {
                let value: serde_json::Value = value;
                for mut taken in object::taken(&self.clock, &value) {
                    if !source.is_empty() {
                        taken.source.insert(0, source.to_owned());
                    }
                    self.taken(taken, raw);
                }
                Some(())
            }
            Err(error) if error.is_eof() && may_be_json(text) => {
                let mut document = Document::default();
                document.push(text);
                self.document = Some(document);
                Some(())
            }
            Err(_) => None,
        }
    }

    fn end_document(&mut self) {
        let Some(document) = self.document.take() else { return };
        let text = document.text;
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => {
                for taken in object::taken(&self.clock, &value) {
                    let raw = taken.text.clone();
                    self.taken(taken, &raw);
                }
            }
            Err(_) => self.give_up(&text),
        }
    }

    /// Lines that were taken for a document and are none.
    fn give_up(&mut self, text: &str) {
        for line in text.lines() {
            let peeled = wrap::peel(&self.clock, line);
            if !peeled.text.starts_with(['{', '[']) {
                self.plain(line, line);
            }
        }
    }

    /// What was taken out of a wrapper.
    fn taken(&mut self, taken: Taken, raw: &str) {
        let source = taken.source.join(" ");
        if taken.piece == Piece::Partial || (taken.piece == Piece::Last && self.pieces.iter().any(|(other, _)| *other == source)) {
            let before = self.pieces.iter().position(|(other, _)| *other == source).and_then(|at| self.pieces.remove(at));
            let mut text = before.map_or_else(String::new, |(_, text)| text);
            if text.len() < LARGEST_LINE {
                text.push_str(&taken.text);
            }
            if taken.piece == Piece::Partial {
                push_few(&mut self.pieces, (source, text));
                return;
            }
            return self.taken(Taken { text, piece: Piece::Whole, ..taken }, raw);
        }
        let mut text_raw = Some(raw);
        let several = taken.text.trim_end().contains('\n');
        for text in taken.text.lines() {
            let text = clean::clean(text);
            if text.trim().is_empty() {
                continue;
            }
            // JSON in JSON.
            if text.starts_with('{')
                && let Ok(value) = serde_json::from_str::<serde_json::Value>(&text)
            {
                for mut inner in object::taken(&self.clock, &value) {
                    inner.time = inner.time.or_else(|| taken.time.clone());
                    inner.source.insert(0, source.clone());
                    self.taken(inner, raw);
                }
                continue;
            }
            let own = wrap::peel(&self.clock, &text);
            let inner_source = own.source.join(" ");
            let described = taken.pid.is_some() || taken.level.is_some();
            let source = [source.as_str(), inner_source.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            if own.is_record() && own.text.trim().is_empty() {
                self.plain(&text, raw);
                continue;
            }
            let record = own.is_record() || described || several;
            for part in clean::unfolded(own.text) {
                let line = Line {
                    source: source.clone(),
                    time: own.time.clone().or_else(|| taken.time.clone().filter(|_| described)),
                    outer: taken.time.clone().filter(|_| own.time.is_some() || !described),
                    level: own.level.or(taken.level),
                    pid: own.pid.or(taken.pid.as_deref()),
                    record: own.is_record() || (record && taken.pid.is_some()) || (several && text_raw.is_none()),
                    text: &part,
                    raw: text_raw.take().unwrap_or_default(),
                };
                self.read(line);
            }
        }
    }

    /// A line of text, out of all that wrapped it.
    fn read(&mut self, line: Line) {
        if !line.record
            && let Some(at) = self
                .openings
                .iter()
                .position(|opening| opening.source == line.source || held::learned(&self.clock, &opening.source, line.text).is_some())
        {
            let Some(opening) = self.openings.remove(at) else { return };
            let text = if opening.source == line.source {
                line.text
            } else {
                held::learned(&self.clock, &opening.source, line.text).unwrap_or(line.text)
            };
            let with = Line {
                source: opening.source.clone(),
                time: opening.time.clone(),
                outer: opening.outer.clone().or(line.outer),
                level: opening.level.or(line.level),
                pid: opening.pid.as_deref(),
                record: true,
                text,
                raw: line.raw,
            };
            if !opening.report || message::begins(text) {
                // The beginning is part of what is repeated.
                let raw = format!("{} {}", opening.raw.trim_end(), line.raw.trim_start());
                let with = if opening.report { with } else { Line { raw: &raw, ..with } };
                self.understand(&with);
            }
            return;
        }
        self.understand(&line);
    }

    fn understand(&mut self, line: &Line) {
        if let Some(time) = &line.time
            && line.record
        {
            self.held.moves(time.first);
        }
        let quiet = matches!(line.level, None | Some("info" | "notice" | "debug"));
        match message::read(line.text, quiet) {
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
                self.held.ends_before(&line.source, line.pid, line.time.as_ref());
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
        *time = line.time.as_ref().map(|time| time.first);
    }

    /// Whether a message is RabbitMQ's own and not one that a client put into a name: the process speaks of itself, and not in the same
    /// microsecond in which it repeated something of the client's.
    fn is_own(&self, line: &Line, end: &End) -> bool {
        if let (Some(own), Some(named)) = (line.pid, end.pid)
            && own != named
        {
            return false;
        }
        let Some((source, pid, time)) = &self.before else { return true };
        let at = line.time.as_ref().map(|time| time.first);
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
            ports: ends.map(|ends| (ends.client.port, ends.broker.port)),
            protocol: end.protocol,
            reason: end.reason.clone().unwrap_or(Reason::Other),
            still_open: end.still_open,
            source: line.source.clone(),
        };
        let head = Head {
            report,
            pid: pid.map(str::to_owned),
            own: line.time.as_ref().map(|time| time.first),
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

fn push_few<T>(few: &mut VecDeque<T>, one: T) {
    if few.len() >= FEW {
        few.pop_front();
    }
    few.push_back(one);
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
