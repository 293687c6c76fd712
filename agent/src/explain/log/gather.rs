//! What is gathered from several lines, or taken out of one, before it is read: documents, members,
//! fields and pieces.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;

use super::{
    message,
    object::Taken,
    stamp::{Clock, Stamp},
    wrap::{self, Piece},
};

/// Largest JSON document over several lines, bytes.
const LARGEST_DOCUMENT: usize = 64 << 20;

/// A JSON document over several lines.
#[derive(Debug, Default)]
pub struct Document {
    pub text: String,
    depth: i64,
}

impl Document {
    /// Takes in a line; `true` when the document is complete, or too large to be one.
    pub fn push(&mut self, line: &str) -> bool {
        // A string of JSON ends on its line.
        let (mut quoted, mut escaped) = (false, false);
        for byte in line.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => self.depth += 1,
                b'}' | b']' if !quoted => self.depth -= 1,
                _ => {}
            }
        }
        self.text.push_str(line);
        self.text.push('\n');
        self.depth <= 0 || self.text.len() > LARGEST_DOCUMENT
    }
}

/// `time=... level=warning msg="closing AMQP connection ..."`, and other lists of members with the
/// text in quotes.
pub fn assigned(clock: &Clock, line: &str) -> Option<Taken> {
    let (before, quoted) = ["msg=\"", "message=\"", "MESSAGE=\"", "log=\"", "body=\""].into_iter().find_map(|key| {
        let at = line.find(key)?;
        Some((line.get(..at)?, line.get(at + key.len() - 1..)?))
    })?;
    if message::first_in(before).is_some() {
        return None;
    }
    let text: String = serde_json::Deserializer::from_str(quoted).into_iter().next()?.ok()?;
    let around = wrap::peel(clock, before);
    Some(Taken {
        text,
        time: around.time.clone(),
        level: around.level,
        pid: around.pid.map(str::to_owned),
        source: around.source.iter().map(|word| (*word).to_owned()).collect(),
        piece: Piece::Whole,
    })
}

/// `_PID=968`, one member of an entry of the journal.
pub fn is_member(line: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

/// The text of a quoted field of a table (RFC 4180), where the text has begun within it.
pub fn unquoted_field(line: &str, text: &str) -> Option<String> {
    let before = line.get(..line.len().checked_sub(text.len())?)?;
    if memchr::memchr_iter(b'"', before.as_bytes()).count().is_multiple_of(2) {
        return None;
    }
    let mut field = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '"' {
            match characters.peek() {
                Some('"') => {
                    characters.next();
                }
                None | Some(',' | ';' | '\t' | ' ') => break,
                _ => {}
            }
        }
        field.push(character);
    }
    Some(field)
}

/// What follows the tag of a CRI line.
pub fn after_tag(line: &str) -> Option<&str> {
    [" stdout P ", " stderr P ", " stdout F ", " stderr F "]
        .into_iter()
        .find_map(|tag| line.find(tag).and_then(|at| line.get(at + tag.len()..)))
}

/// Whether a text that is no JSON yet may become some: an Erlang term does not begin so.
pub fn may_be_json(text: &str) -> bool {
    let inside = text.get(1..).unwrap_or_default().trim_start();
    inside.is_empty() || inside.starts_with(['"', '{', '[', '}', ']'])
}

/// The instants that the times of a line may mean: RabbitMQ's own, and where that has no zone, what
/// a collector's time says of the zone.
pub fn instants(own: Option<&Stamp>, outer: Option<&Stamp>) -> (Option<Timestamp>, Vec<Timestamp>) {
    let Some(time) = own.or(outer) else { return (None, Vec::new()) };
    if time.zoned || own.is_none() {
        return (Some(time.first), time.others.clone());
    }
    let shifted = outer.filter(|outer| outer.zoned).and_then(|outer| {
        // Zones differ by quarters of an hour, and a collector is a little later.
        let apart = outer.first.duration_since(time.first).as_millis();
        let quarters = (apart + 450_000).div_euclid(900_000);
        let rest = apart - quarters * 900_000;
        if !(-3_000..=10_000).contains(&rest) || quarters.abs() > 60 {
            return None;
        }
        let shift = SignedDuration::from_millis(i64::try_from(quarters * 900_000).ok()?);
        time.first.checked_add(shift).ok()
    });
    match shifted {
        Some(shifted) if shifted != time.first => {
            let rest = std::iter::once(time.first).chain(time.others.iter().copied()).filter(|at| *at != shifted).collect();
            (Some(shifted), rest)
        }
        _ => (Some(time.first), time.others.clone()),
    }
}

/// Whether a line may say something about a connection, or how others are to be read. Most lines of
/// most logs do not.
pub fn is_interesting(raw: &str) -> bool {
    const NEEDLES: [&str; 14] = [
        "onnection",
        "AMQP",
        "MQTT",
        "STOMP",
        "REPORT=",
        "heartbeat",
        "_error",
        "tream ",
        "MESSAGE",
        "_timeout",
        " [s=",
        "REALTIME",
        " P ",
        "\"P\"",
    ];
    static FINDERS: LazyLock<[Finder; NEEDLES.len()]> = LazyLock::new(|| NEEDLES.map(|needle| Finder::new(needle.as_bytes())));
    raw.trim_end().ends_with(['>', '{', '[', ']']) || FINDERS.iter().any(|finder| finder.find(raw.as_bytes()).is_some())
}

/// What follows the words of a source in a line, between which there may be times and marks.
pub fn learned<'a>(clock: &Clock, source: &str, line: &'a str) -> Option<&'a str> {
    if source.is_empty() {
        return None;
    }
    let mut rest = line;
    for word in source.split(' ') {
        rest = loop {
            let trimmed = rest.trim_start_matches([' ', '\t', '[', ']', '|', '"', ',', '>', '{', '}', '(', ')', ':', '-']);
            if let Some(after) = trimmed.strip_prefix(word) {
                break after;
            }
            let (_, length) = clock.read(trimmed)?;
            rest = trimmed.get(length..)?;
        };
    }
    let mut rest = rest.trim_start_matches([' ', '\t', ']', '|', '"', ',', '}', ')', ':']);
    if let Some((Some(_), length)) = clock.read(rest) {
        rest = rest.get(length..)?.trim_start_matches([' ', '\t', ']', '|', '"', ',']);
    }
    Some(rest)
}
