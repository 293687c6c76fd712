//! What is counted of each event that goes out, and of each record that comes in.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{Limits, capped::Capped};
use crate::{event::ResetEvent, model::OriginKind};

/// Upper bounds, seconds: from what a quiet host takes to what ten settle windows take.
const LATENCIES: [f64; 13] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0];

/// Stands for a middlebox of which neither address nor name is known.
const UNIDENTIFIED: &str = "unidentified";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResetLabels {
    direction: &'static str,
    origin: &'static str,
    cause: &'static str,
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabels {
    effect: &'static str,
    origin: &'static str,
    cause: &'static str,
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

/// Counts what the session tells it. Nothing is allocated for an event whose labels were met
/// before.
pub struct Observer {
    resets: Family<ResetLabels, Counter>,
    endings: Family<EndingLabels, Counter>,
    peers: Capped<IpAddr>,
    named_middleboxes: Capped<String>,
    middleboxes: Capped<IpAddr>,
    read: Histogram,
    handed_over: Histogram,
    reloads: Family<ReloadLabels, Counter>,
    reload_succeeded: Gauge,
    reloaded_at: Gauge,
    turns: Counter,
}

impl Observer {
    /// Registers what it counts.
    pub(super) fn new(registry: &mut Registry, limits: Limits, turns: Counter) -> Self {
        let (peers, middleboxes) = (Family::default(), Family::default());
        let observer = Self {
            resets: Family::default(),
            endings: Family::default(),
            peers: Capped::new("peer", limits.peers, &peers),
            named_middleboxes: Capped::new("middlebox", limits.middleboxes, &middleboxes),
            middleboxes: Capped::new("middlebox", limits.middleboxes, &middleboxes),
            read: Histogram::new(LATENCIES),
            handed_over: Histogram::new(LATENCIES),
            reloads: Family::default(),
            reload_succeeded: Gauge::default(),
            reloaded_at: Gauge::default(),
            turns,
        };
        registry.register("resets", "Resets reported whole (rst lines)", observer.resets.clone());
        registry.register(
            "connection_endings",
            "Connections that died without a RST and were reported whole (connection_ended lines)",
            observer.endings.clone(),
        );
        registry.register("peer_resets", "Resets reported whole by the address at the other end; beyond the limit under other", peers);
        registry.register(
            "middlebox_resets",
            "Resets with origin middlebox by its name in the configuration, else its address, else unidentified; beyond the limit under other",
            middleboxes,
        );
        registry.register(
            "reset_read_delay_seconds",
            "Time from the tracepoint to the agent's decoding of the record: how far the agent is behind the ring buffer",
            observer.read.clone(),
        );
        registry.register(
            "reset_report_delay_seconds",
            "Time from the tracepoint to the hand-over to the sinks, settle window and search for the owner included",
            observer.handed_over.clone(),
        );
        registry.register("config_reloads", "Times that SIGHUP had the configuration read again, by result", observer.reloads.clone());
        registry.register(
            "config_last_reload_successful",
            "1 when the configuration that was read last, at the start or on SIGHUP, is the one that runs; else 0",
            observer.reload_succeeded.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the running configuration was read, Unix time",
            observer.reloaded_at.clone(),
        );
        for result in [true, false] {
            // Both are there from the start, so that the first failure is an increase.
            drop(observer.reloads.get_or_create(&reload_labels(result)));
        }
        observer.read_configuration();
        observer
    }

    /// A reset was taken from the ring, so long after its tracepoint.
    pub fn read(&self, delay: Duration) {
        self.read.observe(delay.as_secs_f64());
    }

    /// A reset was handed to the sinks, so long after its tracepoint.
    pub fn handed_over(&mut self, event: &ResetEvent, delay: Duration) {
        let labels = ResetLabels {
            direction: event.direction.token(),
            origin: event.origin.kind.token(),
            cause: event.cause.id.token(),
            severity: event.severity.token(),
        };
        self.resets.get_or_create(&labels).inc();
        self.peers.count(&event.network.peer.address);
        if event.origin.kind == OriginKind::Middlebox {
            match (&event.origin.name, &event.origin.address) {
                (Some(name), _) => self.named_middleboxes.count(name.as_str()),
                (None, Some(address)) => self.middleboxes.count(address),
                (None, None) => self.named_middleboxes.count(UNIDENTIFIED),
            }
        }
        self.handed_over.observe(delay.as_secs_f64());
    }

    /// The end of a connection without a RST was handed to the sinks.
    pub fn ended(&self, event: &ResetEvent) {
        let labels = EndingLabels {
            effect: event.effect.token(),
            origin: event.origin.kind.token(),
            cause: event.cause.id.token(),
            severity: event.severity.token(),
        };
        self.endings.get_or_create(&labels).inc();
    }

    /// The configuration was read again.
    pub fn reloaded(&self, succeeded: bool) {
        self.reloads.get_or_create(&reload_labels(succeeded)).inc();
        if succeeded {
            self.read_configuration();
        } else {
            self.reload_succeeded.set(0);
        }
    }

    fn read_configuration(&self) {
        self.reload_succeeded.set(1);
        self.reloaded_at.set(Timestamp::now().as_second());
    }

    /// The session's loop went round once more.
    pub fn turned(&self) {
        self.turns.inc();
    }
}

const fn reload_labels(succeeded: bool) -> ReloadLabels {
    ReloadLabels { result: if succeeded { "success" } else { "failure" } }
}
