//! Events as columns of numbers, and texts that are kept once.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::{ReportError, details::Details};
use crate::{
    event::{Endpoint, Event, ResetEvent, Suppressed},
    model::{Direction, OriginKind, PatternId, Severity},
    story::words,
};

/// What stands for something that is not known.
const NOTHING: i64 = -1;

/// What stands for either end in a sentence. Texts of events are cleaned of control characters
/// before they come here; whatever holds one all the same shows an address too many.
const LOCAL: &str = "\u{1}";
const PEER: &str = "\u{2}";

/// One line of the table.
struct Row {
    at: Timestamp,
    severity: Severity,
    routine: bool,
    cause: u32,
    who: u32,
    whom: u32,
    host: u32,
    local: u32,
    peer: u32,
    effect: u32,
    message: u32,
    /// Milliseconds, or [`NOTHING`].
    silence: i64,
    /// Events that it stands for.
    count: u64,
    /// Where the whole event is, or [`NOTHING`].
    detail: i64,
}

/// The columns of the table, one value a line of it, in the order of time.
#[derive(Default, Serialize)]
pub struct Columns {
    /// Milliseconds since `start`.
    time: Vec<i64>,
    /// 0: info, 1: warning, 2: error.
    severity: Vec<u8>,
    /// 1: as in normal operation.
    routine: Vec<u8>,
    cause: Vec<u32>,
    who: Vec<u32>,
    whom: Vec<u32>,
    host: Vec<u32>,
    local: Vec<u32>,
    peer: Vec<u32>,
    effect: Vec<u32>,
    message: Vec<u32>,
    silence: Vec<i64>,
    count: Vec<u64>,
    detail: Vec<i64>,
}

