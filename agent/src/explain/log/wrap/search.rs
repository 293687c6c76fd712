//! Records behind a prefix that is not known word by word.

use super::{PIECES, level_of};
use crate::explain::log::{message, stamp::Clock};

/// How far into a line a record may begin, bytes.
const FARTHEST: usize = 600;

/// The words of a source, without times and numbers that change from line to line.
pub fn words<'a>(clock: &Clock, text: &'a str) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && words.len() < PIECES {
        if let Some((_, length)) = clock.read(rest.trim_start_matches(['[', '(', '"'])) {
            let skipped = rest.len() - rest.trim_start_matches(['[', '(', '"']).len();
            rest = rest.get(skipped + length..).unwrap_or_default().trim_start_matches([']', ')', '"', ' ', '\t', ',', '|']);
            continue;
        }
        let length = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if word.chars().any(|c| !c.is_ascii_digit() && !matches!(c, ':' | '-' | '|' | ',' | '"')) {
            words.push(word);
        }
        rest = after.trim_start();
    }
    words
}

/// Where the first record of RabbitMQ begins in a text whose beginning is not known: its level in
/// brackets with a process or a message after it, or its process; with the time before it.
pub fn record_in(clock: &Clock, text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut farthest = text.len().min(FARTHEST);
    while !text.is_char_boundary(farthest) {
        farthest -= 1;
    }
    let before_message = message::first_in(text).unwrap_or(text.len());
    let head = text.get(..farthest)?;
    let anchor = head.char_indices().map(|(at, _)| at).find(|at| match bytes.get(*at) {
        Some(b'<') => text.get(*at..).and_then(message::pid).is_some(),
        Some(b'[') => text.get(at + 1..).and_then(|rest| rest.split_once(']')).is_some_and(|(inner, rest)| {
            let rest = rest.trim_start();
            level_of(inner).is_some() && (message::pid(rest).is_some() || message::begins(rest))
        }),
        Some(b'=') => text.get(*at..).is_some_and(is_report),
        _ => false,
    })?;
    if anchor > before_message || text.find("{\"").is_some_and(|json| json < anchor) {
        return None;
    }
    // The time right before it, if one begins a word there.
    let starts = text.char_indices().map(|(at, _)| at).take_while(|at| *at < anchor).filter(|at| {
        *at == 0
            || text
                .get(..*at)
                .is_some_and(|before| before.ends_with([' ', '\t', '|', ']', ':', '"', ',', '(', '\'', '>', '=', '}', ';', '/']))
    });
    for at in starts {
        if let Some((_, length)) = text.get(at..).and_then(|rest| clock.read(rest))
            && text.get(at + length..anchor).is_some_and(|between| {
                between.trim_matches([' ', '\t', '[', ']', '|', ',', '-', '"', ':']).is_empty()
                    || level_of(between.trim_matches([' ', '[', ']', '|', ':'])).is_some()
            })
        {
            return Some(at);
        }
    }
    Some(anchor)
}

fn is_report(text: &str) -> bool {
    text.starts_with('=') && text.trim_start_matches('=').split_once(" REPORT=").is_some_and(|(level, _)| level_of(level).is_some())
}
