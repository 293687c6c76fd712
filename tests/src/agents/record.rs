//! What one agent wrote, and whether it keeps the promises of the event contract.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::hosts::flow::Flow;

/// The whole stream of one agent, from `agent_started` to `agent_stopped`.
#[derive(Debug)]
pub struct Record {
    lines: Vec<String>,
    log: String,
}

/// The totals of `agent_stopped`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Resets the kernel side saw.
    pub seen: u64,
    /// `rst` lines written.
    pub emitted: u64,
    /// Resets folded into `rst_suppressed` lines.
    pub suppressed: u64,
    /// Resets lost, all places together.
    pub lost: u64,
    /// Those of them for which the ring buffer had no room.
    pub ring_full: u64,
    /// What was forgotten of a kind, by its name in `fell_out`.
    pub fell_out: BTreeMap<String, u64>,
    /// Resets counted in `by_origin`, all origins together.
    pub attributed: u64,
}

impl Record {
    /// A record of these lines.
    pub const fn new(lines: Vec<String>) -> Self {
        Self { lines, log: String::new() }
    }

    /// The same, with what the agent wrote to its standard error.
    #[must_use]
    pub fn with_log(self, log: String) -> Self {
        Self { log, ..self }
    }

    /// What the agent wrote to its standard error.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The lines as they were written.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The lines, without a copy.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// The events, in order. A line that is not JSON is left out here and is a
    /// [`Record::violations`] finding.
    pub fn events(&self) -> impl Iterator<Item = Value> {
        self.lines.iter().filter_map(|line| serde_json::from_str(line).ok())
    }

    /// The `rst` events.
    pub fn resets(&self) -> impl Iterator<Item = Value> {
        self.events().filter(|event| is_kind(event, "rst"))
    }

    /// The `rst` events of one connection.
    pub fn resets_of(&self, flow: Flow) -> Vec<Value> {
        self.resets().filter(|event| flow.is_of(event)).collect()
    }

    /// The totals of the last line, if it is an `agent_stopped` that has them.
    pub fn totals(&self) -> Option<Totals> {
        let last = serde_json::from_str(self.lines.last()?).ok()?;
        if !is_kind(&last, "agent_stopped") {
            return None;
        }
        let number = |name: &str| last.get(name)?.as_u64();
        Some(Totals {
            seen: number("seen")?,
            emitted: number("emitted")?,
            suppressed: number("suppressed")?,
            lost: number("lost")?,
            ring_full: last.pointer("/lost_by/ring_full").map_or(Some(0), Value::as_u64)?,
            fell_out: last.get("fell_out").map_or_else(|| Some(BTreeMap::new()), |it| serde_json::from_value(it.clone()).ok())?,
            attributed: last.get("by_origin")?.as_object()?.values().map(Value::as_u64).sum::<Option<u64>>()?,
        })
    }

    /// What the last line says of a sink: events written to it, and lost by it.
    pub fn books(&self, sink: &str) -> Option<(u64, u64)> {
        let last: Value = serde_json::from_str(self.lines.last()?).ok()?;
        let sink = last.get("sinks")?.get(sink)?;
        Some((sink.get("written")?.as_u64()?, sink.get("lost")?.as_u64()?))
    }

    /// What is wrong with the books of the endings without a RST, `emitted` of which the stream has
    /// a line.
    fn books_of_endings(&self, emitted: u64) -> Option<String> {
        let last: Value = serde_json::from_str(self.lines.last()?).ok()?;
        let Some(books) = last.get("endings") else {
            return (emitted > 0).then(|| format!("{emitted} connection_ended lines, and no books of them"));
        };
        let [seen, told, suppressed, lost] = ["seen", "emitted", "suppressed", "lost"].map(|name| books.get(name).and_then(Value::as_u64));
        let sum = [told, suppressed, lost].into_iter().sum::<Option<u64>>();
        (seen.is_none() || seen != sum || told != Some(emitted)).then(|| format!("{emitted} connection_ended lines, but {books}"))
    }

