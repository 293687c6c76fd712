//! A [`Config`] as TOML: what `rstblame config` prints. It reads back as the same configuration.

use std::fmt::{self, Display, Formatter};

use clap::ValueEnum as _;
use toml::Value;

use super::{Config, metrics::OFF};
use crate::{
    cli::{BtfSource, Switch},
    host::netns::NetnsFilter,
    output::{
        Format,
        sink::{Body, Fsync, SinkSpec, Target, WhenFull},
    },
    units::{show_duration, show_size},
};

/// A TOML string, quoted as it needs.
fn quoted(text: impl Display) -> Value {
    Value::String(text.to_string())
}

fn list(items: &[String]) -> Value {
    Value::Array(items.iter().map(quoted).collect())
}

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "settle = {}", quoted(show_duration(self.settle)))?;
        if let Some(detail) = self.command_line.to_possible_value() {
            writeln!(f, "command_line = {}", quoted(detail.get_name()))?;
        }
        if let Some(path) = &self.state_dir {
            writeln!(f, "state_dir = {}", quoted(path.display()))?;
        }
        writeln!(f, "\n[log]\nlevel = {}", quoted(self.log.level))?;
        if let Some(format) = self.log.format.to_possible_value() {
            writeln!(f, "format = {}", quoted(format.get_name()))?;
        }
        writeln!(f, "\n[filter]")?;
        writeln!(f, "ports = {}", list(&self.ports.names()))?;
        writeln!(
            f,
            "netns = {}",
            match &self.netns {
                NetnsFilter::Own => quoted("self"),
                NetnsFilter::All => quoted("all"),
                NetnsFilter::Path(path) => quoted(path.display()),
                NetnsFilter::Inode(inode) => quoted(inode),
            }
        )?;
        writeln!(f, "ignored = {}", self.ignored)?;
        writeln!(f, "endings = {}", self.endings)?;
        writeln!(f, "pids = {}", Value::Array(self.owners.pids.iter().map(|pid| Value::Integer((*pid).into())).collect()))?;
        writeln!(f, "comms = {}", list(&self.owners.comms))?;
        writeln!(f, "containers = {}", list(&self.owners.containers))?;
        writeln!(f, "\n[flood]")?;
        writeln!(f, "fold_above = {}", self.flood.fold_above)?;
        writeln!(f, "kernel_budget = {}", self.flood.kernel_budget)?;
        writeln!(f, "\n[kernel]")?;
        writeln!(f, "ring_size = {}", quoted(show_size(self.kernel.ring_size)))?;
        writeln!(f, "max_connections = {}", self.kernel.max_connections)?;
        writeln!(f, "max_processes = {}", self.kernel.max_processes)?;
        writeln!(f, "max_conversations = {}", self.kernel.max_conversations)?;
        writeln!(f, "egress = {}", self.kernel.egress == Switch::On)?;
        writeln!(f, "amqp = {}", self.kernel.amqp == Switch::On)?;
        if let Some(hooks) = self.kernel.hooks.to_possible_value() {
            writeln!(f, "hooks = {}", quoted(hooks.get_name()))?;
        }
        match &self.kernel.btf {
            BtfSource::None => writeln!(f, "btf = {}", quoted("none"))?,
            BtfSource::File(path) => writeln!(f, "btf = {}", quoted(path.display()))?,
        }
        writeln!(f, "\n[privileges]")?;
        if let Some(user) = &self.privileges.user {
            writeln!(f, "user = {}", quoted(user))?;
        }
        if let Some(confine) = self.privileges.confine.to_possible_value() {
            writeln!(f, "confine = {}", quoted(confine.get_name()))?;
        }
        writeln!(f, "\n[metrics]")?;
        let listen = self.metrics.listen.as_ref().map_or_else(|| OFF.to_owned(), ToString::to_string);
        writeln!(f, "listen = {}", quoted(listen))?;
        writeln!(f, "allow_remote = {}", self.metrics.allow_remote)?;
        writeln!(f, "hosts = {}", list(&self.metrics.hosts))?;
        writeln!(f, "max_peers = {}", self.metrics.limits.peers)?;
        writeln!(f, "max_middleboxes = {}", self.metrics.limits.middleboxes)?;
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
