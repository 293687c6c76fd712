//! Every setting, once: where it stands in the file, how it is read, how it is printed, and whether
//! a change of it waits for the next start. Reading, `rstblame config`, the reload and the test
//! that the example documents each go by these rows.

use std::time::Duration;

use clap::ValueEnum;
use toml::Value as Toml;

use super::{
    Config, ConfigError, metrics,
    table::{Table, Value},
    value::{absolute, nonempty},
};
use crate::{
    cli::{BtfSource, Switch},
    host::{command_line::Detail, netns::NetnsFilter},
    model::ports::{MAX_RANGES, PortRange, PortSet},
    units::{self, show_duration, show_size},
};

/// Longest time resets are held back. The owner of one that waits longer is likely gone.
const LONGEST_SETTLE: Duration = Duration::from_mins(1);

/// The tables of the file, in the order in which they are printed: key, and header as it is
/// written. What stands in none comes first.
pub const SECTIONS: [(&str, &str); 7] = [
    ("", ""),
    ("log", "[log]"),
    ("filter", "[filter]"),
    ("flood", "[flood]"),
    ("kernel", "[kernel]"),
    ("privileges", "[privileges]"),
    ("metrics", "[metrics]"),
];

type Read = fn(&Value<'_>, &Table<'_>, &mut Config) -> Result<(), ConfigError>;
/// Keeps the value that an agent runs by (the second) in a configuration that was read anew.
type Keep = fn(&mut Config, &Config);

/// When a change of a setting takes effect.
#[derive(Clone, Copy)]
pub enum Change {
    /// When the file is read again.
    Anytime,
    /// When the agent is started again.
    AtStart(Keep),
    /// When the file is read again, unless the agent has let go of what it takes to enter another
    /// network namespace.
    Privileged(Keep),
}

/// One setting.
pub struct Setting {
    /// Key of the table it stands in; empty for none.
    pub section: &'static str,
    pub key: &'static str,
    /// Reads a value, in its table, into a configuration.
    pub read: Read,
    /// The value as it is printed; `None` where it is left out.
    pub show: fn(&Config) -> Option<Toml>,
    /// When a change takes effect.
    pub change: Change,
}

impl Setting {
    /// Its name in messages: `kernel.ring_size`.
    pub fn name(&self) -> String {
        if self.section.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.section, self.key) }
    }

    /// Takes the value of a running agent where it cannot change; whether that is another one.
    /// `stays`: the agent has let go of what it takes to enter another network namespace.
    pub fn keep(&self, new: &mut Config, running: &Config, stays: bool) -> bool {
        let keep = match self.change {
            Change::AtStart(keep) => keep,
            Change::Privileged(keep) if stays => keep,
            Change::Anytime | Change::Privileged(_) => return false,
        };
        let differs = (self.show)(new) != (self.show)(running);
        keep(new, running);
        differs
    }
}

/// The settings of a table.
pub fn of(section: &str) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.section == section)
}

