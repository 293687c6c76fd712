//! Sinks: where events go. Each has a thread and a bounded queue of its own, so that one that is
//! slow, full or dead holds up neither the ring buffer nor another sink, and what it loses is
//! counted.

mod backoff;
mod datagram;
mod destination;
mod file;
mod headline;
mod item;
mod journald;
mod queue;
mod spec;
mod stdout;
mod stream;
mod syslog;
mod tcp;
#[cfg(test)]
mod tests;
mod unix_datagram;
mod unix_stream;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

use datagram::DatagramSink;
use destination::{Destination, Encode};
use file::FileSink;
pub use item::Item;
use journald::Journal;
pub use journald::encode as journal_entry;
use queue::{Overflow, Queue, Standing, Totals};
pub use spec::{Body, Facility, Fsync, SinkSpec, SyslogAddress, Target, WhenFull};
use stdout::Stdout;
use stream::StreamSink;
pub use syslog::Encoder as SyslogEncoder;
use syslog::SyslogDatagrams;
use unix_datagram::UnixDatagrams;

use super::{
    Format, OutputError,
    pretty::{self, Style},
};
use crate::{
    event::{Event, SinkLost, SinkTotals},
    story::Story,
};

/// Where syslog listens: syslog(3).
pub const DEV_LOG: &str = "/dev/log";

/// Where the journal listens: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// Events that may wait for the one reader of a capture before the ring buffer is left alone.
const CAPTURE_QUEUE: usize = 8192;

/// How long a sink that the configuration no longer has may go on to write what it was handed.
const RETIREMENT: Duration = Duration::from_secs(30);

/// How often a sink that says nothing is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(100);

struct Sink {
    spec: SinkSpec,
    queue: Arc<Queue>,
    worker: JoinHandle<()>,
    /// Whether the log was told that nothing gets done.
    stalled: bool,
}

/// What became of the resets handed to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    pub name: String,
    pub written: u64,
    pub lost: u64,
    /// Absent for one that the configuration no longer has.
    pub live: Option<LiveSink>,
}

/// How a sink of the configuration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSink {
    /// Lines about resets that wait for it or are being written.
    pub waiting: u64,
    /// How many may.
    pub capacity: u64,
    /// Its last try to write failed, or it has got nothing done for long; it goes on trying.
    pub failing: bool,
    /// Its thread is gone: nothing is written any more.
    pub ended: bool,
}

impl LiveSink {
    /// Whether it works, as far as is known.
    pub const fn is_up(&self) -> bool {
        !self.failing && !self.ended
    }

    fn of(sink: &Sink) -> Self {
        let Standing { lines, capacity, failing, .. } = sink.queue.standing();
        Self { waiting: lines as u64, capacity: capacity as u64, failing, ended: sink.worker.is_finished() }
    }
}

/// The output of a capture, open, and without a thread yet.
pub struct Opened {
    spec: SinkSpec,
    destination: Box<dyn Destination>,
}

impl Opened {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn new(target: Target) -> Result<Self, OutputError> {
        let (name, destination): (String, Box<dyn Destination>) = match &target {
            Target::File { path, format, fsync } => {
                let mut file = FileSink::new(path, lines(*format, Style::PLAIN), *fsync);
                file.open().map_err(|source| OutputError::Open { path: path.clone(), source })?;
                (path.display().to_string(), Box::new(file))
            }
            other => ("standard output".to_owned(), destination(other)),
        };
        let spec = SinkSpec { name, ..SinkSpec::new(target) };
        Ok(Self { spec, destination })
    }
}

/// All sinks of one run.
pub struct Sinks {
    active: Vec<Sink>,
    /// Those that the configuration no longer has, until they are through.
    retired: Vec<Sink>,
    /// What those wrote and lost that are gone.
    gone: BTreeMap<String, Totals>,
    changed: Arc<Notify>,
    /// A capture: one reader, whose end is the end.
    capture: bool,
    /// That reader is a person.
    person: Option<Box<Mutex<Person>>>,
}

/// What a person is told beyond the events.
#[derive(Default)]
struct Person {
    story: Story,
    /// Routine resets since the last line that was written.
    routine: u64,
}

impl Sinks {
    /// The one output of a capture. Its failure ends the capture.
    ///
    /// # Errors
    ///
    /// When there may be no more threads.
    pub fn capture(Opened { spec, destination }: Opened) -> Result<Self, OutputError> {
        let mut sinks = Self::new(true);
        sinks.person = spec.target.is_for_a_person().then(Box::default);
        sinks.start(spec, CAPTURE_QUEUE, Overflow::HoldRing, destination)?;
        Ok(sinks)
    }

    /// The sinks of a daemon. One that fails is tried again for ever.
    ///
    /// # Errors
    ///
    /// When there may be no more threads.
    pub fn daemon(specs: &[SinkSpec]) -> Result<Self, OutputError> {
        let mut sinks = Self::new(false);
        for spec in specs {
            sinks.add(spec)?;
        }
        Ok(sinks)
    }

