//! Lines of other versions: what has no word here is left out, where the rest can stand alone.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Unread;
use crate::{
    event::{Amqp, Capture, Container, Event, FirstAct, Host, Kubernetes, Packet, Process, ProcessName, Related, Systemd, Tcp, Tls},
    model::{CauseId, Coverage, Direction, Effect, Evidence, OriginKind, Pattern, Privileges, Severity},
};

/// The word of both vocabularies for what is not known.
const UNKNOWN: &str = "unknown";

/// Reads a line of the kind `kind` that does not read as it stands.
pub(super) fn event(line: &[u8], kind: &str) -> Result<Event, Unread> {
    let mut value: Value = serde_json::from_slice(line).map_err(|_| Unread::Broken)?;
    let members = value.as_object_mut().ok_or(Unread::Broken)?;
    match kind {
        "rst" | "rst_revised" | "connection_ended" => reset(members)?,
        "rst_suppressed" | "endings_suppressed" => suppressed(members)?,
        "agent_started" | "agent_reloaded" => {
            if let Some(Value::Object(coverage)) = members.get_mut("coverage") {
                coverage.retain(|_, state| is::<Coverage>(state));
            }
            keep_if::<Privileges>(members, "privileges");
        }
        "agent_stopped" => {
            known_keys::<OriginKind>(members, "by_origin");
            known_keys::<CauseId>(members, "by_cause");
        }
        "events_lost" => {}
        _ => return Err(Unread::Later),
    }
    serde_json::from_value(value).map_err(|_| Unread::Broken)
}

/// Of what a reset did, and which way it went, everything else depends: a line without them, or
/// with another word, cannot be used.
fn reset(members: &mut Map<String, Value>) -> Result<(), Unread> {
    let later = |members: &Map<String, Value>, name: &str, known: fn(&Value) -> bool| match members.get(name) {
        Some(value) if known(value) => Ok(()),
        Some(Value::String(_)) => Err(Unread::Later),
        _ => Err(Unread::Broken),
    };
    later(members, "effect", is::<Effect>)?;
    later(members, "direction", is::<Direction>)?;
    // A severity that is not known is no reason to pass a lost connection over.
    or_word::<Severity>(members, "severity", Severity::Warning.token());
    if let Some(Value::Object(origin)) = members.get_mut("origin") {
        or_word::<OriginKind>(origin, "kind", UNKNOWN);
        keep_known::<OriginKind>(origin, "possible");
    }
    if let Some(Value::Object(cause)) = members.get_mut("cause") {
        or_word::<CauseId>(cause, "id", UNKNOWN);
    }
    keep_known::<Evidence>(members, "evidence");
    keep_known::<Pattern>(members, "pattern");
    keep_if::<Host>(members, "host");
    keep_if::<Tcp>(members, "tcp");
    keep_if::<Packet>(members, "packet");
    keep_if::<Process>(members, "process");
    keep_if::<Container>(members, "container");
    keep_if::<Kubernetes>(members, "k8s");
    keep_if::<Systemd>(members, "systemd");
    keep_if::<Amqp>(members, "amqp");
    keep_if::<Tls>(members, "tls");
    keep_if::<ProcessName>(members, "peer_process");
    keep_if::<FirstAct>(members, "first_act");
    keep_if::<Related>(members, "related");
    keep_if::<Capture>(members, "capture");
    Ok(())
}

fn suppressed(members: &mut Map<String, Value>) -> Result<(), Unread> {
    let Some(Value::Object(key)) = members.get_mut("key") else { return Err(Unread::Broken) };
    or_word::<OriginKind>(key, "origin", UNKNOWN);
    or_word::<CauseId>(key, "cause", UNKNOWN);
    keep_if::<Direction>(key, "direction");
    let sample = match members.get_mut("sample") {
        Some(Value::Object(sample)) => reset(sample).is_ok(),
        _ => false,
    };
    if !sample {
        members.remove("sample");
    }
    Ok(())
}

fn is<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

/// Leaves a member out that cannot be read.
fn keep_if<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) {
    if members.get(name).is_some_and(|value| !is::<T>(value)) {
        members.remove(name);
    }
}

/// Leaves those of a list out that cannot be read.
fn keep_known<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) {
    if let Some(Value::Array(values)) = members.get_mut(name) {
        values.retain(is::<T>);
    }
}

/// `word` where another stands that is not known.
fn or_word<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str, word: &str) {
    if members.get(name).is_some_and(|value| value.is_string() && !is::<T>(value)) {
        members.insert(name.to_owned(), Value::from(word));
    }
}

/// Counts of keys that are not known count as `unknown`, so that sums stay what they were.
fn known_keys<T: DeserializeOwned>(members: &mut Map<String, Value>, name: &str) {
    let Some(Value::Object(counts)) = members.get_mut(name) else { return };
    let mut others = 0_u64;
    counts.retain(|key, count| {
        let known = is::<T>(&Value::from(key.as_str()));
        others = others.saturating_add(if known { 0 } else { count.as_u64().unwrap_or(0) });
        known
    });
    if others > 0 {
        let before = counts.get(UNKNOWN).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(UNKNOWN.to_owned(), Value::from(before.saturating_add(others)));
    }
}
