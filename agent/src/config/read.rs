//! TOML into a [`Config`].

use std::{collections::HashMap, path::Path, time::Duration};

use clap::ValueEnum as _;
use ipnet::IpNet;
use toml::de::DeTable;

use super::{
    Config, ConfigError, metrics, sinks,
    table::{Source, Table, Value},
    value::{absolute, nonempty},
};
use crate::{
    cli::{BtfSource, Switch},
    flow::configured::KnownMiddlebox,
    host::command_line::Detail,
    kernel::options::Ladder,
    log::{self, Level, LogFormat},
    model::ports::{MAX_RANGES, PortRange, PortSet},
    privileges::{self, Confine},
    units,
};

/// Longest time resets are held back. The owner of one that waits longer is likely gone.
const LONGEST_SETTLE: Duration = Duration::from_mins(1);

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
        top.only(&[
            "settle",
            "command_line",
            "state_dir",
            "log",
            "filter",
            "flood",
            "kernel",
            "privileges",
            "metrics",
            "middlebox",
            "sink",
        ])?;
        let mut config = Self::default();
        if let Some(value) = top.get("settle") {
            config.settle = value.duration(&(Duration::ZERO..=LONGEST_SETTLE))?;
        }
        if let Some(value) = top.get("command_line") {
            config.command_line = value.word(&Detail::NAMES, |word| Detail::from_str(word, false).ok())?;
        }
        config.state_dir = top.get("state_dir").map(|value| absolute(&value)).transpose()?;
        if let Some(table) = top.table("log", "[log]")? {
            log(&table, &mut config.log)?;
        }
        if let Some(table) = top.table("filter", "[filter]")? {
            filter(&table, &mut config)?;
        }
        if let Some(table) = top.table("flood", "[flood]")? {
            flood(&table, &mut config)?;
        }
        if let Some(table) = top.table("kernel", "[kernel]")? {
            kernel(&table, &mut config)?;
        }
        if let Some(table) = top.table("privileges", "[privileges]")? {
            config.privileges = privileges(&table)?;
        }
        if let Some(table) = top.table("metrics", "[metrics]")? {
            config.metrics = metrics::read(&table)?;
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

fn log(table: &Table<'_>, settings: &mut log::Settings) -> Result<(), ConfigError> {
    table.only(&["level", "format"])?;
    if let Some(value) = table.get("level") {
        settings.level = value.word(&["error", "warn", "info", "debug", "trace"], |word| Level::from_str(word, false).ok())?;
    }
    if let Some(value) = table.get("format") {
        settings.format = value.word(&["auto", "human", "logfmt", "json"], |word| LogFormat::from_str(word, false).ok())?;
    }
    Ok(())
}

fn filter(table: &Table<'_>, config: &mut Config) -> Result<(), ConfigError> {
    table.only(&["ports", "netns", "ignored", "endings", "pids", "comms", "containers"])?;
    if let Some(value) = table.get("ports") {
        config.ports = ports(&value)?;
    }
    if let Some(value) = table.get("netns") {
        const HINT: &str = "give \"self\", \"all\", a path or an inode number";
        config.netns = value.text_or_digits(HINT)?.parse().map_err(|error| value.error(format!("netns: {error}")))?;
    }
    if let Some(value) = table.get("ignored") {
        config.ignored = value.flag()?;
    }
    if let Some(value) = table.get("endings") {
        config.endings = value.flag()?;
    }
    if let Some(value) = table.get("pids") {
        let numbers = value.list("give an array of process ids")?;
        let pid = |value: &Value<'_>| Ok(u32::try_from(value.integer(1..=4_194_304)?).unwrap_or(u32::MAX));
        config.owners.pids = numbers.iter().map(pid).collect::<Result<_, _>>()?;
    }
    for (key, list) in [("comms", &mut config.owners.comms), ("containers", &mut config.owners.containers)] {
        if let Some(value) = table.get(key) {
            const HINT: &str = "give an array of strings";
            let words = value.list(HINT)?;
            *list = words.iter().map(|word| nonempty(word, HINT).map(ToOwned::to_owned)).collect::<Result<_, _>>()?;
        }
    }
    Ok(())
}

fn ports(value: &Value<'_>) -> Result<PortSet, ConfigError> {
    const HINT: &str = "give an array of ports and ranges, such as [5672, \"15671-15672\"]";
    let mut ranges: Vec<PortRange> = Vec::new();
    for entry in value.list(HINT)? {
        let range: PortRange = entry.text_or_digits(HINT)?.parse().map_err(|error| entry.error(format!("ports: {error}")))?;
        if let Some(other) = ranges.iter().find(|other| other.overlaps(&range)) {
            return Err(entry.error(format!("ports: {range} overlaps {other}; leave one of them out, or join them")));
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err(value.error(format!("ports is empty, nothing would be watched; {HINT}")));
    }
    PortSet::new(ranges).map_err(|_| value.error(format!("ports has more than {MAX_RANGES} entries; join neighbours into ranges")))
}

fn flood(table: &Table<'_>, config: &mut Config) -> Result<(), ConfigError> {
    table.only(&["fold_above", "kernel_budget"])?;
    for (key, rate) in [("fold_above", &mut config.flood.fold_above), ("kernel_budget", &mut config.flood.kernel_budget)] {
        if let Some(value) = table.get(key) {
            *rate = u32::try_from(value.integer(0..=u64::from(u32::MAX))?).unwrap_or(u32::MAX);
        }
    }
    Ok(())
}

fn kernel(table: &Table<'_>, config: &mut Config) -> Result<(), ConfigError> {
    table.only(&["ring_size", "max_connections", "max_processes", "max_conversations", "egress", "amqp", "hooks", "btf"])?;
    let kernel = &mut config.kernel;
    if let Some(value) = table.get("ring_size") {
        kernel.ring_size = value.text_as("give a size such as \"4MiB\"", units::size)?;
    }
    if let Some(value) = table.get("max_connections") {
        kernel.max_connections = u32::try_from(value.integer(1..=16_777_216)?).unwrap_or(u32::MAX);
    }
    if let Some(value) = table.get("max_processes") {
        kernel.max_processes = usize::try_from(value.integer(1..=4_194_304)?).unwrap_or(usize::MAX);
    }
    if let Some(value) = table.get("max_conversations") {
        kernel.max_conversations = u32::try_from(value.integer(1..=4_194_304)?).unwrap_or(u32::MAX);
    }
    for (key, switch) in [("egress", &mut kernel.egress), ("amqp", &mut kernel.amqp)] {
        if let Some(value) = table.get(key) {
            *switch = if value.flag()? { Switch::On } else { Switch::Off };
        }
    }
    if let Some(value) = table.get("hooks") {
        kernel.hooks = value.word(&["auto", "btf", "tracepoint"], |word| Ladder::from_str(word, false).ok())?;
    }
    if let Some(value) = table.get("btf") {
        kernel.btf = if value.text("give a path or \"none\"")? == "none" { BtfSource::None } else { BtfSource::File(absolute(&value)?) };
    }
    Ok(())
}

fn privileges(table: &Table<'_>) -> Result<privileges::Settings, ConfigError> {
    table.only(&["user", "confine"])?;
    Ok(privileges::Settings {
        user: match table.get("user") {
            Some(value) => Some(nonempty(&value, "give the name of a user")?.to_owned()),
            None => None,
        },
        confine: match table.get("confine") {
            Some(value) => value.word(&["off", "best_effort", "require"], |word| Confine::from_str(word, false).ok())?,
            None => Confine::default(),
        },
    })
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
