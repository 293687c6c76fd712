//! What happened, told to a person: events in, paragraphs out. Pure, and of flat memory.
//!
//! Connections that ended by one cause and one sender, and were one owner's, are one incident and
//! one sentence, with numbers that add up: every connection is in one incident, or in the count of
//! what was routine. Incidents are told by their harm. What could not be seen is told as well,
//! since a story with a hole in it is believed all the same. The order of the lines does not
//! matter.

mod incident;
mod ledger;
mod sight;
#[cfg(test)]
mod tests;
mod texts;
pub mod words;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    event::{Event, ResetEvent, Suppressed},
    model::{Direction, Severity},
};
use incident::{Incident, Key};
use ledger::{Fact, Ledger, Rank};
use sight::Sight;
use texts::Texts;
use words::Outcome;

/// Incidents that are told apart. What is beyond is told by its cause alone.
const INCIDENTS: usize = 10_000;

/// Incidents that are told one by one, the most harmful first.
const TOLD: usize = 20;

/// What a paragraph is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// When, where and how much; or that nothing was lost, and what would have been seen.
    Opening,
    /// What to do before anything else.
    First,
    /// One incident.
    Incident,
    /// Incidents that are not told one by one.
    Others,
    /// What belongs to normal operation.
    Routine,
    /// What the agent could not see, or lost.
    NotSeen,
}

/// One paragraph: text without line ends, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paragraph {
    pub part: Part,
    /// The worst in it.
    pub severity: Severity,
    /// Connections that it tells of.
    pub connections: u64,
    pub text: String,
    /// What to do, where the evidence stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Everything that was read so far.
#[derive(Clone, Debug, Default)]
pub struct Story {
    ledger: Ledger,
    texts: Texts,
    numbers: HashMap<Key, u32>,
    /// What is settled, by number.
    settled: Vec<(Key, Option<Incident>)>,
    sight: Sight,
}

impl Story {
    /// Takes in one event, in whichever order.
    pub fn event(&mut self, event: &Event) {
        self.sight.event(event);
        match event {
            Event::Rst(reset) => {
                let rank = if reset.direction == Direction::Sent { Rank::Sent } else { Rank::Received };
                self.reset(reset, rank);
            }
            Event::RstRevised(reset) => self.reset(reset, Rank::Revised),
            Event::ConnectionEnded(reset) => self.reset(reset, Rank::Ending),
            Event::RstSuppressed(suppressed) => self.suppressed(suppressed, Rank::Received),
            Event::EndingsSuppressed(suppressed) => self.suppressed(suppressed, Rank::Ending),
            Event::AgentStarted(_) | Event::AgentReloaded(_) | Event::EventsLost(_) | Event::AgentStopped(_) => {}
        }
    }

    fn reset(&mut self, event: &ResetEvent, rank: Rank) {
        let host = event.host.as_ref().map_or("", |host| host.name.as_str());
        let key = Key::of(event, host);
        let fact = self.fact(key, event, rank, 1, (event.timestamp, event.timestamp));
        let related = event.related.as_ref();
        // The end that was told first has the name; of two ends on this host the first in order.
        let pair = related.and_then(|related| related.pair.as_deref()).map_or(event.id.as_str(), |pair| pair.min(event.id.as_str()));
        let name = related.and_then(|related| related.ending.as_deref()).unwrap_or(pair);
        // A line without a name is known by its connection and its time.
        let connection = if name.is_empty() { event.network.community_id.as_str() } else { "" };
        let at = name.is_empty().then_some(event.timestamp);
        self.add(&(host, name, connection, at), fact);
    }

    /// None of the folded ones has a line of its own: they are counted by this one alone.
    fn suppressed(&mut self, suppressed: &Suppressed, rank: Rank) {
        let span = (suppressed.first, suppressed.last);
        let fact = if let Some(sample) = &suppressed.sample {
            self.fact(Key::of(sample, &suppressed.host.name), sample, rank, suppressed.count, span)
        } else {
            let key = Key::folded(suppressed);
            let peer = suppressed.key.peer.map_or(0, |peer| self.texts.number(&peer.address.to_string()));
            Fact {
                rank,
                at: span.0,
                until: span.1,
                severity: key.severity,
                incident: self.number(key),
                peer,
                advice: 0,
                pid: 0,
                silence_ms: u32::MAX,
                heartbeat_s: u16::MAX,
                confidence: u8::MAX,
                count: suppressed.count,
            }
        };
        let key = &suppressed.key;
        let peer = key.peer.map(|peer| (peer.address, peer.port));
        let name = (&suppressed.host.name, suppressed.first, suppressed.last, suppressed.count, key.cause, key.origin, peer);
        self.add(&name, fact);
    }

