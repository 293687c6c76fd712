//! Text in columns: how wide it is, where it may be broken, what may be left out.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Stands for what was left out.
const ELLIPSIS: char = '…';

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns`, its middle left out where it is longer: of an address the ends tell
/// most, and its port is behind it.
pub fn elide_middle(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return text.into();
    }
    let room = columns.saturating_sub(1);
    let head = take(text.chars(), room - room / 2);
    let tail: String = take(text.chars().rev(), room / 2).chars().rev().collect();
    if columns == 0 { "".into() } else { format!("{head}{ELLIPSIS}{tail}").into() }
}

/// `text` in at most `columns`, cut where a clause ends, else where a word does.
pub fn cut_clause(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return text.into();
    }
    let fits = take(text.chars(), columns.saturating_sub(2));
    let at = [";", ", ", ":", " "].iter().find_map(|end| fits.rfind(end).filter(|at| *at * 2 > fits.len()));
    let kept = at.and_then(|at| fits.get(..at)).unwrap_or(&fits);
    format!("{} {ELLIPSIS}", kept.trim_end()).into()
}

/// Appends `text` in lines of at most `columns`, the first after what stands there already (`used`
/// columns), the others indented; a word that is longer than a line is broken.
pub fn wrap(out: &mut String, text: &str, used: usize, indent: usize, columns: usize) {
    let indent = indent.min(columns / 2);
    let mut at = used;
    let mut first = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let space = usize::from(!first);
        if at + space + width(word) > columns && at > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            at = indent;
        } else if !first {
            out.push(' ');
            at += 1;
        }
        first = false;
        for character in word.chars() {
            let wide = character.width().unwrap_or(0);
            if at + wide > columns && at > indent {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                at = indent;
            }
            out.push(character);
            at += wide;
        }
    }
}

/// As many of the characters as fit.
fn take(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    characters
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cut_clause, elide_middle, width, wrap};

    #[test]
    fn what_tells_most_is_kept() {
        assert_eq!(elide_middle("[2001:db8:1234:5678:9abc:def0:1234:5678]:40122", 24), "[2001:db8:12…5678]:40122");
        assert_eq!(elide_middle("short", 24), "short");
        assert_eq!(cut_clause("set heartbeat=30; or raise the timeout of the device", 30), "set heartbeat=30 …");
        assert_eq!(cut_clause("日本語 日本語 日本語", 12), "日本語 …");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_it_may_be(text in "[ a-zé日🐇;,:]{0,80}", columns in 4_usize..60, used in 0_usize..4) {
            prop_assert!(width(&elide_middle(&text, columns)) <= columns);
            prop_assert!(width(&cut_clause(&text, columns)) <= columns);
            let mut out = " ".repeat(used);
            wrap(&mut out, &text, used, 2, columns);
            prop_assert!(out.lines().all(|line| width(line) <= columns), "{out:?}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&out), letters(&text));
        }
    }
}
