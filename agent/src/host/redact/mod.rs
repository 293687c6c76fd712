//! Takes credentials out of a command line before anything else sees it. Pure.
//!
//! The rules err on the side of hiding too much: past a credential, the rest of its argument goes
//! with it, and where it is unclear which `@` ends a user and password, the last one does. What is
//! kept is what tells a process from another: the program, its flags, the host of a URI. A secret
//! that stands alone, with nothing around it to say what it is, cannot be told from any other word
//! and is not found.

use std::ops::Range;

use crate::text::clean;

/// What stands in place of a credential.
pub const MASK: &str = "***";

/// Programs whose short flags or subcommands take a credential that nothing in the word itself
/// gives away.
struct Program {
    names: &'static [&'static str],
    /// Flags that take a credential, as the next word or attached to a single letter (`-pVALUE`).
    flags: &'static [&'static str],
    /// Subcommands after which every word is hidden: a password is among them.
    verbs: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    Program {
        names: &["rabbitmqctl", "rabbitmqctl.escript"],
        flags: &[],
        verbs: &["add_user", "change_password", "authenticate_user", "hash_password", "encode", "decode"],
    },
    Program { names: &["rabbitmqadmin", "sshpass", "mongo", "mongosh"], flags: &["-p"], verbs: &[] },
    Program {
        names: &["mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb", "mariadb-dump", "mariadb-admin"],
        flags: &["-p"],
        verbs: &[],
    },
    Program { names: &["mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "sqlcmd"], flags: &["-P"], verbs: &[] },
    Program { names: &["redis-cli", "valkey-cli"], flags: &["-a"], verbs: &[] },
    Program { names: &["curl"], flags: &["-u", "-U", "--user", "--proxy-user"], verbs: &[] },
    Program { names: &["wget", "http", "https"], flags: &["-a", "--auth"], verbs: &[] },
    Program { names: &["ldapsearch", "ldapmodify"], flags: &["-w"], verbs: &[] },
];

/// The command line of `argv`, its arguments joined by single spaces, credentials replaced by
/// [`MASK`] and control characters by U+FFFD, cut to at most `max_bytes` (with `...` at the end
/// when something was cut).
///
/// Hidden are: user and password in a URI or in `user:password@host`; what follows a name such as
/// `password`, `passwd`, `secret`, `token`, `cookie`, `credential` or `..._PASS` as the next word
/// or after one of `= : , (`, whether in a flag, an environment variable, JSON, a connection
/// string, an Erlang term (`-setcookie X`, `-kernel cookie X`, `{default_pass,<<"X">>}`) or a
/// header; the credential flags and subcommands of some well-known programs.
pub fn command_line<S: AsRef<str>>(argv: &[S], max_bytes: usize) -> String {
    let mut redactor = Redactor { next: Next::Plain, programs: Vec::new() };
    let mut line = String::new();
    for argument in argv {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&clean(&redactor.argument(argument.as_ref())));
    }
    bounded(line, max_bytes)
}

pub(super) fn bounded(mut line: String, max_bytes: usize) -> String {
    const CUT: &str = "...";
    if line.len() > max_bytes {
        line.truncate(line.floor_char_boundary(max_bytes.saturating_sub(CUT.len())));
        line.push_str(CUT.get(..max_bytes.min(CUT.len())).unwrap_or_default());
    }
    line
}

/// What the arguments so far say of the next one.
enum Next {
    Plain,
    /// It is a credential.
    Value,
    /// It and all that follow may be.
    Everything,
}

struct Redactor {
    next: Next,
    /// The programs of [`PROGRAMS`] named so far. More than one can be:
    /// `sshpass -p X rabbitmqctl ...`.
    programs: Vec<&'static Program>,
}

impl Redactor {
    fn argument(&mut self, argument: &str) -> String {
        match self.next {
            Next::Everything => return MASK.to_owned(),
            Next::Value => {
                self.next = Next::Plain;
                return MASK.to_owned();
            }
            Next::Plain => {}
        }
        let mut hidden = Vec::new();
        if starts_with_scheme(argument) {
            hidden.extend(userinfo(argument));
        } else {
            for (start, word) in words(argument) {
                hidden.extend(userinfo(word).map(|range| range.start + start..range.end + start));
            }
        }
        // The earliest of the rules decides: each hides all that follows in the argument.
        let start = [after_secret_name(argument), self.after_secret_word(argument)].into_iter().flatten().min();
        if let Some(start) = start {
            if argument.get(start..).is_none_or(|rest| rest.trim().is_empty()) {
                if matches!(self.next, Next::Plain) {
                    self.next = Next::Value;
                }
            } else {
                hidden.push(start..argument.len());
            }
        }
        mask(argument, hidden)
    }