    fn fact(&mut self, key: Key, event: &ResetEvent, rank: Rank, count: u64, (at, until): (Timestamp, Timestamp)) -> Fact {
        let routine = key.is_routine();
        let silence = words::silence_ms(event).filter(|_| !routine && incident::is_about_silence(event.cause.id));
        Fact {
            rank,
            at,
            until,
            severity: event.severity,
            incident: self.number(key),
            peer: if routine { 0 } else { self.peer(event) },
            advice: event.cause.advice.as_deref().filter(|_| !routine).map_or(0, |advice| self.texts.number(advice)),
            pid: event.process.as_ref().map_or(0, |process| process.pid),
            silence_ms: silence.map_or(u32::MAX, |silence| u32::try_from(silence).unwrap_or(u32::MAX - 1)),
            heartbeat_s: words::heartbeat_s(event).unwrap_or(u16::MAX),
            confidence: event.origin.confidence.map_or(u8::MAX, words::percent),
            count,
        }
    }

    fn peer(&mut self, event: &ResetEvent) -> u32 {
        let peer = &event.network.peer;
        match &peer.name {
            Some(name) => self.texts.number(&format!("{name} ({})", peer.address)),
            None => self.texts.number(&peer.address.to_string()),
        }
    }

    /// The number of an incident.
    fn number(&mut self, key: Key) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let key = if self.settled.len() < INCIDENTS { key } else { key.others() };
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let next = u32::try_from(self.settled.len()).unwrap_or(u32::MAX);
        self.settled.push((key.clone(), None));
        self.numbers.insert(key, next);
        next
    }

    fn add(&mut self, name: &impl std::hash::Hash, fact: Fact) {
        if let Some(fact) = self.ledger.add(name, fact) {
            settle(&mut self.settled, &fact, &self.texts);
        }
    }

    /// The story so far.
    pub fn paragraphs(&self) -> Vec<Paragraph> {
        let mut incidents = self.settled.clone();
        for fact in self.ledger.open() {
            settle(&mut incidents, fact, &self.texts);
        }
        let mut incidents: Vec<(Key, Incident)> = incidents.into_iter().filter_map(|(key, incident)| Some((key, incident?))).collect();
        let (routine, mut harmful): (Vec<_>, Vec<_>) = incidents.drain(..).partition(|(key, _)| key.is_routine());
        harmful.sort_by(|(key, incident), (other_key, other)| {
            let harm =
                |key: &Key, incident: &Incident| (key.outcome, std::cmp::Reverse((incident.worst, incident.connections)), incident.first);
            harm(key, incident).cmp(&harm(other_key, other)).then_with(|| key.cmp(other_key))
        });
        let mut paragraphs = vec![self.opening(&harmful)];
        let hosts = self.sight.hosts().nth(1).is_some();
        let told: Vec<Paragraph> = harmful
            .iter()
            .take(TOLD)
            .map(|(key, incident)| Paragraph {
                part: Part::Incident,
                severity: incident.worst,
                connections: incident.connections,
                text: incident.text(key, &self.texts, hosts, |first, last| self.when(first, last)),
                advice: incident.advice(&self.texts).map(ToOwned::to_owned),
            })
            .collect();
        // One incident has its advice beneath it.
        if let Some(first) = told.iter().find(|paragraph| paragraph.advice.is_some()).filter(|_| harmful.len() > 1) {
            let text = format!("First: {}.", first.advice.as_deref().unwrap_or_default());
            paragraphs.push(Paragraph { part: Part::First, severity: first.severity, connections: 0, text, advice: None });
        }
        paragraphs.extend(told);
        paragraphs.extend(others(harmful.get(TOLD..).unwrap_or_default()));
        paragraphs.extend(routine_paragraph(&routine));
        let not_seen = |text| Paragraph { part: Part::NotSeen, severity: Severity::Info, connections: 0, text, advice: None };
        paragraphs.extend(self.sight.sentences().into_iter().map(not_seen));
        if hosts {
            paragraphs.push(not_seen("A connection whose both ends were watched, on two hosts, is told by each of them.".to_owned()));
        }
        paragraphs
    }

    fn opening(&self, harmful: &[(Key, Incident)]) -> Paragraph {
        let mut outcomes: Vec<(Outcome, u64)> = Vec::new();
        for (key, incident) in harmful {
            match outcomes.last_mut().filter(|(outcome, _)| *outcome == key.outcome) {
                Some((_, count)) => *count += incident.connections,
                None => outcomes.push((key.outcome, incident.connections)),
            }
        }
        let connections = outcomes.iter().map(|(_, count)| count).sum();
        let severity = harmful.iter().map(|(_, incident)| incident.worst).max().unwrap_or(Severity::Info);
        let hosts: Vec<&str> = self.sight.hosts().collect();
        let place = match hosts.as_slice() {
            [] => String::new(),
            [only] => format!(" on {only}"),
            many => format!(" on {} hosts", many.len()),
        };
        let time = self.sight.span().map_or_else(String::new, |(first, last)| span(first, last));
        let text = match (self.sight.span(), outcomes.as_slice()) {
            (None, _) => "There are no events.".to_owned(),
            (Some(_), []) => format!("No connection was lost{place}{time}.{}", self.would_have_seen()),
            (Some(_), outcomes) => {
                let counts: Vec<String> = outcomes
                    .iter()
                    .map(|(outcome, number)| {
                        format!(
                            "{} {} {}",
                            words::count(*number, "connection"),
                            if *number == 1 { "was" } else { "were" },
                            outcome.participle()
                        )
                    })
                    .collect();
                let incidents = if harmful.len() == 1 { String::new() } else { format!(", in {} incidents", harmful.len()) };
                format!("{}{place}{time}{incidents}.", counts.join(", "))
            }
        };
        Paragraph { part: Part::Opening, severity, connections, text, advice: None }
    }

    /// What a quiet time is worth.
    fn would_have_seen(&self) -> String {
        if !self.sight.watched() {
            return " The lines do not say what was watched: whether there was nothing to see is not known.".to_owned();
        }
        if self.sight.is_blind() {
            return " But resets could not all be seen: see below.".to_owned();
        }
        format!(
            " A RST of a connection with port {}, sent or received, would have been seen, but for what is named below.",
            self.sight.ports()
        )
    }

    /// When something was, within the time of the whole story.
    fn when(&self, first: Timestamp, last: Timestamp) -> String {
        let days = self.sight.span().is_some_and(|(begin, end)| begin.strftime("%F").to_string() != end.strftime("%F").to_string());
        let time = |at: Timestamp| if days { at.strftime("%F %T").to_string() } else { at.strftime("%T").to_string() };
        let (from, until) = (time(first), time(last));
        if from == until { format!(" at {from}") } else { format!(" from {from} to {until}") }
    }
}

