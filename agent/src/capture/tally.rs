//! What became of every reset: `seen = emitted + suppressed + lost`.

use std::collections::BTreeMap;

use crate::{
    event::{EndingTotals, Event, Lost, ResetEvent},
    kernel::Counters,
    model::{CauseId, OriginKind, Severity},
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
    /// Events of the severity that was asked for, or worse: `--fail-on`.
    pub failing: u64,
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
    /// Counts an event if it is of this severity or worse.
    pub fn hold_against(&mut self, fail_on: Severity, event: &Event) {
        let (severity, count) = match event {
            Event::Rst(reset) | Event::RstRevised(reset) | Event::ConnectionEnded(reset) => (Some(reset.severity), 1),
            Event::RstSuppressed(folded) | Event::EndingsSuppressed(folded) => {
                (folded.sample.as_ref().map(|sample| sample.severity), folded.count)
            }
            _ => (None, 0),
        };
        self.failing += if severity.is_some_and(|severity| severity >= fail_on) { count } else { 0 };
    }

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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::Tally;
    use crate::{event::Event, model::Severity};

    #[test]
    fn what_is_as_severe_as_asked_for_is_held_against_the_run() {
        let events: [Event; 3] = [
            serde_json::from_str(include_str!("../../testdata/events/rst.json")).unwrap(),
            serde_json::from_str(include_str!("../../testdata/events/agent_stopped.json")).unwrap(),
            serde_json::from_str(include_str!("../../testdata/events/connection_ended.json")).unwrap(),
        ];
        let failing = |severity| {
            let mut tally = Tally::default();
            for event in &events {
                tally.hold_against(severity, event);
            }
            tally.failing
        };
        assert_eq!((failing(Severity::Info), failing(Severity::Warning), failing(Severity::Error)), (2, 2, 0));
    }
}
