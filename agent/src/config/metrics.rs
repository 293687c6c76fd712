//! The `[metrics]` table.

use std::path::PathBuf;

use super::{
    ConfigError,
    table::{Table, Value},
};
use crate::{
    http::{Hosts, listen::Address},
    metrics::Limits,
};

/// What `listen` is where there is no address.
pub(super) const OFF: &str = "off";

/// How many of a kind may have a counter of their own: each takes about 200 bytes of memory, and a
/// line of every scrape.
pub(super) const SERIES: u64 = 100_000;

const HINT: &str =
    "give \"off\", an address such as \"127.0.0.1:9752\" or \"[::1]:9752\", or a socket such as \"unix:/run/rstblame/metrics.sock\"";

/// Whether and where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `None`: nowhere.
    pub listen: Option<Address>,
    /// Whether that may be an address that other hosts reach.
    pub allow_remote: bool,
    /// Names by which requests may call this host, beside `localhost` and its own.
    pub hosts: Vec<String>,
    pub limits: Limits,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { listen: None, allow_remote: false, hosts: Vec::new(), limits: Limits { peers: 100, middleboxes: 100 } }
    }
}

impl MetricsConfig {
    /// Which names requests may give this host, `node` among them. An address for other hosts may
    /// be called anything, unless there is a list.
    pub fn admitted(&self, node: &str) -> Hosts {
        let any = match &self.listen {
            Some(Address::Tcp(_)) => self.allow_remote && self.hosts.is_empty(),
            _ => true,
        };
        Hosts { any, names: self.hosts.iter().cloned().chain([node.to_owned()]).collect() }
    }
}

/// Reads `listen`, beside which `allow_remote` may stand.
pub(super) fn listen(value: &Value<'_>, table: &Table<'_>) -> Result<Option<Address>, ConfigError> {
    let listen = value.text_as(HINT, |text| if text == OFF { Ok(None) } else { address(text).map(Some) })?;
    let allow_remote = table.get("allow_remote").is_some_and(|value| value.flag().unwrap_or(false));
    if let Some(address) = listen.as_ref().filter(|address| !address.is_local() && !allow_remote) {
        let hint = "metrics have no password and no encryption; give a loopback address, or allow_remote = true";
        return Err(value.error(format!("listen = \"{address}\" can be reached by other hosts; {hint}")));
    }
    Ok(listen)
}

fn address(text: &str) -> Result<Address, &'static str> {
    match text.strip_prefix("unix:").map(PathBuf::from) {
        Some(path) if path.is_absolute() && !text.contains('\0') => Ok(Address::Unix(path)),
        Some(_) => Err(HINT),
        None => text.parse().ok().filter(|address: &std::net::SocketAddr| address.port() != 0).map(Address::Tcp).ok_or(HINT),
    }
}