    fn new(capture: bool) -> Self {
        Self { active: Vec::new(), retired: Vec::new(), gone: BTreeMap::new(), changed: Arc::new(Notify::new()), capture, person: None }
    }

    fn add(&mut self, spec: &SinkSpec) -> Result<(), OutputError> {
        self.start(spec.clone(), spec.queue, Overflow::Lose(spec.when_full), destination(&spec.target))
    }

    fn start(&mut self, spec: SinkSpec, room: usize, overflow: Overflow, to: Box<dyn Destination>) -> Result<(), OutputError> {
        let queue = Arc::new(Queue::new(room, overflow, Arc::clone(&self.changed)));
        let worker = worker::start(&spec.name, &queue, to, !self.capture)
            .map_err(|source| OutputError::Thread { target: spec.name.clone(), source })?;
        self.active.push(Sink { spec, queue, worker, stalled: false });
        Ok(())
    }

    /// Hands an event to every sink. Waits for none.
    pub fn push(&self, event: Event) {
        let mut item = Item::new(event);
        if let Some(person) = &self.person {
            // A panic while it was held would have ended the agent.
            person.lock().unwrap_or_else(PoisonError::into_inner).hear(&mut item);
        }
        let item = Arc::new(item);
        for sink in &self.active {
            sink.queue.push(Arc::clone(&item));
        }
    }

    /// Whether the ring buffer should be left alone until there is room.
    pub fn holds_ring(&self) -> bool {
        self.active.iter().any(|sink| sink.queue.holds_ring())
    }

    /// Waits until a sink has room again, has nothing left, or failed. Safe to drop and call again.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What ends a capture: its output failed.
    ///
    /// # Errors
    ///
    /// That.
    pub fn failure(&self) -> Result<(), OutputError> {
        self.active.iter().find_map(|sink| sink.queue.take_failure()).map_or(Ok(()), Err)
    }

    /// Waits until everything is written, but no longer than `limit`. Whether it is.
    pub async fn flush(&self, limit: Duration) -> bool {
        let drained = async {
            while !self.all().all(|sink| sink.queue.is_drained()) {
                let _waited = timeout(LOOK, self.changed.notified()).await;
            }
        };
        timeout(limit, drained).await.is_ok()
    }

    /// Before the last line: gives every sink `limit` to write what it was handed. In a capture
    /// what waits after that is dropped, and counted here; elsewhere a sink that has not written
    /// everything loses the rest, and gets no last line.
    pub async fn settle(&self, limit: Duration) -> Totals {
        let deadline = Instant::now() + limit;
        if !self.capture {
            self.all().for_each(|sink| sink.queue.hurry(deadline));
        }
        self.flush(limit).await;
        let last_line = Instant::now() + limit;
        for Sink { queue, .. } in self.all() {
            match (self.capture, queue.is_drained()) {
                (true, _) => queue.shed(),
                (false, true) => queue.hurry(last_line),
                (false, false) => queue.give_up(),
            }
        }
        if self.capture {
            // It has one sink.
            self.all().map(|sink| sink.queue.totals()).next().unwrap_or_default()
        } else {
            Totals::default()
        }
    }

    /// Writes what is left, the last line, and ends.
    ///
    /// # Errors
    ///
    /// In a capture: what kept the output from being written.
    pub async fn finish(self, limit: Duration) -> Result<(), OutputError> {
        self.all().for_each(|sink| sink.queue.close());
        let over = async {
            while !self.all().all(|sink| sink.queue.is_over()) {
                let _waited = timeout(LOOK, self.changed.notified()).await;
            }
        };
        let in_time = timeout(limit, over).await.is_ok();
        self.failure()?;
        if in_time || !self.capture { Ok(()) } else { Err(OutputError::Stuck) }
    }

    /// What became of the resets handed to each sink, by its name. Empty for a capture.
    pub fn totals(&self) -> BTreeMap<String, SinkTotals> {
        let mut totals: BTreeMap<String, SinkTotals> = BTreeMap::new();
        if self.capture {
            return totals;
        }
        let live = self.all().map(|sink| (&sink.spec.name, sink.queue.totals()));
        for (name, add) in self.gone.iter().map(|(name, gone)| (name, *gone)).chain(live) {
            let entry = totals.entry(name.clone()).or_default();
            entry.written += add.written;
            entry.lost += add.lost;
            entry.endings_written += add.endings_written;
            entry.endings_lost += add.endings_lost;
        }
        totals
    }

    /// How every sink stands, those included that the configuration no longer has.
    pub fn status(&self) -> Vec<SinkStatus> {
        let totals = self.totals().into_iter();
        let live = |name: &str| self.active.iter().find(|sink| sink.spec.name == name).map(LiveSink::of);
        totals.map(|(name, SinkTotals { written, lost, .. })| SinkStatus { live: live(&name), name, written, lost }).collect()
    }

