//! The configuration of the daemon: one TOML file, every key optional. `packaging/rstblame.toml`
//! documents each.
//!
//! Whatever is wrong with a file is one line: `FILE:LINE: what is wrong; hint`.

mod error;
mod metrics;
mod read;
pub mod settings;
mod sinks;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use error::ConfigError;
pub use metrics::MetricsConfig;

use crate::{
    cli::{self, BtfSource, ConfigArgs, FloodArgs, KernelArgs, Switch},
    files,
    flow::configured::KnownMiddlebox,
    host::{command_line::Detail, netns::NetnsFilter},
    join::owner_filter::OwnerFilter,
    kernel::options::Ladder,
    log::Settings,
    model::ports::{PortRange, PortSet},
    output::{
        Format,
        pretty::Style,
        sink::{SinkSpec, Target},
    },
    privileges,
};

/// Largest file that is read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a daemon runs by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long resets are held back.
    pub settle: Duration,
    /// How much of command lines is kept.
    pub command_line: Detail,
    /// Where what is learnt is kept.
    pub state_dir: Option<PathBuf>,
    /// The agent's own log.
    pub log: Settings,
    pub ports: PortSet,
    pub netns: NetnsFilter,
    /// Whether RSTs without effect are reported.
    pub ignored: bool,
    /// Whether AMQP connections that died without a RST are reported.
    pub endings: bool,
    pub owners: OwnerFilter,
    pub middleboxes: Vec<KnownMiddlebox>,
    pub flood: FloodArgs,
    pub kernel: KernelArgs,
    pub privileges: privileges::Settings,
    pub metrics: MetricsConfig,
    pub sinks: Vec<SinkSpec>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(1),
            command_line: Detail::default(),
            state_dir: None,
            log: Settings::default(),
            ports: PortSet::from(PortRange::AMQP),
            netns: NetnsFilter::All,
            ignored: false,
            endings: true,
            owners: OwnerFilter::default(),
            middleboxes: Vec::new(),
            flood: FloodArgs::DEFAULT,
            kernel: KernelArgs {
                ring_size: 4 << 20,
                max_connections: 131_072,
                max_processes: 4096,
                max_conversations: 16_384,
                egress: Switch::On,
                amqp: Switch::On,
                hooks: Ladder::Auto,
                btf: BtfSource::File("/sys/kernel/btf/vmlinux".into()),
            },
            privileges: privileges::Settings::default(),
            metrics: MetricsConfig::default(),
            sinks: vec![SinkSpec::new(Target::Stdout { format: Format::Json, style: Style::PLAIN })],
        }
    }
}

impl Config {
    /// Reads the file the command line names. That there is none at the default place means the
    /// defaults.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or what is in it makes no sense.
    pub fn load(args: &ConfigArgs) -> Result<Self, ConfigError> {
        match Self::read(&args.file) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound && args.file == Path::new(cli::CONFIG) => {
                Ok(Self::default())
            }
            read => read,
        }
    }

    /// Reads the file again for a daemon that runs by `running`. Only one that was started without
    /// a file at the default place goes on without: that one which was there is missing is no
    /// reason to run by the defaults.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], and when the file is gone.
    pub fn reload(args: &ConfigArgs, running: &Self) -> Result<Self, ConfigError> {
        if *running == Self::default() { Self::load(args) } else { Self::read(&args.file) }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        // A reload reads it on the thread of the session: nothing that is named by mistake, or that
        // somebody put there, may be waited for or never end.
        let text = files::read(path, MAX_FILE)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)));
        let text = text.map_err(|source| match source.kind() {
            io::ErrorKind::FileTooLarge => ConfigError::TooLarge { path: path.to_owned(), limit: MAX_FILE },
            _ => ConfigError::Read { path: path.to_owned(), source },
        })?;
        Self::parse(path, &text)
    }
}