    /// Every promise of the contract this stream breaks; empty when it keeps them all.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (mut resets, mut suppressed, mut endings) = (0, 0, 0);
        let mut ids = HashSet::new();
        for (index, line) in self.lines.iter().enumerate() {
            let number = index + 1;
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                found.push(format!("line {number} is not JSON: {line}"));
                continue;
            };
            let kind = event.get("event").and_then(Value::as_str).unwrap_or("");
            let (first, last) = (index == 0, number == self.lines.len());
            if first != (kind == "agent_started") || last != (kind == "agent_stopped") {
                found.push(format!("line {number} of {} is {kind:?}", self.lines.len()));
            }
            match kind {
                "rst" | "connection_ended" => {
                    let is_reset = kind == "rst";
                    *(if is_reset { &mut resets } else { &mut endings }) += 1;
                    // No packet ends a connection that times out, so that an ending has no
                    // direction.
                    for pointer in REQUIRED.iter().filter(|pointer| is_reset || **pointer != "/direction") {
                        if event.pointer(pointer).is_none() {
                            found.push(format!("line {number} has no {pointer}: {line}"));
                        }
                    }
                    let effect = event.get("effect").and_then(Value::as_str).unwrap_or_default();
                    if !is_reset && !ENDINGS.contains(&effect) {
                        found.push(format!("line {number} ended by {effect:?}: {line}"));
                    }
                    let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
                    if !ids.insert(id.to_owned()) {
                        found.push(format!("line {number} has the id of an earlier one: {id}"));
                    }
                }
                "rst_suppressed" => {
                    suppressed += event.get("count").and_then(Value::as_u64).unwrap_or(0);
                }
                _ => {}
            }
        }
        found.extend(self.books_of_endings(endings));
        match self.totals() {
            None => found.push("the last line has no complete totals".to_owned()),
            Some(totals) => {
                if totals.seen != totals.emitted + totals.suppressed + totals.lost {
                    found.push(format!("seen is not emitted + suppressed + lost: {totals:?}"));
                }
                if totals.attributed != totals.emitted + totals.suppressed {
                    found.push(format!("by_origin does not add up: {totals:?}"));
                }
                if totals.emitted != resets {
                    found.push(format!("{resets} rst lines, but {totals:?}"));
                }
                if totals.suppressed != suppressed {
                    found.push(format!("{suppressed} folded resets, but {totals:?}"));
                }
            }
        }
        found
    }
}

/// How a connection ends without a RST: the `effect` of a `connection_ended`.
const ENDINGS: [&str; 3] = ["closed_without_amqp_close", "timed_out", "connect_timed_out"];

/// What no `rst` may be without.
const REQUIRED: [&str; 16] = [
    "/schema",
    "/id",
    "/timestamp",
    "/severity",
    "/message",
    "/direction",
    "/effect",
    "/network/type",
    "/network/transport",
    "/network/community_id",
    "/network/local/address",
    "/network/peer/address",
    "/origin/kind",
    "/origin/possible",
    "/cause/id",
    "/evidence",
];

/// Whether an event is of a kind (`event` member).
pub fn is_kind(event: &Value, kind: &str) -> bool {
    event.get("event").and_then(Value::as_str) == Some(kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Record;
    use crate::hosts::flow::Flow;

    fn stream(lost: u64) -> Record {
        Record::new(vec![
            json!({"event": "agent_started"}).to_string(),
            json!({"event": "agent_stopped", "seen": 3, "emitted": 0, "suppressed": 0,
                   "lost": lost, "lost_by": {"ring_full": lost}, "by_origin": {}})
            .to_string(),
        ])
    }

    #[test]
    fn the_books_must_balance() {
        assert_eq!(stream(3).violations(), Vec::<String>::new());
        assert_eq!(stream(1).violations().len(), 1);
    }

    #[test]
    fn endings_have_books_of_their_own() {
        let ended = |books: serde_json::Value| {
            let mut lines = stream(3).lines().to_vec();
            lines.insert(1, json!({"event": "connection_ended", "id": "a", "effect": "timed_out"}).to_string());
            let mut last: serde_json::Value = lines.pop().and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
            last.as_object_mut().map(|last| last.insert("endings".to_owned(), books));
            lines.push(last.to_string());
            Record::new(lines).violations().join("\n")
        };
        assert!(!ended(json!({"seen": 2, "emitted": 1, "suppressed": 1, "lost": 0})).contains("connection_ended lines"));
        assert!(ended(json!({"seen": 3, "emitted": 1, "suppressed": 1, "lost": 0})).contains("connection_ended lines"));
        assert!(ended(json!({"seen": 2, "emitted": 2, "suppressed": 0, "lost": 0})).contains("connection_ended lines"));
    }

    #[test]
    fn a_stream_without_its_last_line_is_reported() {
        let mut lines = stream(3).lines().to_vec();
        lines.pop();
        assert!(!Record::new(lines).violations().is_empty());
    }

    #[test]
    fn a_reset_without_its_fields_is_reported() {
        let mut lines = stream(3).lines().to_vec();
        lines.insert(1, json!({"event": "rst", "id": "a"}).to_string());
        let found = Record::new(lines).violations().join("\n");
        assert!(found.contains("/origin/kind"), "{found}");
        assert!(found.contains("1 rst lines"), "{found}");
    }

    #[test]
    fn a_flow_knows_its_side() {
        let event = json!({"network": {"local": {"address": "192.0.2.1", "port": 4},
                                       "peer": {"address": "192.0.2.2", "port": 5}}});
        let local = "[::ffff:192.0.2.1]:4".parse();
        let peer = "192.0.2.2:5".parse();
        let (Ok(local), Ok(peer)) = (local, peer) else { unreachable!("constant addresses") };
        let flow = Flow::new(local, peer);
        assert!(flow.is_of(&event));
        assert!(!flow.reversed().is_of(&event));
    }
}
