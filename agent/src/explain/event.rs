//! `rstblame explain ID`: one event's whole reasoning, in prose.

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::PathBuf,
};

use memchr::memmem::Finder;

use super::ExplainError;
use crate::{
    event::{Event, ResetEvent, Started},
    model::{CauseId, CoverageState, Evidence, OriginKind, Severity, Strength},
    output::pretty::{Paint, Style, columns::wrap, token},
    progress::Progress,
    reader::{Files, event},
    story::words,
};

/// Writes the reasoning about the event of this id.
pub(super) fn explain(id: &str, paths: &[PathBuf]) -> Result<(), ExplainError> {
    let found = find(id, paths)?;
    let mut out = BufWriter::new(io::stdout().lock());
    out.write_all(prose(&found, Style::of_stdout(0, true)).as_bytes()).and_then(|()| out.flush()).map_err(ExplainError::Write)
}

/// What the files say of an event.
#[derive(Debug)]
struct Case {
    event: Box<ResetEvent>,
    /// What was said before, where it was taken back.
    before: Option<Box<ResetEvent>>,
    /// The run that saw it.
    run: Option<Box<Started>>,
}

/// Looks for an event by its `id`.
fn find(id: &str, paths: &[PathBuf]) -> Result<Case, ExplainError> {
    let name = Finder::new(id.as_bytes());
    let started = Finder::new(b"agent_started");
    let mut files = Files::new(paths)?;
    let progress = Progress::of_bytes(files.done(), files.total());
    let (mut told, mut revised) = (None, None);
    let mut runs: Vec<Box<Started>> = Vec::new();
    let mut near = Near { wanted: id, best: None };
    files.lines(|line, counts| {
        if name.find(line.bytes).is_none() && started.find(line.bytes).is_none() {
            near.look(line.bytes);
            return ControlFlow::Continue(());
        }
        match event::read_line(line, counts) {
            Some(Event::Rst(event) | Event::ConnectionEnded(event)) if event.id == id => told = Some(event),
            Some(Event::RstRevised(event)) if event.id == id => revised = Some(event),
            Some(Event::AgentStarted(run)) => runs.push(run),
            _ => near.look(line.bytes),
        }
        ControlFlow::Continue(())
    })?;
    drop(progress);
    let (event, before) = match (revised, told) {
        (Some(revised), before) => (revised, before),
        (None, Some(told)) => (told, None),
        (None, None) => return Err(ExplainError::NoEvent { id: id.to_owned(), near: near.hint() }),
    };
    let host = event.host.as_ref().map(|host| host.name.as_str());
    let run = runs
        .into_iter()
        .filter(|run| Some(run.host.name.as_str()) == host && run.timestamp <= event.timestamp)
        .max_by_key(|run| run.timestamp);
    Ok(Case { event, before, run })
}

/// The id that is most like one that is not there.
struct Near<'a> {
    wanted: &'a str,
    best: Option<(f64, String)>,
}

impl Near<'_> {
    fn look(&mut self, line: &[u8]) {
        const KEY: &[u8] = b"\"id\":\"";
        // Of an event's line the first; whoever wrote it again may have another order.
        for at in memchr::memmem::find_iter(line, KEY).take(8) {
            let rest = line.get(at + KEY.len()..).unwrap_or_default();
            let id = rest.split(|byte| *byte == b'"').next().and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default();
            let alike = strsim::jaro_winkler(id, self.wanted);
            if id.len() < 100 && self.best.as_ref().is_none_or(|(best, _)| alike > *best) {
                self.best = Some((alike, id.to_owned()));
            }
        }
    }

    fn hint(self) -> String {
        /// From 0 to 1. Ids of one boot have a beginning in common.
        const ALIKE: f64 = 0.7;
        match self.best {
            Some((alike, id)) if alike >= ALIKE => format!("; the nearest is {}", crate::text::clean(&id)),
            Some(_) => String::new(),
            None => "; there are no events in there".to_owned(),
        }
    }
}

