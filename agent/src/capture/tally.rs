//! What became of every reset: `seen = emitted + suppressed + lost`.

use std::collections::BTreeMap;

use crate::{
    event::{EndingTotals, Lost, ResetEvent},
    kernel::Counters,
    model::{CauseId, OriginKind},
};

/// Counts of one run, in user space.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub emitted: u64,
    /// Folded into lines that went out, by the kernel programs or here.
    pub suppressed: u64,
    /// Resets of other processes than those asked for: not counted as seen.
    pub filtered: u64,
    /// RSTs without effect that go out: the hooks of resets did not see them.
    pub ignored: u64,
    /// RSTs that left and that no hook saw made.
    pub unannounced: u64,
    pub decode: u64,
    pub count_limit: u64,
    pub output: u64,
    pub by_origin: BTreeMap<OriginKind, u64>,
    pub by_cause: BTreeMap<CauseId, u64>,
    pub endings: Endings,
}

/// Counts of the ends of connections without a RST, in user space.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endings {
    /// Lines that went out.
    pub emitted: u64,
    /// Folded into lines that went out.
    pub suppressed: u64,
    /// Of other processes than those asked for.
    pub filtered: u64,
    /// Ends in order, or of which it is not known that they were not.
    pub ordinary: u64,
    /// Records that came out of the ring buffer and could be read.
    pub taken: u64,
    /// Lines that could not be written.
    pub output: u64,
}

impl Endings {
    /// Takes back what was queued and never written: so many ends, and so many of them folded.
    pub const fn lose_output(&mut self, ends: u64, folded: u64) {
        self.emitted = self.emitted.saturating_sub(ends.saturating_sub(folded));
        self.suppressed = self.suppressed.saturating_sub(folded);
        self.output += ends;
    }

    /// The books, with what the kernel side counted; `superseded`: ends that RSTs told of.
    pub const fn totals(&self, counters: &Counters, superseded: u64) -> EndingTotals {
        // Whatever was submitted and did not come out was not readable; what found no room was
        // never submitted.
        let not_read = counters.endings.saturating_sub(self.taken);
        let aside = self.ordinary + superseded + self.filtered;
        EndingTotals {
            seen: counters.endings.saturating_sub(aside),
            emitted: self.emitted,
            suppressed: self.suppressed,
            lost: not_read + self.output,
            ordinary: self.ordinary,
            told_by_rst: superseded,
        }
    }
}

impl Tally {
    /// Counts an event that goes out.
    pub fn emit(&mut self, event: &ResetEvent) {
        self.emitted += 1;
        *self.by_origin.entry(event.origin.kind).or_default() += 1;
        *self.by_cause.entry(event.cause.id).or_default() += 1;
    }

    /// Counts resets that were folded.
    pub fn suppress(&mut self, origin: OriginKind, cause: CauseId, resets: u64) {
        self.suppressed += resets;
        *self.by_origin.entry(origin).or_default() += resets;
        *self.by_cause.entry(cause).or_default() += resets;
    }

    /// Takes back what was queued and never written: so many resets, and so many of them folded.
    pub const fn lose_output(&mut self, resets: u64, folded: u64) {
        self.emitted = self.emitted.saturating_sub(resets.saturating_sub(folded));
        self.suppressed = self.suppressed.saturating_sub(folded);
        self.output += resets;
    }

    /// What was lost, with what the kernel side lost.
    pub fn lost(&self, counters: &Counters) -> Lost {
        Lost {
            ring_full: counters.ring_full_total(),
            ring_full_by_cpu: counters.ring_full.clone(),
            decode: self.decode,
            count_limit: self.count_limit,
            output: self.output,
        }
    }
}
