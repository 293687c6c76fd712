//! Resets on their way out: their owner, what the wire showed, what was learnt, the verdict.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{HELD, LOSS_MEMORY, Session};
use crate::{
    attribution::{attribute, made_here},
    clock,
    event::{Event, build},
    flow::{
        Act, Pair, Reset, configured,
        flood::Kind,
        idle::Destination,
        wire::{Segment, Wire},
    },
    host::neighbours::Question,
    join::{
        departures::Unannounced,
        owners::{Found, Progress, SEARCH_LIMIT},
    },
    model::{ConnectionKey, Direction, Effect, OriginKind, Task},
    units::nanoseconds,
};

/// How long after a reset the end of its owner is waited for, if that is under way: on busy
/// processors it takes a while.
const ENDING: Duration = Duration::from_secs(2);

/// How often it is looked at meanwhile.
const ENDING_CHECK: Duration = Duration::from_millis(100);

impl Session {
    pub(super) fn release_due(&mut self) {
        // While records wait in the ring, no more time has passed than they tell: the next may be
        // about a reset that is held.
        let now = self.behind.unwrap_or_else(clock::boottime_ns);
        let may_search = Instant::now() >= self.owners.not_before();
        // What has to be searched for waits for that where the end of its owner still finds it.
        while (may_search || self.plan.settle.is_zero() || !self.settle.next_lacks_owner())
            && let Some(reset) = self.settle.pop_due(now)
        {
            self.pass_on(reset);
        }
    }

    /// Its window has passed: out with it, or to those whose owner has to be searched for.
    pub(super) fn pass_on(&mut self, mut reset: Reset) {
        if reset.sender.is_none() {
            reset.sender = self.armed.sender(&reset).map(Box::new);
        }
        self.owners.name(&mut reset);
        // One that comes by again, because its owner was ending, has its testimony already.
        let testimony = reset.direction == Direction::Received && reset.wire.is_none() && !reset.ended;
        if testimony {
            reset.wire = self.wires.take(reset.key());
            self.look_up_way(&mut reset);
            if reset.came_over_loopback() {
                reset.made_by_tcp = self.armed.made_by_tcp(reset.tuple.local, reset.boottime_ns);
            }
        }
        if reset.direction == Direction::Sent && reset.left.is_none() && !reset.ended {
            reset.left = self.departures.take(&reset);
        }
        self.join_endings(&mut reset);
        if reset.direction == Direction::Received || reset.act() == Some(Act::PeerClose) {
            reset.known_middlebox = configured::name_of(&self.plan.middleboxes, reset.tuple.peer.ip()).map(ToOwned::to_owned);
        }
        // What an end gave away was learnt when it came.
        if testimony && reset.first_act.is_none() {
            self.learn_idle(&mut reset);
        }
        self.ready.push(reset);
    }

    /// Asks the tables of the RST's namespace which way it came.
    fn look_up_way(&mut self, reset: &mut Reset) {
        let place = reset.key();
        let Some(wire) = &mut reset.wire else { return };
        let Some(interface) = wire.rst.interface else { return };
        let (local, peer) = (place.tuple.local.ip(), place.tuple.peer.ip());
        let question = Question { netns: place.netns, local, peer, interface, source_mac: wire.rst.source_mac };
        wire.way = self.armed.neighbours.ask(question, Instant::now());
        if let Some(way) = &mut wire.way {
            way.sender_name = way.sender.and_then(|sender| configured::name_of(&self.plan.middleboxes, sender)).map(ToOwned::to_owned);
        }
    }

    /// Remembers the silence before a reset, and lets what is known of the destination's idle
    /// timeout testify.
    pub(super) fn learn_idle(&mut self, reset: &mut Reset) {
        // What ended nothing may be anybody's.
        let Some(wire) = reset.wire.as_ref().filter(|_| !reset.ignored) else { return };
        let destination = Destination::new(reset.tuple.peer, reset.service_port());
        reset.learnt_idle = self.idle.learn(destination, wire.silence, wire.longest_survived).map(Box::new);
    }

