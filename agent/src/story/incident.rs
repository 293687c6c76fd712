//! What belongs together: one cause, by one sender, of the connections of one owner.

use std::{collections::BTreeSet, fmt::Write as _};

use jiff::Timestamp;

use super::{
    ledger::{Fact, Rank},
    texts::Texts,
    words::{self, Outcome},
};
use crate::{
    event::{AmqpRole, Endpoint, ResetEvent, Suppressed},
    model::{CauseId, KnownFrom, OriginKind, Role, Severity},
};

/// Peers, and processes, that are told apart; the smallest ones, so that their order does not
/// matter.
const APART: usize = 1 << 10;

/// Shorter silence explains nothing, milliseconds.
const SILENCE: u32 = 1_000;

/// What all connections of an incident have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub outcome: Outcome,
    pub severity: Severity,
    pub host: String,
    pub origin: OriginKind,
    pub cause: CauseId,
    /// Who did it, in words: a process, a middlebox, a peer.
    pub sender: String,
    /// Whose connections they were: the name of a process of the host.
    pub owner: String,
    pub client: bool,
    /// What the cause needs said: a signal, a code.
    pub detail: String,
}

impl Key {
    /// That of a line, but for its severity: what repeats belongs to what it repeats.
    pub fn of(event: &ResetEvent, host: &str) -> Self {
        let outcome = Outcome::of(event.effect);
        let routine = event.severity == Severity::Info;
        let role = words::role(event);
        // Whoever had the socket destroyed did not own it.
        let owner = event.process.as_ref().filter(|process| process.known_from != KnownFrom::Destroy);
        let owner = owner.map(|process| process.executable.name.clone()).unwrap_or_default();
        Self {
            outcome,
            // Routine is told in one sentence; a number of severities of one incident is the worst.
            severity: if routine { Severity::Info } else { Severity::Warning },
            host: host.to_owned(),
            origin: event.origin.kind,
            cause: event.cause.id,
            sender: if routine { String::new() } else { sender(event, role, &owner) },
            owner: if routine { String::new() } else { owner },
            client: role == Role::Client && !routine,
            detail: if routine { String::new() } else { detail(event) },
        }
    }

    /// That of folded lines without a sample.
    pub fn folded(suppressed: &Suppressed) -> Self {
        let key = &suppressed.key;
        let outcome = match key.cause {
            CauseId::NoListener | CauseId::Refused | CauseId::ListenOverflow => Outcome::Refused,
            CauseId::HandshakeAborted => Outcome::Aborted,
            CauseId::StaleConnection => Outcome::Harmless,
            _ => Outcome::Lost,
        };
        let routine = matches!(key.cause, CauseId::RoutineClose) || outcome == Outcome::Harmless;
        Self {
            outcome,
            severity: if routine { Severity::Info } else { Severity::Warning },
            host: suppressed.host.name.clone(),
            origin: key.origin,
            cause: key.cause,
            sender: if routine { String::new() } else { anyone(key.origin).to_owned() },
            owner: String::new(),
            client: key.peer.is_some_and(|peer| peer.port.is_some()) && !routine,
            detail: String::new(),
        }
    }

    /// What is too much to be told apart.
    pub fn others(&self) -> Self {
        Self { sender: String::new(), owner: String::new(), detail: String::new(), host: String::new(), ..self.clone() }
    }

    pub const fn is_routine(&self) -> bool {
        matches!(self.severity, Severity::Info)
    }
}

/// Who did it, as the subject of a sentence.
fn sender(event: &ResetEvent, role: Role, owner: &str) -> String {
    let origin = &event.origin;
    match origin.kind {
        OriginKind::LocalProcess if !owner.is_empty() => owner.to_owned(),
        OriginKind::LocalHost | OriginKind::LocalProcess if event.cause.id == CauseId::SocketDestroyed => {
            event.process.as_ref().map_or_else(|| anyone(origin.kind).to_owned(), |process| process.executable.name.clone())
        }
        OriginKind::RemotePeer => named(&event.network.peer, if role == Role::Client { "the broker" } else { "the client" }),
        OriginKind::Middlebox => {
            let mut text = "the middlebox".to_owned();
            match (&origin.name, origin.address) {
                (Some(name), Some(address)) => _ = write!(text, " {name} at {address}"),
                (Some(name), None) => _ = write!(text, " {name}"),
                (None, Some(address)) => _ = write!(text, " {address}"),
                (None, None) => "a middlebox".clone_into(&mut text),
            }
            if let Some(hops) = origin.hops.filter(|hops| *hops > 0) {
                let _infallible = write!(text, " ({} away)", words::count(u64::from(hops), "hop"));
            }
            text
        }
        other => anyone(other).to_owned(),
    }
}

