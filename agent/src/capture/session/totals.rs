//! What was seen, written and lost, and the end of a capture.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{LAST_RECORDS, LAST_STATE, LAST_WRITES, LOSS_CHECK, Session};
use crate::{
    capture::CaptureError,
    event::{Event, EventsLost, FellOut, SCHEMA, Stopped},
    kernel::Counters,
    log,
};

impl Session {
    /// Detaches, takes in what is left, and writes the last line.
    pub async fn finish(mut self) -> Result<(), CaptureError> {
        // Nobody is answered from here on.
        self.unanswered.clear();
        if let Some(attended) = &mut self.attended {
            attended.questions.close();
        }
        self.armed.detach();
        let deadline = Instant::now() + LAST_RECORDS;
        loop {
            while let Some(record) = self.armed.ring().get_mut().next().map(|record| Bytes::copy_from_slice(&record)) {
                self.take(&record);
            }
            let counters = self.armed.counters()?;
            let resets = self.taken + counters.ring_full_total() + counters.folded >= counters.seen;
            let endings = self.tally.endings.taken + counters.endings_lost >= counters.endings;
            if resets && endings || Instant::now() >= deadline {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        while let Some(reset) = self.settle.pop() {
            self.pass_on(reset);
        }
        self.finish_endings();
        self.release_ready(true);
        // Each reset has claimed its RST by now: what is left is nobody's.
        self.release_unclaimed(u64::MAX);
        self.release_unannounced(u64::MAX);
        let saving = self.plan.state.as_ref().map(|state| state.save(&self.idle));
        // Whatever was submitted and did not come out as a reset was not readable.
        let counters = self.armed.counters()?;
        let reported = counters.seen.saturating_sub(counters.folded);
        self.tally.decode = reported.saturating_sub(counters.ring_full_total()).saturating_sub(self.taken);
        self.finish_floods(counters.folded)?;
        self.report_losses(Duration::ZERO)?;
        let unwritten = self.sinks.settle(LAST_WRITES).await;
        if let Some(Err(error)) = saving.map(|saving| saving.wait(LAST_STATE)) {
            tracing::warn!("{error}");
        }
        self.tally.lose_output(unwritten.lost, unwritten.lost_folded);
        self.tally.endings.lose_output(unwritten.endings_lost, unwritten.endings_lost_folded);
        self.queue(Event::AgentStopped(Box::new(self.totals()?)));
        let (failing, fail_on) = (self.tally.failing, self.plan.fail_on);
        self.sinks.finish(LAST_WRITES).await?;
        match fail_on.filter(|_| failing > 0) {
            Some(severity) => Err(CaptureError::Found { severity: severity.token(), count: failing }),
            None => Ok(()),
        }
    }

    pub(super) fn check_losses(&mut self) -> Result<(), CaptureError> {
        if Instant::now() < self.next_loss_check {
            return Ok(());
        }
        log::tick();
        self.sinks.look_for_stalls();
        if !self.sinks.holds_ring() {
            self.read_floods()?;
        }
        self.report_losses(LOSS_CHECK)
    }

    pub(super) fn report_losses(&mut self, next: Duration) -> Result<(), CaptureError> {
        self.next_loss_check = Instant::now() + next;
        let lost = self.tally.lost(&self.armed.counters()?);
        let skipped = self.armed.skipped();
        if lost.ring_full != self.reported_lost.0.ring_full || skipped != self.skipped {
            self.last_loss = Some(Instant::now());
            self.skipped = skipped;
        }
        let by_sink = self.sinks.lost();
        if (&lost, &by_sink) != (&self.reported_lost.0, &self.reported_lost.1) {
            self.reported_lost = (lost.clone(), by_sink.clone());
            self.queue(Event::EventsLost(EventsLost {
                schema: SCHEMA.to_owned(),
                timestamp: Timestamp::now(),
                host: self.plan.host.clone(),
                lost,
                sinks: by_sink,
            }));
        }
        Ok(())
    }

    pub(super) fn totals(&self) -> Result<Stopped, CaptureError> {
        let counters = self.armed.counters()?;
        let lost_by = self.tally.lost(&counters);
        let handshakes = self.armed.handshakes_gone()?;
        Ok(Stopped {
            schema: SCHEMA.to_owned(),
            timestamp: Timestamp::now(),
            host: self.plan.host.clone(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            // Two firings that were one reset are one reset seen; what another's process did was
            // filtered here and not in the kernel.
            seen: counters
                .seen
                .saturating_sub(self.settle.joined())
                .saturating_sub(self.tally.filtered)
                .saturating_add(self.tally.ignored)
                .saturating_add(self.tally.unannounced),
            emitted: self.tally.emitted,
            suppressed: self.tally.suppressed,
            lost: lost_by.total(),
            lost_by,
            sinks: self.sinks.totals(),
            skipped_by_kernel: self.armed.skipped(),
            fell_out: FellOut { handshakes, ..self.fell_out(&counters) },
            by_origin: self.tally.by_origin.clone(),
            by_cause: self.tally.by_cause.clone(),
            endings: Some(self.tally.endings.totals(&counters, self.endings.superseded())),
        })
    }

    /// What had to make room, but for handshakes: to count those takes a walk through them all.
    pub(super) fn fell_out(&self, counters: &Counters) -> FellOut {
        FellOut {
            connections: counters.connections_full,
            processes: self.owners.evicted(),
            process_records: counters.tasks_lost,
            packets: counters.packets_lost,
            flows: counters.flows_gone,
            handshakes: 0,
            conversations: counters.conversations_gone,
            rsts: self.wires.evicted() + self.departures.evicted(),
            endings: self.endings.evicted(),
            peers: self.memory.evicted(),
            lookups: self.owners.missed() + self.armed.neighbours.missed(),
        }
    }
}
