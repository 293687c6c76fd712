//! Reports whose reason is still to come, in the order of the log.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::{
    FEW, Line, Report, clean,
    gather::learned,
    message::{self, Message, Protocol},
    reason::{self, Reason},
    remember,
    stamp::Clock,
};

/// After how many more lines a report is complete without a reason.
const LINES: u64 = 200;

/// How many reports wait at once.
const WAITING: usize = 256;

/// Lines of one reason that are kept, and of which one reason is made.
const TERM: usize = 30;

/// How many times a line that was wrapped is put together.
const PARTS: usize = 4;

/// Reasons without a beginning that are remembered.
const ORPHANS: usize = 8;

/// How long after a protocol other than AMQP has said why a connection ends it says that it ends.
const ECHO: SignedDuration = SignedDuration::from_secs(10);

/// The first line of a report.
#[derive(Debug)]
pub struct Head {
    pub report: Report,
    pub pid: Option<String>,
    /// RabbitMQ's own time.
    pub own: Option<Timestamp>,
    /// A collector has put a time before the line.
    pub wrapped_in_time: bool,
    /// What there is of a line that was wrapped within its brackets.
    pub torn: Option<String>,
    /// The reason so far.
    pub term: String,
    pub line: u64,
    /// A reason that stood before it, as it does in logs whose latest line comes first.
    pub fallback: Option<(String, String)>,
}

#[derive(Debug)]
enum Slot {
    Waiting(Box<Head>),
    Done(Report),
    /// It was none: words that begin as a report does, and name nothing.
    None,
}

/// A reason without a beginning.
#[derive(Debug)]
struct Orphan {
    source: String,
    pid: Option<String>,
    time: Option<Timestamp>,
    text: String,
    raw: String,
    line: u64,
}

/// An end of a connection that did not speak AMQP 0-9-1.
#[derive(Debug)]
struct Said {
    protocol: Protocol,
    ports: Option<(u16, u16)>,
    pid: Option<String>,
    time: Option<Timestamp>,
}

/// Reports that wait, and those that wait for them.
#[derive(Debug, Default)]
pub struct Held {
    slots: VecDeque<Slot>,
    waiting: usize,
    line: u64,
    orphans: VecDeque<Orphan>,
    said: VecDeque<Said>,
    /// The time of the last report, and whether the log goes backwards.
    last: Option<Timestamp>,
    backwards: bool,
}

impl Held {
    /// The number of the line that comes now.
    pub fn at(&mut self, line: u64) {
        self.line = line;
        if self.waiting == 0 {
            return;
        }
        while let Some(Slot::Waiting(head)) = self.slots.front() {
            if line.saturating_sub(head.line) <= LINES && self.waiting <= WAITING {
                break;
            }
            self.finish_at(0);
            // Those after it may be complete already.
            if !matches!(self.slots.front(), Some(Slot::Waiting(_))) {
                break;
            }
        }
    }

    pub const fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Takes out what is complete, up to the first that waits.
    pub fn complete(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        while matches!(self.slots.front(), Some(Slot::Done(_) | Slot::None)) {
            if let Some(Slot::Done(report)) = self.slots.pop_front() {
                reports.push(report);
            }
        }
        reports
    }

    /// Nothing more will come.
    pub fn finish_all(&mut self) {
        for index in 0..self.slots.len() {
            self.finish_at(index);
        }
        self.orphans.clear();
    }

    /// RabbitMQ's own time of a line: whether the log goes backwards.
    pub fn moves(&mut self, at: Timestamp) {
        if let Some(last) = self.last
            && last != at
        {
            self.backwards = at < last;
        }
        self.last = Some(at);
    }

    /// Takes in the first line of a report.
    pub fn head(&mut self, mut head: Head, waits: bool, echo: bool) {
        self.ends_before(&head.report.source, head.pid.as_deref(), None);
        if let Some(own) = head.own {
            self.moves(own);
        }
        if head.report.protocol != Protocol::Amqp && self.is_echo(&head, echo) {
            return;
        }
        if !waits {
            self.slots.push_back(Slot::Done(head.report));
            return;
        }
        if head.torn.is_none()
            && let Some(orphan) = self.orphan_of(&head)
        {
            head.fallback = Some((orphan.text, orphan.raw));
        }
        let sure = self.backwards && head.fallback.is_some();
        self.slots.push_back(Slot::Waiting(Box::new(head)));
        self.waiting += 1;
        if sure {
            self.finish_at(self.slots.len() - 1);
        }
    }