/// Who did it, where no more is known.
const fn anyone(origin: OriginKind) -> &'static str {
    match origin {
        OriginKind::LocalProcess => "a process of this host",
        OriginKind::LocalHost => "this host's kernel",
        OriginKind::RemotePeer => "the peer",
        OriginKind::Middlebox => "a middlebox",
        OriginKind::Unknown => "the peer, or something in its name,",
    }
}

fn named(end: &Endpoint, what: &str) -> String {
    end.name.as_ref().map_or_else(|| format!("{what} {}", end.address), |name| format!("{what} {name} ({})", end.address))
}

/// What else the clause of a cause says.
fn detail(event: &ResetEvent) -> String {
    match event.cause.id {
        CauseId::ProcessKilled | CauseId::ProcessCrashed => {
            let Some(exit) = event.process.as_ref().and_then(|process| process.exit.as_ref()) else { return String::new() };
            let mut text = exit.signal.clone().unwrap_or_default();
            if exit.oom == Some(true) {
                text.push_str(" by the out-of-memory killer");
            } else if let Some(by) = &exit.sent_by {
                let _infallible = write!(text, " from {}", by.name);
            }
            text
        }
        CauseId::ForcedClose => event.amqp.as_ref().and_then(|amqp| amqp.close.as_ref()).map_or_else(String::new, |close| {
            let who = if close.from == AmqpRole::Broker { "the broker" } else { "the client" };
            format!("{who} closed AMQP with {} {}", close.code, close.text.as_deref().unwrap_or_default()).trim_end().to_owned()
        }),
        _ => String::new(),
    }
}

/// An incident, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub connections: u64,
    /// Of them, those that ended without a RST.
    without_rst: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    peers: BTreeSet<u32>,
    pids: BTreeSet<u32>,
    silence: Option<(u32, u32)>,
    silences: u64,
    heartbeats_off: u64,
    heartbeats_on: u64,
    confidence: Option<(u8, u8)>,
    /// That of the latest connection that has one.
    latest: Option<(Timestamp, u32)>,
    pub worst: Severity,
}

impl Incident {
    /// One of which nothing is known yet.
    pub const fn new(at: Timestamp) -> Self {
        Self {
            connections: 0,
            without_rst: 0,
            first: at,
            last: at,
            peers: BTreeSet::new(),
            pids: BTreeSet::new(),
            silence: None,
            silences: 0,
            heartbeats_off: 0,
            heartbeats_on: 0,
            confidence: None,
            latest: None,
            worst: Severity::Info,
        }
    }

    /// Adds what one line tells.
    pub fn add(&mut self, fact: &Fact, texts: &Texts) {
        self.connections = self.connections.saturating_add(fact.count);
        self.without_rst += if fact.rank == Rank::Ending { fact.count } else { 0 };
        self.first = self.first.min(fact.at);
        self.last = self.last.max(fact.until);
        keep_smallest(&mut self.peers, fact.peer);
        keep_smallest(&mut self.pids, fact.pid);
        if fact.silence_ms != u32::MAX {
            self.silences += fact.count;
            self.silence = Some(span(self.silence, fact.silence_ms));
        }
        match fact.heartbeat_s {
            0 => self.heartbeats_off += fact.count,
            u16::MAX => {}
            _ => self.heartbeats_on += fact.count,
        }
        if fact.confidence != u8::MAX {
            self.confidence = Some(span(self.confidence, fact.confidence));
        }
        self.worst = self.worst.max(fact.severity);
        // By the text, not by its number: that depends on the order of the lines.
        let place = |(at, advice): (Timestamp, u32)| (at, texts.text(advice).map(ToOwned::to_owned));
        if fact.advice != 0 && self.latest.is_none_or(|latest| place(latest) < place((fact.until, fact.advice))) {
            self.latest = Some((fact.until, fact.advice));
        }
    }

