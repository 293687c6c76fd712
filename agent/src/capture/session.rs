//! The loop of a capture: ring -> decode -> settle -> attribute -> render -> writer.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    CaptureError, Plan,
    state::StateDir,
    stop::{Stop, Stops},
    tally::Tally,
};
use crate::{
    attribution::attribute,
    event::{Direction, Event, EventsLost, Lost, SCHEMA, Stopped},
    flow::{
        Pair, Reset, Role,
        idle::{Destination, IdleMemory},
        known,
        settle::Settle,
        wires::{Place, Wires},
    },
    host::{
        netns::{self, Handle},
        owners::{Owners, Snapshot},
    },
    kernel::{
        Armed, clock,
        decode::{self, Record},
    },
    output::{
        render,
        writer::{OutputError, Queue, Writer},
    },
    report,
};

/// Records taken from the ring at a time, so that a storm of resets never starves signals.
const BATCH: usize = 256;

/// Lines that may wait before the ring is left alone: a slow reader then shows as loss in the ring, which is counted.
const OUTBOX: usize = 4096;

/// Received resets held back at once.
const HELD: usize = 65_536;

/// How much longer than its reset a RST of the wire is kept: it comes first, and its reset may be put off for its owner.
const WIRE_GRACE: Duration = Duration::from_millis(500);

/// How often namespaces that came and went are looked for.
const NAMESPACE_CHECK: Duration = Duration::from_secs(5);

/// How long after a loss a RST without a socket may be one whose record was lost.
const LOSS_MEMORY: Duration = Duration::from_secs(5);

/// How often losses are looked for.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// How long a reader that does not read may hold the end up.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// How long programs that were running while they were detached may take to end.
const LAST_RECORDS: Duration = Duration::from_millis(500);

/// One running capture.
pub struct Session<'a> {
    plan: &'a Plan,
    armed: Armed,
    queue: Queue,
    writer: Option<Writer>,
    settle: Settle,
    wires: Wires,
    idle: IdleMemory,
    last_loss: Option<Instant>,
    owners: Owners,
    /// What was there at the start, once it is known.
    snapshot: Option<oneshot::Receiver<Snapshot>>,
    /// Resets that may go on, but for their owner.
    ready: Vec<Reset>,
    tally: Tally,
    outbox: VecDeque<(Bytes, bool)>,
    /// Resets that may still be written.
    remaining: Option<u64>,
    /// Resets taken from the ring.
    taken: u64,
    /// When the last record was made that was taken, if more of them wait: `CLOCK_BOOTTIME`, ns.
    behind: Option<u64>,
    reported_lost: Lost,
    next_loss_check: Instant,
    next_namespace_check: Instant,
    started: Instant,
}

impl<'a> Session<'a> {
    pub fn new(
        plan: &'a Plan,
        settle: Duration,
        count: Option<u64>,
        armed: Armed,
        snapshot: oneshot::Receiver<Snapshot>,
        (writer, queue): (Writer, Queue),
    ) -> Self {
        Self {
            plan,
            armed,
            queue,
            writer: Some(writer),
            settle: Settle::new(settle, HELD),
            wires: Wires::new(settle + WIRE_GRACE, HELD),
            idle: plan.state.as_ref().map_or_else(IdleMemory::default, load),
            last_loss: None,
            owners: Owners::new(plan.max_processes),
            snapshot: Some(snapshot),
            ready: Vec::new(),
            tally: Tally::default(),
            outbox: VecDeque::new(),
            remaining: count,
            taken: 0,
            behind: None,
            reported_lost: Lost::default(),
            next_loss_check: Instant::now() + LOSS_CHECK,
            next_namespace_check: Instant::now() + NAMESPACE_CHECK,
            started: Instant::now(),
        }
    }