    /// Whether another line has said of the same connection why it ends.
    fn is_echo(&mut self, head: &Head, echo: bool) -> bool {
        let near = |said: &Said| match (said.time, head.report.time) {
            (Some(before), Some(now)) => now.duration_since(before).abs() <= ECHO,
            _ => true,
        };
        let same = |said: &Said| match (said.ports, head.report.ports) {
            (Some(before), Some(now)) => before == now,
            _ => said.pid.is_some() && said.pid == head.pid,
        };
        let known = self.said.iter().any(|said| said.protocol == head.report.protocol && near(said) && same(said));
        if echo && known {
            return true;
        }
        let Report { protocol, ports, time, .. } = head.report;
        remember(&mut self.said, Said { protocol, ports, pid: head.pid.clone(), time }, FEW);
        false
    }

    /// A process that says something else has said its reason, or none.
    pub fn ends_before(&mut self, source: &str, pid: Option<&str>, at: Option<Timestamp>) {
        if self.waiting == 0 || pid.is_none() {
            return;
        }
        for index in 0..self.slots.len() {
            if let Some(Slot::Waiting(head)) = self.slots.get(index)
                && head.pid.as_deref() == pid
                && head.report.source == source
                && (at.is_none() || at != head.own)
            {
                self.finish_at(index);
            }
        }
    }

    /// A line with RabbitMQ's own prefix that is no message about connections: the reason of a
    /// report, if one of the same process and time waits.
    pub fn reason_of_record(&mut self, line: &Line) -> bool {
        let time = line.at();
        let found = self.slots.iter().rposition(|slot| match slot {
            Slot::Waiting(head) => {
                let same_process = match (head.pid.as_deref(), line.pid) {
                    (Some(head), Some(line)) => head == line,
                    _ => self.line.saturating_sub(head.line) <= 1 + TERM as u64,
                };
                // What was cut off for good may have been the rest of the description alone.
                (head.torn.is_none() || head.report.ports.is_some())
                    && head.report.source == line.source
                    && same_process
                    && (time.is_none() || head.own.is_none() || head.own == time)
            }
            Slot::Done(_) | Slot::None => false,
        });
        let Some(index) = found else {
            self.ends_before(&line.source, line.pid, time);
            self.orphan(line);
            return false;
        };
        // A name of several lines, or a reason after a line that was cut.
        if may_be_reason(line.text) || !self.mend(index, line.text, line.raw) {
            self.attach(index, line.text, line.raw);
        }
        true
    }

    /// A line without RabbitMQ's own prefix.
    pub fn reason(&mut self, clock: &Clock, line: &Line) -> bool {
        let known = || Reason::known(line.text).is_some();
        let time = line.at();
        let mut found = None;
        for (index, slot) in self.slots.iter().enumerate().rev() {
            let Slot::Waiting(head) = slot else { continue };
            let source = &head.report.source;
            let adjacent = self.line.saturating_sub(head.line) <= 1;
            if let Some(text) = (!source.is_empty() && *source != line.source).then(|| learned(clock, source, line.raw)).flatten() {
                found = Some((index, text.to_owned()));
                break;
            }
            let foreign_time = time.is_some() && !head.wrapped_in_time && time != head.own;
            let same = *source == line.source || (line.source.is_empty() && (adjacent || known()));
            if same
                && !foreign_time
                && (adjacent || !head.term.is_empty() || known() || head.torn.is_some() || *source == line.source && !source.is_empty())
            {
                // A line that was wrapped goes on with whatever the next one begins with.
                found = Some((index, if head.torn.is_some() && line.source.is_empty() { line.raw } else { line.text }.to_owned()));
                break;
            }
        }
        let Some((index, text)) = found else {
            self.orphan(line);
            return false;
        };
        if !self.mend(index, &text, line.raw) {
            self.attach(index, &text, line.raw);
        }
        true
    }

