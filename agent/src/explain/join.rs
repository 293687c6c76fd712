//! Reports of the broker and ends of connections that agents saw, put together.
//!
//! An event belongs to a report when it has the same addresses and ports, whichever host saw it, and happened close enough in time. Across NAT on
//! the agent's host the translated addresses count as well (`network.nat`), and across NAT elsewhere the initial sequence numbers, where another
//! event has the log's addresses and the same numbers. Of several, one that ended a connection goes before one that the kernel did not act on;
//! then the nearest in time is taken, since a client may use its port again.
//!
//! How close: RabbitMQ reports what it reads from its socket at once, and closes right after it has reported. Where the client's close is awaited
//! (30 s, `CLOSING_TIMEOUT` in `rabbit_reader.erl`) a second report follows at the end of it. That, and clocks that differ a little where the
//! events come from another host, is within [`BEFORE`] and [`AFTER`]. A missed heartbeat is another matter: the connection may have been reset
//! towards the client alone, by something between, and RabbitMQ notices two to three intervals after the last byte.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    coverage::{Coverage, Sight},
    log::{Reason, Report},
    record::{Ended, Found, Kind, Record},
};
use crate::{
    event::{Suppressed, SuppressedKey},
    flow::Tuple,
};

/// How long before a report its end may have happened.
const BEFORE: Duration = Duration::from_secs(35);