    /// What to do, in the words of the latest connection.
    pub fn advice<'a>(&self, texts: &'a Texts) -> Option<&'a str> {
        texts.text(self.latest?.1)
    }

    /// The incident in sentences.
    pub fn text(&self, key: &Key, texts: &Texts, hosts: bool, time: impl Fn(Timestamp, Timestamp) -> String) -> String {
        let one = self.connections == 1;
        let mut text = words::count(self.connections, "connection");
        let peers = self.peers(texts);
        let (of, with) = match (key.client, key.owner.as_str()) {
            (true, "") => (String::new(), format!(" to {peers}")),
            (true, owner) => (format!(" of {owner}"), format!(" to {peers}")),
            (false, "") => (format!(" of {peers}"), String::new()),
            (false, owner) => (format!(" of {peers}"), format!(" with {owner}")),
        };
        text.push_str(&of);
        text.push_str(&with);
        let (was, them) = if one { ("was", "it") } else { ("were", "them") };
        let clause = words::clause(key.cause, key.origin, &key.sender, &key.detail, them);
        let on = if hosts && !key.host.is_empty() { format!(" on {}", key.host) } else { String::new() };
        let _infallible = write!(text, " {was} {}{on}{}: {clause}", key.outcome.participle(), time(self.first, self.last));
        self.numbers(key, &mut text);
        text.push('.');
        text
    }

    /// What can be checked by hand.
    fn numbers(&self, key: &Key, text: &mut String) {
        let part = |some: u64| if some == self.connections { String::new() } else { format!("{some} of them ") };
        if let Some((shortest, longest)) = self.silence.filter(|(_, longest)| is_about_silence(key.cause) && *longest >= SILENCE) {
            let (shortest, longest) = (words::length(u64::from(shortest)), words::length(u64::from(longest)));
            let range = if shortest == longest { longest } else { format!("{shortest} to {longest}") };
            let _infallible = write!(text, ", {}after {range} of silence", part(self.silences));
        }
        if let Some((least, most)) = self.confidence {
            let range = if least == most { most.to_string() } else { format!("{least} to {most}") };
            let _infallible = write!(text, " ({range}% sure who)");
        } else if key.origin == OriginKind::Unknown && key.cause != CauseId::Unknown {
            text.push_str(" (who is not settled)");
        }
        if self.without_rst > 0 {
            let _infallible = write!(text, "; {}without a RST", part(self.without_rst));
        }
        if is_about_silence(key.cause) && self.heartbeats_off > 0 {
            let on = if self.heartbeats_on > 0 { format!(", on {} they were on", self.heartbeats_on) } else { String::new() };
            let _infallible = match self.connections {
                1 => write!(text, ". Heartbeats were off"),
                all if all == self.heartbeats_off => write!(text, ". Heartbeats were off on all of them"),
                _ => write!(text, ". Heartbeats were off on {} of them{on}", self.heartbeats_off),
            };
        }
        let pids = self.pids.iter().filter(|pid| **pid != 0).count();
        if pids > 1 {
            let more = if pids >= APART - 1 { " or more" } else { "" };
            let _infallible = write!(text, "; {pids}{more} processes");
        }
    }

    /// The peers, in words.
    fn peers(&self, texts: &Texts) -> String {
        let mut known: Vec<&str> = self.peers.iter().filter_map(|peer| texts.text(*peer)).collect();
        known.sort_unstable();
        let more = if self.peers.len() >= APART { " or more" } else { "" };
        match known.as_slice() {
            [] => "peers that are not known".to_owned(),
            [only] if self.peers.len() == 1 => (*only).to_owned(),
            [one, other] if self.peers.len() == 2 => format!("{one} and {other}"),
            _ => format!("{}{more} peers", self.peers.len()),
        }
    }
}

/// Whether silence is what a cause is about.
pub(super) const fn is_about_silence(cause: CauseId) -> bool {
    matches!(cause, CauseId::IdleTimeout | CauseId::HeartbeatTimeout | CauseId::KeepaliveTimeout | CauseId::StateLost | CauseId::TimedOut)
}

fn keep_smallest(numbers: &mut BTreeSet<u32>, number: u32) {
    numbers.insert(number);
    if numbers.len() > APART {
        numbers.pop_last();
    }
}

fn span<T: Ord + Copy>(before: Option<(T, T)>, value: T) -> (T, T) {
    before.map_or((value, value), |(least, most)| (least.min(value), most.max(value)))
}