    /// Whether a line is the rest of the one before it, which was wrapped within its brackets.
    pub fn mends(&mut self, clock: &Clock, raw: &str) -> bool {
        if self.waiting == 0 {
            return false;
        }
        let line = self.line;
        let found = self.slots.iter().enumerate().rev().find_map(|(index, slot)| {
            let Slot::Waiting(head) = slot else { return None };
            let source = &head.report.source;
            let text = if source.is_empty() { Some(raw) } else { learned(clock, source, raw) };
            (head.torn.is_some() && line.saturating_sub(head.line) <= 1).then_some(())?;
            Some((index, text?.to_owned()))
        });
        found.is_some_and(|(index, text)| self.mend(index, &text, raw))
    }

    /// Puts a line together that was wrapped within its brackets; `false` if none was.
    fn mend(&mut self, index: usize, text: &str, raw: &str) -> bool {
        let Some(Slot::Waiting(head)) = self.slots.get_mut(index) else { return false };
        let Some(torn) = head.torn.take() else { return false };
        head.report.lines.push(clean::repeated(raw));
        head.line = self.line;
        let quiet = message::is_quiet(head.report.level);
        // Wrapped between words or within one.
        let mended = [format!("{torn}{text}"), format!("{torn} {}", text.trim_start())];
        for whole in &mended {
            let Some(Message::End(end)) = message::read(whole, quiet) else { continue };
            let Some(ends) = end.ends else { continue };
            if end.torn || ends.tuple().is_none() {
                continue;
            }
            head.report.connection = ends.tuple();
            head.report.ports = Some(ends.ports());
            head.report.still_open = end.still_open;
            if let Some(reason) = end.reason.clone() {
                head.report.reason = reason;
                if !end.to_follow {
                    self.finish_at(index);
                }
            }
            return true;
        }
        if head.report.lines.len() <= PARTS {
            head.torn = Some(mended.into_iter().next().unwrap_or_default());
        }
        true
    }

    fn attach(&mut self, index: usize, text: &str, raw: &str) {
        let Some(Slot::Waiting(head)) = self.slots.get_mut(index) else { return };
        if !raw.is_empty() {
            head.report.lines.push(clean::repeated(raw));
        }
        if !head.term.is_empty() {
            head.term.push(' ');
        }
        head.term.push_str(text.trim());
        head.line = self.line;
        head.fallback = None;
        if !reason::is_open_term(&head.term) || head.report.lines.len() > TERM || head.term.len() > clean::LONGEST_LINE {
            self.finish_at(index);
        }
    }

    fn finish_at(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let mut head = match std::mem::replace(slot, Slot::None) {
            Slot::Waiting(head) => head,
            other => return *slot = other,
        };
        if let Some((text, raw)) = head.fallback.take()
            && head.term.is_empty()
        {
            head.term = text;
            head.report.lines.push(clean::repeated(&raw));
        }
        if !head.term.is_empty() {
            head.report.reason = Reason::of(&head.term);
        }
        let names_nothing = head.pid.is_none() && head.report.ports.is_none() && head.torn.is_some();
        if !names_nothing {
            *slot = Slot::Done(head.report);
        }
        self.waiting -= 1;
    }

    fn orphan(&mut self, line: &Line) {
        if !may_be_reason(line.text) {
            return;
        }
        let orphan = Orphan {
            source: line.source.clone(),
            pid: line.pid.map(str::to_owned),
            time: line.at(),
            text: line.text.to_owned(),
            raw: line.raw.to_owned(),
            line: self.line,
        };
        remember(&mut self.orphans, orphan, ORPHANS);
    }

    /// The reason that stands right before the first line of its report.
    fn orphan_of(&mut self, head: &Head) -> Option<Orphan> {
        let (line, backwards) = (self.line, self.backwards);
        let at = self.orphans.iter().rposition(|orphan| {
            let own = orphan.pid.is_some() && orphan.pid == head.pid && orphan.time == head.own;
            orphan.source == head.report.source && line.saturating_sub(orphan.line) <= 2 && (own || (orphan.pid.is_none() && backwards))
        })?;
        self.orphans.remove(at)
    }
}

/// Whether a text by itself may be the reason of an end.
pub fn may_be_reason(text: &str) -> bool {
    Reason::known(text).is_some() || text.trim_start().starts_with('{')
}
