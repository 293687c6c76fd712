//! Names before a line: the tag of syslog, and the file that grep names.

use super::Peeled;
use crate::explain::log::stamp::Clock;

/// `HOST TAG[PID]:`, or `TAG[PID]:`, after the time of a line of syslog.
pub fn syslog_tag<'a>(peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    if peeled.time.is_none() && !peeled.syslog {
        return None;
    }
    let tag = |text: &'a str| -> Option<(&'a str, &'a str)> {
        let length = text.find([' ', '[', ':'])?;
        let (tag, rest) = text.split_at(length);
        if !is_name(tag) {
            return None;
        }
        if let Some(inside) = rest.strip_prefix('[') {
            let (number, rest) = inside.split_once(']')?;
            let is_pid = !number.is_empty() && number.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
            let rest = rest.strip_prefix(':').unwrap_or(rest);
            return (is_pid && (rest.is_empty() || rest.starts_with(' '))).then_some((tag, rest));
        }
        let rest = rest.strip_prefix(':')?;
        (rest.is_empty() || rest.starts_with(' ')).then_some((tag, rest))
    };
    if let Some((name, rest)) = tag(text) {
        peeled.source.push(name);
        peeled.syslog = true;
        return Some(rest);
    }
    let (host, rest) = text.split_once(' ')?;
    if !is_name(host.trim_matches(['[', ']'])) {
        return None;
    }
    let (name, rest) = tag(rest.trim_start())?;
    peeled.source.extend([host, name]);
    peeled.syslog = true;
    Some(rest)
}

/// What grep, less -N, cat -n and editors put before a line: a file's name, a number, or both.
pub fn located<'a>(clock: &Clock, peeled: &mut Peeled<'a>, text: &'a str) -> Option<&'a str> {
    if peeled.time.is_some() || peeled.level.is_some() {
        return None;
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 && digits < 10 {
        let rest = text.get(digits..)?;
        return match rest.bytes().next()? {
            b':' | b'-' | b'|' | b'.' => {
                rest.get(1..).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()) || clock.read(rest).is_some())
            }
            b' ' | b'\t' => Some(rest),
            _ => None,
        };
    }
    let length = text.find([':', ' ', '\t']).filter(|length| text.get(*length..).is_some_and(|rest| rest.starts_with(':')));
    let by_colon = length.and_then(|length| Some((text.get(..length)?, text.get(length + 1..)?)));
    // Lines of context have dashes in place of colons.
    let by_dash = || {
        let at = [".log-", ".log.1-", ".txt-", ".gz-"].into_iter().find_map(|end| text.find(end).map(|at| at + end.len() - 1))?;
        Some((text.get(..at)?, text.get(at + 1..)?)).filter(|(name, _)| !name.contains(' '))
    };
    let (name, rest) = by_colon.filter(|(name, _)| name.contains(['/', '@', '.', '-', '_'])).or_else(by_dash)?;
    if !is_name(name) || name.starts_with('<') {
        return None;
    }
    peeled.source.push(name);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let numbered = (digits > 0 && clock.read(rest).is_none()).then(|| rest.get(digits..)).flatten();
    Some(numbered.and_then(|rest| rest.strip_prefix([':', '-'])).unwrap_or(rest))
}

pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() < 256
        && text.chars().any(char::is_alphanumeric)
        && text.chars().all(|c| c.is_alphanumeric() || "-_./@~+\\:".contains(c))
}
