//! The bounded queue in front of a sink, and its books.
//!
//! A reset in the queue is waiting or in flight. It leaves as written or as lost, and at any time
//! `accepted = written + lost + waiting + in flight`.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{item::Item, spec::WhenFull};
use crate::output::OutputError;

/// Events handed to a destination at once, and no more than half of what the queue holds: what is
/// in flight cannot make room for what is new.
const WINDOW: usize = 512;

/// How long a sink may have something to write and get nothing done before it counts as failing:
/// its reader does not read, and says so in no other way.
const STALLED: Duration = Duration::from_secs(10);

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Written,
    /// The other side will never take it.
    Refused,
}

/// What a full queue means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Loss, by this policy.
    Lose(WhenFull),
    /// The ring buffer is left alone until there is room, so that loss shows there: for a capture,
    /// which has one reader.
    HoldRing,
}

/// Resets, and ends of connections without one, of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub written: u64,
    pub lost: u64,
    /// Those of the lost ones that were folded.
    pub lost_folded: u64,
    pub endings_written: u64,
    pub endings_lost: u64,
    /// Those of the lost ones that were folded.
    pub endings_lost_folded: u64,
}

impl Totals {
    const fn lose(&mut self, item: &Item) {
        self.lost += item.resets();
        if item.is_folded() {
            self.lost_folded += item.resets();
            self.endings_lost_folded += item.endings();
        }
        self.endings_lost += item.endings();
    }
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Lines about resets that wait or are in flight.
    pub lines: usize,
    pub capacity: usize,
    /// Whether the last try to write failed, or nothing got done for [`STALLED`].
    pub failing: bool,
    /// How long nothing got done, where that is so.
    pub stalled: Option<Duration>,
}

/// What a destination has to do.
pub struct Work {
    /// Everything in flight, oldest first.
    pub items: Vec<Arc<Item>>,
    /// Whatever is open has to be opened anew.
    pub reopen: bool,
}

struct Waiting {
    item: Arc<Item>,
    since: Instant,
}

/// How far a queue has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// No more comes: the thread ends when the queue is empty.
    Closed,
    /// Nothing is written any more.
    Over,
}

struct State {
    in_flight: VecDeque<Arc<Item>>,
    waiting: VecDeque<Waiting>,
    /// Lines in both that take up room.
    lines: usize,
    capacity: usize,
    overflow: Overflow,
    totals: Totals,
    /// The last try to write failed.
    failing: bool,
    /// When something was last got done, or there was nothing to do.
    moved: Instant,
    reopen: bool,
    stage: Stage,
    /// What is not written by then is lost, and a failure is not tried again.
    deadline: Option<Instant>,
    failure: Option<OutputError>,
}

/// The queue. The session puts in, the thread of the sink takes out.
pub struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// Told when there is room again, when nothing is left, and when it is over.
    changed: Arc<Notify>,
}

impl Queue {
    pub fn new(capacity: usize, overflow: Overflow, changed: Arc<Notify>) -> Self {
        let state = State {
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            lines: 0,
            capacity,
            overflow,
            totals: Totals::default(),
            failing: false,
            moved: Instant::now(),
            reopen: false,
            stage: Stage::Open,
            deadline: None,
            failure: None,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), changed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The session's side: none of it waits.

    /// Puts an event in, whatever that costs by the policy.
    pub fn push(&self, item: Arc<Item>) {
        let mut state = self.lock();
        if state.stage == Stage::Over {
            state.totals.lose(&item);
            return;
        }
        let now = Instant::now();
        state.expire(now);
        if item.is_bounded() {
            if !state.make_room() {
                state.totals.lose(&item);
                return;
            }
            state.lines += 1;
        } else {
            state.waiting.retain(|older| !item.supersedes(&older.item));
        }
        if state.is_idle() {
            state.moved = now;
        }
        state.waiting.push_back(Waiting { item, since: now });
        drop(state);
        self.work.notify_one();
    }

    /// Whether the ring buffer should be left alone.
    pub fn holds_ring(&self) -> bool {
        let state = self.lock();
        state.overflow == Overflow::HoldRing && state.is_full()
    }

    /// The books. What is past its time is lost first.
    pub fn totals(&self) -> Totals {
        let mut state = self.lock();
        let now = Instant::now();
        state.expire(now);
        if state.deadline.is_some_and(|deadline| deadline <= now) {
            state.give_up();
        }
        state.totals
    }

    /// How it stands, the books aside.
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        let stalled = state.stalled(Instant::now());
        Standing { lines: state.lines, capacity: state.capacity, failing: state.failing || stalled.is_some(), stalled }
    }

