//! What is wrong with a question, and where.

use thiserror::Error;

/// Why a question cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("column {}: {what}", .at + 1)]
pub struct QueryError {
    /// The first character that is wrong, counted from 0.
    pub at: usize,
    /// How many are.
    pub length: usize,
    pub what: String,
}

impl QueryError {
    pub(super) fn new(at: usize, length: usize, what: impl Into<String>) -> Self {
        Self { at, length: length.max(1), what: what.into() }
    }

    /// The question with a mark under what is wrong, two lines without an end.
    pub fn pointer(&self, question: &str) -> String {
        let line: String = question.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{line}\n{}{}", " ".repeat(self.at), "^".repeat(self.length))
    }
}
