//! Records as JSON: RabbitMQ's own formatter with whatever names `field_map` gives, and what
//! collectors make of lines.
//!
//! Names of members are known for the formats that people have; where `field_map` gives a name of
//! its own, the member is found by what it holds.

use serde_json::{Map, Value};

use super::{
    message,
    stamp::{Clock, Stamp},
    wrap::{self, Piece},
};

/// How deep collectors nest what they write.
const DEPTH: usize = 10;

/// Members that hold the line or the message: RabbitMQ, journald, Docker, Fluent Bit and Fluentd,
/// Vector, Filebeat, Loki, CloudWatch, Google Cloud, Splunk, GELF, OpenTelemetry.
const TEXTS: [&str; 21] = [
    "logentry",
    "msg",
    "message",
    "log",
    "body",
    "line",
    "text",
    "textpayload",
    "_raw",
    "content",
    "@message",
    "full_message",
    "short_message",
    "original",
    "logmessage",
    "rawmessage",
    "entry",
    "event",
    "payload",
    "data",
    "raw",
];

const TIMES: [&str; 16] = [
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "__realtime_timestamp",
    "_source_realtime_timestamp",
    "timeunixnano",
    "datetime",
    "date",
    "eventtime",
    "@t",
    "t",
    "asctime",
    "_time",
    "_timestamp",
    "observedtimeunixnano",
];

/// The last parts of their names.
const SOURCES: [&str; 17] = [
    "_hostname",
    "hostname",
    "host",
    "name",
    "pod",
    "pod_name",
    "container",
    "container_name",
    "container_id",
    "node",
    "logstreamname",
    "logstream",
    "filename",
    "file",
    "_systemd_unit",
    "instance",
    "service",
];

/// One record, or one line of one, taken out of JSON.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub text: String,
    pub time: Option<Stamp>,
    pub level: Option<&'static str>,
    pub pid: Option<String>,
    pub source: Vec<String>,
    pub piece: Piece,
}

/// Everything in a value that may be a line or a message.
pub fn taken(clock: &Clock, value: &Value) -> Vec<Taken> {
    let mut all = Vec::new();
    visit(clock, value, &Taken::default(), &mut all, DEPTH);
    all
}

fn visit(clock: &Clock, value: &Value, around: &Taken, all: &mut Vec<Taken>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        // Loki's API: [time, line]; Splunk and others have lists of lines.
        Value::Array(pair) => {
            if let [Value::String(time), Value::String(line), ..] = pair.as_slice()
                && let Some(time) = clock.whole(time)
            {
                all.push(Taken { text: line.clone(), time: Some(time), ..around.clone() });
                return;
            }
            for value in pair {
                match value {
                    Value::String(line) => all.push(Taken { text: line.clone(), ..around.clone() }),
                    other => visit(clock, other, around, all, depth),
                }
            }
        }
        Value::Object(object) => {
            let mut here = Taken { text: String::new(), piece: Piece::Whole, ..around.clone() };
            describe(clock, object, &mut here, DEPTH);
            if let Some(text) = text_of(clock, object) {
                if object.get("log").is_some_and(|log| log.as_str().is_some_and(|log| log.len() >= 16_384 && !log.ends_with('\n'))) {
                    // Docker cuts lines after 16 KiB.
                    here.piece = Piece::Partial;
                }
                match object.get("logtag").and_then(Value::as_str) {
                    Some("P") => here.piece = Piece::Partial,
                    Some("F") => here.piece = Piece::Last,
                    _ => {}
                }
                all.push(Taken { text, ..here });
                return;
            }
            for value in object.values().filter(|value| value.is_object() || value.is_array()) {
                visit(clock, value, &here, all, depth);
            }
        }
        _ => {}
    }
}

/// The message or the line of an object.
fn text_of(clock: &Clock, object: &Map<String, Value>) -> Option<String> {
    let by_name = TEXTS.iter().find_map(|name| object.iter().find(|(key, _)| is_named(key, name)).and_then(|(_, value)| string(value)));
    if by_name.is_some() {
        return by_name;
    }
    // A name of its own: the one that is a record, or a message about connections.
    let is_text = |text: &str| message::begins(text) || wrap::peel(clock, text).is_record();
    object.iter().filter_map(|(_, value)| value.as_str()).find(|text| text.len() > 20 && is_text(text)).map(str::to_owned)
}

/// Whether a member has that name, or its dotted name ends with it, in letters of any case.
fn is_named(key: &str, name: &str) -> bool {
    key.rsplit_once('.').map_or(key, |(_, last)| last).eq_ignore_ascii_case(name)
}

fn is_any(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| is_named(key, name))
}

/// A text, also as OpenTelemetry wraps it and as the journal has it when it holds control
/// characters: an array of bytes.
fn string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => ["stringValue", "string_value", "StringValue", "Str", "text", "original", "content", "message"]
            .into_iter()
            .find_map(|name| object.get(name)?.as_str())
            .map(str::to_owned),
        Value::Array(bytes) if !bytes.is_empty() => {
            let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect();
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

/// Takes in what an object says of a record besides its text: by known names first, then by what
/// values look like.
fn describe(clock: &Clock, object: &Map<String, Value>, here: &mut Taken, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let named = TIMES
        .iter()
        .find_map(|name| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| time(clock, value)));
    let guessed = || object.iter().filter(|(key, _)| !is_any(key, &TEXTS)).find_map(|(_, value)| time(clock, value));
    if let Some(time) = named.or_else(guessed) {
        here.time = Some(time);
    }
    for (key, value) in object {
        match value {
            Value::String(text) => {
                if let Some((pid, "")) = message::pid(text) {
                    if here.pid.is_none() || is_named(key, "pid") {
                        here.pid = Some(pid.to_owned());
                    }
                } else if is_any(key, &["priority", "syslog_severity"]) {
                    here.level = here.level.or(severity(text));
                } else if let Some(level) = wrap::level_of(text) {
                    here.level = here.level.or(Some(level));
                } else if is_any(key, &SOURCES) && here.source.len() < 8 && text.len() < 256 {
                    here.source.push(text.clone());
                }
            }
            Value::Object(inner) if !is_any(key, &TEXTS) || text_of(clock, inner).is_none() => {
                describe_inner(clock, inner, here, depth);
            }
            _ => {}
        }
    }
}

/// As [`describe`], for an object within: its times are those of something else, unless it is about
/// the log.
fn describe_inner(clock: &Clock, object: &Map<String, Value>, here: &mut Taken, depth: usize) {
    let before = here.time.take();
    describe(clock, object, here, depth);
    here.time = before.or_else(|| here.time.take());
}

fn time(clock: &Clock, value: &Value) -> Option<Stamp> {
    match value {
        Value::Number(number) => {
            // Whole numbers of nanoseconds are beyond what a float holds exactly.
            number.as_u64().and_then(|number| clock.whole(&number.to_string())).or_else(|| Clock::epoch(number.as_f64()?))
        }
        Value::String(text) if text.len() < 64 => clock.whole(text),
        Value::Object(date) => date.get("$date").and_then(|date| time(clock, date)),
        _ => None,
    }
}

/// syslog's number of a level.
fn severity(text: &str) -> Option<&'static str> {
    wrap::SEVERITIES.get(text.parse::<usize>().ok()?).copied()
}
