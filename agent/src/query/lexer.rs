//! A question into words.

use super::QueryError;

/// One word, and where it stands, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub at: usize,
    pub length: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A member, a keyword or a value.
    Word(String),
    /// A value in quotes.
    Quoted(String),
    Operator(&'static str),
    Open,
    Close,
    Comma,
}

/// Longest first.
const OPERATORS: [&str; 7] = ["!=", "<=", ">=", "==", "=", "<", ">"];

/// Splits a question into words.
pub(super) fn words(text: &str) -> Result<Vec<Token>, QueryError> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = characters.get(at) {
        let rest = characters.get(at..).unwrap_or_default();
        let (kind, length) = match first {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            ',' => (Kind::Comma, 1),
            '"' | '\'' => quoted(rest, *first, at)?,
            c if is_word(*c) => {
                let word: String = rest.iter().take_while(|c| is_word(**c)).collect();
                let length = word.chars().count();
                (Kind::Word(word), length)
            }
            other => {
                let operator = OPERATORS.into_iter().find(|operator| operator.chars().eq(rest.iter().take(operator.len()).copied()));
                let Some(operator) = operator else {
                    return Err(QueryError::new(at, 1, format!("{other:?} is no part of a question; put values that hold it in quotes")));
                };
                (Kind::Operator(if operator == "==" { "=" } else { operator }), operator.len())
            }
        };
        tokens.push(Token { kind, at, length });
        at += length;
    }
    Ok(tokens)
}

/// What members, numbers, times, addresses and networks are made of.
fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | ':' | '/' | '-' | '+' | '*' | '@' | '%')
}

/// Up to the same quote; a backslash takes the next character as it is.
fn quoted(rest: &[char], quote: char, at: usize) -> Result<(Kind, usize), QueryError> {
    let mut text = String::new();
    let mut characters = rest.iter().enumerate().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|(_, next)| *next)),
            c if *c == quote => return Ok((Kind::Quoted(text), index + 1)),
            c => text.push(*c),
        }
    }
    Err(QueryError::new(at, rest.len(), format!("this quote is not closed; add a {quote} at its end")))
}
