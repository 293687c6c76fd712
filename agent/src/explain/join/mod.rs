//! Reports of the broker and ends of connections that agents saw, put together.
//!
//! An event belongs to a report when it has the same addresses and ports, whichever host saw it,
//! and happened close enough in time. Across NAT on the agent's host the translated addresses count
//! as well (`network.nat`), and across NAT elsewhere the initial sequence numbers, where another
//! event has the log's addresses and the same numbers. Of several, one that ended a connection goes
//! before one that the kernel did not act on; then the nearest in time is taken, since a client may
//! use its port again.
//!
//! How close: RabbitMQ reports what it reads from its socket at once, and closes right after it has
//! reported. Where the client's close is awaited (30 s, `CLOSING_TIMEOUT` in `rabbit_reader.erl`) a
//! second report follows at the end of it. That, and clocks that differ a little where the events
//! come from another host, is within [`BEFORE`] and [`AFTER`]. A missed heartbeat is another
//! matter: the connection may have been reset towards the client alone, by something between, and
//! RabbitMQ notices two to three intervals after the last byte.

mod near;
mod sight;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    rc::Rc,
};

use jiff::{SignedDuration, Timestamp};
pub use near::slack;
use near::{is_same, is_settled, near, settle_time};

use super::{coverage::Coverage, log::Report};
use crate::{
    event::Suppressed,
    model::Tuple,
    reader::record::{Ended, Found, Kind, Record},
};

/// How long before a report its end may have happened.
const BEFORE: SignedDuration = SignedDuration::from_secs(35);

/// How long after a report its end may happen.
const AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Events that are remembered.
pub const EVENTS: usize = 200_000;

/// Lines of folded resets that are remembered.
const FOLDED: usize = 10_000;

/// Addresses of a host that are remembered.
const ADDRESSES: usize = 4_096;

/// Other hosts' views of one end that are told.
const OTHERS: usize = 8;

/// Events that are looked at for one report.
const VIEWS: usize = 32;

/// What is to be said of a report.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A reset, or an end without one, and what other hosts saw of the same connection.
    Found { best: Rc<Found>, how: How, others: Vec<Rc<Found>> },
    /// The agent watched, and saw nothing; with the doubts that remain.
    NoReset {
        host: Option<String>,
        doubts: Option<String>,
        /// The host is the broker's end.
        broker: bool,
    },
    /// It could not have seen it; why, and in a word.
    NotSeen { why: String, class: &'static str },
}

/// How an event was found to be that of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// By its addresses and ports.
    Addresses,
    /// By the addresses of a translation.
    Nat,
    /// By initial sequence numbers.
    Sequence,
    /// By its ports alone, which no other connection had.
    Ports,
}

#[derive(Clone, Debug)]
struct Indexed {
    found: Rc<Found>,
    how: How,
}

#[derive(Debug)]
struct Pending {
    report: Report,
    best: Option<Indexed>,
    /// Views that fit, of all hosts.
    all: Vec<Indexed>,
}

/// What is known of one agent.
#[derive(Debug, Default)]
struct Agent {
    coverage: Coverage,
    /// Addresses that were its host's end of a connection.
    addresses: BTreeSet<IpAddr>,
}

/// Joins both, in whichever order they come.
#[derive(Debug, Default)]
pub struct Joiner {
    agents: BTreeMap<String, Agent>,
    events: HashMap<Tuple, Vec<Indexed>>,
    by_ports: HashMap<(u16, u16), Vec<Indexed>>,
    by_isn: HashMap<(u32, u32), Vec<Rc<Found>>>,
    order: VecDeque<(Vec<Tuple>, Rc<Found>)>,
    /// Resets that were folded, latest last.
    folded: VecDeque<Suppressed>,
    /// Events up to this time had to be forgotten.
    forgotten: Option<Timestamp>,
    pending: VecDeque<Pending>,
    /// Number of the first of them.
    first: u64,
    waiting: HashMap<Tuple, Vec<u64>>,
    waiting_ports: HashMap<(u16, u16), Vec<u64>>,
    any: bool,
    /// The host of the run that began last: that of lines without one.
    latest: String,
    /// All reports are known before the events, so that none of these has to be kept.
    passing: bool,
}

impl Joiner {
    /// One that takes in reports first and events after them, however many.
    pub fn passing() -> Self {
        Self { passing: true, ..Self::default() }
    }

