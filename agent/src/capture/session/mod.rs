//! The loop of a capture: ring -> decode -> settle -> attribute -> sinks.

mod endings;
mod floods;
mod namespaces;
mod release;
mod reload;
mod status;
mod totals;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use floods::Floods;
use tokio::{
    sync::{Notify, oneshot},
    time::sleep,
};

use super::{
    CaptureError, Plan,
    monitor::Attended,
    state::StateDir,
    stop::{Stop, Stops},
    tally::Tally,
};
use crate::{
    attribution::Memory,
    clock,
    event::{Event, Lost, SinkLost},
    flow::{Reset, idle::IdleMemory},
    health::Question,
    host::{memory, netns::Names},
    join::{
        bypassed::Bypassed,
        departures::Departures,
        endings::Endings,
        owners::{Owners, Search, Snapshot},
        packets::Wires,
        settle::Settle,
        told::{self, Told},
    },
    kernel::{
        Armed,
        decode::{self, Record},
    },
    model::{Coverage, Direction, Task},
    output::sink::Sinks,
};

/// Records taken from the ring at a time, so that a storm of resets never starves signals.
const BATCH: usize = 256;

/// Records taken from the ring after a search, for those that ended meanwhile.
const LAST_LOOK: usize = 16 * BATCH;

/// Received resets held back at once.
const HELD: usize = 65_536;

/// Ends of connections remembered at once at which something came in beside their peer.
const BYPASSED: usize = 4096;

/// Resets that were laid to the peer and may be taken back: each takes some 4 KiB.
const TOLD: usize = 512;

/// Ends of connections remembered at once.
const ENDINGS: usize = 100_000;

/// How much longer than its reset a RST of the wire is kept: it comes first, and its reset may be
/// put off for its owner.
const WIRE_GRACE: Duration = Duration::from_millis(500);

/// How often namespaces that came and went are looked for.
const NAMESPACE_CHECK: Duration = Duration::from_secs(5);

/// How long after a loss a RST without a socket may be one whose record was lost.
const LOSS_MEMORY: Duration = Duration::from_secs(5);

/// How often losses are looked for.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// How long a reader that does not read may hold the end up.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// How long the state may take to be written at the end, others' last events beside it.
const LAST_STATE: Duration = Duration::from_secs(2);

/// How long programs that were running while they were detached may take to end.
const LAST_RECORDS: Duration = Duration::from_millis(500);

/// One running capture.
pub struct Session {
    plan: Plan,
    armed: Armed,
    sinks: Sinks,
    settle: Settle,
    wires: Wires,
    departures: Departures,
    bypassed: Bypassed,
    told: Told,
    endings: Endings,
    idle: IdleMemory,
    memory: Memory,
    floods: Floods,
    last_loss: Option<Instant>,
    /// Firings that the kernel had skipped when that was last looked at.
    skipped: u64,
    owners: Owners,
    names: Names,
    /// What was there at the start, once it is known.
    snapshot: Option<oneshot::Receiver<Snapshot>>,
    /// A search for owners, and the resets that wait for it; told when it is done.
    search: Option<(Search, Vec<Reset>)>,
    found: Arc<Notify>,
    /// Resets that may go on, but for their owner.
    ready: Vec<Reset>,
    /// Who closed which socket while resets wait for a search, or for their turn: they are not held
    /// back any more, and may be about it.
    closed: HashMap<u64, Task>,
    tally: Tally,
    /// Resets that may still be written.
    remaining: Option<u64>,
    /// Resets taken from the ring.
    taken: u64,
    /// When the last record was made that was taken, if more of them wait: `CLOCK_BOOTTIME`, ns.
    behind: Option<u64>,
    reported_lost: (Lost, BTreeMap<String, SinkLost>),
    next_loss_check: Instant,
    next_namespace_check: Instant,
    /// A look at all namespaces that is under way.
    look: Option<namespaces::Look>,
    opening: namespaces::Opening,
    /// What `coverage` said of namespaces before some of them could not be seen.
    namespaces_before: Option<Coverage>,
    started: Instant,
    /// Who wants to know how it goes.
    attended: Option<Attended>,
    /// Questions that wait for a heartbeat to come by.
    unanswered: Vec<Question>,
    /// Bytes of the ring buffer that waited when the last one was written.
    ring_unread: Option<u64>,
}