/// All of them, table by table, in the order in which they are printed.
pub const SETTINGS: &[Setting] = &[
    Setting {
        section: "",
        key: "settle",
        read: |value, _, config| value.duration(&(Duration::ZERO..=LONGEST_SETTLE)).map(|time| config.settle = time),
        show: |config| Some(text(show_duration(config.settle))),
        change: Change::AtStart(|new, running| new.settle = running.settle),
    },
    Setting {
        section: "",
        key: "command_line",
        read: |value, _, config| word(value, &Detail::NAMES, &mut config.command_line),
        show: |config| name(&config.command_line),
        change: Change::AtStart(|new, running| new.command_line = running.command_line),
    },
    Setting {
        section: "",
        key: "state_dir",
        read: |value, _, config| absolute(value).map(|path| config.state_dir = Some(path)),
        show: |config| config.state_dir.as_ref().map(|path| text(path.display())),
        change: Change::AtStart(|new, running| new.state_dir.clone_from(&running.state_dir)),
    },
    Setting {
        section: "log",
        key: "level",
        read: |value, _, config| word(value, &["error", "warn", "info", "debug", "trace"], &mut config.log.level),
        show: |config| Some(text(config.log.level)),
        change: Change::Anytime,
    },
    Setting {
        section: "log",
        key: "format",
        read: |value, _, config| word(value, &["auto", "human", "logfmt", "json"], &mut config.log.format),
        show: |config| name(&config.log.format),
        change: Change::Anytime,
    },
    Setting {
        section: "filter",
        key: "ports",
        read: |value, _, config| ports(value).map(|ports| config.ports = ports),
        show: |config| Some(texts(&config.ports.names())),
        change: Change::Anytime,
    },
    Setting {
        section: "filter",
        key: "netns",
        read: |value, _, config| {
            const HINT: &str = "give \"self\", \"all\", a path or an inode number";
            config.netns = value.text_or_digits(HINT)?.parse().map_err(|error| value.error(format!("netns: {error}")))?;
            Ok(())
        },
        show: |config| {
            Some(match &config.netns {
                NetnsFilter::Own => text("self"),
                NetnsFilter::All => text("all"),
                NetnsFilter::Path(path) => text(path.display()),
                NetnsFilter::Inode(inode) => text(inode),
            })
        },
        change: Change::Privileged(|new, running| new.netns.clone_from(&running.netns)),
    },
    Setting {
        section: "filter",
        key: "ignored",
        read: |value, _, config| value.flag().map(|flag| config.ignored = flag),
        show: |config| Some(Toml::Boolean(config.ignored)),
        change: Change::Anytime,
    },
    Setting {
        section: "filter",
        key: "endings",
        read: |value, _, config| value.flag().map(|flag| config.endings = flag),
        show: |config| Some(Toml::Boolean(config.endings)),
        change: Change::Anytime,
    },
    Setting {
        section: "filter",
        key: "pids",
        read: |value, _, config| {
            let numbers = value.list("give an array of process ids")?;
            let pid = |value: &Value<'_>| Ok(u32::try_from(value.integer(1..=4_194_304)?).unwrap_or(u32::MAX));
            numbers.iter().map(pid).collect::<Result<_, _>>().map(|pids| config.owners.pids = pids)
        },
        show: |config| Some(Toml::Array(config.owners.pids.iter().map(|pid| Toml::Integer((*pid).into())).collect())),
        change: Change::Anytime,
    },
    Setting {
        section: "filter",
        key: "comms",
        read: |value, _, config| words(value, "give an array of strings").map(|words| config.owners.comms = words),
        show: |config| Some(texts(&config.owners.comms)),
        change: Change::Anytime,
    },
    Setting {
        section: "filter",
        key: "containers",
        read: |value, _, config| words(value, "give an array of strings").map(|words| config.owners.containers = words),
        show: |config| Some(texts(&config.owners.containers)),
        change: Change::Anytime,
    },
    Setting {
        section: "flood",
        key: "fold_above",
        read: |value, _, config| number(value, 0, u32::MAX).map(|rate| config.flood.fold_above = rate),
        show: |config| Some(Toml::Integer(config.flood.fold_above.into())),
        change: Change::Anytime,
    },
    Setting {
        section: "flood",
        key: "kernel_budget",
        read: |value, _, config| number(value, 0, u32::MAX).map(|rate| config.flood.kernel_budget = rate),
        show: |config| Some(Toml::Integer(config.flood.kernel_budget.into())),
        change: Change::Anytime,
    },
    Setting {
        section: "kernel",
        key: "ring_size",
        read: |value, _, config| value.text_as("give a size such as \"4MiB\"", units::size).map(|size| config.kernel.ring_size = size),
        show: |config| Some(text(show_size(config.kernel.ring_size))),
        change: Change::AtStart(|new, running| new.kernel.ring_size = running.kernel.ring_size),
    },
    Setting {
        section: "kernel",
        key: "max_connections",
        read: |value, _, config| number(value, 1, 16_777_216).map(|most| config.kernel.max_connections = most),
        show: |config| Some(Toml::Integer(config.kernel.max_connections.into())),
        change: Change::AtStart(|new, running| new.kernel.max_connections = running.kernel.max_connections),
    },
    Setting {
        section: "kernel",
        key: "max_processes",
        read: |value, _, config| count(value, 4_194_304).map(|most| config.kernel.max_processes = most),
        show: |config| i64::try_from(config.kernel.max_processes).ok().map(Toml::Integer),
        change: Change::AtStart(|new, running| new.kernel.max_processes = running.kernel.max_processes),
    },
    Setting {
        section: "kernel",
        key: "max_conversations",
        read: |value, _, config| number(value, 1, 4_194_304).map(|most| config.kernel.max_conversations = most),
        show: |config| Some(Toml::Integer(config.kernel.max_conversations.into())),
        change: Change::AtStart(|new, running| new.kernel.max_conversations = running.kernel.max_conversations),
    },
    Setting {
        section: "kernel",
        key: "egress",
        read: |value, _, config| switch(value).map(|switch| config.kernel.egress = switch),
        show: |config| Some(Toml::Boolean(config.kernel.egress == Switch::On)),
        change: Change::AtStart(|new, running| new.kernel.egress = running.kernel.egress),
    },
    Setting {
        section: "kernel",
        key: "amqp",
        read: |value, _, config| switch(value).map(|switch| config.kernel.amqp = switch),
        show: |config| Some(Toml::Boolean(config.kernel.amqp == Switch::On)),
        change: Change::AtStart(|new, running| new.kernel.amqp = running.kernel.amqp),
    },
    Setting {
        section: "kernel",
        key: "hooks",
        read: |value, _, config| word(value, &["auto", "btf", "tracepoint"], &mut config.kernel.hooks),
        show: |config| name(&config.kernel.hooks),
        change: Change::AtStart(|new, running| new.kernel.hooks = running.kernel.hooks),
    },
    Setting {
        section: "kernel",
        key: "btf",
        read: |value, _, config| {
            let none = value.text("give a path or \"none\"")? == "none";
            config.kernel.btf = if none { BtfSource::None } else { BtfSource::File(absolute(value)?) };
            Ok(())
        },
        show: |config| {
            Some(match &config.kernel.btf {
                BtfSource::None => text("none"),
                BtfSource::File(path) => text(path.display()),
            })
        },
        change: Change::AtStart(|new, running| new.kernel.btf.clone_from(&running.kernel.btf)),
    },
    Setting {
        section: "privileges",
        key: "user",
        read: |value, _, config| nonempty(value, "give the name of a user").map(|user| config.privileges.user = Some(user.to_owned())),
        show: |config| config.privileges.user.as_ref().map(text),
        change: Change::AtStart(|new, running| new.privileges.user.clone_from(&running.privileges.user)),
    },
    Setting {
        section: "privileges",
        key: "confine",
        read: |value, _, config| word(value, &["off", "best_effort", "require"], &mut config.privileges.confine),
        show: |config| name(&config.privileges.confine),
        change: Change::AtStart(|new, running| new.privileges.confine = running.privileges.confine),
    },
    Setting {
        section: "metrics",
        key: "listen",
        read: |value, table, config| metrics::listen(value, table).map(|listen| config.metrics.listen = listen),
        show: |config| Some(text(config.metrics.listen.as_ref().map_or_else(|| metrics::OFF.to_owned(), ToString::to_string))),
        change: Change::AtStart(|new, running| new.metrics.listen.clone_from(&running.metrics.listen)),
    },
    Setting {
        section: "metrics",
        key: "allow_remote",
        read: |value, _, config| value.flag().map(|flag| config.metrics.allow_remote = flag),
        show: |config| Some(Toml::Boolean(config.metrics.allow_remote)),
        change: Change::AtStart(|new, running| new.metrics.allow_remote = running.metrics.allow_remote),
    },
    Setting {
        section: "metrics",
        key: "hosts",
        read: |value, _, config| {
            words(value, "give an array of names, such as [\"broker-1.example\"]").map(|hosts| config.metrics.hosts = hosts)
        },
        show: |config| Some(texts(&config.metrics.hosts)),
        change: Change::AtStart(|new, running| new.metrics.hosts.clone_from(&running.metrics.hosts)),
    },
    Setting {
        section: "metrics",
        key: "max_peers",
        read: |value, _, config| count(value, metrics::SERIES).map(|most| config.metrics.limits.peers = most),
        show: |config| i64::try_from(config.metrics.limits.peers).ok().map(Toml::Integer),
        change: Change::AtStart(|new, running| new.metrics.limits.peers = running.metrics.limits.peers),
    },
    Setting {
        section: "metrics",
        key: "max_middleboxes",
        read: |value, _, config| count(value, metrics::SERIES).map(|most| config.metrics.limits.middleboxes = most),
        show: |config| i64::try_from(config.metrics.limits.middleboxes).ok().map(Toml::Integer),
        change: Change::AtStart(|new, running| new.metrics.limits.middleboxes = running.metrics.limits.middleboxes),
    },
];