    /// Takes in one line of the events.
    pub fn event(&mut self, record: Record) {
        self.any = true;
        match record {
            Record::Started(started) => {
                self.latest.clone_from(&started.host.name);
                self.agent(&started.host.name).coverage.started(&started);
            }
            Record::Reloaded(reloaded) => self.agent(&reloaded.host.name).coverage.reloaded(&reloaded),
            Record::Lost(lost) => self.agent(&lost.host.name).coverage.lost(&lost),
            Record::Stopped(stopped) => self.agent(&stopped.host.name).coverage.stopped(&stopped),
            Record::Suppressed(suppressed) => {
                self.agent(&suppressed.host.name).coverage.line(suppressed.timestamp);
                self.fold(*suppressed);
            }
            Record::Ended(ended) => self.ended(*ended),
            Record::Revised(ended) => {
                self.take_back(&ended.found);
                self.ended(*ended);
            }
            Record::Other { host, timestamp } => {
                if let (Some(host), Some(timestamp)) = (host, timestamp) {
                    self.agent(&host).coverage.line(timestamp);
                }
            }
        }
    }

    /// Takes in a report. It is answered in its turn by [`Joiner::answer`].
    pub fn report(&mut self, report: Report) {
        let mut pending = Pending { report, best: None, all: Vec::new() };
        let number = self.first + self.pending.len() as u64;
        if let Some(key) = pending.report.connection.map(key) {
            for indexed in self.events.get(&key).into_iter().flatten() {
                pending.consider(indexed);
            }
            self.waiting.entry(key).or_default().push(number);
        } else if let Some(ports) = pending.report.ports {
            for indexed in self.by_ports.get(&order(ports)).into_iter().flatten() {
                pending.consider(indexed);
            }
            self.waiting_ports.entry(order(ports)).or_default().push(number);
        }
        self.pending.push_back(pending);
    }

    /// Reports that are not answered.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Whether events had to be forgotten.
    pub const fn has_forgotten(&self) -> bool {
        self.forgotten.is_some()
    }

    /// Whether an event that ended the connection is known for the oldest report.
    pub fn is_clear(&self) -> bool {
        let clear = |indexed: &Indexed| indexed.found.ended() && indexed.found.kind == Kind::Reset && indexed.how != How::Ports;
        self.pending.front().is_some_and(|pending| pending.best.as_ref().is_some_and(clear))
    }

    /// The oldest report and what is to be said of it.
    pub fn answer(&mut self) -> Option<(Report, Answer)> {
        let Pending { mut report, best, all } = self.pending.pop_front()?;
        let number = self.first;
        self.first += 1;
        match (report.connection, report.ports) {
            (Some(connection), _) => forget(&mut self.waiting, &key(connection), number),
            (None, Some(ports)) => forget(&mut self.waiting_ports, &order(ports), number),
            (None, None) => {}
        }
        let best = best.filter(|best| best.how != How::Ports || is_settled(&best.found, &all));
        let Some(Indexed { found, how }) = best else {
            let answer = self.without(&mut report);
            return Some((report, answer));
        };
        settle_time(&mut report, found.timestamp);
        let answer = self.found(&found, how, &all);
        Some((report, answer))
    }

    /// The best event, or one that has the same initial sequence numbers and knows more; and what
    /// other hosts saw.
    fn found(&self, best: &Rc<Found>, how: How, all: &[Indexed]) -> Answer {
        let linked = best.isn.and_then(|isn| self.by_isn.get(&isn)).into_iter().flatten();
        let mut views: Vec<Indexed> =
            all.iter().cloned().chain(linked.map(|found| Indexed { found: Rc::clone(found), how: How::Sequence })).collect();
        let mut answer = Indexed { found: Rc::clone(best), how };
        // The kernel did not act on this one: the end itself may have been seen elsewhere.
        if !best.ended()
            && let Some(end) = views.iter().find(|view| view.found.ended() && near(view.found.timestamp, best.timestamp, BEFORE))
        {
            answer = end.clone();
        }
        let mut hosts: BTreeSet<&str> = BTreeSet::new();
        hosts.insert(host(&answer.found));
        views.sort_by_key(|view| (!view.found.ended(), view.found.timestamp.duration_since(answer.found.timestamp).abs()));
        let mut others = Vec::new();
        for view in &views {
            let near = near(view.found.timestamp, answer.found.timestamp, BEFORE);
            if near && others.len() < OTHERS && view.found.id != answer.found.id && hosts.insert(host(&view.found)) {
                others.push(Rc::clone(&view.found));
            }
        }
        Answer::Found { best: answer.found, how: answer.how, others }
    }