impl Session {
    pub fn new(plan: Plan, count: Option<u64>, armed: Armed, snapshot: oneshot::Receiver<Snapshot>, sinks: Sinks) -> Self {
        Self {
            attended: None,
            unanswered: Vec::new(),
            ring_unread: None,
            armed,
            sinks,
            settle: Settle::new(plan.settle, HELD),
            wires: Wires::new(plan.settle + WIRE_GRACE, HELD),
            departures: Departures::new(plan.settle + WIRE_GRACE, HELD),
            bypassed: Bypassed::new(BYPASSED),
            told: Told::new(TOLD),
            endings: Endings::new(plan.settle, ENDINGS),
            idle: plan.state.as_ref().map_or_else(IdleMemory::default, load),
            memory: Memory::default(),
            floods: Floods::new(plan.flood.fold_above, plan.flood.kernel_budget > 0),
            last_loss: None,
            skipped: 0,
            owners: Owners::new(plan.max_processes, plan.command_line),
            names: Names::default(),
            snapshot: Some(snapshot),
            search: None,
            found: Arc::default(),
            ready: Vec::new(),
            closed: HashMap::new(),
            tally: Tally::default(),
            remaining: count,
            taken: 0,
            behind: None,
            reported_lost: Default::default(),
            next_loss_check: Instant::now() + LOSS_CHECK,
            next_namespace_check: Instant::now() + NAMESPACE_CHECK,
            look: None,
            opening: namespaces::Opening::default(),
            namespaces_before: None,
            started: Instant::now(),
            plan,
        }
    }

    /// Lets somebody know how it goes.
    pub fn attend(&mut self, attended: Attended) {
        self.attended = Some(attended);
    }