    /// Other bounds from now on.
    pub fn set_limits(&self, capacity: usize, when_full: WhenFull) {
        let mut state = self.lock();
        (state.capacity, state.overflow) = (capacity, Overflow::Lose(when_full));
    }

    /// Has whatever is open opened anew.
    pub fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    /// What is not written by `deadline` is lost; what fails before is not tried again.
    pub fn hurry(&self, deadline: Instant) {
        self.lock().deadline = Some(deadline);
        self.work.notify_one();
    }

    /// No more comes.
    pub fn close(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Open {
            state.stage = Stage::Closed;
        }
        drop(state);
        self.work.notify_one();
    }

    /// Loses what waits, but not what is in flight.
    pub fn shed(&self) {
        let mut state = self.lock();
        let shed = std::mem::take(&mut state.waiting);
        for waiting in &shed {
            state.lose(&waiting.item);
        }
    }

    /// Loses everything that is not known to be written, and writes no more.
    pub fn give_up(&self) {
        self.lock().give_up();
        self.work.notify_one();
    }

    /// Whether nothing is left to write, or nothing more will be.
    pub fn is_drained(&self) -> bool {
        let state = self.lock();
        state.stage == Stage::Over || (state.in_flight.is_empty() && state.waiting.is_empty())
    }

    /// Whether the thread is through with it.
    pub fn is_over(&self) -> bool {
        self.lock().stage == Stage::Over
    }

    /// Why nothing is written any more, where that ends a capture. Once.
    pub fn take_failure(&self) -> Option<OutputError> {
        self.lock().failure.take()
    }

    // The thread's side.

