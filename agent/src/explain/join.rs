//! Reports of the broker and resets of the agent, put together.
//!
//! A reset belongs to a report when it has the same addresses and ports, whichever host saw it, and happened close enough in time. Of several, one
//! that ended a connection goes before one that the kernel did not act on; then the nearest in time is taken, since a client may use its port
//! again.
//!
//! How close: RabbitMQ reports what it reads from its socket at once, and closes right after it has reported. Where the client's close is awaited
//! (30 s, `CLOSING_TIMEOUT` in `rabbit_reader.erl`) a second report follows at the end of it. That, and clocks that differ a little where the
//! events come from another host, is within [`BEFORE`] and [`AFTER`]. A missed heartbeat is another matter: the connection may have been reset
//! towards the client alone, by something between, and RabbitMQ notices two to three intervals after the last byte.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    coverage::{Coverage, Sight},
    log::{Reason, Report},
};
use crate::{
    event::{Cause, Direction, Effect, Event, Host, Origin, ResetEvent, Severity, Suppressed, SuppressedKey},
    flow::Tuple,
};

/// How long before a report its reset may have happened.
const BEFORE: Duration = Duration::from_secs(35);

/// How long after a report its reset may happen.
const AFTER: Duration = Duration::from_secs(5);

/// Resets that are remembered for reports to come.
const RESETS: usize = 50_000;

/// Lines of folded resets that are remembered.
const FOLDED: usize = 10_000;

/// What is kept of a reset.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Its `id` among the events.
    pub id: String,
    pub timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    pub severity: Severity,
    pub direction: Direction,
    pub effect: Effect,
    pub origin: Origin,
    pub cause: Cause,
}

/// What is to be said of a report.
#[derive(Clone, Debug)]
pub enum Answer {
    Reset(Rc<Found>),
    /// The agent watched, and saw none; with the doubts that remain.
    NoReset(Option<String>),
    /// It could not have seen one; why.
    NotSeen(String),
}

#[derive(Debug)]
struct Pending {
    report: Report,
    best: Option<Rc<Found>>,
}

/// Joins both, in whichever order they come.
#[derive(Debug, Default)]
pub struct Joiner {
    coverage: Coverage,
    resets: HashMap<Tuple, Vec<Rc<Found>>>,
    order: VecDeque<Tuple>,
    /// Resets that were folded, latest last.
    folded: VecDeque<Suppressed>,
    /// Resets up to this time had to be forgotten.
    forgotten: Option<Timestamp>,
    pending: VecDeque<Pending>,
    /// Number of the first of them.
    first: u64,
    waiting: HashMap<Tuple, Vec<u64>>,
}

