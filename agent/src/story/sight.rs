//! What the story may be missing: when no agent ran, what it could not see, what was lost.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::words;
use crate::{
    event::{Event, FellOut, Started, Stopped},
    model::CoverageState,
};

/// Runs, and totals of losses, that are remembered of each host.
const RUNS: usize = 100_000;

/// Hosts that are told apart.
const HOSTS: usize = 1_000;

/// Without these a reset is not seen at all.
const HOOKS: [&str; 2] = ["tcp_receive_reset", "tcp_send_reset"];

/// What is known of the agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    hosts: BTreeMap<String, Host>,
    /// From the first line to the last.
    span: Option<(Timestamp, Timestamp)>,
}

#[derive(Clone, Debug, Default)]
struct Host {
    /// When each run began, and on which ports.
    starts: BTreeMap<Timestamp, String>,
    /// What each run had lost by then.
    lost: BTreeMap<Timestamp, u64>,
    stops: BTreeSet<Timestamp>,
    /// What it could not see, with the reason, and in how many runs.
    blind: BTreeMap<String, (bool, u64)>,
    /// Whether ends without a RST were told.
    fell_out: BTreeMap<&'static str, u64>,
    span: Option<(Timestamp, Timestamp)>,
}

impl Sight {
    /// Takes in a line, if it says something about an agent, and the time of any.
    pub fn event(&mut self, event: &Event) {
        let (at, host) = match event {
            Event::AgentStarted(started) => (started.timestamp, Some(started.host.name.as_str())),
            Event::AgentReloaded(reloaded) => (reloaded.timestamp, Some(reloaded.host.name.as_str())),
            Event::EventsLost(lost) => (lost.timestamp, Some(lost.host.name.as_str())),
            Event::AgentStopped(stopped) => (stopped.timestamp, Some(stopped.host.name.as_str())),
            Event::RstSuppressed(suppressed) | Event::EndingsSuppressed(suppressed) => {
                (suppressed.timestamp, Some(suppressed.host.name.as_str()))
            }
            Event::Rst(reset) | Event::RstRevised(reset) | Event::ConnectionEnded(reset) => {
                (reset.timestamp, reset.host.as_ref().map(|host| host.name.as_str()))
            }
        };
        widen(&mut self.span, at);
        let Some(name) = host else { return };
        if !self.hosts.contains_key(name) {
            if self.hosts.len() >= HOSTS {
                return;
            }
            self.hosts.insert(name.to_owned(), Host::default());
        }
        let Some(host) = self.hosts.get_mut(name) else { return };
        widen(&mut host.span, at);
        match event {
            Event::AgentStarted(started) => host.started(started),
            Event::EventsLost(lost) => {
                // Which of a daemon's sinks wrote the file is not known: as much may be missing as
                // the worst of them lost.
                let sink = lost.sinks.values().map(|sink| sink.lost.saturating_add(sink.endings)).max().unwrap_or(0);
                host.lost(lost.timestamp, lost.lost.total().saturating_add(sink));
            }
            Event::AgentStopped(stopped) => host.stopped(stopped),
            _ => {}
        }
    }

    /// From the first line to the last.
    pub const fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    /// Names of all hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    /// Whether an agent said what it watched.
    pub fn watched(&self) -> bool {
        self.hosts.values().any(|host| !host.starts.is_empty())
    }

    /// The ports that were watched.
    pub fn ports(&self) -> String {
        let ports: BTreeSet<&str> = self.hosts.values().flat_map(|host| host.starts.values().map(String::as_str)).collect();
        ports.into_iter().collect::<Vec<_>>().join("; ")
    }

    /// Whether a hook was missing without which a reset is not seen.
    pub fn is_blind(&self) -> bool {
        self.hosts.values().any(|host| host.blind.iter().any(|(what, (gone, _))| *gone && is_hook(what)))
    }

    /// What may be missing, a sentence each, the worst first.
    pub fn sentences(&self) -> Vec<String> {
        let many = self.hosts.len() > 1;
        let mut lost = Vec::new();
        let mut away = Vec::new();
        let mut blind = Vec::new();
        let mut forgotten = Vec::new();
        for (name, host) in &self.hosts {
            let on = if many { format!(" on {name}") } else { String::new() };
            let total = host.total_lost();
            if total > 0 {
                lost.push(format!("{} lost{on}, and are not in these numbers.", are(total, "event")));
            }
            if let Some(sentence) = host.away(&on) {
                away.push(sentence);
            }
            let mut missing: Vec<_> = host.blind.iter().collect();
            missing.sort_by_key(|(what, (gone, _))| (!is_hook(what), !*gone));
            for (what, (gone, runs)) in missing {
                let runs = if host.starts.len() > 1 { format!(" (in {runs} of {} runs)", host.starts.len()) } else { String::new() };
                let seen = if *gone { "Not seen" } else { "Seen in part" };
                blind.push(format!("{seen}{on}: {what}{runs}."));
            }
            let fell: Vec<String> = host.fell_out.iter().map(|(what, count)| format!("{count} {what}")).collect();
            if !fell.is_empty() {
                forgotten.push(format!("Forgotten for want of room{on}: {}; verdicts about them rest on less.", fell.join(", ")));
            }
        }
        [lost, away, blind, forgotten].concat()
    }
}

