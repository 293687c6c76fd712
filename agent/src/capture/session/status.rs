//! How the session answers when it is asked how it stands, and what it counts for others.

use std::time::Duration;

use super::{ENDINGS, HELD, Session};
use crate::{
    clock,
    event::{FellOut, ResetEvent},
    health::{Answer, Question, Way},
    kernel::{Counters, liveness::Beat},
    metrics::{Books, Ring, Snapshot, Store},
};

impl Session {
    /// A question comes in. It is answered when a heartbeat has come the way of all records.
    pub(super) fn asked(&mut self, question: Question) {
        match self.armed.beat() {
            Ok(Beat::Sent) => self.unanswered.push(question),
            Ok(Beat::NoRoom) => question.answer(Answer { snapshot: self.snapshot_now(), way: Way::Full }),
            Err(reason) => question.answer(Answer { snapshot: self.snapshot_now(), way: Way::Untested(reason) }),
        }
    }

    /// A heartbeat came out of the ring buffer.
    pub(super) fn heartbeat(&mut self, unread: u64) {
        self.ring_unread = Some(unread);
        for question in std::mem::take(&mut self.unanswered) {
            question.answer(Answer { snapshot: self.snapshot_now(), way: Way::Open });
        }
    }

    /// Notes that a reset was taken from the ring.
    pub(super) fn note_read(&self, boottime_ns: u64) {
        if let Some(attended) = &self.attended {
            attended.observer.read(since(boottime_ns));
        }
    }

    /// Notes that a reset goes to the sinks.
    pub(super) fn note_handed_over(&mut self, event: &ResetEvent, boottime_ns: u64) {
        if let Some(attended) = &mut self.attended {
            attended.observer.handed_over(event, since(boottime_ns));
        }
    }

    fn snapshot_now(&self) -> Snapshot {
        let store = |name, entries: usize, limit: usize| Store { name, entries: entries as u64, limit: limit as u64 };
        let counters = self.armed.counters().unwrap_or_default();
        Snapshot {
            books: self.books(&counters),
            forgotten: self.forgotten(&counters),
            stores: vec![
                store("held_resets", self.settle.held(), HELD),
                store("endings", self.endings.remembered(), ENDINGS),
                store("arrived_rsts", self.wires.remembered(), HELD),
                store("processes", self.owners.known(), self.plan.max_processes),
            ],
            ring: Ring { size: self.armed.ring_size(), unread: self.ring_unread },
            hooks: self.armed.hooks().collect(),
            coverage: self.armed.coverage.clone(),
            namespaces: self.armed.namespaces(),
            sinks: self.sinks.status(),
        }
    }

    fn books(&self, counters: &Counters) -> Books {
        let searching = self.search.iter().flat_map(|(_, resets)| resets);
        let ready = self.ready.iter().chain(searching).filter(|reset| !reset.ended).count();
        let held = (self.settle.held() + ready) as u64;
        let folding = self.floods.pending();
        let lost = self.tally.lost(counters);
        // As in the totals, less what is still under way: what came in, and not the sum of what
        // became of it.
        let seen = (self.taken + self.floods.read() + lost.ring_full + lost.decode + self.tally.ignored)
            .saturating_sub(self.settle.joined())
            .saturating_sub(self.tally.filtered)
            .saturating_sub(held)
            .saturating_sub(folding);
        Books {
            firings: counters.seen,
            seen,
            emitted: self.tally.emitted,
            suppressed: self.tally.suppressed,
            unread: counters.seen.saturating_sub(counters.folded).saturating_sub(lost.ring_full + lost.decode + self.taken),
            lost,
            held,
            folding: folding + counters.folded.saturating_sub(self.floods.read()),
        }
    }

    fn forgotten(&self, counters: &Counters) -> Vec<(&'static str, u64)> {
        let FellOut { connections, processes, process_records, packets, flows, conversations, rsts, endings, peers, lookups, .. } =
            self.fell_out(counters);
        vec![
            ("connections", connections),
            ("processes", processes),
            ("process_records", process_records),
            ("packets", packets),
            ("flows", flows),
            ("conversations", conversations),
            ("rsts", rsts),
            ("endings", endings),
            ("peers", peers),
            ("lookups", lookups),
        ]
    }
}

fn since(boottime_ns: u64) -> Duration {
    Duration::from_nanos(clock::boottime_ns().saturating_sub(boottime_ns))
}
