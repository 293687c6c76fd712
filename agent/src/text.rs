//! Text that is not ours: names of processes, users, interfaces and containers, what peers say,
//! lines of other hosts' files. Whoever chose it may have chosen it for the terminal it will be
//! read on. It is cleaned once, where it enters; what is behind that border may be written as it
//! is. Pure.

use std::borrow::Cow;

/// Whether a character can end a line, move a cursor, be invisible, or turn the direction of
/// writing.
///
/// These are the controls (C0, DEL, C1), line and paragraph separators, the marks and overrides of
/// bidirectional text (UAX 9), and format characters that show nothing (Unicode 16, chapter 23):
/// soft hyphen, zero-width ones, deprecated ones, interlinear annotation, tags, and the two plane
/// markers. A zero-width joiner is among them: no name needs one.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` with each unsafe character replaced by U+FFFD. Allocates only where there is one.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) {
        Cow::Owned(text.chars().map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The text of bytes that should be UTF-8, cleaned; what is none becomes U+FFFD, too.
pub fn clean_bytes(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(bytes)).into_owned()
}

/// [`clean`] for text that is owned already.
pub fn cleaned(text: String) -> String {
    match clean(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(clean) => clean,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::{clean, clean_bytes, is_unsafe};
    use crate::testing::UNSAFE_TEXTS;

    #[test]
    fn nothing_unsafe_comes_through_and_what_is_safe_stays() {
        for text in UNSAFE_TEXTS {
            let shown = clean(text);
            assert!(!shown.chars().any(is_unsafe), "{text:?} gives {shown:?}");
            assert_eq!(shown.chars().count(), text.chars().count());
        }
        for text in ["", "beam.smp", "Müller GmbH & Söhne", "日本語", "עברית", "a b", "🐇"] {
            assert_eq!(clean(text), text);
        }
        assert_eq!(clean_bytes(b"a\xffb\x1b[2J"), "a\u{fffd}b\u{fffd}[2J");
    }

    /// Everything that others chose in an event, cleaned as it is where it enters, on every way
    /// out.
    #[test]
    fn no_output_lets_anything_unsafe_through() {
        use crate::{
            event::Event,
            output::{
                Format,
                pretty::Style,
                render,
                sink::{Body, Facility, Item, SyslogEncoder, journal_entry},
            },
        };
        fn dress(value: &mut serde_json::Value, text: &str) {
            const FOREIGN: [&str; 12] = [
                "name",
                "path",
                "command_line",
                "message",
                "summary",
                "detail",
                "text",
                "vhost",
                "unit",
                "interface",
                "netns_name",
                "file",
            ];
            match value {
                serde_json::Value::Object(members) => {
                    for (key, value) in members {
                        match value {
                            serde_json::Value::String(old) if FOREIGN.contains(&key.as_str()) => *old = clean(text).into_owned(),
                            other => dress(other, text),
                        }
                    }
                }
                serde_json::Value::Array(all) => all.iter_mut().for_each(|one| dress(one, text)),
                _ => {}
            }
        }
        for text in UNSAFE_TEXTS {
            let mut value: serde_json::Value = serde_json::from_str(include_str!("../testdata/events/rst.json")).unwrap();
            dress(&mut value, text);
            let event: Event = serde_json::from_value(value).unwrap();
            let mut outputs = vec![
                render(&event, Format::Pretty, Style { detail: 2, ..Style::PLAIN }).to_vec(),
                render(&event, Format::Json, Style { detail: 2, ..Style::PLAIN }).to_vec(),
            ];
            let item = Item::new(event);
            // Its JSON, which is looked at above, stands behind its length in binary.
            let journal = journal_entry(&item);
            let length = journal.windows(5).position(|window| window == b"JSON\n").unwrap_or(journal.len());
            outputs.push(journal.get(..length).unwrap_or_default().to_vec());
            for body in [Body::Json, Body::Text] {
                let encoder = SyslogEncoder { facility: Facility::DAEMON, body, pid: 1 };
                outputs.push(encoder.message(&item));
            }
            for output in outputs {
                // Line ends, and what the journal's protocol and syslog's BOM consist of.
                let shown = String::from_utf8_lossy(&output).replace(['\n', '\u{feff}', '\0'], "");
                assert!(!shown.chars().any(is_unsafe), "{text:?} gives {shown:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are(bytes: Vec<u8>) {
            prop_assert!(!clean_bytes(&bytes).chars().any(is_unsafe));
        }
    }
}