fn text(value: impl std::fmt::Display) -> Toml {
    Toml::String(value.to_string())
}

fn texts(items: &[String]) -> Toml {
    Toml::Array(items.iter().map(text).collect())
}

/// The word that stands for one of an enumeration.
fn name(value: &impl ValueEnum) -> Option<Toml> {
    value.to_possible_value().map(|word| text(word.get_name()))
}

fn word<T: ValueEnum>(value: &Value<'_>, known: &[&'static str], place: &mut T) -> Result<(), ConfigError> {
    value.word(known, |word| T::from_str(word, false).ok()).map(|word| *place = word)
}

fn words(value: &Value<'_>, hint: &str) -> Result<Vec<String>, ConfigError> {
    value.list(hint)?.iter().map(|word| nonempty(word, hint).map(ToOwned::to_owned)).collect()
}

fn number(value: &Value<'_>, least: u32, most: u32) -> Result<u32, ConfigError> {
    value.integer(least.into()..=most.into()).map(|number| u32::try_from(number).unwrap_or(most))
}

/// At least one of something.
fn count(value: &Value<'_>, most: u64) -> Result<usize, ConfigError> {
    value.integer(1..=most).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

fn switch(value: &Value<'_>) -> Result<Switch, ConfigError> {
    value.flag().map(|flag| if flag { Switch::On } else { Switch::Off })
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
