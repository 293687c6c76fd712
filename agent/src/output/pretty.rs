//! The view for people: one aligned line a reset, and a summary at the end.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    event::{Event, EventsLost, ResetEvent, Started, Stopped, Suppressed},
    model::{CoverageState, Direction, OriginKind, Severity},
};

/// Whether colours may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
}

/// Renders one event.
pub fn render(event: &Event, style: Style) -> String {
    match event {
        Event::AgentStarted(started) => start(started),
        Event::Rst(reset) | Event::ConnectionEnded(reset) => line(reset, style),
        Event::RstRevised(reset) => format!("taken back:\n{}", line(reset, style)),
        Event::RstSuppressed(suppressed) | Event::EndingsSuppressed(suppressed) => folded(suppressed),
        Event::AgentReloaded(reloaded) => format!(
            "configuration read again: port {}, network namespace {}\n",
            reloaded.filter.ports.join(","),
            reloaded.filter.netns.join(",")
        ),
        Event::EventsLost(lost) => losses(lost),
        Event::AgentStopped(stopped) => summary(stopped),
    }
}

fn start(started: &Started) -> String {
    let mut text = format!(
        "rstblame {} on {} (Linux {}), port {}, network namespace {}\n",
        started.version,
        started.host.name,
        started.kernel.release,
        started.filter.ports.join(","),
        started.filter.netns.join(",")
    );
    for (what, coverage) in &started.coverage {
        let state = match coverage.state {
            CoverageState::Active => continue,
            CoverageState::Degraded => "in part",
            CoverageState::Unavailable => "not",
        };
        let reason = coverage.reason.as_deref().unwrap_or_default();
        let _infallible = writeln!(text, "  {state} seen: {what} ({reason})");
    }
    let _infallible =
        writeln!(text, "{:<12} {:<4} {:<45} {:<13} {:>5}  {:<22} why", "time", "dir", "connection", "sent by", "sure", "cause");
    text
}

fn losses(lost: &EventsLost) -> String {
    let mut text = format!("lost so far: {}", lost.lost.total());
    for (name, sink) in &lost.sinks {
        let _infallible = write!(text, ", {} to {name}", sink.lost);
    }
    text.push('\n');
    text
}

/// One line that stands for many.
fn folded(suppressed: &Suppressed) -> String {
    let time = suppressed.first.strftime("%H:%M:%S%.3f");
    let lasted = suppressed.last.duration_since(suppressed.first).as_millis();
    let mut text = format!("{time:<12} {:>7}x {} in {lasted} ms", suppressed.count, suppressed.message);
    if let Some(sample) = &suppressed.sample {
        let _infallible = write!(text, "; such as: {}", sample.message);
    }
    text.push('\n');
    text
}

/// The wire name of one of the contract's enumerations.
pub fn token(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

const fn colour(origin: OriginKind) -> &'static str {
    match origin {
        OriginKind::LocalProcess => "\x1b[36m",
        OriginKind::LocalHost => "\x1b[34m",
        OriginKind::RemotePeer => "\x1b[35m",
        OriginKind::Middlebox => "\x1b[31m",
        OriginKind::Unknown => "\x1b[33m",
    }
}

fn line(reset: &ResetEvent, style: Style) -> String {
    let end = |end: &crate::event::Endpoint| std::net::SocketAddr::new(end.address, end.port).to_string();
    let arrow = match reset.direction {
        Direction::Sent => "->",
        Direction::Received => "<-",
    };
    let connection = format!("{} {arrow} {}", end(&reset.network.local), end(&reset.network.peer));
    let sure = reset.origin.confidence.map_or_else(|| "-".to_owned(), |confidence| format!("{:.0}%", confidence * 100.0));
    let time = reset.timestamp.strftime("%H:%M:%S%.3f");
    let (on, off) = if style.colour { (colour(reset.origin.kind), "\x1b[0m") } else { ("", "") };
    let process = reset.process.as_ref().map_or_else(String::new, |process| format!(" [{} {}]", process.executable.name, process.pid));
    let mark = if reset.severity == Severity::Error { "! " } else { "" };
    let mut text = format!(
        "{time:<12} {:<4} {connection:<45} {on}{:<13}{off} {sure:>5}  {:<22} {mark}{}{process}",
        if reset.direction == Direction::Sent { "sent" } else { "recv" },
        token(reset.origin.kind),
        token(reset.cause.id),
        reset.cause.summary,
    );
    for pattern in &reset.pattern {
        let _infallible = write!(text, "; {}: {}", token(pattern.id), pattern.detail);
    }
    if let Some(advice) = &reset.cause.advice {
        let _infallible = write!(text, "; {advice}");
    }
    text.push('\n');
    text
}

fn summary(stopped: &Stopped) -> String {
    let mut text = format!(
        "{} resets in {:.1} s: {} shown, {} folded, {} lost\n",
        stopped.seen, stopped.uptime_s, stopped.emitted, stopped.suppressed, stopped.lost
    );
    counts(&mut text, "sent by", &stopped.by_origin);
    counts(&mut text, "cause", &stopped.by_cause);
    text
}

fn counts<K: Serialize + Copy>(text: &mut String, title: &str, counts: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        let _infallible = writeln!(text, "  {title:<8} {:<24} {count:>8}", token(*key));
    }
}