/// Adds a fact to its incident.
fn settle(incidents: &mut [(Key, Option<Incident>)], fact: &Fact, texts: &Texts) {
    if let Some((_, incident)) = usize::try_from(fact.incident).ok().and_then(|number| incidents.get_mut(number)) {
        incident.get_or_insert_with(|| Incident::new(fact.at)).add(fact, texts);
    }
}

/// What belongs to normal operation, by its causes.
fn routine_paragraph(routine: &[(Key, Incident)]) -> Option<Paragraph> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, incident) in routine {
        *counts.entry(key.cause.token()).or_default() += incident.connections;
    }
    let connections: u64 = counts.values().sum();
    let mut list: Vec<(&str, u64)> = counts.into_iter().collect();
    list.sort_by_key(|(cause, count)| (std::cmp::Reverse(*count), *cause));
    let list: Vec<String> = list.into_iter().map(|(cause, count)| format!("{count} {cause}")).collect();
    let text = format!("Besides, as in normal operation: {}.", list.join(", "));
    (connections > 0).then_some(Paragraph { part: Part::Routine, severity: Severity::Info, connections, text, advice: None })
}

/// What is left of the incidents, in one sentence.
fn others(incidents: &[(Key, Incident)]) -> Option<Paragraph> {
    let connections = incidents.iter().map(|(_, incident)| incident.connections).sum();
    let severity = incidents.iter().map(|(_, incident)| incident.worst).max()?;
    let text =
        format!("And {} with {}.", words::count(incidents.len() as u64, "smaller incident"), words::count(connections, "connection"));
    Some(Paragraph { part: Part::Others, severity, connections, text, advice: None })
}

/// A span of time, for an opening.
fn span(first: Timestamp, last: Timestamp) -> String {
    let (day, end) = (first.strftime("%F").to_string(), last.strftime("%F").to_string());
    let (from, until) = (first.strftime("%T"), last.strftime("%T"));
    if day == end { format!(", {day} {from} to {until} UTC") } else { format!(", {day} {from} to {end} {until} UTC") }
}
