//! Questions to events: `cause = idle_timeout and peer in 10.0.6.0/24`. Pure.
//!
//! A comparison names a member of the contract, an operator and a value. A member that a line does
//! not have satisfies no comparison, `!=` included; `not` turns a whole question around. Of a list
//! (`evidence.signal`) one element is enough.
//!
//! ```text
//! question   = alternative { "or" alternative }
//! alternative = condition { "and" condition }
//! condition  = "not" condition | "(" question ")" | comparison
//! comparison = member [ operator value | [ "not" ] "in" list | "contains" value ]
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
//! list       = value | "(" value { "," value } ")"
//! ```

mod error;
mod find;
mod lexer;
mod members;
mod parser;
mod prefilter;
#[cfg(test)]
mod tests;
mod value;

pub use error::QueryError;
use find::{Found, Wanted};
use prefilter::Prefilter;
use serde::de::DeserializeSeed as _;
use value::Test;

/// A question.
#[derive(Clone, Debug)]
pub struct Query {
    expression: Expression,
    wanted: Wanted,
    prefilter: Prefilter,
}

/// How comparisons belong together.
#[derive(Clone, Debug)]
enum Expression {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    /// What is found in a place must pass the test.
    Compare {
        place: usize,
        test: Test,
    },
}

impl Query {
    /// Reads a question.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, with the nearest word that could be.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut wanted = Wanted::default();
        let expression = parser::parse(text, &mut wanted)?;
        let prefilter = Prefilter::of(&expression, &wanted);
        Ok(Self { expression, wanted, prefilter })
    }

    /// Whether a line is an answer. One that is no JSON is none.
    pub fn matches_line(&self, line: &[u8]) -> bool {
        if !self.prefilter.may_match(line) {
            return false;
        }
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let mut found = Found::new(self.wanted.places());
        self.wanted.seed(&mut found).deserialize(&mut deserializer).is_ok() && self.expression.holds(&found)
    }

    /// Whether an event is an answer, given as the value of its line.
    pub fn matches(&self, event: &serde_json::Value) -> bool {
        let mut found = Found::new(self.wanted.places());
        self.wanted.seed(&mut found).deserialize(event).is_ok() && self.expression.holds(&found)
    }
}

impl Expression {
    fn holds(&self, found: &Found) -> bool {
        match self {
            Self::Any(all) => all.iter().any(|one| one.holds(found)),
            Self::All(all) => all.iter().all(|one| one.holds(found)),
            Self::Not(one) => !one.holds(found),
            Self::Compare { place, test } => found.at(*place).iter().any(|leaf| test.passes(leaf)),
        }
    }
}
