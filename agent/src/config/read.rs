//! TOML into a [`Config`].

use std::{collections::HashMap, path::Path};

use ipnet::IpNet;
use toml::de::DeTable;

use super::{
    Config, ConfigError, settings, sinks,
    table::{Source, Table},
    value::nonempty,
};
use crate::flow::configured::KnownMiddlebox;

/// The tables of which there may be several, `[[middlebox]]` and `[[sink]]`.
const REPEATED: [&str; 2] = ["middlebox", "sink"];

impl Config {
    /// Reads a configuration. `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Line`] for the first thing that makes no sense.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let parsed = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(text.len(), |span| span.start);
            source.error(at, format!("{}; this is no TOML, see https://toml.io", error.message()))
        })?;
        let top = Table::top(source, &parsed);
        let mut config = Self::default();
        let sections = settings::SECTIONS.iter().map(|(key, _)| *key).filter(|key| !key.is_empty());
        section(&top, "", sections.chain(REPEATED), &mut config)?;
        for (key, header) in settings::SECTIONS.into_iter().filter(|(key, _)| !key.is_empty()) {
            if let Some(table) = top.table(key, header)? {
                section(&table, key, [], &mut config)?;
            }
        }
        config.middleboxes = middleboxes(top.tables("middlebox", "[[middlebox]]")?.unwrap_or_default())?;
        if let Some(tables) = top.tables("sink", "[[sink]]")? {
            config.sinks = sinks::read(&tables)?;
            if config.sinks.is_empty() {
                return Err(top.error("sink is empty, nothing would be written; leave it out to write to standard output"));
            }
        }
        Ok(config)
    }
}

/// Reads the settings of one table. `beside`: what else may stand in it.
fn section(table: &Table<'_>, name: &str, beside: impl IntoIterator<Item = &'static str>, config: &mut Config) -> Result<(), ConfigError> {
    let known: Vec<&'static str> = settings::of(name).map(|setting| setting.key).chain(beside).collect();
    table.only(&known)?;
    for setting in settings::of(name) {
        if let Some(value) = table.get(setting.key) {
            (setting.read)(&value, table, config)?;
        }
    }
    Ok(())
}

fn middleboxes(tables: Vec<Table<'_>>) -> Result<Vec<KnownMiddlebox>, ConfigError> {
    const HINT: &str = "give an address or network, such as \"10.0.5.0/24\"";
    let mut first: HashMap<IpNet, String> = HashMap::new();
    let mut known = Vec::with_capacity(tables.len());
    for table in tables {
        table.only(&["network", "name"])?;
        let network = table.need("network", HINT)?;
        let name = nonempty(&table.need("name", "give the name it is reported under")?, "give the name it is reported under")?;
        let middlebox = network.text_as(HINT, |text| KnownMiddlebox::new(text, name).map_err(|_| HINT))?;
        if let Some(other) = first.insert(middlebox.network().trunc(), name.to_owned()) {
            let problem = format!("[[middlebox]] names {} twice, as {other:?} and as {name:?}; leave one of them out", middlebox.network());
            return Err(network.error(problem));
        }
        known.push(middlebox);
    }
    Ok(known)
}
