//! Holding resets back until what follows could testify, and joining what belongs to one reset.
//!
//! * `tcp_receive_reset` fires for two different things. A RST arrived; or payload arrived for a
//!   socket whose receive side was shut down, and `tcp_rcv_state_process()` tears the socket down
//!   as if reset and answers with a RST of its own. The second kind is followed at once, on the
//!   same CPU and for the same socket, by `tcp_send_reset`
//!   (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>).
//! * Whoever closes a socket after it was reset held it.
//! * Where both ends are on this host, one reset is seen twice.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{
    flow::{
        firing::Firing,
        reset::{Pair, Reset},
    },
    model::{Direction, Task, Tuple},
    units::nanoseconds,
};

/// Longest time between the two firings of one abort on data: they are a few microseconds of one
/// softirq, or of one syscall that works its backlog off, apart. Also the longest time between the
/// two ends of a reset on one host, which no wire separates.
const ONE_PACKET: Duration = Duration::from_millis(20);

/// When a held reset goes on, and in which order.
type Place = (u64, u64);

#[derive(Debug)]
struct Held {
    firing: Firing,
    reset: Reset,
}

/// The resets that are held back. Time comes in from outside.
#[derive(Debug)]
pub struct Settle {
    window: Duration,
    held: BTreeMap<Place, Held>,
    by_sock: HashMap<u64, Place>,
    by_tuple: HashMap<Tuple, Place>,
    capacity: usize,
    next: u64,
    joined: u64,
}