    /// RSTs that ended no socket: out with them if they are asked for. After a loss it cannot be
    /// told whether they did.
    pub(super) fn release_unclaimed(&mut self, now_ns: u64) {
        let lossy = self.last_loss.is_some_and(|at| at.elapsed() < LOSS_MEMORY);
        while let Some((place, wire)) = self.wires.pop_unclaimed(now_ns) {
            if self.plan.ignored && !lossy {
                let mut reset = self.armed.decoder.ignored(place, wire);
                self.name_netns(&mut reset);
                self.look_up_way(&mut reset);
                self.tally.ignored += 1;
                self.emit(reset);
            }
        }
    }

    /// A RST that left. Who made it is asked at once where no tracepoint told of it yet: what
    /// answers that is kept for a moment only.
    pub(super) fn take_left(&mut self, key: ConnectionKey, wire: Box<Wire>, jiffies: u32) {
        let at_ns = wire.rst.time_ns;
        let announced = self.departures.is_announced(key, at_ns) || self.armed.made_by_tcp(key.tuple.peer, at_ns).unwrap_or(true);
        self.departures.left(key, wire, jiffies, announced);
    }

    /// RSTs that left, and that this host's TCP did not make. After a loss it cannot be told, nor
    /// where the kernel skipped firings: a program that is interrupted by one like it is not run
    /// for that.
    pub(super) fn release_unannounced(&mut self, now_ns: u64) {
        let lossy = self.last_loss.is_some_and(|at| at.elapsed() < LOSS_MEMORY);
        while let Some(Unannounced { key, mut wire, jiffies }) = self.departures.pop_unannounced(now_ns) {
            if lossy || self.armed.skipped() != self.skipped || self.armed.made_by_tcp(key.tuple.peer, wire.rst.time_ns).unwrap_or(true) {
                continue;
            }
            self.armed.complete_left(key, &mut wire, jiffies);
            if made_here(&wire).is_none() {
                continue;
            }
            let mut reset = self.armed.decoder.unannounced(key, wire);
            self.name_netns(&mut reset);
            reset.amqp = self.armed.conversation(&reset, jiffies).map(Box::new);
            self.tally.unannounced += 1;
            self.emit(reset);
        }
    }

    /// Lets go what is ready, in order. Owners are searched for all at once and not too often;
    /// until then all of them wait.
    pub(super) fn release_ready(&mut self, at_once: bool) {
        if self.plan.settle.is_zero() {
            self.release_at_once();
            return;
        }
        if !self.searched(at_once) {
            return;
        }
        let search = self.ready.iter().any(Reset::lacks_owner);
        if self.ready.is_empty() || (search && !at_once && Instant::now() < self.owners.not_before()) {
            return;
        }
        let patience = nanoseconds(self.plan.settle.saturating_add(SEARCH_LIMIT));
        let waited = self.ready.first().map_or(0, |reset| clock::boottime_ns().saturating_sub(reset.boottime_ns));
        if search && !at_once && waited < patience && self.owners.is_searching() {
            return;
        }
        let mut resets = std::mem::take(&mut self.ready);
        if search && let Some(search) = self.owners.search(&mut resets, &self.found) {
            self.search = Some((search, resets));
            if at_once {
                self.searched(true);
            }
            return;
        }
        self.let_go(resets);
    }

    /// Takes in what a search found, if one is under way; `false` while it is.
    fn searched(&mut self, at_once: bool) -> bool {
        let Some((search, _)) = &mut self.search else { return true };
        let found = match search.progress(at_once) {
            Progress::Searching => return false,
            Progress::Done(found) => Some(found),
            Progress::Over => None,
        };
        if let Some((_, mut resets)) = self.search.take() {
            self.owners.found(&mut resets, found.as_ref());
            self.name_ended(&mut resets);
            self.name_closed(&mut resets);
            if !at_once && let Some(found) = &found {
                resets = self.await_ending(resets, found);
            }
            self.let_go(resets);
        }
        true
    }

