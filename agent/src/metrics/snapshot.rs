//! What the session answers when it is asked how it stands.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::page::Page;
use crate::{
    event::Lost,
    kernel::liveness::HookState,
    model::{Coverage, CoverageState},
    output::sink::SinkStatus,
};

/// The state of a running session, all of it of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub books: Books,
    /// What bounded memory forgot, by what it was.
    pub forgotten: Vec<(&'static str, u64)>,
    /// Bounded memory of the agent.
    pub stores: Vec<Store>,
    pub ring: Ring,
    /// By the name of the tracepoint.
    pub hooks: Vec<(&'static str, HookState)>,
    pub coverage: BTreeMap<String, Coverage>,
    /// Network namespaces whose packets are seen.
    pub namespaces: usize,
    pub sinks: Vec<SinkStatus>,
}

/// What became of every reset.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Firings of the reset hooks that passed the filter in the kernel.
    pub firings: u64,
    /// Resets whose fate is known. Not the sum of the fates, but what came in less what is still
    /// held.
    pub seen: u64,
    pub emitted: u64,
    pub suppressed: u64,
    pub lost: Lost,
    /// In the ring buffer.
    pub unread: u64,
    /// In the settle window, or waiting for a search for their owner.
    pub held: u64,
    /// Folded, and not yet in a line.
    pub folding: u64,
}

/// Something that holds no more than it may.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    pub name: &'static str,
    pub entries: u64,
    pub limit: u64,
}

/// The ring buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    pub size: u64,
    /// Bytes that waited when the last heartbeat was written; absent where there are none.
    pub unread: Option<u64>,
}

/// The latest snapshot, for the exposition.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<Mutex<Option<Arc<Snapshot>>>>);

impl Latest {
    /// Another one, or none when the session does not answer: what cannot be known is absent, and
    /// never old.
    pub fn set(&self, snapshot: Option<Arc<Snapshot>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

impl Collector for Latest {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(snapshot) = latest else { return Ok(()) };
        let mut page = Page(encoder);
        resets(&mut page, &snapshot.books)?;
        kernel(&mut page, &snapshot)?;
        memory(&mut page, &snapshot)?;
        sinks(&mut page, &snapshot.sinks)
    }
}

fn resets(page: &mut Page<'_>, books: &Books) -> fmt::Result {
    page.counter(
        "reset_firings",
        "Firings of the reset hooks that passed the filter in the kernel; two may be of one reset",
        books.firings,
    )?;
    page.counter("resets_seen", "Resets whose fate is known: seen = emitted + suppressed + lost", books.seen)?;
    page.counter("resets_emitted", "Resets handed to the sinks whole, as rst lines", books.emitted)?;
    page.counter("resets_suppressed", "Resets folded into rst_suppressed lines", books.suppressed)?;
    page.counters(
        "resets_lost",
        "Resets lost to every reader, by place: ring (no room in the ring buffer), decode (the record made no sense). What one sink lost is in rstblame_sink_lost_total",
        [("ring", books.lost.ring_full), ("decode", books.lost.decode)].map(|(place, lost)| ([("place", place)], lost)),
    )?;
    page.gauges(
        "resets_pending",
        "Resets under way, not yet among those seen, by place: ring (records not yet read), held (in the settle window, or waiting for their owner to be found), folding (counted for a rst_suppressed line that is still to come)",
        [("ring", books.unread), ("held", books.held), ("folding", books.folding)].map(|(place, pending)| ([("place", place)], pending)),
    )
}

fn kernel(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    let verified = snapshot.hooks.iter().filter(|(_, state)| *state != HookState::Unverifiable);
    page.gauges(
        "hook_attached",
        "1 when the hook is attached now, asked of the kernel; else 0. Absent where the kernel cannot tell (plain tracepoints before Linux 5.15)",
        verified.map(|(hook, state)| ([("hook", *hook)], u64::from(*state == HookState::Attached))),
    )?;
    page.gauges(
        "coverage",
        "What this run sees of a hook or source of evidence, as in agent_started: 1 active, 0 degraded or unavailable",
        snapshot
            .coverage
            .iter()
            .map(|(source, coverage)| ([("source", source.as_str())], u64::from(coverage.state == CoverageState::Active))),
    )?;
    page.gauge("network_namespaces", "Network namespaces whose packets are watched", snapshot.namespaces as u64)?;
    page.gauge("ring_size_bytes", "Size of the ring buffer between kernel and agent", snapshot.ring.size)?;
    if let Some(unread) = snapshot.ring.unread {
        page.gauge("ring_unread_bytes", "Bytes of the ring buffer that waited to be read when the last heartbeat was written", unread)?;
    }
    Ok(())
}

fn memory(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    page.gauges(
        "store_entries",
        "Entries in the bounded memory of the agent, by what is kept",
        snapshot.stores.iter().map(|store| ([("store", store.name)], store.entries)),
    )?;
    page.gauges(
        "store_limit_entries",
        "How many entries that memory may have",
        snapshot.stores.iter().map(|store| ([("store", store.name)], store.limit)),
    )?;
    page.counters(
        "forgotten",
        "What had to make room, or found none: the resets were reported all the same, with less known of them (fell_out of agent_stopped)",
        snapshot.forgotten.iter().map(|(what, count)| ([("what", *what)], *count)),
    )
}

fn sinks(page: &mut Page<'_>, sinks: &[SinkStatus]) -> fmt::Result {
    let label = |sink: &SinkStatus| [("sink", sink.name.clone())];
    page.counters("sink_written", "Resets that the sink has written", sinks.iter().map(|sink| (label(sink), sink.written)))?;
    page.counters(
        "sink_lost",
        "Resets that are missing from the sink, by its when_full policy or because the other side refused them",
        sinks.iter().map(|sink| (label(sink), sink.lost)),
    )?;
    let live = || sinks.iter().filter_map(|sink| Some((label(sink), sink.live?)));
    page.gauges(
        "sink_queue_lines",
        "Lines about resets, rst and rst_suppressed, that wait for the sink or are being written",
        live().map(|(label, live)| (label, live.waiting)),
    )?;
    page.gauges("sink_queue_limit_lines", "How many may", live().map(|(label, live)| (label, live.capacity)))?;
    page.gauges(
        "sink_up",
        "1 when the last write of the sink went well, or none was tried; 0 while it is tried again, and when its thread has ended",
        live().map(|(label, live)| (label, u64::from(live.is_up()))),
    )
}
