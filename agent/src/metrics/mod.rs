//! What the agent tells of itself to Prometheus.
//!
//! Two kinds: what is counted as it happens, by the [`Observer`] of the session, and what is asked
//! of the session when somebody looks, the [`Snapshot`]. `docs/metrics.md` describes each metric; a
//! test holds it against what is here.

mod capped;
mod events;
mod page;
mod process;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;

use std::{fmt, sync::Arc};

pub use events::Observer;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, info::Info},
    registry::Registry,
};
pub use snapshot::{Books, Ring, Snapshot, Store};
pub use text::Exposition;

/// How many of a kind have a counter of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub peers: usize,
    pub middleboxes: usize,
}

/// Everything there is to tell, and how it is told.
pub struct Metrics {
    registry: Registry,
    latest: snapshot::Latest,
    turns: Counter,
    requests: Family<[(&'static str, &'static str); 2], Counter>,
    dropped: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    /// All metrics, and the session's end of them.
    pub fn new(limits: Limits) -> (Self, Observer) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix("rstblame");
        // An empty label is an absent one.
        let build = [("version", env!("CARGO_PKG_VERSION")), ("commit", option_env!("RSTBLAME_COMMIT").unwrap_or_default())];
        ours.register("build", "Version of the agent, and the commit it was built from where that is known", Info::new(build));
        let turns = Counter::default();
        ours.register("session_turns", "Times that the loop went round which takes records from the ring buffer", turns.clone());
        let observer = Observer::new(ours, limits, turns.clone());
        let latest = snapshot::Latest::default();
        ours.register_collector(Box::new(latest.clone()));
        let (requests, dropped) = (Family::default(), Family::default());
        ours.register(
            "http_requests",
            "Requests answered on the metrics address, by path (other for all but the two) and status code",
            requests.clone(),
        );
        ours.register(
            "http_connections_dropped",
            "Connections to the metrics address closed without an answer, by reason: crowded (made room for a newer one), slow (no whole request in time), closed (by the client)",
            dropped.clone(),
        );
        (Self { registry, latest, turns, requests, dropped }, observer)
    }

    /// How often the session's loop went round.
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// What the session answered last, or that it did not.
    pub fn set_latest(&self, snapshot: Option<Arc<Snapshot>>) {
        self.latest.set(snapshot);
    }

    /// A request was answered.
    pub fn request(&self, path: &'static str, status: &'static str) {
        self.requests.get_or_create(&[("path", path), ("code", status)]).inc();
    }

    /// A connection was closed without an answer.
    pub fn dropped(&self, reason: &'static str) {
        self.dropped.get_or_create(&[("reason", reason)]).inc();
    }

    /// The exposition.
    ///
    /// # Errors
    ///
    /// When a metric cannot be encoded.
    pub fn encode(&self, format: Exposition) -> Result<String, fmt::Error> {
        format.encode(&self.registry)
    }
}
