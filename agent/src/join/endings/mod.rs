//! First acts, remembered beyond the socket: they explain the RSTs that follow, and are told by
//! themselves where none does.
//!
//! TIME_WAIT and FIN_WAIT2 sockets have no owner, and a segment without a socket has nothing at
//! all. Pure and bounded; time comes in from outside.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use crate::{
    flow::{
        ending::{Act, FirstAct, Leg},
        reset::Reset,
    },
    model::{ConnectionKey, Direction, Role, Task},
    units::nanoseconds,
};

/// How long the first act of an end that is worth a line is remembered: the peer may keep silent
/// for a heartbeat or two before it meets the dead end.
const KEPT: Duration = Duration::from_mins(3);

/// How long that of an ordinary end is: as long as Linux keeps a TIME_WAIT entry
/// (`TCP_TIMEWAIT_LEN`, <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h>).
const KEPT_ORDINARY: Duration = Duration::from_mins(1);

/// A proxy that ends one leg for a reason of its own ends the other within this time: at once, or
/// when the next segment shows it that it has to.
const TOGETHER: Duration = Duration::from_secs(3);

/// A proxy passes on within this time that a peer has ended a leg.
const PASSED_ON: Duration = Duration::from_millis(1500);

/// Ends of one process in one role that are compared: a process that ends more at once is no proxy
/// that times out.
const COMPARED: usize = 32;

/// Processes of which ends are compared.
const PROCESSES: usize = 1024;

/// One process in one role.
type Side = (u32, Role);

/// The memory.
#[derive(Debug)]
pub struct Endings {
    window_ns: u64,
    capacity: usize,
    entries: HashMap<ConnectionKey, Entry>,
    /// Ordinary ends, and the others: oldest first. A place whose connection is another by now has
    /// a later time in its entry.
    order: [VecDeque<(u64, ConnectionKey)>; 2],
    /// Who may still name the process that held a socket, whose peer acted first.
    by_sock: HashMap<u64, ConnectionKey>,
    /// Ends that have a line of their own coming, if no RST comes: due times, in order.
    held: VecDeque<Held>,
    ends: HashMap<Side, VecDeque<End>>,
    evicted: u64,
    /// Lines that were held and not written, since a RST told the same.
    superseded: u64,
}

/// An end whose line is held back.
#[derive(Debug)]
pub struct Held {
    due_ns: u64,
    pub reset: Box<Reset>,
    /// Jiffies when it was reported, low 32 bits.
    pub jiffies: u32,
}

#[derive(Debug)]
struct Entry {
    first: Arc<FirstAct>,
    sock: u64,
    role: Role,
    /// A RST of the same connection came.
    reset_came: bool,
}

/// One end of a connection, for the other legs of its process.
#[derive(Clone, Debug)]
struct End {
    id: String,
    at_ns: u64,
    place: ConnectionKey,
    by_peer: bool,
    silence: Option<Duration>,
}

