//! Whether the agent does its work, judged by the work and not by a clock beside it.
//!
//! The session's loop is asked how it stands. It has a heartbeat written by a kernel program into
//! the ring buffer that resets come through, and answers when that record has come out at its end,
//! through the same wait, read and decoding as a reset. An answer therefore proves that the loop
//! turns, that the ring buffer wakes it, and that records are decoded. It does not prove that the
//! hooks fire: of each is asked whether the kernel still has its link, and as long as it has, the
//! hook runs.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};

use crate::{
    kernel::liveness::HookState,
    metrics::{Exposition, Metrics, Snapshot},
    output::sink::LiveSink,
};

/// How long the session may take to answer. A turn of its loop takes a second when nothing happens,
/// and far less when something does.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer stands. However often somebody asks, the session is not asked more often than
/// that.
const FRESH: Duration = Duration::from_millis(250);

/// A question to the session.
pub struct Question(oneshot::Sender<Answer>);

/// What the session says.
#[derive(Debug)]
pub struct Answer {
    pub snapshot: Snapshot,
    pub way: Way,
}

/// The way from the kernel programs to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A heartbeat has come through.
    Open,
    /// The ring buffer is full: the session reads, and is behind.
    Full,
    /// No heartbeat can be written, and why.
    Untested(String),
}

impl Question {
    /// Answers. Whoever asked may have given up.
    pub fn answer(self, answer: Answer) {
        let _given_up = self.0.send(answer);
    }
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// It lives, and what it does fails.
    Failing,
    /// It does nothing any more.
    Dead,
    /// It could not be tested.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub state: State,
    pub detail: String,
}

impl Check {
    fn new(name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state, detail: detail.into() }
    }
}

/// How everything stands.
#[derive(Debug)]
pub struct Report {
    at: Instant,
    pub checks: Vec<Check>,
    /// What the session said; absent where it did not answer.
    pub snapshot: Option<Arc<Snapshot>>,
    pages: [OnceLock<Bytes>; 2],
}

#[derive(Serialize)]
struct Verdict<'a> {
    status: &'static str,
    dead: Vec<&'a str>,
    checks: &'a [Check],
}

impl Report {
    fn new(checks: Vec<Check>, snapshot: Option<Arc<Snapshot>>) -> Self {
        Self { at: Instant::now(), checks, snapshot, pages: Default::default() }
    }

    /// What is dead.
    pub fn dead(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state == State::Dead)
    }

    /// Whether nothing is.
    pub fn is_healthy(&self) -> bool {
        self.dead().next().is_none()
    }

    /// As `/healthz` has it.
    pub fn to_json(&self) -> Bytes {
        let dead: Vec<&str> = self.dead().map(|check| check.name.as_str()).collect();
        let verdict = Verdict { status: if dead.is_empty() { "ok" } else { "dead" }, dead, checks: &self.checks };
        // Plain data with string keys: serde_json has no way to fail on it.
        serde_json::to_vec(&verdict).unwrap_or_default().into()
    }

    /// The metrics of this moment. Encoded once, however many ask.
    pub fn page(&self, metrics: &Metrics, format: Exposition) -> Bytes {
        let [openmetrics, prometheus] = &self.pages;
        let page = if format == Exposition::OpenMetrics { openmetrics } else { prometheus };
        page.get_or_init(|| {
            metrics.set_latest(self.snapshot.clone());
            metrics.encode(format).unwrap_or_default().into()
        })
        .clone()
    }

    /// One line for `systemctl status`.
    pub fn headline(&self) -> String {
        let dead: Vec<&str> = self.dead().map(|check| check.name.as_str()).collect();
        if !dead.is_empty() {
            return format!("Dead: {}", dead.join(", "));
        }
        let Some(snapshot) = &self.snapshot else { return String::new() };
        let attached = snapshot.hooks.iter().filter(|(_, state)| matches!(state, HookState::Attached | HookState::Unverifiable)).count();
        let books = &snapshot.books;
        format!(
            "{attached} of {} hooks attached; resets: {} seen, {} emitted, {} suppressed, {} lost",
            snapshot.hooks.len(),
            books.seen,
            books.emitted,
            books.suppressed,
            books.lost.total()
        )
    }
}

/// Asks the session, and judges.
pub struct Monitor {
    session: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
    latest: Mutex<Option<Arc<Report>>>,
}

impl Monitor {
    /// A monitor, and where its questions come out.
    pub fn new(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Question>) {
        let (session, questions) = mpsc::channel(1);
        (Self { session, metrics, latest: Mutex::new(None) }, questions)
    }

    /// What the session counts and is asked.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether nobody is left to be asked.
    pub fn has_ended(&self) -> bool {
        self.session.is_closed()
    }

    /// How everything stands now, or did a moment ago.
    pub async fn look(&self) -> Arc<Report> {
        let mut latest = self.latest.lock().await;
        if let Some(report) = latest.as_ref().filter(|report| report.at.elapsed() < FRESH) {
            return Arc::clone(report);
        }
        let report = Arc::new(self.ask().await);
        *latest = Some(Arc::clone(&report));
        report
    }

    async fn ask(&self) -> Report {
        let before = self.metrics.turns();
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.session.send(Question(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some(answer)) => judge(answer),
            // Its end of the channel is gone.
            Ok(None) => Report::new(vec![Check::new("session", State::Dead, "it has ended, or is about to")], None),
            Err(_elapsed) => Report::new(unanswered(self.metrics.turns() - before), None),
        }
    }
}

fn unanswered(turns: u64) -> Vec<Check> {
    let seconds = PATIENCE.as_secs();
    if turns == 0 {
        return vec![Check::new("session", State::Dead, format!("its loop has not turned for {seconds} s"))];
    }
    vec![
        Check::new("session", State::Ok, format!("its loop turned {turns} times in {seconds} s")),
        Check::new("ring", State::Dead, format!("a heartbeat did not come out of it within {seconds} s")),
    ]
}

fn judge(Answer { snapshot, way }: Answer) -> Report {
    let mut checks = vec![
        Check::new("session", State::Ok, "its loop turns"),
        match way {
            Way::Open => Check::new("ring", State::Ok, "a heartbeat went from the kernel through it to the session"),
            Way::Full => Check::new("ring", State::Failing, "it is full; the session reads what is in it"),
            Way::Untested(reason) => Check::new("ring", State::Unknown, format!("no heartbeat can be written: {reason}")),
        },
    ];
    checks.extend(snapshot.hooks.iter().map(|(hook, state)| {
        let (state, detail) = match state {
            HookState::Attached => (State::Ok, "attached"),
            HookState::Detached => (State::Dead, "it was attached and is not any more; restart the agent"),
            HookState::Missing => (State::Failing, "this kernel would not have it: see coverage in agent_started"),
            HookState::Unverifiable => (State::Unknown, "attached at the start; this kernel cannot tell whether it still is"),
        };
        Check::new(format!("hook {hook}"), state, detail)
    }));
    checks.extend(snapshot.sinks.iter().filter_map(|sink| {
        let (state, detail) = match sink.live? {
            LiveSink { ended: true, .. } => (State::Dead, "its thread has ended; restart the agent"),
            LiveSink { failing: true, .. } => (State::Failing, "its last write failed and is tried again"),
            LiveSink { .. } => (State::Ok, "its thread runs"),
        };
        Some(Check::new(format!("sink {}", sink.name), state, detail))
    }));
    Report::new(checks, Some(Arc::new(snapshot)))
}

#[cfg(test)]
mod tests;