    fn fold(&mut self, mut suppressed: Suppressed) {
        suppressed.sample = None;
        if self.folded.len() >= FOLDED {
            self.forgotten = self.forgotten.max(self.folded.pop_front().map(|oldest| oldest.last));
        }
        self.folded.push_back(suppressed);
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { found, translated } = ended;
        let tuple = found.tuple();
        let host = found.host.as_ref().map_or(&self.latest, |host| &host.name);
        let agent = self.agents.entry(host.clone()).or_default();
        agent.coverage.line(found.timestamp);
        if agent.addresses.len() < ADDRESSES {
            agent.addresses.insert(tuple.local.ip());
        }
        let found = Rc::new(found);
        let mut keys = vec![key(tuple)];
        for tuple in translated {
            if !keys.contains(&key(tuple)) {
                keys.push(key(tuple));
            }
        }
        for (index, tuple) in keys.iter().enumerate() {
            let how = if index == 0 { How::Addresses } else { How::Nat };
            let indexed = Indexed { found: Rc::clone(&found), how };
            consider(&mut self.pending, self.first, self.waiting.get(tuple), &indexed);
            if !self.passing {
                self.events.entry(*tuple).or_default().push(indexed);
            }
        }
        let ports = order((tuple.local.port(), tuple.peer.port()));
        let indexed = Indexed { found: Rc::clone(&found), how: How::Ports };
        consider(&mut self.pending, self.first, self.waiting_ports.get(&ports), &indexed);
        if self.passing {
            return;
        }
        self.by_ports.entry(ports).or_default().push(indexed);
        if let Some(isn) = found.isn {
            self.by_isn.entry(isn).or_default().push(Rc::clone(&found));
        }
        self.order.push_back((keys, found));
        if self.order.len() > EVENTS {
            self.forget_oldest();
        }
    }

    /// Forgets the reset that `revised` tells anew. A revision comes soon after its reset.
    fn take_back(&mut self, revised: &Found) {
        for pending in &mut self.pending {
            pending.take_back(revised);
        }
        let latest = self.order.iter().rposition(|(_, found)| is_same(found, revised));
        if let Some((keys, found)) = latest.and_then(|index| self.order.remove(index)) {
            self.unindex(keys, &found);
        }
    }

    fn forget_oldest(&mut self) {
        let Some((keys, found)) = self.order.pop_front() else { return };
        self.forgotten = self.forgotten.max(Some(found.timestamp));
        self.unindex(keys, &found);
    }

    fn unindex(&mut self, keys: Vec<Tuple>, found: &Rc<Found>) {
        for tuple in keys {
            remove(&mut self.events, &tuple, |other| Rc::ptr_eq(&other.found, found));
        }
        remove(&mut self.by_ports, &order((found.local.port(), found.peer.port())), |other| Rc::ptr_eq(&other.found, found));
        if let Some(isn) = found.isn {
            remove(&mut self.by_isn, &isn, |other| Rc::ptr_eq(other, found));
        }
    }

    fn agent(&mut self, host: &str) -> &mut Agent {
        self.agents.entry(host.to_owned()).or_default()
    }
}

/// Holds an event against the reports that wait for one like it, by their numbers; `first` is that
/// of the first pending one.
fn consider(pending: &mut VecDeque<Pending>, first: u64, waiting: Option<&Vec<u64>>, indexed: &Indexed) {
    for number in waiting.into_iter().flatten() {
        let index = number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(pending) = index.and_then(|index| pending.get_mut(index)) {
            pending.consider(indexed);
        }
    }
}

fn host(found: &Found) -> &str {
    found.host.as_ref().map_or("", |host| &host.name)
}

fn forget<K: std::hash::Hash + Eq>(waiting: &mut HashMap<K, Vec<u64>>, key: &K, number: u64) {
    if let Some(numbers) = waiting.get_mut(key) {
        numbers.retain(|other| *other != number);
        if numbers.is_empty() {
            waiting.remove(key);
        }
    }
}

fn remove<K: std::hash::Hash + Eq, V>(index: &mut HashMap<K, Vec<V>>, key: &K, is_it: impl Fn(&V) -> bool) {
    if let Some(others) = index.get_mut(key) {
        others.retain(|other| !is_it(other));
        if others.is_empty() {
            index.remove(key);
        }
    }
}

/// The same for both ends of a connection.
fn key(connection: Tuple) -> Tuple {
    if connection.local <= connection.peer { connection } else { connection.reversed() }
}

/// The same for both ends.
fn order((one, other): (u16, u16)) -> (u16, u16) {
    (one.min(other), one.max(other))
}
