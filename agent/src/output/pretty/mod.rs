//! The view for people: two lines a reset, and a story at the end. Routine resets are counted.

pub mod columns;
mod line;
mod style;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

pub use style::{Paint, Style};

use columns::wrap;
use line::line;

use crate::{
    event::{Event, EventsLost, Started, Stopped, Suppressed},
    model::{CoverageState, Severity},
    story::{Paragraph, Part, words},
};

/// Renders one event.
pub fn render(event: &Event, style: Style) -> String {
    match event {
        Event::AgentStarted(started) => start(started, style),
        Event::Rst(reset) | Event::ConnectionEnded(reset) => line(reset, style),
        Event::RstRevised(reset) => format!("said otherwise before, and taken back:\n{}", line(reset, style)),
        Event::RstSuppressed(suppressed) | Event::EndingsSuppressed(suppressed) => folded(suppressed, style),
        Event::AgentReloaded(reloaded) => format!(
            "configuration read again: port {}, network namespace {}\n",
            reloaded.filter.ports.join(","),
            reloaded.filter.netns.join(",")
        ),
        Event::EventsLost(lost) => losses(lost),
        Event::AgentStopped(stopped) => summary(stopped),
    }
}

/// What a person reads of one event: routine resets are counted, unless all are to be listed; the
/// story comes with the last.
pub fn item(event: &Event, routine_resets: u64, story_so_far: &[Paragraph], style: Style) -> String {
    let quiet = !style.all && is_routine(event);
    let count = if style.all || routine_resets == 0 { String::new() } else { routine(routine_resets, style) };
    if quiet {
        // Written over by the next of its kind.
        return if style.live { format!("\r\x1b[K{count}") } else { String::new() };
    }
    let mut text = match (count.is_empty(), style.live) {
        (true, _) => String::new(),
        // It stands there already.
        (false, true) => "\n".to_owned(),
        (false, false) => format!("{count}\n"),
    };
    if !story_so_far.is_empty() {
        let _infallible = write!(text, "\n{}\n", story(story_so_far, style));
    }
    text.push_str(&render(event, style));
    text
}

/// Whether an event is of normal operation: counted, and listed only if asked for.
pub fn is_routine(event: &Event) -> bool {
    match event {
        Event::Rst(reset) | Event::ConnectionEnded(reset) => reset.severity == Severity::Info,
        Event::RstSuppressed(folded) | Event::EndingsSuppressed(folded) => {
            folded.sample.as_ref().is_some_and(|sample| sample.severity == Severity::Info)
        }
        _ => false,
    }
}

/// How many resets an event tells of that may be routine.
pub fn resets(event: &Event) -> u64 {
    match event {
        Event::RstSuppressed(folded) | Event::EndingsSuppressed(folded) => folded.count,
        _ => 1,
    }
}

/// The line that stands for routine resets that have none.
pub fn routine(count: u64, style: Style) -> String {
    let text = format!("{}{} not listed (--all lists them)", " ".repeat(10), words::count(count, "routine reset"));
    style.paint(&text, Paint::Quiet)
}

/// The story, a paragraph each, wrapped.
pub fn story(paragraphs: &[Paragraph], style: Style) -> String {
    let mut text = String::new();
    for paragraph in paragraphs {
        let mark = match (paragraph.part, paragraph.severity) {
            (Part::Incident, Severity::Error) => "! ",
            (Part::Incident, _) => "- ",
            (Part::NotSeen, _) => "? ",
            _ => "",
        };
        let mut wrapped = String::new();
        wrap(&mut wrapped, &format!("{mark}{}", paragraph.text), 0, mark.len(), style.columns);
        let paint = match (paragraph.part, paragraph.severity) {
            (Part::Opening | Part::First, _) => Some(Paint::Strong),
            (Part::Incident, Severity::Error) => Some(Paint::Error),
            (Part::NotSeen | Part::Routine, _) => Some(Paint::Quiet),
            _ => None,
        };
        text.push_str(&paint.map_or_else(|| wrapped.clone(), |paint| style.paint(&wrapped, paint)));
        text.push('\n');
        if let Some(advice) = &paragraph.advice {
            text.push_str("  ");
            wrap(&mut text, &format!("Do: {advice}."), 2, 6, style.columns);
            text.push('\n');
        }
    }
    text
}

fn start(started: &Started, style: Style) -> String {
    let mut text = String::new();
    let head = format!(
        "rstblame {} on {} (Linux {}), port {}, network namespace {}",
        started.version,
        started.host.name,
        started.kernel.release,
        started.filter.ports.join(","),
        started.filter.netns.join(",")
    );
    wrap(&mut text, &head, 0, 2, style.columns);
    text.push('\n');
    for (what, coverage) in &started.coverage {
        let state = match coverage.state {
            CoverageState::Active => continue,
            CoverageState::Degraded => "seen in part",
            CoverageState::Unavailable => "not seen",
        };
        let reason = coverage.reason.as_deref().unwrap_or_default();
        text.push_str("  ");
        wrap(&mut text, &format!("{state}: {what} ({reason})"), 2, 4, style.columns);
        text.push('\n');
    }
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

/// Lines that stand for many.
fn folded(suppressed: &Suppressed, style: Style) -> String {
    let time = suppressed.first.strftime("%H:%M:%S");
    let lasted = u64::try_from(suppressed.last.duration_since(suppressed.first).as_millis()).unwrap_or(0);
    let mut text = String::new();
    wrap(
        &mut text,
        &format!("{time}  {} times {} in {}", suppressed.count, suppressed.message, words::length(lasted)),
        0,
        10,
        style.columns,
    );
    text.push('\n');
    if let Some(sample) = &suppressed.sample {
        text.push_str(&line(sample, style));
    }
    text
}

/// The wire name of one of the contract's enumerations.
pub fn token(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
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