/// The reasoning, a paragraph each.
fn prose(case: &Case, style: Style) -> String {
    let event = &case.event;
    let mut text = String::new();
    let mut say = |what: &str, heading: bool| {
        let mut wrapped = String::new();
        wrap(&mut wrapped, what, 0, if what.starts_with("- ") { 2 } else { 0 }, style.columns);
        text.push_str(&if heading { style.paint(&wrapped, Paint::Strong) } else { wrapped });
        text.push('\n');
    };
    say(&format!("{}: {}.", event.timestamp, event.message), true);
    if let Some(before) = &case.before {
        say(
            &format!(
                "At first it was said otherwise, {} by {}, and taken back when more was known.",
                token(before.cause.id),
                token(before.origin.kind)
            ),
            false,
        );
    }
    say("", false);
    say(&who(event), false);
    say(&why(event), false);
    let groups = [
        ("What speaks for it:", evidence(event, |it| it.signal != "other_cause" && it.points_to == event.origin.kind)),
        (
            "What says nothing about who, or speaks for another:",
            evidence(event, |it| it.signal != "other_cause" && it.points_to != event.origin.kind),
        ),
        ("What else was weighed as the cause:", evidence(event, |it| it.signal == "other_cause")),
    ];
    for (heading, lines) in groups {
        if !lines.is_empty() {
            say("", false);
            say(heading, true);
            for line in &lines {
                say(line, false);
            }
        }
    }
    say("", false);
    say("What would have changed the verdict:", true);
    for line in otherwise(case) {
        say(&format!("- {line}"), false);
    }
    if let Some(advice) = &event.cause.advice {
        say("", false);
        say("What to do:", true);
        say(&format!("{advice}."), false);
    }
    if let Some(more) = &event.cause.more {
        say(&format!("More: {more}"), false);
    }
    text
}

fn who(event: &ResetEvent) -> String {
    let sure =
        |confidence: Option<f64>| confidence.map_or_else(String::new, |confidence| format!(", {} % sure", words::percent(confidence)));
    let kinds = |kinds: &[OriginKind]| kinds.iter().map(|kind| named(*kind)).collect::<Vec<_>>().join(" or ");
    let origin = &event.origin;
    if origin.kind == OriginKind::Unknown {
        return format!("Who: not settled. The evidence leaves {}.", kinds(&origin.possible));
    }
    let mut parts = vec![format!("Who: {}{}.", named(origin.kind), sure(origin.confidence))];
    if let Some(address) = origin.address {
        let name = origin.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        parts.push(format!("Its address: {address}{name}."));
    }
    parts.extend(origin.hops.map(|hops| format!("Its distance, from the return path: {}.", words::count(u64::from(hops), "hop"))));
    match origin.possible.as_slice() {
        [_] => parts.push("Nothing else is left.".to_owned()),
        [] => {}
        several => parts.push(format!("Not excluded: {}.", kinds(several))),
    }
    parts.join(" ")
}

fn why(event: &ResetEvent) -> String {
    let sure = event.cause.confidence.map_or_else(String::new, |confidence| format!(" ({} % sure)", words::percent(confidence)));
    let harm = match event.severity {
        Severity::Info => "It belongs to normal operation.",
        Severity::Warning => "A connection was lost.",
        Severity::Error => "A process ended, or it happens again and again.",
    };
    let patterns: Vec<&str> = event.pattern.iter().map(|pattern| pattern.detail.as_str()).collect();
    let patterns = if patterns.is_empty() { String::new() } else { format!(" {}.", patterns.join("; ")) };
    format!("Why: {}{sure}: {}. {harm}{patterns}", token(event.cause.id), event.cause.summary)
}

const fn named(kind: OriginKind) -> &'static str {
    match kind {
        OriginKind::LocalProcess => "a process of this host",
        OriginKind::LocalHost => "this host's kernel, with no process behind it",
        OriginKind::RemotePeer => "the host at the peer's address",
        OriginKind::Middlebox => "something between the two",
        OriginKind::Unknown => "nobody who is known",
    }
}

fn evidence(event: &ResetEvent, which: impl Fn(&Evidence) -> bool) -> Vec<String> {
    event.evidence.iter().filter(|it| which(it)).map(line).collect()
}

fn line(evidence: &Evidence) -> String {
    match evidence.signal.as_ref() {
        "other_cause" => format!("- {}", evidence.detail),
        signal => format!("- {} ({}, for {}): {}", signal, token(evidence.strength), token(evidence.points_to), evidence.detail),
    }
}

/// What the verdict hangs on, and what was missing to be surer.
fn otherwise(case: &Case) -> Vec<String> {
    let event = &case.event;
    let mut lines = Vec::new();
    lines.extend(turning_point(event));
    let own = |it: &&Evidence| it.points_to == event.origin.kind && it.signal != "other_cause" && event.origin.kind != OriginKind::Unknown;
    let proofs: Vec<&str> =
        event.evidence.iter().filter(own).filter(|it| it.strength == Strength::Proof).map(|it| it.signal.as_ref()).collect();
    match proofs.as_slice() {
        [] if event.origin.kind == OriginKind::Unknown => {
            lines.push("A signal that only one of those left can make; there was none.".to_owned());
        }
        [] => lines.push(format!(
            "No proof carries it: {} rests on signals that add up, and one more against it may tip them.",
            named(event.origin.kind)
        )),
        [only] => lines.push(format!("One proof carries it, {only}: without it the rest alone would have to.")),
        several => lines.push(format!("Each of {} proofs carries it alone: {}.", several.len(), several.join(", "))),
    }
    if event.packet.is_none() {
        lines.push(
            "The RST itself was not seen: its TTL, IP-ID and options could speak for or against whoever is said to have made it."
                .to_owned(),
        );
    }
    if event.process.is_none() && event.host.is_some() {
        lines.push("Whose connection it was is not known: an owner that ended at that time would have been a cause.".to_owned());
    }
    if event.amqp.is_none() {
        lines.push("What was said in AMQP is not known (TLS, or the connection was open before the agent): a close or missed heartbeats would have been a cause.".to_owned());
    }
    // Of a connection within this host both kernels are one, and seen.
    let elsewhere = matches!(event.origin.kind, OriginKind::RemotePeer | OriginKind::Middlebox | OriginKind::Unknown);
    if elsewhere && event.related.as_ref().is_none_or(|related| related.pair.is_none()) {
        lines.push(format!("An agent on {}: its kernel knows whether it sent a RST, and why.", event.network.peer.address));
    }
    let blind = case.run.iter().flat_map(|run| &run.coverage).filter(|(_, coverage)| coverage.state != CoverageState::Active);
    for (what, coverage) in blind {
        lines.push(format!("This run could not see all of {what}: {}.", coverage.reason.as_deref().unwrap_or("no reason given")));
    }
    lines
}

