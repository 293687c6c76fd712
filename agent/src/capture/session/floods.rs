//! Folding what is too much: what user space folds, and what the kernel programs counted already.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use super::Session;
use crate::{
    capture::CaptureError,
    clock,
    event::{Event, LocalEnd, PeerEnd, ResetEvent, SCHEMA, Suppressed, SuppressedKey},
    flow::{
        Reset, SocketKind,
        flood::{Count, Fold, Folded, Key, Kind, Place},
    },
    join::owner_filter::OwnerFilter,
    kernel::floods::{Unreported, Whom},
    model::{CauseId, OriginKind, Role, TcpState},
    output::pretty::token,
    units::nanoseconds,
};

/// Keys that are told from one another at once.
const KEYS: usize = 4096;

/// Lines a second, beside those that sum up what is left: more would be a flood themselves.
const LINES: usize = 128;

/// Keys of which a sample is kept, for what the kernel programs will count: a few times the lines
/// of a second. Each takes some 3 KiB, and with namespaces that come and go there is always another
/// key.
const SAMPLES: usize = 512;

/// How long a sample serves before a newer one takes its place.
const FRESH: Duration = Duration::from_secs(1);

/// How much longer than its settle window a reset may take: its owner is searched for, or ending.
const SETTLED: Duration = Duration::from_secs(3);

const SECOND_NS: u64 = 1_000_000_000;

/// A reset that was reported whole, as an example of those that are not.
struct Sample {
    key: Key,
    event: Box<ResetEvent>,
    taken_ns: u64,
}

/// What is being folded.
pub struct Floods {
    fold: Fold<Box<ResetEvent>>,
    samples: HashMap<Whom, Sample>,
    /// Oldest first.
    sampled: VecDeque<Whom>,
    /// What the kernel programs counted before anything of it was reported whole, and since when:
    /// the first reset of a key is still held back.
    waiting: HashMap<Whom, (Count, u64)>,
    /// Resets that the kernel programs counted, as far as they were read.
    read: u64,
    /// Whether the kernel programs count.
    budgeted: bool,
}

impl Floods {
    pub fn new(above: u32, budgeted: bool) -> Self {
        Self {
            fold: Fold::new(above, KEYS, LINES),
            samples: HashMap::new(),
            sampled: VecDeque::new(),
            waiting: HashMap::new(),
            read: 0,
            budgeted,
        }
    }

    /// Goes by other settings from now on.
    pub const fn set(&mut self, above: u32, budgeted: bool) {
        self.fold.set_above(above);
        self.budgeted = budgeted;
    }

    /// Resets that the kernel programs counted, as far as they were read.
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// Resets that are folded in lines that are not written yet.
    pub fn pending(&self) -> u64 {
        self.fold.pending(Kind::Reset) + self.waiting.values().map(|(count, _)| count.resets).sum::<u64>()
    }

    /// When the next line is due: `CLOCK_BOOTTIME`, ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.fold.next_due_ns()
    }

    /// Keeps a reset as an example of its like.
    fn sample(&mut self, whom: Whom, key: Key, event: &ResetEvent, now_ns: u64) {
        if !self.budgeted || self.samples.get(&whom).is_some_and(|sample| now_ns.saturating_sub(sample.taken_ns) < nanoseconds(FRESH)) {
            return;
        }
        if self.samples.insert(whom, Sample { key, event: Box::new(event.clone()), taken_ns: now_ns }).is_none() {
            self.sampled.push_back(whom);
        }
        if self.samples.len() > SAMPLES
            && let Some(oldest) = self.sampled.pop_front()
        {
            self.samples.remove(&oldest);
        }
    }
}

impl Session {
    /// Takes in a reset that is about to go out, and gives it back if it goes out whole.
    pub(super) fn fold(&mut self, reset: &Reset, event: Box<ResetEvent>, kind: Kind) -> Option<Box<ResetEvent>> {
        let now_ns = clock::boottime_ns();
        self.release_folded(now_ns);
        let place = Place::of(reset);
        let key = Key { kind, direction: Some(event.direction), origin: event.origin.kind, cause: event.cause.id, place: Some(place) };
        if kind == Kind::Reset {
            self.floods.sample(Whom { connected: connected(reset), place: Some(place) }, key, &event, now_ns);
        }
        self.floods.fold.see(key, event.timestamp, now_ns, event)
    }

    /// Writes what was folded in windows that are over.
    pub(super) fn release_folded(&mut self, now_ns: u64) {
        // As with the ring: what finds no room waits where it is.
        while !self.sinks.holds_ring()
            && let Some(folded) = self.floods.fold.pop_due(now_ns)
        {
            self.suppress(folded);
        }
    }