/// How long after a report its end may happen.
const AFTER: Duration = Duration::from_secs(5);

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

    /// The best event, or one that has the same initial sequence numbers and knows more; and what other hosts saw.
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

    fn without(&self, report: &mut Report) -> Answer {
        let not_seen = |why: String, class| Answer::NotSeen { why, class };
        if !self.any {
            return not_seen("there are no events".to_owned(), "no events");
        }
        let Some(connection) = report.connection else {
            let why = match report.ports {
                Some((client, broker)) => format!(
                    "the log has host names for addresses here, and the events have no connection, or more than one, from port {client} to port {broker} at that time"
                ),
                None => "the log names no addresses here, and no line before it says whose process this is, so that no event can be told to be that of this connection".to_owned(),
            };
            return not_seen(why, "no addresses in the log");
        };
        let times: Vec<Timestamp> = report.time.into_iter().chain(report.or.iter().copied()).collect();
        if times.is_empty() {
            return not_seen("the log has no time here, and the events have no end of this connection".to_owned(), "no time in the log");
        }
        // Where the log has whole seconds, the agent may have watched during a part of it.
        let late = slack(report);
        let ends = times.iter().filter(|_| report.whole_seconds).filter_map(|at| at.checked_add(late).ok());
        let moments: Vec<Timestamp> = times.iter().copied().chain(ends).collect();
        let mut blind = None;
        for at in &moments {
            let earliest = at.saturating_sub(before(&report.reason)).unwrap_or(Timestamp::MIN);
            match self.sight(earliest, *at, connection) {
                answer @ Answer::NoReset { .. } => {
                    settle_time(report, *at);
                    return answer;
                }
                other => blind = blind.or(Some(other)),
            }
        }
        blind.unwrap_or_else(|| not_seen("there are no events".to_owned(), "no events"))
    }

    /// What the agents could know of a moment.
    fn sight(&self, earliest: Timestamp, at: Timestamp, connection: Tuple) -> Answer {
        let not_seen = |why: String, class| Answer::NotSeen { why, class };
        if let Some(forgotten) = self.forgotten.filter(|forgotten| earliest <= *forgotten) {
            return not_seen(
                format!("events up to {} were too many to be kept; give the log as a file", forgotten.strftime("%FT%TZ")),
                "too many events",
            );
        }
        if let Some(folded) = self.folded_about(earliest, at, connection) {
            return not_seen(folded, "folded");
        }
        let ends = [connection.local.ip(), connection.peer.ip()];
        let is_end = |agent: &Agent| ends.iter().any(|end| agent.addresses.contains(end));
        let (mut blind, mut strangers): (Option<(bool, String)>, Vec<&str>) = (None, Vec::new());
        let mut unsure = None;
        for (host, agent) in &self.agents {
            match agent.coverage.sight(earliest, at, connection) {
                Sight::Blind(why) => {
                    let is_better = blind.as_ref().is_none_or(|(known, _)| !known && is_end(agent));
                    if is_better {
                        blind = Some((is_end(agent), why));
                    }
                }
                Sight::Watching(doubts) if is_end(agent) => {
                    let broker = agent.addresses.contains(&connection.local.ip());
                    return Answer::NoReset { host: Some(host.clone()), doubts, broker };
                }
                Sight::Watching(doubts) if agent.addresses.is_empty() => unsure = unsure.or(Some((host, doubts))),
                Sight::Watching(_) => strangers.push(host),
            }
        }
        if let Some((host, doubts)) = unsure {
            let unknown = format!("nothing in the events shows that {host} has either address");
            let doubts = doubts.map_or_else(|| unknown.clone(), |doubts| format!("{doubts}; {unknown}"));
            return Answer::NoReset { host: None, doubts: Some(doubts), broker: false };
        }
        if let (false, None | Some((false, _))) = (strangers.is_empty(), &blind) {
            return not_seen(stranger(&strangers, connection), "neither end is the agent's host");
        }
        match blind {
            Some((_, why)) => not_seen(why, "the agent did not watch"),
            None => not_seen("there are no events".to_owned(), "no events"),
        }
    }

    fn fold(&mut self, mut suppressed: Suppressed) {
        suppressed.sample = None;
        if self.folded.len() >= FOLDED {
            self.forgotten = self.forgotten.max(self.folded.pop_front().map(|oldest| oldest.last));
        }
        self.folded.push_back(suppressed);
    }

    /// The folded resets that one of this connection may be among: the latest line that fits, those of its own peer first.
    fn folded_about(&self, earliest: Timestamp, at: Timestamp, connection: Tuple) -> Option<String> {
        let latest = at.saturating_add(SignedDuration::try_from(AFTER).unwrap_or_default()).unwrap_or(Timestamp::MAX);
        let fits = |ends: [SocketAddr; 2], key: &SuppressedKey| match (&key.peer, &key.local) {
            (Some(peer), Some(local)) => {
                let [other, own] = ends;
                other.ip() == peer.address && own.port() == local.port
            }
            (Some(peer), None) => ends.iter().any(|end| end.ip() == peer.address && Some(end.port()) == peer.port),
            (None, _) => true,
        };
        let Tuple { local, peer } = connection;
        let of_it = |folded: &&Suppressed| {
            let near = folded.first <= latest && folded.last >= earliest;
            near && [[local, peer], [peer, local]].into_iter().any(|ends| fits(ends, &folded.key))
        };
        let found = self.folded.iter().filter(of_it).max_by_key(|folded| (folded.key.peer.is_some(), folded.last))?;
        Some(format!(
            "it may be among those that were too many to be written one by one at {}: {}",
            found.first.strftime("%FT%TZ"),
            found.message
        ))
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { found, tuple, translated } = ended;
        let latest = self.latest.clone();
        let agent = self.agent(found.host.as_ref().map_or(&latest, |host| &host.name));
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
            for number in self.waiting.get(tuple).into_iter().flatten() {
                let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
                if let Some(pending) = index.and_then(|index| self.pending.get_mut(index)) {
                    pending.consider(&indexed);
                }
            }
            if !self.passing {
                self.events.entry(*tuple).or_default().push(indexed);
            }
        }
        let ports = order((tuple.local.port(), tuple.peer.port()));
        let indexed = Indexed { found: Rc::clone(&found), how: How::Ports };
        for number in self.waiting_ports.get(&ports).into_iter().flatten() {
            let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(pending) = index.and_then(|index| self.pending.get_mut(index)) {
                pending.consider(&indexed);
            }
        }
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

    fn forget_oldest(&mut self) {
        let Some((keys, found)) = self.order.pop_front() else { return };
        self.forgotten = self.forgotten.max(Some(found.timestamp));
        for tuple in keys {
            remove(&mut self.events, &tuple, |other| Rc::ptr_eq(&other.found, &found));
        }
        remove(&mut self.by_ports, &order((found.local.port(), found.peer.port())), |other| Rc::ptr_eq(&other.found, &found));
        if let Some(isn) = found.isn {
            remove(&mut self.by_isn, &isn, |other| Rc::ptr_eq(other, &found));
        }
    }

    fn agent(&mut self, host: &str) -> &mut Agent {
        if !self.agents.contains_key(host) {
            self.agents.insert(host.to_owned(), Agent::default());
        }
        self.agents.entry(host.to_owned()).or_default()
    }
}