impl Settle {
    /// Holds resets back for `window`, and at most `capacity` of them: above that the oldest goes
    /// on early.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self { window, held: BTreeMap::new(), by_sock: HashMap::new(), by_tuple: HashMap::new(), capacity, next: 0, joined: 0 }
    }

    /// Takes in one reset, and gives back what can go on now.
    pub fn push(&mut self, firing: Firing, mut reset: Reset) -> Option<Reset> {
        if reset.direction == Direction::Sent
            && !reset.active
            && let Some(torn_down) = self.take_cause_of(firing, &reset)
        {
            self.joined += 1;
            // The socket told its state at the first firing; at the second it is CLOSE.
            reset.state = torn_down.state.or(reset.state);
            reset.tcp = torn_down.tcp.or(reset.tcp);
            reset.socket = torn_down.socket.or(reset.socket);
            reset.remembered = torn_down.remembered.or(reset.remembered);
        }
        // All wait alike, so that they go on in the order in which they happened.
        let window = if firing.receive_side_shut { self.window.max(ONE_PACKET) } else { self.window };
        if window.is_zero() {
            return Some(reset);
        }
        let mut due = reset.boottime_ns.saturating_add(nanoseconds(window));
        if let Some(place) = self.by_tuple.get(&reset.tuple.reversed()).copied()
            && let Some(other) = self.held.get_mut(&place)
            && other.reset.direction != reset.direction
            && reset.boottime_ns.abs_diff(other.reset.boottime_ns) <= nanoseconds(ONE_PACKET)
        {
            let pair = |reset: &Reset| Pair { id: reset.id.clone(), direction: reset.direction, active: reset.active, process: None };
            reset.pair = Some(pair(&other.reset));
            other.reset.pair = Some(pair(&reset));
            // Both go on together, so that each can name the other's owner.
            due = due.max(place.0);
            self.postpone(place, due);
        }
        self.hold(due, firing, reset);
        if self.held.len() > self.capacity { self.pop() } else { None }
    }

    /// Takes back a reset whose owner is about to end, until `due_ns`: the kernel will tell who
    /// that was.
    pub fn await_end(&mut self, reset: Reset, due_ns: u64) {
        self.hold(due_ns, Firing { sock: reset.sock, cpu: 0, jiffies: 0, receive_side_shut: false }, reset);
    }

    /// Notes that a process closed a socket that may have been reset a moment ago.
    pub fn closed(&mut self, sock: u64, task: Task) {
        if let Some(held) = self.by_sock.get(&sock).and_then(|place| self.held.get_mut(place)) {
            held.reset.closed_by(task);
        }
    }

    /// The next reset whose window has passed by `now_ns`.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Reset> {
        if self.next_due_ns()? > now_ns {
            return None;
        }
        self.pop()
    }

    /// When the next one is due: `CLOCK_BOOTTIME`, ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.held.first_key_value().map(|(place, _)| place.0)
    }

    /// Whether the owner of the next one has still to be found.
    pub fn next_lacks_owner(&self) -> bool {
        self.held.first_key_value().is_some_and(|(_, held)| held.reset.lacks_owner())
    }

    /// The next reset, due or not.
    pub fn pop(&mut self) -> Option<Reset> {
        let (place, held) = self.held.pop_first()?;
        self.unlist(place, &held);
        Some(held.reset)
    }

    /// Resets that are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Firings that turned out to be part of another reset.
    pub const fn joined(&self) -> u64 {
        self.joined
    }

    fn hold(&mut self, due: u64, firing: Firing, reset: Reset) {
        let place = (due, self.next);
        self.next += 1;
        if firing.sock != 0 {
            self.by_sock.insert(firing.sock, place);
        }
        self.by_tuple.insert(reset.tuple, place);
        self.held.insert(place, Held { firing, reset });
    }

    fn postpone(&mut self, place: Place, due: u64) {
        if let Some(held) = self.held.remove(&place) {
            self.unlist(place, &held);
            self.hold(due, held.firing, held.reset);
        }
    }

    /// Forgets where a reset was held, unless a later one of the same socket or tuple has taken its
    /// entry.
    fn unlist(&mut self, place: Place, held: &Held) {
        if self.by_sock.get(&held.firing.sock) == Some(&place) {
            self.by_sock.remove(&held.firing.sock);
        }
        if self.by_tuple.get(&held.reset.tuple) == Some(&place) {
            self.by_tuple.remove(&held.reset.tuple);
        }
    }

    fn take_cause_of(&mut self, answer: Firing, reset: &Reset) -> Option<Reset> {
        let place = *self.by_sock.get(&answer.sock)?;
        let held = self.held.get(&place)?;
        let one_packet = held.reset.direction == Direction::Received
            && held.firing.receive_side_shut
            && held.firing.cpu == answer.cpu
            && reset.boottime_ns.saturating_sub(held.reset.boottime_ns) <= nanoseconds(ONE_PACKET);
        if !one_packet {
            return None;
        }
        let held = self.held.remove(&place)?;
        self.unlist(place, &held);
        Some(held.reset)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::Settle;
    use crate::flow::firing::Firing;
    use crate::{
        flow::{Reset, SocketKind},
        model::{Direction, Task, TcpState},
        testing,
    };

    const MS: u64 = 1_000_000;

    fn firing(sock: u64, shut: bool) -> Firing {
        Firing { sock, cpu: 0, jiffies: 0, receive_side_shut: shut }
    }

    fn received(at_ms: u64) -> Reset {
        Reset {
            direction: Direction::Received,
            active: false,
            state: Some(TcpState::FinWait2),
            boottime_ns: at_ms * MS,
            ..testing::reset()
        }
    }

    fn answer(at_ms: u64) -> Reset {
        Reset { active: false, state: None, socket_kind: SocketKind::None, boottime_ns: at_ms * MS, ..testing::reset() }
    }

    #[test]
    fn a_received_reset_waits_its_window() {
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        assert!(settle.push(firing(1, false), received(100)).is_none());
        assert_eq!(settle.next_due_ns(), Some(1100 * MS));
        assert!(settle.pop_due(1099 * MS).is_none());
        assert!(settle.pop_due(1100 * MS).is_some());
        assert!(settle.pop_due(u64::MAX).is_none());
    }

    #[test]
    fn nothing_waits_without_a_window() {
        let mut settle = Settle::new(Duration::ZERO, 10);
        assert!(settle.push(firing(0, false), answer(0)).is_some());
        assert!(settle.push(firing(1, false), received(0)).is_some());
    }

    #[test]
    fn payload_on_a_shut_down_socket_is_one_sent_reset_even_without_a_window() {
        let mut settle = Settle::new(Duration::ZERO, 10);
        assert!(settle.push(firing(7, true), received(5)).is_none());
        let joined = settle.push(firing(7, false), answer(5)).unwrap();
        assert_eq!((joined.direction, joined.state), (Direction::Sent, Some(TcpState::FinWait2)));
        assert_eq!((settle.joined(), settle.next_due_ns()), (1, None));
    }

    #[test]
    fn firings_of_other_sockets_cpus_and_times_are_not_joined() {
        for (sock, cpu, at_ms) in [(8, 0, 5), (7, 1, 5), (7, 0, 500)] {
            let mut settle = Settle::new(Duration::from_secs(1), 10);
            assert!(settle.push(firing(7, true), received(5)).is_none());
            settle.push(Firing { cpu, ..firing(sock, false) }, answer(at_ms));
            assert_eq!(settle.joined(), 0, "sock {sock} cpu {cpu} at {at_ms} ms");
        }
    }

    #[test]
    fn a_rst_on_a_half_closed_socket_stays_received() {
        let mut settle = Settle::new(Duration::ZERO, 10);
        assert!(settle.push(firing(7, true), received(5)).is_none());
        assert_eq!(settle.pop_due(25 * MS).unwrap().direction, Direction::Received);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut settle = Settle::new(Duration::from_secs(1), 2);
        assert!(settle.push(firing(1, false), received(1)).is_none());
        assert!(settle.push(firing(2, false), received(2)).is_none());
        assert!(settle.push(firing(3, false), received(3)).is_some());
    }

    #[test]
    fn who_closes_the_socket_later_is_noted_with_its_reset() {
        let task = Task { pid: 7, start_boottime_ns: None, comm: "app".to_owned(), uid: 0, end: None };
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        settle.push(firing(1, false), received(1));
        settle.push(firing(2, false), received(1));
        assert!(settle.next_lacks_owner());
        settle.closed(2, task.clone());
        settle.closed(9, task.clone());
        assert_eq!(settle.pop().unwrap().closed_later, None);
        assert!(!settle.next_lacks_owner());
        assert_eq!(settle.pop().unwrap().closed_later, Some(task));
    }

    #[test]
    fn an_owner_that_is_ending_is_awaited() {
        let task = Task { pid: 7, start_boottime_ns: None, comm: "app".to_owned(), uid: 0, end: None };
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        settle.await_end(Reset { sock: 3, ..received(1) }, 50 * MS);
        settle.closed(3, task.clone());
        assert!(settle.pop_due(49 * MS).is_none());
        assert_eq!(settle.pop_due(50 * MS).unwrap().closed_later, Some(task));
    }

    #[test]
    fn a_child_forked_after_the_reset_is_not_the_owner() {
        let task = Task { pid: 7, start_boottime_ns: Some(2 * MS), comm: "child".to_owned(), uid: 0, end: None };
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        settle.push(firing(1, false), received(1));
        settle.closed(1, task);
        assert_eq!(settle.pop().unwrap().closed_later, None);
    }

    #[test]
    fn two_ends_on_one_host_are_a_pair_and_go_on_together() {
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        let sent = Reset { id: "a".to_owned(), boottime_ns: MS, ..testing::reset() };
        let other = Reset { id: "b".to_owned(), tuple: sent.tuple.reversed(), ..received(2) };
        settle.push(firing(1, false), sent);
        settle.push(firing(2, false), other);
        assert_eq!(settle.next_due_ns(), Some(1002 * MS));
        let (first, second) = (settle.pop().unwrap(), settle.pop().unwrap());
        let pair = |reset: &Reset| reset.pair.as_ref().map(|pair| pair.id.clone());
        let mut pairs = [(first.id.clone(), pair(&first)), (second.id.clone(), pair(&second))];
        pairs.sort();
        assert_eq!(pairs, [("a".to_owned(), Some("b".to_owned())), ("b".to_owned(), Some("a".to_owned()))]);
    }

    #[test]
    fn a_later_reset_of_the_same_tuple_is_no_pair() {
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        let first = Reset { boottime_ns: MS, ..testing::reset() };
        let later = Reset { tuple: first.tuple.reversed(), ..received(500) };
        settle.push(firing(1, false), first);
        settle.push(firing(2, false), later);
        while let Some(reset) = settle.pop() {
            assert_eq!(reset.pair, None);
        }
    }
}