    /// Tells the log of sinks that have something to write, do not fail, and get nothing done:
    /// whoever reads them does not. To be called now and then.
    pub fn look_for_stalls(&mut self) {
        // A capture has one reader, often a person with a pager.
        for sink in self.active.iter_mut().filter(|_| !self.capture) {
            let name = &sink.spec.name;
            match sink.queue.standing() {
                Standing { stalled: Some(since), lines, .. } if !sink.stalled => {
                    sink.stalled = true;
                    let since = since.as_secs();
                    tracing::warn!(sink = name, waiting = lines, "a sink takes nothing for {since} s; is what reads it running?");
                }
                Standing { stalled: None, .. } if sink.stalled => {
                    sink.stalled = false;
                    tracing::info!(sink = name, "the sink takes events again");
                }
                _ => {}
            }
        }
    }

    /// What each sink lost so far; those that lost nothing are left out.
    pub fn lost(&self) -> BTreeMap<String, SinkLost> {
        let totals = self.totals().into_iter().filter(|(_, totals)| totals.lost + totals.endings_lost > 0);
        totals.map(|(name, totals)| (name, SinkLost { lost: totals.lost, endings: totals.endings_lost })).collect()
    }

    /// Goes on with these sinks. One that stays where it was keeps its queue; files are opened
    /// anew. A sink that is new begins with `first`.
    ///
    /// # Errors
    ///
    /// When there may be no more threads; then what was new is missing.
    pub fn reload(&mut self, specs: &[SinkSpec], first: &Event) -> Result<(), OutputError> {
        let deadline = Instant::now() + RETIREMENT;
        self.forget_retired();
        for mut sink in std::mem::take(&mut self.active) {
            if let Some(spec) = specs.iter().find(|spec| spec.name == sink.spec.name && spec.target == sink.spec.target) {
                sink.queue.set_limits(spec.queue, spec.when_full);
                sink.queue.reopen();
                sink.spec = spec.clone();
                self.active.push(sink);
            } else {
                sink.queue.hurry(deadline);
                sink.queue.close();
                self.retired.push(sink);
            }
        }
        let mut failed = Ok(());
        for spec in specs {
            if self.active.iter().any(|sink| sink.spec.name == spec.name) {
                continue;
            }
            match self.add(spec) {
                Ok(()) => {
                    if let Some(sink) = self.active.last() {
                        sink.queue.push(Arc::new(Item::new(first.clone())));
                    }
                }
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// Takes over the books of those that are through.
    fn forget_retired(&mut self) {
        let (over, retired) = std::mem::take(&mut self.retired).into_iter().partition(|sink| sink.queue.is_over());
        self.retired = retired;
        for sink in over {
            let totals = sink.queue.totals();
            let gone = self.gone.entry(sink.spec.name).or_default();
            gone.written += totals.written;
            gone.lost += totals.lost;
            gone.endings_written += totals.endings_written;
            gone.endings_lost += totals.endings_lost;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Sink> {
        self.active.iter().chain(&self.retired)
    }
}

impl Person {
    /// Takes in an event that is to be written, and adds to it what a person is told.
    fn hear(&mut self, item: &mut Item) {
        self.story.event(item.event());
        if pretty::is_routine(item.event()) {
            self.routine += pretty::resets(item.event());
            item.routine = self.routine;
        } else {
            item.routine = std::mem::take(&mut self.routine);
        }
        if matches!(item.event(), Event::AgentStopped(_)) {
            item.story = self.story.paragraphs();
        }
    }
}

fn person(item: &Item, style: Style) -> String {
    pretty::item(item.event(), item.routine, &item.story, style)
}

fn lines(format: Format, style: Style) -> Encode {
    match format {
        Format::Json => Box::new(|item| item.json().clone()),
        Format::Pretty if style.live => Box::new(move |item| person(item, style.as_wide_as_stdout()).into()),
        Format::Pretty => Box::new(move |item| person(item, style).into()),
    }
}

fn destination(target: &Target) -> Box<dyn Destination> {
    match target.clone() {
        Target::Stdout { format, style } => Box::new(Stdout::new(lines(format, style))),
        Target::File { path, format, fsync } => Box::new(FileSink::new(&path, lines(format, Style::PLAIN), fsync)),
        Target::UnixDatagram { path } => Box::new(DatagramSink(UnixDatagrams::new(&path))),
        Target::UnixStream { path } => {
            Box::new(StreamSink::new(Box::new(move || unix_stream::connect(&path)), lines(Format::Json, Style::PLAIN)))
        }
        Target::Tcp { address } => Box::new(StreamSink::new(Box::new(move || tcp::connect(&address)), lines(Format::Json, Style::PLAIN))),
        Target::Syslog { address, facility, body } => {
            let encoder = SyslogEncoder { facility, body, pid: std::process::id() };
            match address {
                SyslogAddress::Tcp(address) => {
                    Box::new(StreamSink::new(Box::new(move || tcp::connect(&address)), Box::new(move |item| encoder.counted(item))))
                }
                datagrams => Box::new(DatagramSink(SyslogDatagrams::new(datagrams, encoder))),
            }
        }
        Target::Journald { path } => Box::new(DatagramSink(Journal::new(&path))),
    }
}