impl Pending {
    /// Takes an event of the same connection if it is near enough, and better than the one before.
    fn consider(&mut self, indexed: &Indexed) {
        let Some(distance) = distance(&self.report, indexed.found.timestamp) else { return };
        if self.all.len() < VIEWS {
            self.all.push(indexed.clone());
        }
        let place = |indexed: &Indexed, distance: SignedDuration| (rank(&indexed.found), distance, indexed.how);
        let before =
            self.best.as_ref().map(|best| place(best, self::distance(&self.report, best.found.timestamp).unwrap_or(SignedDuration::MAX)));
        if before.is_none_or(|before| place(indexed, distance) < before) {
            self.best = Some(indexed.clone());
        }
    }
}

/// What ended the connection by a reset goes first, then what ended it without one, then what the kernel did not act on.
fn rank(found: &Found) -> (bool, Kind) {
    (!found.ended(), found.kind)
}

/// Whether ports alone say what happened: no other connection had them, or all that had them ended alike.
fn is_settled(best: &Found, all: &[Indexed]) -> bool {
    let verdict = |found: &Found| (Found::text(&found.origin, "kind").to_owned(), Found::text(&found.cause, "id").to_owned(), found.kind);
    let others = all.iter().filter(|view| key(view.found.tuple()) != key(best.tuple()));
    all.len() < VIEWS && others.into_iter().all(|view| view.found.ended() && verdict(&view.found) == verdict(best))
}

/// How far an event is from a report, by the instant that fits best; `None` if it is too far. A report without a time has no distance.
fn distance(report: &Report, at: Timestamp) -> Option<SignedDuration> {
    if report.time.is_none() {
        return Some(SignedDuration::ZERO);
    }
    let after = SignedDuration::try_from(AFTER).unwrap_or_default();
    let slack = slack(report);
    let before = before(&report.reason);
    let times = report.time.into_iter().chain(report.or.iter().copied());
    let late = |time: Timestamp| {
        let later = at.duration_since(time);
        if later.is_positive() { (later - slack).max(SignedDuration::ZERO) } else { later }
    };
    let near = times.map(late).filter(|later| -*later <= before && *later <= after);
    near.map(SignedDuration::abs).min()
}

/// How much later than the log's time a report may have been.
pub fn slack(report: &Report) -> SignedDuration {
    if report.whole_seconds { SignedDuration::from_millis(999) } else { SignedDuration::ZERO }
}

/// Of the instants that a report's time may mean, the one that `at` says.
fn settle_time(report: &mut Report, at: Timestamp) {
    let nearest = report.time.into_iter().chain(report.or.iter().copied()).min_by_key(|time| at.duration_since(*time).abs());
    report.time = nearest;
    report.or.clear();
}

fn near(one: Timestamp, other: Timestamp, within: Duration) -> bool {
    one.duration_since(other).abs() <= SignedDuration::try_from(within).unwrap_or_default()
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

/// How long before the report an event may have happened.
fn before(reason: &Reason) -> SignedDuration {
    let before = match reason {
        Reason::MissedHeartbeats { interval } => BEFORE + 3 * *interval,
        _ => BEFORE,
    };
    SignedDuration::try_from(before).unwrap_or_default()
}

/// Why nothing is known of a connection of which no watched host is an end.
fn stranger(hosts: &[&str], connection: Tuple) -> String {
    let names = hosts.iter().map(|host| if host.is_empty() { "the agent's host" } else { host }).collect::<Vec<_>>().join(", ");
    format!(
        "no event shows {names} as an end of this connection ({} -> {}): these may be the addresses that a proxy announces (PROXY protocol) or that NAT \
         translates elsewhere, and the agent's host has another connection, of which the log does not speak; run the agent on {} as well",
        connection.peer,
        connection.local,
        connection.local.ip()
    )
}
