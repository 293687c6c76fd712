//! What one line holds.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use super::{Counts, Line, Unread, lenient};
use crate::{
    event::{Event, SCHEMA},
    text,
};

/// How a line of the agent's begins.
const BEGINNING: &[u8] = b"{\"event\":\"";

/// What tells whose a line is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    schema: Option<Cow<'a, str>>,
}

/// Reads one line, cleaned: whatever is shown of it later, it cannot steer a terminal. What it says
/// in words that only a later agent has is left out, as far as the rest can stand alone: an unknown
/// cause is `unknown`, and keeps its sentence.
///
/// # Errors
///
/// Why it cannot be used.
pub fn read(line: &[u8]) -> Result<Event, Unread> {
    let line = trim(line);
    let cleaned = cleaned(line);
    let line = cleaned.as_deref().unwrap_or(line);
    match known(line) {
        Ok(event) => Ok(event),
        Err(error) if error.is_eof() => Err(if line.starts_with(BEGINNING) { Unread::Cut } else { Unread::Foreign }),
        Err(_) => {
            let head: Head<'_> = serde_json::from_slice(line).map_err(|error| unread(line, &error))?;
            match head.schema.as_deref() {
                Some(SCHEMA) => lenient::event(line, &head.event),
                Some(schema) if schema.starts_with("rstblame/") => Err(Unread::Later),
                _ => Err(Unread::Foreign),
            }
        }
    }
}

/// The line with all its texts cleaned, where any may have to be: the agent has cleaned what it
/// wrote, but whoever had the file since may have written what he liked. What a text can hide in
/// JSON stands behind a backslash, is no ASCII, or is the one control character that JSON lets
/// stand as it is, DEL (RFC 8259, section 7).
fn cleaned(line: &[u8]) -> Option<Vec<u8>> {
    let plain = memchr::memchr2(b'\\', 0x7f, line).is_none() && line.is_ascii();
    if plain {
        return None;
    }
    let mut value: Value = serde_json::from_slice(line).ok()?;
    clean(&mut value).then(|| serde_json::to_vec(&value).ok()).flatten()
}

/// Cleans all texts of a value. Whether any had to be.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(text) => match text::clean(text) {
            Cow::Borrowed(_) => false,
            Cow::Owned(clean) => {
                *text = clean;
                true
            }
        },
        Value::Array(values) => values.iter_mut().fold(false, |any, value| clean(value) | any),
        Value::Object(members) => {
            let mut any = members.values_mut().fold(false, |any, value| clean(value) | any);
            if members.keys().any(|name| matches!(text::clean(name), Cow::Owned(_))) {
                *members = std::mem::take(members).into_iter().map(|(name, value)| (text::cleaned(name), value)).collect();
                any = true;
            }
            any
        }
        _ => false,
    }
}

/// Reads a line as this version writes it. The kind comes first in it: serde, which has to look for
/// it, would keep the whole line on the way.
fn known(line: &[u8]) -> serde_json::Result<Event> {
    let kind = line.strip_prefix(BEGINNING).and_then(|rest| rest.split(|byte| *byte == b'"').next());
    match kind {
        Some(b"rst") => serde_json::from_slice(line).map(Event::Rst),
        Some(b"rst_revised") => serde_json::from_slice(line).map(Event::RstRevised),
        Some(b"connection_ended") => serde_json::from_slice(line).map(Event::ConnectionEnded),
        Some(b"rst_suppressed") => serde_json::from_slice(line).map(Event::RstSuppressed),
        Some(b"endings_suppressed") => serde_json::from_slice(line).map(Event::EndingsSuppressed),
        _ => serde_json::from_slice(line),
    }
}

/// Reads a line of a file and counts it. One that another line cut short still gives that other.
pub fn read_line(line: Line<'_>, counts: &mut Counts) -> Option<Event> {
    let bytes = trim(line.bytes);
    if bytes.is_empty() {
        return None;
    }
    let why = match read(bytes) {
        Ok(event) => {
            counts.event();
            return Some(event);
        }
        Err(why) => why,
    };
    // What was written last before a crash has no end, and the next run begins behind it.
    let behind = memmem::rfind(bytes, BEGINNING).filter(|at| *at > 0).and_then(|at| bytes.split_at_checked(at));
    if let Some((before, Ok(event))) = behind.map(|(before, line)| (before, read(line))) {
        // A name and a time that a shipper has put before the line are no line.
        if memmem::find(before, BEGINNING).is_some() {
            counts.unread(Unread::Cut);
        }
        counts.event();
        return Some(event);
    }
    counts.unread(if why == Unread::Broken && line.is_last { Unread::Cut } else { why });
    None
}

/// Without what is no part of a line: a byte order mark, and blanks.
pub fn trim(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii()
}

/// Why a line that has no head cannot be used.
fn unread(line: &[u8], error: &serde_json::Error) -> Unread {
    match line.starts_with(BEGINNING) {
        true if error.is_eof() => Unread::Cut,
        true => Unread::Broken,
        false => Unread::Foreign,
    }
}