/// Whether it is one of those without which a reset is not seen.
fn is_hook(what: &str) -> bool {
    HOOKS.iter().any(|hook| what.starts_with(hook))
}

impl Host {
    fn started(&mut self, started: &Started) {
        if self.starts.len() >= RUNS || self.starts.insert(started.timestamp, started.filter.ports.join(",")).is_some() {
            return;
        }
        for (what, coverage) in &started.coverage {
            let gone = match coverage.state {
                CoverageState::Active => continue,
                CoverageState::Degraded => false,
                CoverageState::Unavailable => true,
            };
            let what = coverage.reason.as_ref().map_or_else(|| what.clone(), |reason| format!("{what} ({reason})"));
            if self.blind.len() < RUNS {
                self.blind.entry(what).or_insert((gone, 0)).1 += 1;
            }
        }
    }

    fn lost(&mut self, at: Timestamp, total: u64) {
        if self.lost.len() < RUNS {
            let entry = self.lost.entry(at).or_default();
            *entry = (*entry).max(total);
        }
    }

    fn stopped(&mut self, stopped: &Stopped) {
        let sink = stopped.sinks.values().map(|sink| sink.lost.saturating_add(sink.endings_lost)).max().unwrap_or(0);
        let endings = stopped.endings.map_or(0, |endings| endings.lost);
        self.lost(stopped.timestamp, stopped.lost.saturating_add(endings).saturating_add(sink));
        if self.stops.len() < RUNS && self.stops.insert(stopped.timestamp) {
            for (what, count) in fell_out(&stopped.fell_out) {
                *self.fell_out.entry(what).or_default() += count;
            }
        }
    }

    /// Totals begin anew with each run: that of a run is its greatest.
    fn total_lost(&self) -> u64 {
        let mut bounds: Vec<Timestamp> = self.starts.keys().copied().collect();
        bounds.push(Timestamp::MAX);
        let before = self.lost.iter().take_while(|(at, _)| bounds.first().is_some_and(|first| *at < first));
        let mut total = before.map(|(_, lost)| *lost).max().unwrap_or(0);
        for run in bounds.windows(2) {
            if let [from, until] = run {
                total = total.saturating_add(self.lost.range(*from..*until).map(|(_, lost)| *lost).max().unwrap_or(0));
            }
        }
        total
    }

    /// When no agent ran, as far as the lines say.
    fn away(&self, on: &str) -> Option<String> {
        let starts: Vec<Timestamp> = self.starts.keys().copied().collect();
        if starts.is_empty() {
            return Some(format!("The lines do not say when an agent ran{on}: their beginning is missing."));
        }
        let mut gaps = 0;
        let mut longest = 0;
        let mut killed = 0;
        for run in starts.windows(2) {
            let [from, next] = run else { continue };
            match self.stops.range(*from..*next).next_back() {
                Some(stop) => {
                    gaps += 1;
                    longest = longest.max(u64::try_from(next.duration_since(*stop).as_millis()).unwrap_or(0));
                }
                None => killed += 1,
            }
        }
        let mut parts = Vec::new();
        if gaps > 0 {
            parts.push(format!("it was stopped and started again {}, for {} at most", times(gaps), words::length(longest)));
        }
        if killed > 0 {
            parts.push(format!("it ended without a last line {}", times(killed)));
        }
        (!parts.is_empty()).then(|| format!("The agent did not run all the time{on}: {}.", parts.join("; ")))
    }
}

fn fell_out(fell: &FellOut) -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("connections", fell.connections),
        ("processes", fell.processes),
        ("records of processes", fell.process_records),
        ("packets", fell.packets),
        ("flows", fell.flows),
        ("handshakes", fell.handshakes),
        ("conversations", fell.conversations),
        ("RSTs", fell.rsts),
        ("first acts", fell.endings),
        ("peers", fell.peers),
        ("lookups", fell.lookups),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn are(number: u64, one: &str) -> String {
    format!("{} {}", words::count(number, one), if number == 1 { "was" } else { "were" })
}

fn widen(span: &mut Option<(Timestamp, Timestamp)>, at: Timestamp) {
    *span = Some(span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
}
