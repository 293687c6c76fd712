//! The truth about one death, and the comparison of an agent's lines with it.

use serde_json::{Value, json};

use crate::{agents::record::is_kind, hosts::flow::Flow, truths::expect};

/// Who ended a connection and why, as far as one host can know it.
#[derive(Debug, Clone)]
pub struct Truth {
    says: Value,
    mentions: Vec<(&'static str, Vec<String>)>,
    leaves_open: Option<&'static str>,
    or: Option<Box<Truth>>,
    tied_to: Option<Flow>,
}

/// Which lines a host writes about one connection.
#[derive(Debug, Clone)]
pub enum Said {
    /// The connection died: one line at least, and all of them tell of this one death.
    Died(Truth),
    /// The same, and at least one of the lines is a `rst`.
    Reset(Truth),
    /// It died without a RST: one `connection_ended`, and no other line.
    Ended(Truth),
    /// A race decides whether this host sees anything. What it says is this.
    Perhaps(Truth),
    /// Nobody lost anything: no `connection_ended`, and no line above `info`.
    Nothing,
}

impl Truth {
    /// What the line says at least; see [`expect::differences`]. An array for a single value is a
    /// choice, `null` is a member that must be absent.
    pub const fn new(says: Value) -> Self {
        Self { says, mentions: Vec::new(), leaves_open: None, or: None, tied_to: None }
    }

    /// The same, with more members.
    #[must_use]
    pub fn and(mut self, more: Value) -> Self {
        merge(&mut self.says, more);
        self
    }

    /// What is at `pointer` (RFC 6901) contains one of these words somewhere, in upper or lower
    /// case.
    #[must_use]
    pub fn mentions(mut self, pointer: &'static str, words: &[&str]) -> Self {
        self.mentions.push((pointer, words.iter().map(|word| word.to_lowercase()).collect()));
        self
    }

    /// This, or else that: a race decides which of the two the host sees.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.or = Some(Box::new(other));
        self
    }

    /// Nobody but this host can be ruled out by what the agent knows: `origin.possible` has this
    /// kind too, or `origin.kind` is it.
    #[must_use]
    pub const fn leaves_open(mut self, kind: &'static str) -> Self {
        self.leaves_open = Some(kind);
        self
    }

    /// It is one story with another connection of this host: a line about one of the two names the
    /// other in `related`, by the id of its line or by its address.
    #[must_use]
    pub const fn tied_to(mut self, other: Flow) -> Self {
        self.tied_to = Some(other);
        self
    }

    /// The connection it is one story with.
    pub(super) const fn other(&self) -> Option<Flow> {
        self.tied_to
    }

    /// What the truth says, for a table.
    pub(super) const fn says(&self) -> &Value {
        &self.says
    }

    /// What is wrong with one line; empty when nothing is.
    fn differences(&self, line: &Value) -> Vec<String> {
        let found = self.differences_alone(line);
        if !found.is_empty() && self.or.as_ref().is_some_and(|other| other.differences(line).is_empty()) { Vec::new() } else { found }
    }

    fn differences_alone(&self, line: &Value) -> Vec<String> {
        let mut found = expect::differences(line, &self.says);
        found.retain(|one| !expect::raised(line, &self.says, one));
        for (pointer, words) in &self.mentions {
            let text = line.pointer(pointer).map(Value::to_string).unwrap_or_default();
            if words.iter().all(|word| !text.to_lowercase().contains(word)) {
                let some = words.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" or ");
                found.push(format!("{pointer}: should mention {some}"));
            }
        }
        if let Some(kind) = self.leaves_open {
            let possible = line.pointer("/origin/possible").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if line.pointer("/origin/kind").is_none_or(|it| it != kind) && possible.iter().all(|it| it != kind) {
                found.push(format!("origin.possible: should leave {kind:?} open, is {possible:?}"));
            }
        }
        found
    }
}

impl Said {
    /// The truth behind it, if there is anything to say.
    pub(super) const fn truth(&self) -> Option<&Truth> {
        match self {
            Self::Died(truth) | Self::Reset(truth) | Self::Ended(truth) | Self::Perhaps(truth) => Some(truth),
            Self::Nothing => None,
        }
    }

    /// Whether an agent that has written nothing yet still has to.
    pub(super) const fn is_awaited(&self) -> bool {
        matches!(self, Self::Died(_) | Self::Reset(_) | Self::Ended(_))
    }

    /// What is wrong with the lines that an agent has written about one connection, in their order;
    /// empty when nothing is.
    pub fn findings(&self, lines: &[Value]) -> Vec<String> {
        let mut found = Vec::new();
        let resets = lines.iter().filter(|line| is_kind(line, "rst")).count();
        match self {
            Self::Died(_) if lines.is_empty() => found.push("nothing was said".to_owned()),
            Self::Reset(_) if resets == 0 => found.push("no rst was told".to_owned()),
            Self::Ended(_) if lines.len() != 1 || resets > 0 => {
                found.push(format!("should be one connection_ended alone, is {} rst of {} lines", resets, lines.len()));
            }
            Self::Nothing => {
                let loud = lines.iter().filter(|line| !is_quiet(line));
                found.extend(loud.map(|line| format!("nobody lost anything, but: {line}")));
            }
            _ => {}
        }
        let Some(truth) = self.truth() else {
            return found;
        };
        if let Some(first) = lines.first() {
            found.extend(truth.differences(first));
        }
        found.extend(lines.iter().skip(1).flat_map(|line| later(truth, lines.first(), line)));
        found
    }
}