    /// Runs until something stops the capture.
    pub async fn run_until(&mut self, stops: &mut Stops) -> Result<Stop, CaptureError> {
        loop {
            if let Some(attended) = &self.attended {
                attended.observer.turned();
            }
            self.release_due();
            self.release_endings();
            self.release_folded(clock::boottime_ns());
            self.release_ready(false);
            self.release_unclaimed(clock::boottime_ns());
            self.release_unannounced(clock::boottime_ns());
            self.check_losses()?;
            self.check_namespaces();
            if self.remaining == Some(0) {
                return Ok(Stop::CountReached);
            }
            let nap = self.next_wake();
            tokio::select! {
                // In order: stopping first, then answering, which is seldom, then making room, then
                // taking more in.
                biased;
                stop = stops.next() => return Ok(stop),
                question = question(&mut self.attended) => self.asked(question),
                () = self.sinks.changed() => self.sinks.failure()?,
                ready = self.armed.ring().readable_mut(), if !self.sinks.holds_ring() => {
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
                        self.owners.set_snapshot(snapshot);
                    }
                    memory::give_back();
                }
                () = self.found.notified() => {}
                () = sleep(nap) => {}
            }
        }
    }

    /// Hands an event to the sinks.
    pub fn queue(&mut self, event: Event) {
        if let Some(severity) = self.plan.fail_on {
            self.tally.hold_against(severity, &event);
        }
        self.sinks.push(event);
    }

    /// Waits until everything that was handed over is written.
    pub async fn flush(&self) -> Result<(), CaptureError> {
        self.sinks.flush(Duration::MAX).await;
        Ok(self.sinks.failure()?)
    }

    /// One record on its way to becoming a line.
    fn take(&mut self, bytes: &[u8]) {
        match self.armed.decoder.decode(bytes) {
            Ok(Record::Reset(mut reset, firing)) => {
                self.taken += 1;
                self.note_read(reset.boottime_ns);
                // Now, and not when it is written: a process that just closed may be gone in a
                // moment.
                self.owners.name(&mut reset);
                self.name_netns(&mut reset);
                reset.amqp = self.armed.conversation(&reset, firing.jiffies).map(Box::new);
                self.endings.reset(reset.key(), &reset);
                if reset.direction == Direction::Received {
                    self.wires.claim(reset.key(), reset.tcp.as_ref(), reset.boottime_ns);
                    reset.bypass = self.bypassed.before(&reset).map(Box::new);
                } else {
                    self.departures.announce(reset.key(), reset.boottime_ns);
                    reset.bypass = self.armed.bypassed(&reset).map(Box::new);
                    if reset.bypass.is_some() {
                        self.bypassed.note(&reset);
                    }
                    if let Some(segment) = told::stray(&reset) {
                        self.revise(reset.key(), &segment);
                    }
                }
                if let Some(reset) = self.settle.push(firing, *reset) {
                    self.pass_on(reset);
                }
            }
            Ok(Record::Ending(reset, jiffies)) => self.take_ending(reset, jiffies),
            Ok(Record::Process(task, netns)) => {
                self.owners.learn(&task);
                self.follow(netns, task.pid);
            }
            Ok(Record::Arrived(place, wire)) => self.wires.arrived(place, wire),
            Ok(Record::Left(place, wire, jiffies)) => self.take_left(place, wire, jiffies),
            Ok(Record::Followed(place, segment)) => {
                self.wires.followed(place, &segment);
                self.revise(place, &segment);
            }
            Ok(Record::Closed(sock, task)) => {
                self.owners.learn(&task);
                self.endings.closed(sock, &task);
                self.note_closed(sock, &task);
                self.settle.closed(sock, task);
            }
            Ok(Record::Heartbeat(unread)) => self.heartbeat(unread),
            Err(error) => {
                self.tally.decode += u64::from(decode::is_reset(bytes));
                tracing::error!("the kernel side sent {error}; please report this");
            }
        }
    }

    /// Names owners that ended while they were searched for: the kernel has told of it meanwhile.
    fn name_ended(&mut self, resets: &mut [Reset]) {
        let mut nameless: HashMap<u64, &mut Reset> =
            resets.iter_mut().filter(|reset| reset.lacks_owner() && reset.sock != 0).map(|reset| (reset.sock, reset)).collect();
        if nameless.is_empty() {
            return;
        }
        for _ in 0..LAST_LOOK {
            let Some(record) = self.armed.ring().get_mut().next().map(|record| Bytes::copy_from_slice(&record)) else {
                self.behind = None;
                return;
            };
            self.behind = decode::time_of(&record);
            if let Ok(Record::Closed(sock, task)) = self.armed.decoder.decode(&record)
                && let Some(reset) = nameless.get_mut(&sock)
            {
                reset.closed_by(task);
                self.owners.name(reset);
            }
            self.take(&record);
        }
    }

    fn next_wake(&self) -> Duration {
        let now = Instant::now();
        let mut wake = self.next_loss_check.saturating_duration_since(now);
        let search = self.owners.not_before().saturating_duration_since(now);
        if let Some((search, _)) = &self.search {
            wake = wake.min(search.until().saturating_duration_since(now));
        } else if !self.ready.is_empty() {
            wake = wake.min(search);
        }
        let earliest = if self.settle.next_lacks_owner() { search } else { Duration::ZERO };
        let now_ns = clock::boottime_ns();
        let until = |due: u64| Duration::from_nanos(due.saturating_sub(now_ns));
        let ending = self.endings.next_due_ns().map_or(wake, |due| until(due).min(wake));
        let folded = self.floods.next_due_ns().map_or(ending, |due| until(due).min(ending));
        self.settle.next_due_ns().map(|due| until(due).max(earliest)).map_or(folded, |due| due.min(folded))
    }
}

/// What was learnt in earlier runs; nothing where that cannot be read.
fn load(state: &StateDir) -> IdleMemory {
    state.load().unwrap_or_else(|error| {
        tracing::warn!("{error}");
        IdleMemory::default()
    })
}

/// The next question; none ever where nobody asks.
async fn question(attended: &mut Option<Attended>) -> Question {
    if let Some(attended) = attended
        && let Some(question) = attended.questions.recv().await
    {
        return question;
    }
    std::future::pending().await
}

/// The snapshot, when it comes; `None` when its thread failed.
async fn taken(snapshot: &mut Option<oneshot::Receiver<Snapshot>>) -> Option<Snapshot> {
    match snapshot {
        Some(receiver) => receiver.await.ok(),
        None => std::future::pending().await,
    }
}