    /// Waits for work, no longer than `again`. `None` when there will be none.
    pub fn take(&self, again: Option<Duration>) -> Option<Work> {
        let until = again.map(|again| Instant::now() + again);
        let mut state = self.lock();
        loop {
            let more = !state.waiting.is_empty() && state.in_flight.len() < state.window();
            let empty = state.in_flight.is_empty() && state.waiting.is_empty();
            if state.stage == Stage::Over || (state.stage == Stage::Closed && empty) {
                state.give_up();
                drop(state);
                self.changed.notify_one();
                return None;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if more || state.reopen || left.is_some_and(|left| left.is_zero()) {
                break;
            }
            state = match left {
                Some(left) => self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.expire(Instant::now());
        while state.in_flight.len() < state.window()
            && let Some(next) = state.waiting.pop_front()
        {
            state.in_flight.push_back(next.item);
        }
        let reopen = std::mem::take(&mut state.reopen);
        Some(Work { items: state.in_flight.iter().cloned().collect(), reopen })
    }

    /// Books what became of the first events in flight.
    pub fn settle(&self, fates: &[Fate]) {
        let mut state = self.lock();
        let was_full = state.is_full();
        if fates.contains(&Fate::Written) {
            state.failing = false;
        }
        if !fates.is_empty() {
            state.moved = Instant::now();
        }
        for fate in fates {
            // Given up meanwhile: then they are lost already.
            let Some(item) = state.in_flight.pop_front() else { break };
            match fate {
                Fate::Written => {
                    state.forget(&item);
                    state.totals.written += item.resets();
                    state.totals.endings_written += item.endings();
                }
                Fate::Refused => state.lose(&item),
            }
        }
        let drained = state.in_flight.is_empty() && state.waiting.is_empty();
        let told = (was_full && !state.is_full()) || drained;
        drop(state);
        if told {
            self.changed.notify_one();
        }
    }

    /// After a failure: puts everything in flight but the first `keep` back, to be written again or
    /// lost by the policy.
    pub fn give_back(&self, keep: usize) {
        let mut state = self.lock();
        state.failing = true;
        let now = Instant::now();
        while state.in_flight.len() > keep
            && let Some(item) = state.in_flight.pop_back()
        {
            state.waiting.push_front(Waiting { item, since: now });
        }
    }

    /// Waits for a while, or until there is a reason to try at once. `false` when there is no time
    /// for another try.
    pub fn pause(&self, time: Duration) -> bool {
        let mut state = self.lock();
        if state.deadline.is_some() || state.stage == Stage::Over {
            state.give_up();
            drop(state);
            self.changed.notify_one();
            return false;
        }
        let until = Instant::now() + time;
        while !(state.stage == Stage::Over || state.reopen || state.deadline.is_some()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends it for a reason that ends the capture.
    pub fn fail(&self, error: OutputError) {
        let mut state = self.lock();
        state.give_up();
        state.failure = Some(error);
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    const fn is_full(&self) -> bool {
        self.lines >= self.capacity
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// How long nothing got done, if that is too long.
    fn stalled(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.moved);
        (!self.is_idle() && self.stage != Stage::Over && since >= STALLED).then_some(since)
    }

    fn window(&self) -> usize {
        (self.capacity / 2).clamp(1, WINDOW)
    }

    /// Takes an event off the books of what is waiting or in flight.
    fn forget(&mut self, item: &Item) {
        self.lines = self.lines.saturating_sub(usize::from(item.is_bounded()));
    }

    fn lose(&mut self, item: &Item) {
        self.forget(item);
        self.totals.lose(item);
    }

    /// Whether one more reset may come in.
    fn make_room(&mut self) -> bool {
        match self.overflow {
            Overflow::Lose(WhenFull::DropOldest) => {
                while self.is_full() {
                    let oldest = self.waiting.iter().position(|waiting| waiting.item.is_bounded());
                    let Some(oldest) = oldest.and_then(|oldest| self.waiting.remove(oldest)) else { return false };
                    self.lose(&oldest.item);
                }
                true
            }
            Overflow::Lose(WhenFull::DropNewest) => !self.is_full(),
            // Those that wait for room are as many as the queue holds at most.
            Overflow::Lose(WhenFull::BlockUntil(_)) => self.lines < self.capacity.saturating_mul(2),
            Overflow::HoldRing => true,
        }
    }

    /// Loses those that have waited for room too long. They are in order of their age, so the first
    /// of them tells.
    fn expire(&mut self, now: Instant) {
        let Overflow::Lose(WhenFull::BlockUntil(longest)) = self.overflow else { return };
        while self.lines > self.capacity {
            // Beyond the capacity are the last `lines - capacity` of those that wait, and this is
            // the oldest of them; the few events that are no resets shift it by no more than their
            // number.
            let from = self.waiting.len().saturating_sub(self.lines - self.capacity);
            let beyond = self.waiting.range(from..).position(|waiting| waiting.item.is_bounded());
            let Some((index, oldest)) = beyond.and_then(|at| Some((from + at, self.waiting.get(from + at)?))) else { return };
            if now.saturating_duration_since(oldest.since) < longest {
                return;
            }
            if let Some(expired) = self.waiting.remove(index) {
                self.lose(&expired.item);
            }
        }
    }

    fn give_up(&mut self) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.item);
        for item in std::mem::take(&mut self.in_flight).into_iter().chain(waiting) {
            self.lose(&item);
        }
        self.stage = Stage::Over;
    }
}

#[cfg(test)]
mod tests;
