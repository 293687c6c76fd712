//! What became of every reset: `seen = emitted + suppressed + lost`.

use std::collections::BTreeMap;

use crate::{
    event::{CauseId, Lost, OriginKind, ResetEvent},
    kernel::Counters,
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
    pub decode: u64,
    pub count_limit: u64,
    pub output: u64,
    pub by_origin: BTreeMap<OriginKind, u64>,
    pub by_cause: BTreeMap<CauseId, u64>,
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
