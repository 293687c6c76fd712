//! A [`Config`] as TOML: what `rstblame config` prints. It reads back as the same configuration.

use std::fmt::{self, Display, Formatter};

use toml::Value;

use super::{Config, settings};
use crate::{
    output::{
        Format,
        sink::{Body, Fsync, SinkSpec, Target, WhenFull},
    },
    units::show_duration,
};

/// A TOML string, quoted as it needs.
fn quoted(text: impl Display) -> Value {
    Value::String(text.to_string())
}

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (section, header) in settings::SECTIONS {
            if !header.is_empty() {
                writeln!(f, "\n{header}")?;
            }
            for setting in settings::of(section) {
                if let Some(value) = (setting.show)(self) {
                    writeln!(f, "{} = {value}", setting.key)?;
                }
            }
        }
        for middlebox in &self.middleboxes {
            writeln!(f, "\n[[middlebox]]\nnetwork = {}\nname = {}", quoted(middlebox.network()), quoted(middlebox.name()))?;
        }
        self.sinks.iter().try_for_each(|spec| sink(f, spec))
    }
}

fn sink(f: &mut Formatter<'_>, spec: &SinkSpec) -> fmt::Result {
    let kind = match &spec.target {
        Target::Stdout { .. } => "stdout",
        Target::File { .. } => "file",
        Target::UnixDatagram { .. } => "unix_datagram",
        Target::UnixStream { .. } => "unix_stream",
        Target::Tcp { .. } => "tcp",
        Target::Syslog { .. } => "syslog",
        Target::Journald { .. } => "journald",
    };
    writeln!(f, "\n[[sink]]\ntype = {}\nname = {}", quoted(kind), quoted(&spec.name))?;
    writeln!(f, "queue = {}", spec.queue)?;
    let when_full = match spec.when_full {
        WhenFull::DropOldest => "drop_oldest".to_owned(),
        WhenFull::DropNewest => "drop_newest".to_owned(),
        WhenFull::BlockUntil(time) => format!("block_until {}", show_duration(time)),
    };
    writeln!(f, "when_full = {}", quoted(when_full))?;
    match &spec.target {
        Target::Stdout { format, .. } => writeln!(f, "format = {}", quoted(name(*format))),
        Target::File { path, format, fsync } => {
            let fsync = match fsync {
                Fsync::Never => "never".to_owned(),
                Fsync::Each => "each".to_owned(),
                Fsync::Interval(time) => show_duration(*time),
            };
            writeln!(f, "path = {}\nformat = {}\nfsync = {}", quoted(path.display()), quoted(name(*format)), quoted(fsync))
        }
        Target::UnixDatagram { path } | Target::UnixStream { path } | Target::Journald { path } => {
            writeln!(f, "path = {}", quoted(path.display()))
        }
        Target::Tcp { address } => writeln!(f, "address = {}", quoted(address)),
        Target::Syslog { address, facility, body } => {
            let body = match body {
                Body::Json => "json",
                Body::Text => "text",
            };
            writeln!(f, "address = {}\nfacility = {}\nbody = {}", quoted(address), quoted(facility.name()), quoted(body))
        }
    }
}

const fn name(format: Format) -> &'static str {
    match format {
        Format::Json => "json",
        Format::Pretty => "pretty",
    }
}