    /// Runs until something stops the capture.
    pub async fn run_until(&mut self, stops: &mut Stops) -> Result<Stop, CaptureError> {
        let queue = self.queue.clone();
        loop {
            self.release_due();
            self.release_ready(false);
            self.release_unclaimed();
            self.check_losses()?;
            self.check_namespaces();
            if self.remaining == Some(0) {
                return Ok(Stop::CountReached);
            }
            let nap = self.next_wake();
            tokio::select! {
                // In order: stopping first, then making room, then taking more in.
                biased;
                stop = stops.next() => return Ok(stop),
                permit = queue.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return Err(CaptureError::Output(self.writer_failure())) };
                    if let Some((line, _)) = self.outbox.pop_front() {
                        permit.send(line);
                    }
                }
                () = queue.closed() => return Err(CaptureError::Output(self.writer_failure())),
                ready = self.armed.ring().readable_mut(), if self.outbox.len() < OUTBOX => {
                    let mut guard = ready.map_err(CaptureError::Ring)?;
                    let mut records = Vec::with_capacity(BATCH);
                    let ring = guard.get_inner_mut();
                    while records.len() < BATCH && let Some(record) = ring.next() {
                        records.push(Bytes::copy_from_slice(&record));
                    }
                    if records.len() < BATCH {
                        guard.clear_ready();
                    } else {
                        guard.retain_ready();
                    }
                    drop(guard);
                    for record in &records {
                        self.take(record);
                    }
                    self.behind = records.last().filter(|_| records.len() == BATCH).and_then(|record| decode::time_of(record));
                    tokio::task::yield_now().await;
                }
                snapshot = taken(&mut self.snapshot) => {
                    self.snapshot = None;
                    if let Some(snapshot) = snapshot {
                        self.owners.add_snapshot(snapshot);
                    }
                }
                () = sleep(nap) => {}
            }
        }
    }

    /// Queues an event that is not a reset.
    pub fn queue(&mut self, event: &Event) {
        self.enqueue(event, false);
    }

    fn enqueue(&mut self, event: &Event, is_reset: bool) {
        let line = render(event, self.plan.format, self.plan.style);
        if !line.is_empty() {
            self.outbox.push_back((line, is_reset));
        }
    }

    /// Hands everything queued to the writer.
    pub async fn flush(&mut self) -> Result<(), CaptureError> {
        while let Some((line, _)) = self.outbox.pop_front() {
            if self.queue.send(line).await.is_err() {
                return Err(CaptureError::Output(self.writer_failure()));
            }
        }
        Ok(())
    }

    /// Detaches, takes in what is left, and writes the last line.
    pub async fn finish(mut self) -> Result<(), CaptureError> {
        self.armed.detach();
        let deadline = Instant::now() + LAST_RECORDS;
        loop {
            while let Some(record) = self.armed.ring().get_mut().next().map(|record| Bytes::copy_from_slice(&record)) {
                self.take(&record);
            }
            let counters = self.armed.counters()?;
            if self.taken + counters.ring_full_total() >= counters.seen || Instant::now() >= deadline {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        while let Some(reset) = self.settle.pop() {
            self.pass_on(reset);
        }
        self.release_ready(true);
        self.save_state();
        // Whatever was submitted and did not come out as a reset was not readable.
        let counters = self.armed.counters()?;
        self.tally.decode = counters.seen.saturating_sub(counters.ring_full_total()).saturating_sub(self.taken);
        self.report_losses(Duration::ZERO)?;
        if timeout(LAST_WRITES, self.flush()).await.map_or(Ok(()), |flushed| flushed).is_err() || !self.outbox.is_empty() {
            let unwritten = self.outbox.iter().filter(|(_, is_reset)| *is_reset).count();
            self.tally.lose_output(unwritten as u64);
            self.outbox.clear();
        }
        let stopped = self.totals()?;
        self.queue(&Event::AgentStopped(stopped));
        let Self { writer, queue, mut outbox, .. } = self;
        let last = async move {
            if let Some((line, _)) = outbox.pop_front() {
                // A queue without a receiver shows as the writer's own error below.
                let _gone = queue.send(line).await;
            }
            drop(queue);
            match writer {
                Some(writer) => tokio::task::spawn_blocking(move || writer.finish()).await.unwrap_or(Ok(())),
                None => Ok(()),
            }
        };
        match timeout(LAST_WRITES, last).await {
            Ok(written) => written.map_err(CaptureError::Output),
            Err(_) => Err(CaptureError::Output(OutputError::Stuck)),
        }
    }

    /// One record on its way to becoming a line.
    fn take(&mut self, bytes: &[u8]) {
        match self.armed.decoder.decode(bytes) {
            Ok(Record::Reset(mut reset, firing)) => {
                self.taken += 1;
                // Now, and not when it is written: a process that just closed may be gone in a moment.
                self.owners.name(&mut reset);
                if reset.direction == Direction::Received {
                    self.wires.claim(place(&reset), reset.tcp.as_ref());
                }
                if let Some(reset) = self.settle.push(firing, *reset) {
                    self.pass_on(reset);
                }
            }
            Ok(Record::Process(task, netns)) => {
                self.owners.learn(&task);
                self.follow(netns, task.pid);
            }
            Ok(Record::Arrived(place, wire)) => self.wires.arrived(place, wire),
            Ok(Record::Followed(place, segment)) => self.wires.followed(place, &segment),
            Ok(Record::Closed(sock, task)) => {
                self.owners.learn(&task);
                self.settle.closed(sock, task);
            }
            Err(error) => {
                eprintln!("rstblame: the kernel side sent {error}; please report this");
            }
        }
    }

    fn release_due(&mut self) {
        // While records wait in the ring, no more time has passed than they tell: the next may be about a reset that is held.
        let now = self.behind.unwrap_or_else(clock::boottime_ns);
        let may_search = Instant::now() >= self.owners.not_before();
        // What has to be searched for waits for that where the end of its owner still finds it.
        while (may_search || !self.settle.next_lacks_owner())
            && let Some(reset) = self.settle.pop_due(now)
        {
            self.pass_on(reset);
        }
    }

    /// Its window has passed: out with it, or to those whose owner has to be searched for.
    fn pass_on(&mut self, mut reset: Reset) {
        self.owners.name(&mut reset);
        if reset.direction == Direction::Received {
            reset.wire = self.wires.take(place(&reset));
            reset.known_middlebox = known::name_of(&self.plan.middleboxes, reset.tuple.peer.ip()).map(ToOwned::to_owned);
            self.learn_idle(&mut reset);
        }
        self.ready.push(reset);
    }

    /// Remembers the silence before a reset, and lets what is known of the destination's idle timeout testify.
    fn learn_idle(&mut self, reset: &mut Reset) {
        let Some(wire) = &reset.wire else { return };
        let service = match reset.role {
            Role::Broker => reset.tuple.local.port(),
            Role::Client => reset.tuple.peer.port(),
        };
        let destination = Destination::new(reset.tuple.peer, service);
        reset.learnt_idle = self.idle.learn(destination, wire.silence, wire.longest_survived).map(Box::new);
    }

    /// RSTs that ended no socket: out with them if they are asked for. After a loss it cannot be told whether they did.
    fn release_unclaimed(&mut self) {
        let lossy = self.last_loss.is_some_and(|at| at.elapsed() < LOSS_MEMORY);
        while let Some((place, wire)) = self.wires.pop_unclaimed(clock::boottime_ns()) {
            if self.plan.ignored && !lossy {
                let reset = self.armed.decoder.ignored(place, wire);
                self.tally.ignored += 1;
                self.emit(reset);
            }
        }
    }

    fn save_state(&self) {
        if let Some(Err(error)) = self.plan.state.as_ref().map(|state| state.save(&self.idle)) {
            eprintln!("rstblame: {error}");
        }
    }

    /// Lets go what is ready, in order. Owners are searched for all at once and not too often; until then all of them wait.
    fn release_ready(&mut self, at_once: bool) {
        let search = self.ready.iter().any(Reset::lacks_owner);
        if self.ready.is_empty() || (search && !at_once && Instant::now() < self.owners.not_before()) {
            return;
        }
        let mut resets = std::mem::take(&mut self.ready);
        if search {
            self.owners.search(&mut resets);
        }
        name_pairs(&mut resets);
        for reset in resets {
            self.emit(reset);
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a reset ends here")]
    fn emit(&mut self, reset: Reset) {
        if !self.plan.owners.admits(&reset) {
            self.tally.filtered += 1;
            return;
        }
        match &mut self.remaining {
            Some(0) => {
                self.tally.count_limit += 1;
                return;
            }
            Some(remaining) => *remaining -= 1,
            None => {}
        }
        let event = report::event(&reset, attribute(&reset), &self.plan.host);
        self.tally.emit(&event);
        self.enqueue(&Event::Rst(Box::new(event)), true);
    }

    fn next_wake(&self) -> Duration {
        let now = Instant::now();
        let mut wake = self.next_loss_check.saturating_duration_since(now);
        let search = self.owners.not_before().saturating_duration_since(now);
        if !self.ready.is_empty() {
            wake = wake.min(search);
        }
        let earliest = if self.settle.next_lacks_owner() { search } else { Duration::ZERO };
        self.settle
            .next_due_ns()
            .map(|due| Duration::from_nanos(due.saturating_sub(clock::boottime_ns())).max(earliest))
            .map_or(wake, |due| due.min(wake))
    }

    /// A process with a watched socket was seen in a namespace that may be new.
    fn follow(&mut self, netns: u32, pid: u32) {
        if netns == 0 || self.armed.listens_in(netns) {
            return;
        }
        // The process may be gone, or have moved on; then the namespace is found by the next look at all of them, if it lasts.
        if let Ok(handle) = Handle::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))
            && handle.inode() == netns
        {
            let _best_effort = self.armed.follow(&handle);
        }
    }

    /// Follows namespaces that appear, and lets go of those that nothing else keeps.
    fn check_namespaces(&mut self) {
        if self.plan.arm.netns.is_some() || Instant::now() < self.next_namespace_check {
            return;
        }
        self.next_namespace_check = Instant::now() + NAMESPACE_CHECK;
        let there = netns::discover();
        let alive: HashSet<u32> = there.iter().map(|netns| netns.inode).collect();
        self.armed.retain_namespaces(|netns| alive.contains(&netns));
        for netns in there.iter().filter(|netns| !self.armed.listens_in(netns.inode)).collect::<Vec<_>>() {
            if let Ok(handle) = Handle::open(netns) {
                let _best_effort = self.armed.follow(&handle);
            }
        }
    }

    fn check_losses(&mut self) -> Result<(), CaptureError> {
        if Instant::now() < self.next_loss_check {
            return Ok(());
        }
        self.report_losses(LOSS_CHECK)
    }

    fn report_losses(&mut self, next: Duration) -> Result<(), CaptureError> {
        self.next_loss_check = Instant::now() + next;
        let lost = self.tally.lost(&self.armed.counters()?);
        if lost.ring_full != self.reported_lost.ring_full {
            self.last_loss = Some(Instant::now());
        }
        if lost != self.reported_lost {
            self.reported_lost = lost.clone();
            let line = EventsLost { schema: SCHEMA.to_owned(), timestamp: Timestamp::now(), host: self.plan.host.clone(), lost };
            self.queue(&Event::EventsLost(line));
        }
        Ok(())
    }

    fn totals(&self) -> Result<Stopped, CaptureError> {
        let counters = self.armed.counters()?;
        let lost_by = self.tally.lost(&counters);
        Ok(Stopped {
            schema: SCHEMA.to_owned(),
            timestamp: Timestamp::now(),
            host: self.plan.host.clone(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            // Two firings that were one reset are one reset seen; what another's process did was filtered here and not in the kernel.
            seen: counters.seen.saturating_sub(self.settle.joined()).saturating_sub(self.tally.filtered).saturating_add(self.tally.ignored),
            emitted: self.tally.emitted,
            suppressed: self.tally.suppressed,
            lost: lost_by.total(),
            lost_by,
            skipped_by_kernel: self.armed.skipped(),
            by_origin: self.tally.by_origin.clone(),
            by_cause: self.tally.by_cause.clone(),
        })
    }

    /// Why the queue has no receiver any more: its thread has ended, or is about to.
    fn writer_failure(&mut self) -> OutputError {
        self.writer.take().and_then(|writer| writer.finish().err()).unwrap_or(OutputError::Stuck)
    }
}

/// What was learnt in earlier runs; nothing where that cannot be read.
fn load(state: &StateDir) -> IdleMemory {
    state.load().unwrap_or_else(|error| {
        eprintln!("rstblame: {error}");
        IdleMemory::default()
    })
}

/// Where the packets of a reset's connection belong.
fn place(reset: &Reset) -> Place {
    Place { tuple: reset.tuple, netns: reset.netns.unwrap_or(0) }
}

/// The snapshot, when it comes; `None` when its thread failed.
async fn taken(snapshot: &mut Option<oneshot::Receiver<Snapshot>>) -> Option<Snapshot> {
    match snapshot {
        Some(receiver) => receiver.await.ok(),
        None => std::future::pending().await,
    }
}

/// Lets the two ends of one reset name each other's owner. They come in one batch.
fn name_pairs(resets: &mut [Reset]) {
    let owners: HashMap<String, Pair> = resets
        .iter()
        .filter(|reset| reset.pair.is_some())
        .map(|reset| {
            let process =
                reset.process.as_ref().map(|(facts, _)| (facts.pid, facts.executable_name.clone(), facts.executable_path.clone()));
            (reset.id.clone(), Pair { id: reset.id.clone(), direction: reset.direction, process })
        })
        .collect();
    for reset in resets {
        if let Some(pair) = &mut reset.pair
            && let Some(known) = owners.get(&pair.id)
        {
            *pair = known.clone();
        }
    }
}