    /// Notes who closed a socket, for the resets that are held back no more and have not gone out.
    pub(super) fn note_closed(&mut self, sock: u64, task: &Task) {
        if (self.search.is_some() || !self.ready.is_empty()) && self.closed.len() < HELD {
            self.closed.insert(sock, task.clone());
        }
    }

    fn name_closed(&mut self, resets: &mut [Reset]) {
        if self.closed.is_empty() {
            return;
        }
        for reset in resets.iter_mut().filter(|reset| reset.lacks_owner()) {
            if let Some(task) = self.closed.get(&reset.sock) {
                reset.closed_by(task.clone());
                self.owners.name(reset);
            }
        }
        if self.search.is_none() && self.ready.is_empty() {
            self.closed.clear();
        }
    }

    fn let_go(&mut self, mut resets: Vec<Reset>) {
        self.name_closed(&mut resets);
        name_pairs(&mut resets);
        for reset in resets {
            self.emit(reset);
        }
    }

    /// Without a settle window nothing waits: an owner that does not come to light at a glance
    /// stays unnamed.
    fn release_at_once(&mut self) {
        let mut resets = std::mem::take(&mut self.ready);
        self.owners.glance(&mut resets);
        name_pairs(&mut resets);
        for reset in resets {
            self.emit(reset);
        }
    }

    /// Holds back what a process lost that is just ending; the rest may go on.
    fn await_ending(&mut self, resets: Vec<Reset>, found: &Found) -> Vec<Reset> {
        let now = clock::boottime_ns();
        let (waiting, ready): (Vec<_>, Vec<_>) =
            resets.into_iter().partition(|reset| now < reset.boottime_ns.saturating_add(nanoseconds(ENDING)) && found.is_ending(reset));
        for reset in waiting {
            self.settle.await_end(reset, now.saturating_add(nanoseconds(ENDING_CHECK)));
        }
        ready
    }

    pub(super) fn emit(&mut self, mut reset: Reset) {
        if !self.plan.owners.admits(&reset) {
            let filtered = if reset.ended { &mut self.tally.endings.filtered } else { &mut self.tally.filtered };
            *filtered += 1;
            return;
        }
        if reset.ended {
            self.emit_ending(reset);
            return;
        }
        if self.remaining == Some(0) {
            self.tally.count_limit += 1;
            return;
        }
        // Named when it came. By now its namespace may be gone, or one that was new then be known.
        if reset.netns_name.is_none() {
            self.name_netns(&mut reset);
        }
        if reset.sender.is_none() && reset.direction == Direction::Received {
            reset.sender = reset.stand_in().map(Box::new);
        }
        let verdict = self.memory.attribute(&mut reset);
        let laid_to_peer = verdict.origin.kind == OriginKind::RemotePeer && verdict.effect == Effect::ConnectionReset;
        let event = Box::new(build::event(&reset, verdict, &self.plan.host));
        let Some(event) = self.fold(&reset, event, Kind::Reset) else { return };
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        self.tally.emit(&event);
        self.note_handed_over(&event, reset.boottime_ns);
        self.queue(Event::Rst(event));
        if laid_to_peer && reset.wire.is_some() {
            self.told.note(reset);
        }
    }

    /// A packet of a peer to which a RST was laid: if that says that the peer knows nothing of it,
    /// the line is taken back.
    pub(super) fn revise(&mut self, key: ConnectionKey, segment: &Segment) {
        let Some(reset) = self.told.followed(key, segment) else { return };
        let verdict = attribute(reset);
        if verdict.origin.kind == OriginKind::RemotePeer {
            return;
        }
        let event = Box::new(build::event(reset, verdict, &self.plan.host));
        self.queue(Event::RstRevised(event));
        self.told.forget(key);
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
            (reset.id.clone(), Pair { id: reset.id.clone(), direction: reset.direction, active: reset.active, process })
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