/// What would have made another cause of it, by how each one works.
fn turning_point(event: &ResetEvent) -> Option<String> {
    let silence = words::silence_ms(event).map(words::length);
    Some(match event.cause.id {
        CauseId::IdleTimeout => {
            format!("Anything said within the silence of {}, a heartbeat among it, would have spoken against an idle timeout.", silence?)
        }
        CauseId::HeartbeatTimeout => "One frame more from the silent end, in time: its heartbeats would not have been missed.".to_owned(),
        CauseId::CloseWithUnreadData => {
            "Had the program read what had arrived before it closed, the kernel would have sent a FIN and no RST.".to_owned()
        }
        CauseId::LingerAbort => "Without SO_LINGER of a time of 0, the same close would have sent a FIN and no RST.".to_owned(),
        CauseId::ProcessKilled | CauseId::ProcessCrashed | CauseId::ProcessExited => {
            "Had the program closed this connection before it ended, the close and not the end would be the cause.".to_owned()
        }
        CauseId::NoListener => "Had anything listened on that port, the SYN would have been answered.".to_owned(),
        CauseId::StateLost | CauseId::Injected => {
            "A RST that looks like the peer's other packets, in TTL, IP-ID and sequence, would have been the peer's.".to_owned()
        }
        CauseId::RoutineClose => "Had AMQP not been closed before, the same RST would be a lost connection.".to_owned(),
        CauseId::KeepaliveTimeout | CauseId::TimedOut => "One segment from the other end would have kept it.".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;

    use serde_json::{Value, json};

    use super::{find, prose};
    use crate::output::pretty::{Style, columns::width};

    fn lines(change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut rst: Value = serde_json::from_str(include_str!("../../testdata/events/rst.json")).unwrap();
        let mut revised = rst.clone();
        change(&mut rst, &mut revised);
        let started: Value = serde_json::from_str(include_str!("../../testdata/events/agent_started.json")).unwrap();
        [started, rst, revised].map(|line| line.to_string()).join("\n")
    }

    fn explained(id: &str, content: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.json");
        fs::write(&path, content).unwrap();
        find(id, &[path]).map(|case| prose(&case, Style::PLAIN)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_whole_reasoning_is_there() {
        let text = explained("1ad5b202-4744113451077-0", &lines(|_, revised| revised["id"] = json!("another"))).unwrap();
        for part in [
            "Who: a process of this host, 99 % sure",
            "Why: close_with_unread_data (99 % sure): python3.11 (pid 23202) closed the connection with 8 received bytes unread",
            "- unread_data (proof, for local_process): 8 bytes not read at close",
            "the kernel would have sent a FIN",
            "Each of 3 proofs carries it alone: active_reset, kernel_reason, unread_data",
            "packet_headers",
            "let the program read until",
        ] {
            assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(part), "{part}:\n{text}");
        }
        assert!(text.lines().all(|line| width(line) <= 100));
    }

    #[test]
    fn what_was_taken_back_is_said() {
        let text = explained(
            "1ad5b202-4744113451077-0",
            &lines(|_, revised| {
                revised["event"] = json!("rst_revised");
                revised["origin"] = json!({"kind": "unknown", "possible": ["remote_peer", "middlebox"]});
            }),
        )
        .unwrap();
        assert!(text.contains("At first it was said otherwise, close_with_unread_data by local_process"), "{text}");
        assert!(text.contains("The evidence leaves the host at the peer's address or something between the two"), "{text}");
    }

    #[test]
    fn an_id_that_is_not_there_meets_its_nearest() {
        let error = explained("1ad5b202-4744113451077-1", &lines(|_, _| {})).unwrap_err();
        assert!(error.contains("the nearest is 1ad5b202-4744113451077-0"), "{error}");
    }
}
