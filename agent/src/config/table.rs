//! TOML values that know where they stand, so that whatever is wrong with one can be said with its
//! line.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::ConfigError;
use crate::units;

/// How alike two words must be for one to be a misspelling of the other; clap uses the same measure
/// for flags.
const ALIKE: f64 = 0.7;

/// A file and what is in it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// An error on the line of a byte.
    pub fn error(&self, byte: usize, problem: impl Into<String>) -> ConfigError {
        let before = self.text.get(..byte).unwrap_or(self.text);
        // What has no end is wrong at the end of the text, which is past its last line.
        let line = (1 + before.matches('\n').count()).min(self.text.lines().count().max(1));
        // One line, whatever the file has in it.
        let problem = problem.into().split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
        ConfigError::Line { path: self.path.to_owned(), line, problem }
    }
}

/// A table that is being read.
pub struct Table<'a> {
    source: Source<'a>,
    /// Its header, for messages; empty at the top.
    name: &'static str,
    /// Where its header stands.
    at: usize,
    keys: &'a DeTable<'a>,
}

/// The value of a key.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    source: Source<'a>,
    key: &'static str,
    is: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    pub fn top(source: Source<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self { source, name: "", at: 0, keys: table.get_ref() }
    }

    /// An error that belongs to the table as a whole.
    pub fn error(&self, problem: impl Into<String>) -> ConfigError {
        self.source.error(self.at, problem)
    }

    /// Refuses every key but these. To be asked first: a misspelt key is not also a missing one.
    pub fn only(&self, known: &[&'static str]) -> Result<(), ConfigError> {
        let mut unknown: Vec<_> = self.keys.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).collect();
        unknown.sort_by_key(|key| key.span().start);
        let Some(key) = unknown.first() else { return Ok(()) };
        let word = key.get_ref().as_ref();
        let place = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
        let hint = nearest(word, known)
            .map_or_else(|| format!("known keys are {}", known.join(", ")), |nearest| format!("did you mean {nearest}?"));
        Err(self.source.error(key.span().start, format!("unknown key {word:?}{place}; {hint}")))
    }

    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.keys.get(key).map(|is| Value { source: self.source, key, is })
    }

    /// The value of a key that has to be there.
    pub fn need(&self, key: &'static str, hint: &str) -> Result<Value<'a>, ConfigError> {
        self.get(key).ok_or_else(|| self.error(format!("{} has no {key}; {hint}", self.name)))
    }

    /// The table under a key, empty where there is none.
    pub fn table(&self, key: &'static str, name: &'static str) -> Result<Option<Table<'a>>, ConfigError> {
        self.get(key).map(|value| value.table(name)).transpose()
    }

    /// The tables under a key, one for each `[[key]]`; `None` where there is not even an empty
    /// array.
    pub fn tables(&self, key: &'static str, name: &'static str) -> Result<Option<Vec<Table<'a>>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || value.wrong(&format!("write {name} above each"));
        let entries = value.is.get_ref().as_array().ok_or_else(wrong)?;
        let entries = entries.iter().map(|entry| Value { is: entry, ..value }.table(name)).collect::<Result<_, _>>()?;
        Ok(Some(entries))
    }
}

impl<'a> Value<'a> {
    /// An error on the line of the value.
    pub fn error(&self, problem: impl Into<String>) -> ConfigError {
        self.source.error(self.is.span().start, problem)
    }

    /// The value is of the wrong type.
    pub fn wrong(&self, hint: &str) -> ConfigError {
        let kind = match self.is.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("{} is {kind}; {hint}", self.key))
    }

    pub fn table(&self, name: &'static str) -> Result<Table<'a>, ConfigError> {
        let table = self.is.get_ref().as_table().ok_or_else(|| self.wrong(&format!("write {name} above its keys")))?;
        Ok(Table { source: self.source, name, at: self.is.span().start, keys: table })
    }

    pub fn flag(&self) -> Result<bool, ConfigError> {
        self.is.get_ref().as_bool().ok_or_else(|| self.wrong("give true or false"))
    }

    pub fn text(&self, hint: &str) -> Result<&'a str, ConfigError> {
        self.is.get_ref().as_str().ok_or_else(|| self.wrong(hint))
    }

    /// A string that stands for something.
    pub fn text_as<T, E: std::fmt::Display>(&self, hint: &str, read: impl Fn(&str) -> Result<T, E>) -> Result<T, ConfigError> {
        let text = self.text(hint)?;
        read(text).map_err(|error| self.error(format!("{} = {text:?}: {error}", self.key)))
    }

    /// One of a few words.
    pub fn word<T>(&self, known: &[&'static str], find: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        let all = format!("give one of {}", known.join(", "));
        let text = self.text(&all)?;
        find(text).ok_or_else(|| {
            let hint = nearest(text, known).map_or(all, |nearest| format!("did you mean {nearest}?"));
            self.error(format!("unknown {} {text:?}; {hint}", self.key))
        })
    }

    pub fn integer(&self, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let hint = format!("give a number from {} to {}", range.start(), range.end());
        let integer = self.is.get_ref().as_integer().ok_or_else(|| self.wrong(&hint))?;
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.error(format!("{} = {} is out of range; {hint}", self.key, integer)))
    }

    pub fn duration(&self, range: &RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
        let bounds = [range.start(), range.end()].map(|end| units::show_duration(*end));
        let hint = format!("give a time from {} to {}, such as \"1s\" or \"250ms\"", bounds[0], bounds[1]);
        let text = self.text(&hint)?;
        units::duration(text)
            .ok()
            .filter(|time| range.contains(time))
            .ok_or_else(|| self.error(format!("{} = {text:?} is no such time; {hint}", self.key)))
    }

    pub fn list(&self, hint: &str) -> Result<Vec<Self>, ConfigError> {
        let entries = self.is.get_ref().as_array().ok_or_else(|| self.wrong(hint))?;
        Ok(entries.iter().map(|is| Self { is, ..*self }).collect())
    }

    /// The text of a string, or the digits of an integer.
    pub fn text_or_digits(&self, hint: &str) -> Result<&'a str, ConfigError> {
        match self.is.get_ref() {
            DeValue::String(text) => Ok(text),
            DeValue::Integer(integer) if integer.radix() == 10 => Ok(integer.as_str()),
            _ => Err(self.wrong(hint)),
        }
    }
}

/// The known word that an unknown one is a misspelling of.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