impl Joiner {
    /// Takes in one line of the events.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::AgentStarted(started) => self.coverage.started(&started),
            Event::Rst(reset) | Event::ConnectionEnded(reset) => {
                self.coverage.line(reset.timestamp);
                self.reset(*reset);
            }
            Event::RstSuppressed(suppressed) | Event::EndingsSuppressed(suppressed) => {
                self.coverage.line(suppressed.timestamp);
                self.folded(*suppressed);
            }
            Event::AgentReloaded(reloaded) => self.coverage.reloaded(&reloaded),
            Event::EventsLost(lost) => self.coverage.lost(&lost),
            Event::AgentStopped(stopped) => self.coverage.stopped(&stopped),
        }
    }

    /// Takes in a report. It is answered in its turn by [`Joiner::answer`].
    pub fn report(&mut self, report: Report) {
        let mut pending = Pending { report, best: None };
        if let Some(key) = pending.report.connection.map(key) {
            for found in self.resets.get(&key).into_iter().flatten() {
                pending.consider(found);
            }
            self.waiting.entry(key).or_default().push(self.first + self.pending.len() as u64);
        }
        self.pending.push_back(pending);
    }

    /// Reports that are not answered.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Whether a reset that ended the connection is known for the oldest report.
    pub fn is_clear(&self) -> bool {
        self.pending.front().is_some_and(|pending| pending.best.as_ref().is_some_and(|found| ended(found)))
    }

    /// The oldest report and what is to be said of it.
    pub fn answer(&mut self) -> Option<(Report, Answer)> {
        let Pending { report, best } = self.pending.pop_front()?;
        let number = self.first;
        self.first += 1;
        if let Some(key) = report.connection.map(key)
            && let Some(numbers) = self.waiting.get_mut(&key)
        {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.waiting.remove(&key);
            }
        }
        let answer = best.map_or_else(|| self.without_reset(&report), Answer::Reset);
        Some((report, answer))
    }

    fn without_reset(&self, report: &Report) -> Answer {
        let Some(connection) = report.connection else {
            return Answer::NotSeen(
                "the log names no addresses here, so that no reset can be told to be that of this connection".to_owned(),
            );
        };
        let earliest = report.time.saturating_sub(before(&report.reason)).unwrap_or(Timestamp::MIN);
        if let Some(forgotten) = self.forgotten.filter(|forgotten| earliest <= *forgotten) {
            return Answer::NotSeen(format!(
                "resets up to {} were too many to be kept; give the log as a file",
                forgotten.strftime("%FT%TZ")
            ));
        }
        if let Some(folded) = self.folded_about(earliest, report.time, connection) {
            return Answer::NotSeen(folded);
        }
        match self.coverage.sight(earliest, report.time, connection) {
            Sight::Watching(doubts) => Answer::NoReset(doubts),
            Sight::Blind(why) => Answer::NotSeen(why),
        }
    }

    fn folded(&mut self, mut suppressed: Suppressed) {
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

    fn reset(&mut self, reset: ResetEvent) {
        let end = |end: &crate::event::Endpoint| SocketAddr::new(end.address, end.port);
        let key = key(Tuple::new(end(&reset.network.local), end(&reset.network.peer)));
        let ResetEvent { id, timestamp, host, severity, direction, effect, origin, cause, .. } = reset;
        let found = Rc::new(Found { id, timestamp, host, severity, direction, effect, origin, cause });
        for number in self.waiting.get(&key).into_iter().flatten() {
            let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
            if let Some(pending) = index.and_then(|index| self.pending.get_mut(index)) {
                pending.consider(&found);
            }
        }
        if self.order.len() >= RESETS
            && let Some(oldest) = self.order.pop_front()
            && let Some(resets) = self.resets.get_mut(&oldest)
        {
            self.forgotten = self.forgotten.max(resets.first().map(|found| found.timestamp));
            resets.drain(..1.min(resets.len()));
            if resets.is_empty() {
                self.resets.remove(&oldest);
            }
        }
        self.order.push_back(key);
        self.resets.entry(key).or_default().push(found);
    }
}

impl Pending {
    /// Takes a reset of the same connection if it is near enough, and nearer than the one before.
    fn consider(&mut self, found: &Rc<Found>) {
        let after_report = found.timestamp.duration_since(self.report.time);
        let near_enough =
            -after_report <= before(&self.report.reason) && after_report <= SignedDuration::try_from(AFTER).unwrap_or_default();
        let rank = |found: &Found| (!ended(found), found.timestamp.duration_since(self.report.time).abs());
        if near_enough && self.best.as_ref().is_none_or(|best| rank(found) < rank(best)) {
            self.best = Some(Rc::clone(found));
        }
    }
}

/// The same for both ends of a connection.
fn key(connection: Tuple) -> Tuple {
    if connection.local <= connection.peer { connection } else { connection.reversed() }
}

/// Whether it took a connection down.
fn ended(found: &Found) -> bool {
    !matches!(found.effect, Effect::Ignored | Effect::Answered)
}

/// How long before the report a reset may have happened.
fn before(reason: &Reason) -> SignedDuration {
    let before = match reason {
        Reason::MissedHeartbeats { interval } => BEFORE + 3 * *interval,
        _ => BEFORE,
    };
    SignedDuration::try_from(before).unwrap_or_default()
}
