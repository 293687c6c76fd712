//! Lines without what terminals, pagers, browsers and syslog daemons put into them.

use std::borrow::Cow;

/// Longest line that is looked at, bytes; Erlang terms can have any length.
pub const LONGEST_LINE: usize = 16_000;

/// Longest line that is repeated, bytes.
const LONGEST_REPEATED: usize = 2_000;

/// What stands for an escape character where one cannot be shown: `cat -v` and less, rsyslog,
/// shells, JSON within JSON, a browser.
const ESCAPES: [&str; 9] = ["\x1b", "^[", "#033", "\\033", "\\x1b", "\\u001b", "\\e", "\u{241b}", "\u{fffd}"];

/// HTML that a page or a ticket made of a log.
const ENTITIES: [(&str, &str); 6] = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")];

/// A line to be read: without colours, byte order marks and control characters, of bounded length.
pub fn clean(line: &str) -> Cow<'_, str> {
    let line = line.get(..floor(line, LONGEST_LINE)).unwrap_or_default();
    // In pieces that the compiler makes wide instructions of.
    let is_plain = |piece: &[u8]| piece.iter().filter(|byte| (b' '..0x7f).contains(*byte) && **byte != b'&').count() == piece.len();
    let plain = line.as_bytes().chunks(64).all(is_plain);
    let after = |at: usize| line.as_bytes().get(at + 1).copied();
    let coloured = memchr::memchr_iter(b'[', line.as_bytes()).any(|at| after(at).is_some_and(|byte| byte.is_ascii_digit() || byte == b'm'));
    if plain && !coloured {
        return Cow::Borrowed(line);
    }
    let mut text = Cow::Borrowed(line);
    if coloured || line.contains('\x1b') {
        text = Cow::Owned(without_colours(&text));
    }
    if ENTITIES.iter().take(2).any(|(entity, _)| text.contains(entity)) {
        text = Cow::Owned(ENTITIES.iter().fold(text.into_owned(), |text, (entity, character)| text.replace(entity, character)));
    }
    let unwanted = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{feff}' | '\u{200b}' | '\u{200e}');
    if text.contains(unwanted) || text.contains('\u{a0}') {
        text = Cow::Owned(text.chars().filter(|c| !unwanted(*c)).map(|c| if c == '\u{a0}' { ' ' } else { c }).collect());
    }
    text
}

/// A line as it is repeated: printable, and not longer than a few rows of a terminal.
pub fn repeated(line: &str) -> String {
    let line = clean(line);
    let line = line.get(..floor(&line, LONGEST_REPEATED)).unwrap_or_default();
    if line.contains('\t') { line.replace('\t', " ") } else { line.to_owned() }
}

/// Without ECMA-48 control sequences (section 5.4), in whichever form they arrive: those that set
/// colours also without their escape character, which a paste loses.
fn without_colours(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let escape = ESCAPES.iter().find_map(|escape| rest.strip_prefix(escape));
        if let Some(after) = escape.unwrap_or(rest).strip_prefix('[') {
            let length = after.bytes().take(24).take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
            let last = after.as_bytes().get(length);
            // Any sequence after a real escape character; colours alone after what only stands for
            // one.
            let real = rest.starts_with('\x1b') && last.is_some_and(|byte| (0x40..=0x7e).contains(byte));
            if real || (last == Some(&b'm') && (length > 0 || escape.is_some())) {
                rest = after.get(length + 1..).unwrap_or_default();
                continue;
            }
        }
        text.push(character);
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    text
}

/// Lines that syslog daemons, CSV and shells have put into one: `#012`, `\n`, `\012` for the end of
/// a line, where RabbitMQ ends one, after a colon or a comma. A client's name may hold the same
/// characters.
pub fn unfolded(line: &str) -> Vec<Cow<'_, str>> {
    const ENDS: [&str; 3] = ["#012", "\\n", "\\012"];
    if memchr::memchr2(b'#', b'\\', line.as_bytes()).is_none() {
        return vec![Cow::Borrowed(line)];
    }
    let at = ENDS.iter().find_map(|end| {
        let at = line.match_indices(end).map(|(at, _)| at).find(|at| line.get(..*at).is_some_and(|before| before.ends_with([':', ','])))?;
        Some((at, *end))
    });
    let Some((at, end)) = at else { return vec![Cow::Borrowed(line)] };
    let (first, rest) = (line.get(..at).unwrap_or_default(), line.get(at + end.len()..).unwrap_or_default());
    let mut lines = vec![Cow::Borrowed(first)];
    lines.extend(rest.split(end).filter(|line| !line.trim().is_empty()).map(Cow::Borrowed));
    lines
}

/// The last boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{clean, unfolded};

    #[test]
    fn colours_go_in_every_form() {
        for escape in ["\x1b", "^[", "#033", "\\033", "\\x1b", "\\u001b", "\\e", ""] {
            assert_eq!(clean(&format!("{escape}[38;5;214mtext{escape}[0m")), "text", "{escape}");
        }
        assert_eq!(clean("\u{feff}a\0b\u{200b} [info] [3] list[0] &lt;0.1.0&gt;"), "ab [info] [3] list[0] <0.1.0>");
    }

    #[test]
    fn folded_lines_are_told_apart_from_names() {
        assert_eq!(unfolded("closing (a -> b):#012client unexpectedly"), ["closing (a -> b):", "client unexpectedly"]);
        assert_eq!(unfolded("(a -> b - factory#0123abc:0):#012{x,#012 y}"), ["(a -> b - factory#0123abc:0):", "{x,", " y}"]);
        assert_eq!(unfolded("(a -> b - factory#0123abc:0)"), ["(a -> b - factory#0123abc:0)"]);
    }
}