/// Everything the page's script needs.
#[derive(Serialize)]
pub struct Data {
    /// Milliseconds since 1970.
    start: i64,
    texts: Vec<String>,
    columns: Columns,
    /// Timeouts that agents have learnt: milliseconds, and how often they were seen.
    learnt: Vec<(u64, u64)>,
    /// Defaults of products: seconds and name.
    known: Vec<(u64, &'static str)>,
    /// Events in one piece of the details.
    chunk: usize,
    /// Events for which there was no room in the table.
    left_out: u64,
}

/// Texts by number.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// Lines of the table, as they come.
pub struct Rows {
    most: usize,
    kept: Vec<Row>,
    by_id: HashMap<String, usize>,
    texts: Texts,
    learnt: BTreeMap<u64, u64>,
    details: Details,
    left_out: u64,
}

impl Rows {
    /// No more lines than so many are kept.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            kept: Vec::new(),
            by_id: HashMap::new(),
            texts: Texts::default(),
            learnt: BTreeMap::new(),
            details: Details::default(),
            left_out: 0,
        }
    }

    /// Takes in one event.
    ///
    /// # Errors
    ///
    /// As [`Details::keep`].
    pub fn event(&mut self, event: &Event) -> Result<(), ReportError> {
        match event {
            Event::Rst(reset) | Event::ConnectionEnded(reset) => self.reset(reset, false),
            Event::RstRevised(reset) => self.reset(reset, true),
            Event::RstSuppressed(folded) | Event::EndingsSuppressed(folded) => {
                self.folded(folded);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn reset(&mut self, event: &ResetEvent, revised: bool) -> Result<(), ReportError> {
        for pattern in event.pattern.iter().filter(|pattern| pattern.id == PatternId::SameIdle) {
            if let Some(idle) = pattern.idle_ms {
                let times = self.learnt.entry(idle).or_default();
                *times = (*times).max(pattern.count);
            }
        }
        let known = self.by_id.get(&event.id).copied().filter(|_| revised);
        if known.is_none() && self.kept.len() >= self.most {
            self.left_out += 1;
            return Ok(());
        }
        let detail = self.details.keep(event)?.and_then(|place| i64::try_from(place).ok()).unwrap_or(NOTHING);
        let (local, peer) = (&event.network.local, &event.network.peer);
        let silence = words::silence_ms(event).and_then(|silence| i64::try_from(silence).ok()).unwrap_or(NOTHING);
        let host = event.host.as_ref().map_or("", |host| host.name.as_str());
        let texts = &mut self.texts;
        let row = Row {
            at: event.timestamp,
            severity: event.severity,
            routine: event.severity == Severity::Info,
            cause: texts.number(event.cause.id.token()),
            who: texts.number(&who(event)),
            whom: texts.number(&whom(event)),
            host: texts.number(host),
            local: texts.number(&end(local)),
            peer: texts.number(&end(peer)),
            effect: texts.number(event.effect.token()),
            message: texts.number(&without_ends(&event.message, local, peer)),
            silence,
            count: 1,
            detail,
        };
        if let Some(known) = known.and_then(|known| self.kept.get_mut(known)) {
            *known = row;
        } else {
            self.by_id.insert(event.id.clone(), self.kept.len());
            self.kept.push(row);
        }
        Ok(())
    }

    fn folded(&mut self, folded: &Suppressed) {
        if self.kept.len() >= self.most {
            self.left_out += folded.count;
            return;
        }
        let key = &folded.key;
        let texts = &mut self.texts;
        let peer = key.peer.map_or_else(|| "many peers".to_owned(), |peer| peer.address.to_string());
        let sample = folded.sample.as_deref();
        let severity = sample.map_or(Severity::Warning, |sample| sample.severity);
        self.kept.push(Row {
            at: folded.first,
            severity,
            routine: severity == Severity::Info,
            cause: texts.number(key.cause.token()),
            who: texts.number(&sample.map_or_else(|| kind(key.origin).to_owned(), who)),
            whom: texts.number(&sample.map_or_else(|| peer.clone(), whom)),
            host: texts.number(&folded.host.name),
            local: texts.number(""),
            peer: texts.number(&peer),
            effect: texts.number(sample.map_or("", |sample| sample.effect.token())),
            message: texts.number(&folded.message),
            silence: NOTHING,
            count: folded.count,
            detail: NOTHING,
        });
    }

    /// All of it, and the pieces of the details.
    ///
    /// # Errors
    ///
    /// As [`Details::finish`].
    pub fn finish(mut self, known: Vec<(u64, &'static str)>) -> Result<(Data, Vec<String>), ReportError> {
        self.kept.sort_by_key(|row| row.at);
        let start = self.kept.first().map_or(0, |row| row.at.as_millisecond());
        let mut columns = Columns::default();
        for row in &self.kept {
            columns.time.push(row.at.as_millisecond() - start);
            columns.severity.push(row.severity as u8);
            columns.routine.push(u8::from(row.routine));
            columns.cause.push(row.cause);
            columns.who.push(row.who);
            columns.whom.push(row.whom);
            columns.host.push(row.host);
            columns.local.push(row.local);
            columns.peer.push(row.peer);
            columns.effect.push(row.effect);
            columns.message.push(row.message);
            columns.silence.push(row.silence);
            columns.count.push(row.count);
            columns.detail.push(row.detail);
        }
        let learnt = merged(self.learnt);
        let data = Data { start, texts: self.texts.all, columns, learnt, known, chunk: super::details::CHUNK, left_out: self.left_out };
        Ok((data, self.details.finish()?))
    }
}

/// Silences that are the same one as well as can be measured, within one percent: the longest, and
/// how often the most frequent was seen.
fn merged(learnt: BTreeMap<u64, u64>) -> Vec<(u64, u64)> {
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (idle, times) in learnt {
        match merged.last_mut() {
            Some((last, most)) if idle - *last <= *last / 100 => (*last, *most) = (idle, times.max(*most)),
            _ => merged.push((idle, times)),
        }
    }
    merged
}

/// Who ended it.
fn who(event: &ResetEvent) -> String {
    let origin = &event.origin;
    match origin.kind {
        OriginKind::LocalProcess => match (event.process.as_ref(), event.peer_process.as_ref()) {
            // Both ends may be on this host, and the process of the other may have done it.
            (_, Some(peer)) if event.direction == Direction::Received => peer.executable.name.clone(),
            (Some(process), _) => process.executable.name.clone(),
            _ => kind(origin.kind).to_owned(),
        },
        OriginKind::Middlebox => {
            let place = origin.name.clone().or_else(|| origin.address.map(|address| address.to_string()));
            let hops = origin.hops.filter(|_| place.is_none()).map(|hops| words::count(u64::from(hops), "hop") + " away");
            place.or(hops).map_or_else(|| "a middlebox".to_owned(), |place| format!("a middlebox, {place}"))
        }
        OriginKind::RemotePeer => {
            format!("peer {}", event.network.peer.name.clone().unwrap_or_else(|| event.network.peer.address.to_string()))
        }
        OriginKind::LocalHost | OriginKind::Unknown => kind(origin.kind).to_owned(),
    }
}

const fn kind(origin: OriginKind) -> &'static str {
    match origin {
        OriginKind::LocalProcess => "a process",
        OriginKind::LocalHost => "the host's kernel",
        OriginKind::RemotePeer => "the peer",
        OriginKind::Middlebox => "a middlebox",
        OriginKind::Unknown => "not known",
    }
}

/// Who lost it: the owner on this host, or the peer where that owner ended it.
fn whom(event: &ResetEvent) -> String {
    let by_other_end = event.direction == Direction::Received && event.peer_process.is_some();
    let ours = event.origin.kind == OriginKind::LocalProcess && !by_other_end;
    let owner = event.process.as_ref().filter(|_| !ours).map(|process| process.executable.name.clone());
    let peer = &event.network.peer;
    owner.unwrap_or_else(|| match &peer.name {
        Some(name) => name.clone(),
        None if ours => peer.address.to_string(),
        None => format!("connections with {}", peer.address),
    })
}

/// A sentence with a mark in the place of each end, so that those of many connections are one.
fn without_ends(message: &str, local: &Endpoint, peer: &Endpoint) -> String {
    let [local, peer] = [local, peer].map(|end| std::net::SocketAddr::new(end.address, end.port).to_string());
    message.replace(&local, LOCAL).replace(&peer, PEER)
}

fn end(end: &Endpoint) -> String {
    let address = std::net::SocketAddr::new(end.address, end.port);
    end.name.as_ref().map_or_else(|| address.to_string(), |name| format!("{name} ({address})"))
}
