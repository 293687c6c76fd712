//! The members that can be asked for: those of the contract, read from its schema, and short names
//! for the ones that are asked for most.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

use crate::event;

/// Short names.
const SHORT: [(&str, &str); 16] = [
    ("cause", "cause.id"),
    ("channel_close", "amqp.channel_close.code"),
    ("confidence", "origin.confidence"),
    ("container", "container.id"),
    ("heartbeat", "amqp.heartbeat_s"),
    ("host", "host.name"),
    ("idle", "tcp.idle_ms"),
    ("local", "network.local.address"),
    ("local_port", "network.local.port"),
    ("origin", "origin.kind"),
    ("peer", "network.peer.address"),
    ("peer_port", "network.peer.port"),
    ("pid", "process.pid"),
    ("process", "process.executable.name"),
    ("unit", "systemd.unit"),
    ("vhost", "amqp.vhost"),
];

/// Deepest member: a sample of folded resets has all of a reset.
const DEEPEST: usize = 8;

/// What values of a member are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// One of these words.
    Words(Vec<String>),
    Number,
    Truth,
    Time,
    /// It has members of its own: it is there, or it is not.
    Object,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// With all that it is part of, by dots.
    pub path: &'static str,
    pub kind: &'static Kind,
}

static MEMBERS: LazyLock<BTreeMap<String, Kind>> = LazyLock::new(|| {
    let mut members = BTreeMap::new();
    let schema = event::schema().to_value();
    walk(&schema, &schema, "", DEEPEST, &mut members);
    members.insert("event".to_owned(), Kind::Text);
    members
});

/// The member of a name, short or whole.
pub(super) fn find(name: &str) -> Option<Member> {
    let path = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, path)| path);
    MEMBERS.get_key_value(path).map(|(path, kind)| Member { path: path.as_str(), kind })
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SHORT.iter().map(|(short, _)| *short).chain(MEMBERS.keys().map(String::as_str))
}

/// Follows a schema into the members it describes.
fn walk(root: &Value, schema: &Value, path: &str, depth: usize, members: &mut BTreeMap<String, Kind>) {
    if depth == 0 {
        return;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|target| root.pointer(target.trim_start_matches('#'))) {
        walk(root, target, path, depth, members);
    }
    for choice in ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|name| schema.get(name)?.as_array()).flatten() {
        walk(root, choice, path, depth, members);
    }
    if let Some(items) = schema.get("items") {
        walk(root, items, path, depth, members);
    }
    if !path.is_empty() {
        note(schema, path, members);
    }
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        walk(root, member, &path, depth - 1, members);
    }
}

/// Notes what a member's values are, by one of its descriptions.
fn note(schema: &Value, path: &str, members: &mut BTreeMap<String, Kind>) {
    let words = |values: &Vec<Value>| values.iter().filter_map(|value| value.as_str().map(ToOwned::to_owned)).collect();
    let kind = match (schema.get("const"), schema.get("enum").and_then(Value::as_array), schema.get("type").and_then(Value::as_str)) {
        (Some(Value::String(word)), ..) => Kind::Words(vec![word.clone()]),
        (_, Some(values), _) => Kind::Words(words(values)),
        (.., Some("string")) if schema.get("format").is_some_and(|format| format == "date-time") => Kind::Time,
        (.., Some("string")) => Kind::Text,
        (.., Some("integer" | "number")) => Kind::Number,
        (.., Some("boolean")) => Kind::Truth,
        (.., Some("object")) => Kind::Object,
        _ => return,
    };
    match (members.get_mut(path), kind) {
        (Some(Kind::Words(known)), Kind::Words(more)) => known.extend(more),
        (Some(_), _) => {}
        (None, kind) => _ = members.insert(path.to_owned(), kind),
    }
}
