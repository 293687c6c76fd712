//! The `[metrics]` table.

use std::{ops::RangeInclusive, path::PathBuf};

use super::{ConfigError, table::Table};
use crate::{http::listen::Address, metrics::Limits};

/// What `listen` is where there is no address.
pub(super) const OFF: &str = "off";

/// How many of a kind may have a counter of their own: each takes about 200 bytes of memory, and a line of every scrape.
const SERIES: RangeInclusive<u64> = 1..=100_000;

const HINT: &str =
    "give \"off\", an address such as \"127.0.0.1:9752\" or \"[::1]:9752\", or a socket such as \"unix:/run/rstblame/metrics.sock\"";

/// Whether and where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `None`: nowhere.
    pub listen: Option<Address>,
    /// Whether that may be an address that other hosts reach.
    pub allow_remote: bool,
    pub limits: Limits,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { listen: None, allow_remote: false, limits: Limits { peers: 100, middleboxes: 100 } }
    }
}

pub(super) fn read(table: &Table<'_>) -> Result<MetricsConfig, ConfigError> {
    table.only(&["listen", "allow_remote", "max_peers", "max_middleboxes"])?;
    let mut config = MetricsConfig::default();
    if let Some(value) = table.get("allow_remote") {
        config.allow_remote = value.flag()?;
    }
    if let Some(value) = table.get("listen") {
        config.listen = value.text_as(HINT, |text| if text == OFF { Ok(None) } else { address(text).map(Some) })?;
        if let Some(address) = config.listen.as_ref().filter(|address| !address.is_local() && !config.allow_remote) {
            let hint = "metrics have no password and no encryption; give a loopback address, or allow_remote = true";
            return Err(value.error(format!("listen = \"{address}\" can be reached by other hosts; {hint}")));
        }
    }
    for (key, limit) in [("max_peers", &mut config.limits.peers), ("max_middleboxes", &mut config.limits.middleboxes)] {
        if let Some(value) = table.get(key) {
            *limit = usize::try_from(value.integer(SERIES)?).unwrap_or(usize::MAX);
        }
    }
    Ok(config)
}

fn address(text: &str) -> Result<Address, &'static str> {
    match text.strip_prefix("unix:").map(PathBuf::from) {
        Some(path) if path.is_absolute() && !text.contains('\0') => Ok(Address::Unix(path)),
        Some(_) => Err(HINT),
        None => text.parse().ok().filter(|address: &std::net::SocketAddr| address.port() != 0).map(Address::Tcp).ok_or(HINT),
    }
}
