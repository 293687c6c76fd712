//! One message, and its three forms.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Level, LogFormat};
use crate::text::is_unsafe;

/// Longest line, bytes with its newline: `PIPE_BUF`, which a pipe takes whole or not at all.
pub const LONGEST: usize = 4096;

/// Longest message or value, in characters. Escaped, each takes up to six bytes.
const LONGEST_TEXT: usize = 500;

/// What a field has.
pub enum Value {
    Text(String),
    /// A number, `true` or `false`, which JSON writes as it is.
    Bare(String),
}

/// A message that is yet to be written.
pub struct Line<'a> {
    pub time: Timestamp,
    pub level: Level,
    pub message: String,
    pub fields: Vec<(&'a str, Value)>,
}

impl Line<'_> {
    pub const fn new(time: Timestamp, level: Level) -> Self {
        Self { time, level, message: String::new(), fields: Vec::new() }
    }

    /// The line, with its newline; never longer than [`LONGEST`]. Fields that find no room are left
    /// out.
    pub fn render(&self, format: LogFormat) -> String {
        let mut out = match format {
            LogFormat::Human => {
                // Upper case for people, who look for it.
                let mut out = format!("{:.0} {:<5} ", self.time, self.level.name().to_ascii_uppercase());
                escape(&mut out, &cut(&self.message), false);
                out
            }
            LogFormat::Logfmt | LogFormat::Auto => {
                let mut out = format!("ts={:.6} level={} msg=", self.time, self.level);
                push_logfmt(&mut out, &cut(&self.message));
                out
            }
            LogFormat::Json => {
                let mut out = format!("{{\"timestamp\":\"{:.6}\",\"level\":\"{}\",\"message\":", self.time, self.level);
                push_quoted(&mut out, &cut(&self.message));
                out
            }
        };
        for (name, value) in &self.fields {
            let before = out.len();
            match format {
                LogFormat::Json => {
                    out.push(',');
                    push_quoted(&mut out, name);
                    out.push(':');
                }
                _ => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, " {name}=");
                }
            }
            match (value, format) {
                (Value::Bare(text), _) => out.push_str(text),
                (Value::Text(text), LogFormat::Json) => push_quoted(&mut out, &cut(text)),
                (Value::Text(text), _) => push_logfmt(&mut out, &cut(text)),
            }
            // Room for what closes the line.
            if out.len() + 2 > LONGEST {
                out.truncate(before);
            }
        }
        if format == LogFormat::Json {
            out.push('}');
        }
        out.push('\n');
        out
    }
}

/// The beginning of a text, if it is too long for a line.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A value, in quotes where a reader of logfmt needs them.
fn push_logfmt(out: &mut String, text: &str) {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '+' | '@' | '%' | ',');
    if !text.is_empty() && text.chars().all(plain) {
        out.push_str(text);
    } else {
        push_quoted(out, text);
    }
}

/// A JSON string, which is also how logfmt quotes.
fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text, true);
    out.push('"');
}

/// Appends a text of which nothing can end the line, move a cursor, or turn the direction of
/// writing: names of processes and answers of peers come by here. The escapes are those of JSON.
pub fn escape(out: &mut String, text: &str, quoted: bool) {
    for c in text.chars() {
        match c {
            '"' | '\\' if quoted => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_unsafe(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}