    /// Takes in what the kernel programs counted in seconds that are over.
    pub(super) fn read_floods(&mut self) -> Result<(), CaptureError> {
        let now_ns = clock::boottime_ns();
        for unreported in self.armed.floods.read(now_ns / SECOND_NS)? {
            self.take_unreported(unreported, now_ns);
        }
        let patience = nanoseconds(self.plan.settle.saturating_add(SETTLED));
        let Floods { waiting, samples, .. } = &mut self.floods;
        // Of those that were not told from one another there will be no sample.
        let hopeless = |whom: &Whom, since: u64| whom.place.is_none() || now_ns.saturating_sub(since) > patience;
        let ready = waiting.extract_if(|whom, (_, since)| samples.contains_key(whom) || hopeless(whom, *since));
        for (whom, (count, _)) in ready.collect::<Vec<_>>() {
            self.attribute_counted(whom, count, now_ns);
        }
        Ok(())
    }

    fn take_unreported(&mut self, unreported: Unreported, now_ns: u64) {
        let Unreported { whom, resets, first_ns, last_ns } = unreported;
        self.floods.read += resets;
        let count = Count { resets, first: clock::wall_time(first_ns), last: clock::wall_time(last_ns) };
        let (sum, _) = self.floods.waiting.entry(whom).or_insert((Count { resets: 0, ..count }, now_ns));
        *sum = sum.and(count);
    }

    /// Says of what the kernel programs counted that it was like what was reported whole of the
    /// same peer and port.
    fn attribute_counted(&mut self, whom: Whom, count: Count, now_ns: u64) {
        let sample = self.floods.samples.get(&whom);
        if sample.is_none() && self.plan.owners != OwnerFilter::default() {
            // None of theirs was let through, as far as that is known.
            self.tally.filtered += count.resets;
            return;
        }
        let unknown = Key { kind: Kind::Reset, direction: None, origin: OriginKind::Unknown, cause: CauseId::Unknown, place: whom.place };
        let (key, event) = sample.map_or((unknown, None), |sample| (sample.key, Some(sample.event.clone())));
        self.floods.fold.add(key, count, now_ns, event);
    }

    /// Takes in whatever is left, once nothing is attached and every reset has gone out. `counted`:
    /// what the kernel programs counted all in all.
    pub(super) fn finish_floods(&mut self, counted: u64) -> Result<(), CaptureError> {
        let now_ns = clock::boottime_ns();
        for unreported in self.armed.floods.read(u64::MAX)? {
            self.take_unreported(unreported, now_ns);
        }
        // What was counted for a key in the moment in which it was forgotten.
        let resets = counted.saturating_sub(self.floods.read);
        if resets > 0 {
            let unreported = Unreported { whom: Whom { connected: false, place: None }, resets, first_ns: now_ns, last_ns: now_ns };
            self.take_unreported(unreported, now_ns);
        }
        for (whom, (count, _)) in std::mem::take(&mut self.floods.waiting) {
            self.attribute_counted(whom, count, now_ns);
        }
        while let Some(folded) = self.floods.fold.pop() {
            self.suppress(folded);
        }
        Ok(())
    }

    fn suppress(&mut self, folded: Folded<Box<ResetEvent>>) {
        let Folded { key, count, sample } = folded;
        match key.kind {
            Kind::Reset => self.tally.suppress(key.origin, key.cause, count.resets),
            Kind::Ending => self.tally.endings.suppressed += count.resets,
        }
        let suppressed = Box::new(Suppressed {
            schema: SCHEMA.to_owned(),
            timestamp: Timestamp::now(),
            host: self.plan.host.clone(),
            message: message(&key, count.resets),
            key: described(&key),
            count: count.resets,
            first: count.first,
            last: count.last,
            sample,
        });
        self.queue(match key.kind {
            Kind::Reset => Event::RstSuppressed(suppressed),
            Kind::Ending => Event::EndingsSuppressed(suppressed),
        });
    }
}

fn described(key: &Key) -> SuppressedKey {
    let served_here = key.place.filter(|place| place.role == Role::Broker);
    SuppressedKey {
        direction: key.direction,
        origin: key.origin,
        cause: key.cause,
        netns: key.place.and_then(|place| place.netns),
        local: served_here.map(|place| LocalEnd { port: place.port }),
        peer: key.place.map(|place| PeerEnd { address: place.peer, port: (place.role == Role::Client).then_some(place.port) }),
    }
}

fn message(key: &Key, count: u64) -> String {
    let place = match key.place {
        Some(Place { peer, role: Role::Broker, port, .. }) => format!(" between {peer} and port {port} of this host"),
        Some(Place { peer, role: Role::Client, port, .. }) => format!(" between this host and port {port} of {peer}"),
        None => " of many peers".to_owned(),
    };
    let resets = match (key.kind, count) {
        (Kind::Reset, 1) => "reset",
        (Kind::Reset, _) => "resets",
        (Kind::Ending, 1) => "end of a connection",
        (Kind::Ending, _) => "ends of connections",
    };
    match key.cause {
        CauseId::Unknown => format!("{count} more {resets}{place}"),
        cause => format!("{count} more {resets}{place}, alike: {}, {}", token(key.origin), token(cause)),
    }
}

/// Whether the kernel programs took it for one that ended a connection (`flood::class`).
fn connected(reset: &Reset) -> bool {
    !matches!(reset.socket_kind, SocketKind::None | SocketKind::Listener | SocketKind::TimeWait) && reset.state != Some(TcpState::SynSent)
}
