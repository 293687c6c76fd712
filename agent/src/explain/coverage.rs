//! What an events file can know about a moment: whether the agent ran, and watched this port.

use jiff::{SignedDuration, Timestamp};

use crate::{
    event::{EventsLost, Filter, Reloaded, Started, Stopped},
    model::{CoverageState, Tuple, ports::PortRange},
};

/// Runs that are remembered; the oldest is forgotten.
const RUNS: usize = 10_000;

/// The hooks without which a reset is not seen.
const HOOKS: [&str; 2] = ["tcp_receive_reset", "tcp_send_reset"];

/// One run of the agent.
#[derive(Clone, Debug)]
struct Run {
    from: Timestamp,
    /// Its last line so far.
    last: Timestamp,
    stopped: bool,
    /// `None` where they could not be read: then nothing is said about ports.
    ports: Option<Vec<PortRange>>,
    /// What it could not see, with the reason.
    blind: Vec<String>,
    lost: u64,
}

/// What can be known of a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The agent ran and watched; with what may have escaped it all the same.
    Watching(Option<String>),
    /// It was not in a position to see a reset; why.
    Blind(String),
}

/// All runs in a file, in order.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    runs: Vec<Run>,
    /// The first and the last event that belongs to no run.
    outside: Option<(Timestamp, Timestamp)>,
}

impl Coverage {
    /// Takes in the first line of a run.
    pub fn started(&mut self, started: &Started) {
        if self.runs.len() >= RUNS {
            self.runs.remove(0);
        }
        let blind = HOOKS.into_iter().filter_map(|hook| {
            let coverage = started.coverage.get(hook).filter(|coverage| coverage.state == CoverageState::Unavailable)?;
            Some(format!("{hook} was not available ({})", coverage.reason.as_deref().unwrap_or("no reason given")))
        });
        self.runs.push(Run {
            from: started.timestamp,
            last: started.timestamp,
            stopped: false,
            ports: ports(&started.filter),
            blind: blind.collect(),
            lost: 0,
        });
    }

    /// From here on a run watches something else: as if another had begun.
    pub fn reloaded(&mut self, reloaded: &Reloaded) {
        let at = reloaded.timestamp;
        self.line(at);
        let Some(before) = self.runs.last_mut().filter(|run| !run.stopped) else { return };
        let after = Run { from: at, last: at, ports: ports(&reloaded.filter), ..before.clone() };
        before.stopped = true;
        if self.runs.len() >= RUNS {
            self.runs.remove(0);
        }
        self.runs.push(after);
    }

    /// Takes in the time of any other line.
    pub fn line(&mut self, at: Timestamp) {
        match self.runs.last_mut().filter(|run| !run.stopped) {
            Some(run) => run.last = run.last.max(at),
            None => self.outside = Some(self.outside.map_or((at, at), |(first, last)| (first.min(at), last.max(at)))),
        }
    }

    /// Takes in what a run has lost so far.
    pub fn lost(&mut self, lost: &EventsLost) {
        self.line(lost.timestamp);
        if let Some(run) = self.runs.last_mut() {
            // Which of a daemon's sinks wrote this file is not known: as much may be missing as the
            // worst of them lost.
            run.lost = lost.lost.total().saturating_add(lost.sinks.values().map(|sink| sink.lost).max().unwrap_or(0));
        }
    }

    /// Takes in the last line of a run.
    pub fn stopped(&mut self, stopped: &Stopped) {
        self.line(stopped.timestamp);
        if let Some(run) = self.runs.last_mut() {
            run.lost = stopped.lost.saturating_add(stopped.sinks.values().map(|sink| sink.lost).max().unwrap_or(0));
            run.stopped = true;
        }
    }

    /// What can be known of `at`, or as much later as `slack`, for a connection whose reset may
    /// have come as early as `earliest`.
    pub fn sight(&self, earliest: Timestamp, at: Timestamp, slack: SignedDuration, connection: Tuple) -> Sight {
        let latest = at.checked_add(slack).unwrap_or(at);
        let next = self.runs.iter().position(|run| run.from > latest).unwrap_or(self.runs.len());
        let Some(run) = next.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return Sight::Blind(self.before_all());
        };
        if run.stopped && at > run.last {
            let again = self.runs.get(next).map_or_else(String::new, |run| format!(" and started again at {}", second(run.from)));
            return Sight::Blind(format!("the agent was not running then: it stopped at {}{again}", second(run.last)));
        }
        let watched = |port: u16| run.ports.as_ref().is_none_or(|ports| ports.iter().any(|range| range.contains(port)));
        if !watched(connection.local.port()) && !watched(connection.peer.port()) {
            return Sight::Blind(format!("the agent did not watch port {}", connection.local.port()));
        }
        let mut doubts = run.blind.clone();
        if run.lost > 0 {
            doubts.push(format!("{} resets were lost in that run", run.lost));
        }
        if run.from > earliest {
            doubts.push(format!("the agent had started only at {}", second(run.from)));
        }
        if at > run.last {
            let end = match self.runs.get(next) {
                Some(run) => format!("and started anew at {}", second(run.from)),
                None => "and did not say that it stopped".to_owned(),
            };
            doubts.push(format!("the agent wrote its last line at {} {end}: it ran then, or was killed before", second(run.last)));
        }
        Sight::Watching((!doubts.is_empty()).then(|| doubts.join("; ")))
    }

    fn before_all(&self) -> String {
        match (self.runs.first(), self.outside) {
            (Some(run), _) => format!("the agent was not running then: the events begin at {}", second(run.from)),
            (None, Some((first, last))) => format!(
                "the events, from {} to {}, do not say when an agent ran: they are not those of a capture, or their beginning is missing",
                second(first),
                second(last)
            ),
            (None, None) => "there are no events".to_owned(),
        }
    }
}

/// To the second.
fn second(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%FT%TZ")
}
/// The ports of a filter; `None` when one of them cannot be read.
fn ports(filter: &Filter) -> Option<Vec<PortRange>> {
    filter.ports.iter().map(|range| range.parse().ok()).collect()
}