impl Endings {
    /// Remembers at most `capacity` connections, and holds lines back for `window`.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self {
            window_ns: nanoseconds(window),
            capacity,
            entries: HashMap::new(),
            order: [VecDeque::new(), VecDeque::new()],
            by_sock: HashMap::new(),
            held: VecDeque::new(),
            ends: HashMap::new(),
            evicted: 0,
            superseded: 0,
        }
    }

    /// Takes in a first act, which was reported at this time in jiffies. `told`: it is to have a
    /// line of its own, unless a RST comes.
    pub fn note(&mut self, place: ConnectionKey, reset: Box<Reset>, jiffies: u32, told: bool) {
        let Some(first) = reset.first_act.clone() else { return };
        self.forget_old(first.at_ns);
        match (first.act, &first.actor) {
            (Act::LocalClose { .. }, Some(task)) => self.ended(task.pid, reset.role, end(&first, place, false)),
            // Whoever connected holds it, as a rule; whoever closes it then will be told of.
            (Act::PeerClose, _) => {
                if let Some((task, _)) = &reset.remembered {
                    self.ended(task.pid, reset.role, end(&first, place, true));
                }
                self.by_sock.insert(reset.sock, place);
            }
            _ => {}
        }
        let [ordinary, others] = &mut self.order;
        if told { others } else { ordinary }.push_back((first.at_ns, place));
        let replaced = self.entries.insert(place, Entry { first, sock: reset.sock, role: reset.role, reset_came: false });
        if let Some(replaced) = replaced.filter(|replaced| replaced.sock != reset.sock) {
            self.by_sock.remove(&replaced.sock);
        }
        if told {
            let due_ns = reset.boottime_ns.saturating_add(self.window_ns);
            self.held.push_back(Held { due_ns, reset, jiffies });
        }
    }

    /// Notes that a process closed a socket whose peer had acted first.
    pub fn closed(&mut self, sock: u64, task: &Task) {
        let Some(place) = self.by_sock.remove(&sock) else { return };
        let Some(entry) = self.entries.get(&place) else { return };
        let (role, its) = (entry.role, end(&entry.first, place, true));
        self.ended(task.pid, role, its);
    }

    /// Notes a RST of a connection: it tells what its first act was, and the act has no line of its
    /// own unless that is out.
    pub fn reset(&mut self, place: ConnectionKey, reset: &Reset) {
        let known = self.entry_of(place, reset).is_some();
        if known && let Some(entry) = self.entries.get_mut(&place) {
            entry.reset_came = true;
            let its = end(&entry.first, place, entry.first.act == Act::PeerClose);
            if let Some(task) = reset.closer() {
                self.ended(task.pid, reset.role, its);
            }
            return;
        }
        let by_peer = reset.direction == Direction::Received;
        let owner = if by_peer { reset.remembered.as_ref().map(|(task, _)| task) } else { reset.closer() };
        if let Some(task) = owner {
            let its = End { id: reset.id.clone(), at_ns: reset.boottime_ns, place, by_peer, silence: reset.quiet() };
            self.ended(task.pid, reset.role, its);
        }
    }

    /// Who ended the connection of a RST before that came.
    pub fn first_act(&self, place: ConnectionKey, reset: &Reset) -> Option<Arc<FirstAct>> {
        self.entry_of(place, reset).map(|entry| Arc::clone(&entry.first))
    }

    /// The end of another connection of the process `pid`, in the other role, at the same time.
    pub fn other_leg(&self, pid: u32, place: ConnectionKey, role: Role, at_ns: u64, silence: Option<Duration>) -> Option<Leg> {
        let others = self.ends.get(&(pid, role.other()))?;
        let apart = |end: &&End| {
            let times = end.at_ns.abs_diff(at_ns);
            // Of several that ended together those that were silent for as long belong together.
            let silences = match (end.silence, silence) {
                (Some(one), Some(other)) => nanoseconds(one.abs_diff(other)),
                _ => nanoseconds(TOGETHER),
            };
            times.saturating_add(silences)
        };
        // What a peer does after this end is no reason for it.
        let may_matter = |end: &&End| {
            let apart = end.at_ns.abs_diff(at_ns);
            let in_time = if end.by_peer { end.at_ns <= at_ns && apart <= nanoseconds(PASSED_ON) } else { apart <= nanoseconds(TOGETHER) };
            end.place != place && in_time
        };
        let near = others.iter().filter(may_matter);
        let end = near.min_by_key(apart)?;
        let peer: SocketAddr = end.place.tuple.peer;
        Some(Leg {
            id: end.id.clone(),
            role: role.other(),
            peer,
            ended_by_peer: end.by_peer,
            before: Duration::from_nanos(at_ns.saturating_sub(end.at_ns)),
            silence: end.silence,
        })
    }

    /// The next end whose window has passed by `now_ns` without a RST; its line is to be written.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Held> {
        while self.held.front().is_some_and(|held| held.due_ns <= now_ns) {
            if let Some(held) = self.pop() {
                return Some(held);
            }
        }
        None
    }

    /// The next end, its window over or not. `None` when none is held, or a RST told the same.
    pub fn pop(&mut self) -> Option<Held> {
        let Held { due_ns, reset, jiffies } = self.held.pop_front()?;
        let place = reset.key();
        if self.entries.get(&place).is_some_and(|entry| entry.first.id == reset.id && entry.reset_came) {
            self.superseded += 1;
            return None;
        }
        Some(Held { due_ns, reset, jiffies })
    }

    /// What is known by now of an end that was taken out, and whether it has a line of its own.
    pub fn replace(&mut self, place: ConnectionKey, first: Arc<FirstAct>) {
        if let Some(entry) = self.entries.get_mut(&place).filter(|entry| entry.first.id == first.id) {
            entry.first = first;
        }
    }

    /// When the next line is due: `CLOCK_BOOTTIME`, ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.held.front().map(|held| held.due_ns)
    }

    /// First acts that are remembered.
    pub fn remembered(&self) -> usize {
        self.entries.len()
    }

    /// Lines that are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// First acts that were forgotten before their time.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Lines that were not written, since a RST told the same.
    pub const fn superseded(&self) -> u64 {
        self.superseded
    }

    /// The entry of a place, if it is about the connection of this RST: not about an earlier one
    /// with the same ends.
    fn entry_of(&self, place: ConnectionKey, reset: &Reset) -> Option<&Entry> {
        let entry = self.entries.get(&place)?;
        let age = reset.connection.as_ref().and_then(|connection| connection.age);
        let opened_ns = age.map_or(0, |age| reset.boottime_ns.saturating_sub(nanoseconds(age)));
        let after = entry.first.at_ns <= reset.boottime_ns && opened_ns <= entry.first.at_ns;
        let fresh = reset.boottime_ns.saturating_sub(entry.first.at_ns) <= nanoseconds(KEPT);
        // A SYN asks for a new connection: what its answer says is not about the old one.
        let opens = reset.trigger.is_some_and(crate::flow::Trigger::opens);
        (after && fresh && !opens).then_some(entry)
    }

    fn ended(&mut self, pid: u32, role: Role, its: End) {
        if self.ends.len() >= PROCESSES && !self.ends.contains_key(&(pid, role)) {
            let horizon = its.at_ns.saturating_sub(nanoseconds(TOGETHER));
            self.ends.retain(|_, ends| ends.back().is_some_and(|end| end.at_ns >= horizon));
            if self.ends.len() >= PROCESSES {
                return;
            }
        }
        let ends = self.ends.entry((pid, role)).or_default();
        if ends.iter().any(|end| end.id == its.id) {
            return;
        }
        if ends.len() >= COMPARED {
            ends.pop_front();
        }
        ends.push_back(its);
    }

    /// Makes room: what is too old goes, and where there are too many, the oldest of the ordinary
    /// ones before the others.
    fn forget_old(&mut self, now_ns: u64) {
        let mut room = self.entries.len() >= self.capacity;
        for (order, kept) in self.order.iter_mut().zip([KEPT_ORDINARY, KEPT]) {
            let horizon = now_ns.saturating_sub(nanoseconds(kept));
            while let Some((at_ns, place)) = order.front().copied()
                && (at_ns < horizon || room)
            {
                order.pop_front();
                if let Some(entry) = self.entries.get(&place)
                    && entry.first.at_ns == at_ns
                {
                    self.by_sock.remove(&entry.sock);
                    self.entries.remove(&place);
                    self.evicted += u64::from(at_ns >= horizon);
                    room = false;
                }
            }
        }
    }
}

fn end(first: &FirstAct, place: ConnectionKey, by_peer: bool) -> End {
    End { id: first.id.clone(), at_ns: first.at_ns, place, by_peer, silence: first.silence }
}

#[cfg(test)]
mod tests;