/// What is wrong with a line after the first one of a death: it may be worth less, but it blames
/// the same one for the same thing, and names a `connection_ended` before it.
fn later(truth: &Truth, first: Option<&Value>, line: &Value) -> Vec<String> {
    let blame = |truth: &Truth| {
        let mut found = expect::differences(line, &truth.says);
        found.retain(|one| ["origin.", "cause.", "process"].iter().any(|part| one.starts_with(part)));
        found
    };
    let mut found = blame(truth);
    if truth.or.as_ref().is_some_and(|other| blame(other).is_empty()) {
        found.clear();
    }
    if is_kind(line, "connection_ended") {
        found.push("a second line about one death is a connection_ended".to_owned());
    }
    if let Some(ending) = first.filter(|first| is_kind(first, "connection_ended"))
        && line.pointer("/related/ending") != ending.get("id")
    {
        found.push("a rst does not name the connection_ended before it (related.ending)".to_owned());
    }
    found.into_iter().map(|one| format!("a later line: {one}")).collect()
}

fn is_quiet(line: &Value) -> bool {
    is_kind(line, "rst") && line.get("severity").is_some_and(|severity| severity == "info")
}

/// Puts the members of `extra` beside (or in place of) those of `base`, all the way down.
fn merge(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (name, value) in extra {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra,
    }
}

/// A death that a process of this host caused. It is never `info`.
pub fn by_process(cause: impl Into<Value>, pid: u32) -> Truth {
    let cause = cause.into();
    Truth::new(json!({
        "severity": ["warning", "error"], "cause": {"id": cause},
        "origin": {"kind": "local_process", "possible": ["local_process"]}, "process": {"pid": pid},
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Said, Truth};

    fn ended() -> Value {
        json!({"event": "connection_ended", "id": "a-1", "severity": "error", "cause": {"id": "process_killed", "advice": "Find the killer"}})
    }

    fn reset(ending: Option<&str>, cause: &str) -> Value {
        json!({"event": "rst", "id": "a-2", "severity": "info", "cause": {"id": cause}, "related": {"ending": ending}})
    }

    fn killed() -> Truth {
        Truth::new(json!({"severity": "error", "cause": {"id": "process_killed"}}))
    }

    #[test]
    fn a_death_is_told_once_and_the_rst_names_it() {
        let said = Said::Died(killed());
        assert!(said.findings(&[ended(), reset(Some("a-1"), "process_killed")]).is_empty());
        assert_eq!(said.findings(&[ended(), reset(None, "process_killed")]).len(), 1);
        assert_eq!(said.findings(&[ended(), reset(Some("a-1"), "stale_connection")]).len(), 1);
        assert_eq!(said.findings(&[ended(), ended()]).len(), 2);
        assert_eq!(said.findings(&[]).len(), 1);
    }

    #[test]
    fn the_line_that_explains_an_outage_is_not_info() {
        let found = Said::Died(killed()).findings(&[reset(None, "process_killed")]);
        assert_eq!(found, ["severity: should be \"error\", is \"info\""]);
    }

    #[test]
    fn only_an_ending_is_not_a_reset() {
        assert!(Said::Ended(killed()).findings(&[ended()]).is_empty());
        assert_eq!(Said::Reset(killed()).findings(&[ended()]).len(), 1);
        assert_eq!(Said::Ended(killed()).findings(&[ended(), reset(Some("a-1"), "process_killed")]).len(), 1);
    }

    #[test]
    fn nothing_is_nothing_above_info() {
        assert!(Said::Nothing.findings(&[]).is_empty());
        assert!(Said::Nothing.findings(&[reset(None, "routine_close")]).is_empty());
        assert_eq!(Said::Nothing.findings(&[ended()]).len(), 1);
    }

    #[test]
    fn words_are_looked_for_where_they_should_be() {
        assert!(Said::Died(killed().mentions("/cause/advice", &["killer"])).findings(&[ended()]).is_empty());
        assert_eq!(Said::Died(killed().mentions("/cause/advice", &["heartbeat"])).findings(&[ended()]).len(), 1);
    }

    #[test]
    fn a_race_has_two_truths() {
        let said = Said::Died(Truth::new(json!({"cause": {"id": "peer_gone"}})).or(killed()));
        assert!(said.findings(&[ended()]).is_empty());
        assert!(!said.findings(&[reset(None, "stale_connection")]).is_empty());
    }

    #[test]
    fn whom_one_cannot_rule_out_stays_possible() {
        let line = |kinds: Value| json!({"event": "rst", "severity": "error", "cause": {"id": "process_killed"}, "origin": {"kind": "remote_peer", "possible": kinds}});
        let said = Said::Died(killed().leaves_open("middlebox"));
        assert!(said.findings(&[line(json!(["remote_peer", "middlebox"]))]).is_empty());
        assert_eq!(said.findings(&[line(json!(["remote_peer"]))]).len(), 1);
    }
}
