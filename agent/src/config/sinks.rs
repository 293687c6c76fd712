//! The `[[sink]]` tables.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    ConfigError,
    table::{Table, Value},
    value::{absolute, nonempty},
};
use crate::{
    output::{
        Format,
        pretty::Style,
        sink::{Body, DEV_LOG, Facility, Fsync, JOURNAL, SinkSpec, SyslogAddress, Target, WhenFull},
    },
    units,
};

/// Resets that may be allowed to wait for one sink.
const QUEUES: RangeInclusive<u64> = 16..=1_048_576;

/// How long one may be allowed to wait for room.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);

/// How often a file may be synchronised.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);

/// Sinks at once: each has a thread of its own.
const MOST: usize = 64;

const KINDS: [&str; 7] = ["stdout", "file", "unix_datagram", "unix_stream", "tcp", "syslog", "journald"];

pub(super) fn read(tables: &[Table<'_>]) -> Result<Vec<SinkSpec>, ConfigError> {
    let mut sinks: Vec<SinkSpec> = Vec::with_capacity(tables.len());
    for table in tables {
        let sink = sink(table)?;
        if let Some(other) = sinks.iter().find(|other| other.target.is_same_place(&sink.target)) {
            return Err(table.error(format!("[[sink]] goes to the same place as {}; leave one of them out", other.name)));
        }
        if sinks.iter().any(|other| other.name == sink.name) {
            return Err(table.error(format!("two sinks are called {:?}; give each a name of its own", sink.name)));
        }
        if sinks.len() >= MOST {
            return Err(table.error(format!("more than {MOST} sinks; let a log shipper spread the events further")));
        }
        sinks.push(sink);
    }
    Ok(sinks)
}

fn sink(table: &Table<'_>) -> Result<SinkSpec, ConfigError> {
    let hint = format!("give one of {}", KINDS.join(", "));
    let kind = table.need("type", &hint)?.word(&KINDS, |word| KINDS.into_iter().find(|kind| *kind == word))?;
    let own: &[&'static str] = match kind {
        "stdout" => &["format"],
        "file" => &["path", "format", "fsync"],
        "unix_datagram" | "unix_stream" | "journald" => &["path"],
        "syslog" => &["address", "facility", "body"],
        _ => &["address"],
    };
    let known: Vec<&'static str> = ["type", "name", "queue", "when_full"].iter().chain(own).copied().collect();
    table.only(&known)?;
    let mut sink = SinkSpec::new(target(table, kind)?);
    if let Some(value) = table.get("name") {
        nonempty(&value, "give the name its losses are listed under")?.clone_into(&mut sink.name);
    }
    if let Some(value) = table.get("queue") {
        sink.queue = usize::try_from(value.integer(QUEUES)?).unwrap_or(usize::MAX);
    }
    if let Some(value) = table.get("when_full") {
        sink.when_full = when_full(&value)?;
    }
    Ok(sink)
}

fn target(table: &Table<'_>, kind: &str) -> Result<Target, ConfigError> {
    let path = || absolute(&table.need("path", "give an absolute path")?);
    Ok(match kind {
        "stdout" => Target::Stdout { format: format(table)?, style: Style::PLAIN },
        "file" => {
            let fsync = table.get("fsync").map_or(Ok(Fsync::Never), |value| fsync(&value))?;
            Target::File { path: path()?, format: format(table)?, fsync }
        }
        "unix_datagram" => Target::UnixDatagram { path: path()? },
        "unix_stream" => Target::UnixStream { path: path()? },
        "tcp" => Target::Tcp { address: table.need("address", HOST_PORT)?.text_as(HOST_PORT, host_port)? },
        "syslog" => Target::Syslog {
            address: table.get("address").map_or_else(|| Ok(SyslogAddress::Unix(DEV_LOG.into())), |value| syslog_address(&value))?,
            facility: facility(table)?,
            body: match table.get("body") {
                Some(value) => value.word(&["json", "text"], |word| match word {
                    "json" => Some(Body::Json),
                    "text" => Some(Body::Text),
                    _ => None,
                })?,
                None => Body::Json,
            },
        },
        _ => Target::Journald { path: table.get("path").map_or_else(|| Ok(JOURNAL.into()), |value| absolute(&value))? },
    })
}

fn format(table: &Table<'_>) -> Result<Format, ConfigError> {
    table.get("format").map_or(Ok(Format::Json), |value| {
        value.word(&["json", "pretty"], |word| match word {
            "json" => Some(Format::Json),
            "pretty" => Some(Format::Pretty),
            _ => None,
        })
    })
}

fn fsync(value: &Value<'_>) -> Result<Fsync, ConfigError> {
    match value.text("give \"never\", \"each\", or a time such as \"1s\"")? {
        "never" => Ok(Fsync::Never),
        "each" => Ok(Fsync::Each),
        _ => value.duration(&INTERVALS).map(Fsync::Interval),
    }
}

fn when_full(value: &Value<'_>) -> Result<WhenFull, ConfigError> {
    const HINT: &str = "give \"drop_oldest\", \"drop_newest\" or \"block_until TIME\", such as \"block_until 5s\"";
    value.text_as(HINT, |text| match (text, text.strip_prefix("block_until ")) {
        ("drop_oldest", _) => Ok(WhenFull::DropOldest),
        ("drop_newest", _) => Ok(WhenFull::DropNewest),
        (_, Some(time)) => {
            units::duration(time.trim()).ok().filter(|time| WAITS.contains(time)).map(WhenFull::BlockUntil).ok_or_else(|| {
                let [shortest, longest] = [WAITS.start(), WAITS.end()].map(|end| units::show_duration(*end));
                format!("give a time from {shortest} to {longest}")
            })
        }
        _ => Err(HINT.to_owned()),
    })
}

fn facility(table: &Table<'_>) -> Result<Facility, ConfigError> {
    let names: Vec<&'static str> = Facility::names().collect();
    table.get("facility").map_or(Ok(Facility::DAEMON), |value| value.word(&names, Facility::named))
}

const HOST_PORT: &str = "give HOST:PORT, such as \"logs.example.net:5170\" or \"[2001:db8::1]:5170\"";

/// Checks the form only: a name is resolved when it is connected to.
fn host_port(text: &str) -> Result<String, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or(HOST_PORT)?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let spaced = text.contains(|c: char| c.is_whitespace() || c.is_control());
    if host.is_empty() || bare_v6 || spaced || port.parse::<u16>().is_ok_and(|port| port == 0) || port.parse::<u16>().is_err() {
        return Err(HOST_PORT);
    }
    Ok(text.to_owned())
}

fn syslog_address(value: &Value<'_>) -> Result<SyslogAddress, ConfigError> {
    const HINT: &str = "give a path such as \"/dev/log\", \"udp://HOST:PORT\" or \"tcp://HOST:PORT\"";
    let text = value.text(HINT)?;
    match text.split_once("://") {
        Some(("udp", rest)) => host_port(rest).map(SyslogAddress::Udp).map_err(|_| value.error(format!("address = {text:?}: {HINT}"))),
        Some(("tcp", rest)) => host_port(rest).map(SyslogAddress::Tcp).map_err(|_| value.error(format!("address = {text:?}: {HINT}"))),
        Some(_) => Err(value.error(format!("address = {text:?}: {HINT}"))),
        None => absolute(value).map(SyslogAddress::Unix),
    }
}