    /// Where the credential begins that a whole word announces: a flag, a name, a subcommand.
    fn after_secret_word(&mut self, argument: &str) -> Option<usize> {
        for (start, word) in words(argument) {
            let end = start + word.len();
            let bare = word.trim_matches(['"', '\'', '{', '[', '(']);
            if self.programs.iter().any(|program| program.verbs.contains(&bare)) {
                self.next = Next::Everything;
                return Some(end);
            }
            for flag in self.programs.iter().flat_map(|program| program.flags) {
                match word.strip_prefix(flag) {
                    Some("") => return Some(end),
                    Some(rest) if flag.len() == 2 || rest.starts_with('=') => {
                        return Some(start + flag.len());
                    }
                    _ => {}
                }
                // Flags written together: `-su user:password`.
                let letters = word.strip_prefix('-').unwrap_or_default();
                let alphabetic = letters.len() <= 4 && letters.bytes().all(|b| b.is_ascii_alphabetic());
                if alphabetic && flag.len() == 2 && letters.ends_with(flag.trim_start_matches('-')) {
                    return Some(end);
                }
            }
            if bare.bytes().all(is_name_byte) && (is_secret_name(bare) || bare.eq_ignore_ascii_case("bearer")) {
                return Some(end);
            }
            let name = bare.rsplit('/').next().unwrap_or(bare);
            let named = PROGRAMS.iter().find(|program| program.names.contains(&name));
            // Once each: a command line of thousands of program names must stay cheap to read.
            if let Some(program) = named
                && !self.programs.iter().any(|known| std::ptr::eq(*known, program))
            {
                self.programs.push(program);
            }
        }
        None
    }
}

/// Where the value of the first secret name begins that is followed by `=`, `:`, `,` or `(`, quotes
/// and blanks apart.
fn after_secret_name(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes.iter().skip(at).take_while(|&&b| is_name_byte(b)).count();
        let end = at + length;
        if length > 0 && text.get(at..end).is_some_and(is_secret_name) {
            let closing = |b: u8| matches!(b, b'"' | b'\'' | b'\\' | b'>' | b')' | b']') || b.is_ascii_whitespace();
            let skipped = bytes.iter().skip(end).take_while(|&&b| closing(b)).count();
            if bytes.get(end + skipped).is_some_and(|b| b"=:,(".contains(b)) {
                return Some(end + skipped + 1);
            }
        }
        at = end + 1;
    }
    None
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a name, in any of the usual spellings, is that of a credential.
pub(super) fn is_secret_name(name: &str) -> bool {
    const WITHIN: [&str; 13] = [
        "password",
        "passwd",
        "passphrase",
        "passin",
        "passout",
        "pwd",
        "secret",
        "token",
        "credential",
        "cookie",
        "apikey",
        "accesskey",
        "privatekey",
    ];
    let lower = name.to_ascii_lowercase();
    let joined: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    WITHIN.iter().any(|part| joined.contains(part))
        || joined.ends_with("pass")
        || joined.ends_with("authorization")
        || lower.split(['_', '-', '.']).any(|part| matches!(part, "pass" | "pw" | "auth"))
}

fn starts_with_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
    })
}

/// The user and password before the last `@`: after `://`, or in `user:password@host`.
fn userinfo(word: &str) -> Option<Range<usize>> {
    let end = word.rfind('@')?;
    let before = word.get(..end)?;
    // Only the first colon can end a scheme: `user:a://b@host` has its `://` in the password.
    let start = match (before.find("://"), before.find(':')) {
        (Some(scheme), Some(colon)) if scheme == colon => scheme + 3,
        // `--broker=user:password@host`
        (_, Some(colon)) => before.get(..colon)?.find('=').map_or(0, |equals| equals + 1),
        (_, None) => return None,
    };
    Some(start..end)
}

/// The words of a text, each with its offset.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut offset = 0;
    text.split_inclusive(char::is_whitespace).filter_map(move |piece| {
        let start = offset;
        offset += piece.len();
        let word = piece.trim_end_matches(char::is_whitespace);
        (!word.is_empty()).then_some((start, word))
    })
}

/// `text` with each run of hidden bytes replaced by one [`MASK`].
fn mask(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|range| range.start);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in hidden {
        if range.start >= at {
            shown.push_str(text.get(at..range.start).unwrap_or_default());
            if !(range.start == at && shown.ends_with(MASK)) {
                shown.push_str(MASK);
            }
        }
        at = at.max(range.end);
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests;
