//! Holding received resets back until what follows could testify, and joining firings that are one reset.
//!
//! `tcp_receive_reset` fires for two different things. A RST arrived; or payload arrived for a socket whose receive side was shut down, and
//! `tcp_rcv_state_process()` tears the socket down as if reset and answers with a RST of its own. The second kind is followed at once, on the same
//! CPU and for the same socket, by `tcp_send_reset` (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>).

use std::{collections::VecDeque, time::Duration};

use super::reset::Reset;
use crate::event::Direction;

/// Longest time between the two firings of one abort on data: they are a few microseconds of one softirq, or of one syscall that works its
/// backlog off, apart.
const ONE_PACKET: Duration = Duration::from_millis(20);

/// What is needed to tell whether two firings are one reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Identity of the socket; 0 without one.
    pub sock: u64,
    pub cpu: u32,
    /// `CLOCK_BOOTTIME`, ns.
    pub boottime_ns: u64,
    /// The socket's receive side was shut down.
    pub receive_side_shut: bool,
}

#[derive(Debug)]
struct Held {
    due_ns: u64,
    firing: Firing,
    reset: Reset,
}

/// The resets that are held back. Time comes in from outside.
#[derive(Debug)]
pub struct Settle {
    window: Duration,
    held: VecDeque<Held>,
    capacity: usize,
    joined: u64,
}

impl Settle {
    /// Holds received resets back for `window`, and at most `capacity` of them: above that the oldest goes on early.
    pub const fn new(window: Duration, capacity: usize) -> Self {
        Self { window, held: VecDeque::new(), capacity, joined: 0 }
    }

    /// Takes in one reset, and gives back what can go on now.
    pub fn push(&mut self, firing: Firing, mut reset: Reset) -> Option<Reset> {
        if reset.direction == Direction::Sent {
            if !reset.active
                && let Some(torn_down) = self.take_cause_of(&firing)
            {
                self.joined += 1;
                // The socket told its state at the first firing; at the second it is CLOSE.
                reset.state = torn_down.state.or(reset.state);
                reset.tcp = torn_down.tcp.or(reset.tcp);
                reset.socket = torn_down.socket.or(reset.socket);
            }
            return Some(reset);
        }
        let window = if firing.receive_side_shut { self.window.max(ONE_PACKET) } else { self.window };
        if window.is_zero() {
            return Some(reset);
        }
        let due_ns = firing.boottime_ns.saturating_add(nanoseconds(window));
        // Almost always the last: firings come in order, windows differ only for sockets that are half shut.
        let at = self.held.partition_point(|held| held.due_ns <= due_ns);
        self.held.insert(at, Held { due_ns, firing, reset });
        if self.held.len() > self.capacity { self.held.pop_front().map(|held| held.reset) } else { None }
    }

    /// The next reset whose window has passed by `now_ns`.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Reset> {
        if self.held.front()?.due_ns > now_ns {
            return None;
        }
        self.held.pop_front().map(|held| held.reset)
    }

    /// When the next one is due: `CLOCK_BOOTTIME`, ns.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.held.front().map(|held| held.due_ns)
    }

    /// Everything that is left, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Reset> {
        self.held.drain(..).map(|held| held.reset)
    }

    /// Firings that turned out to be part of another reset.
    pub const fn joined(&self) -> u64 {
        self.joined
    }

    fn take_cause_of(&mut self, answer: &Firing) -> Option<Reset> {
        let at = self.held.iter().rposition(|held| {
            held.firing.receive_side_shut
                && held.firing.sock == answer.sock
                && held.firing.cpu == answer.cpu
                && answer.boottime_ns.saturating_sub(held.firing.boottime_ns) <= nanoseconds(ONE_PACKET)
        })?;
        self.held.remove(at).map(|held| held.reset)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{Firing, Settle};
    use crate::{
        event::Direction,
        flow::{Reset, TcpState},
        testing,
    };
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    fn firing(sock: u64, at_ms: u64, shut: bool) -> Firing {
        Firing { sock, cpu: 0, boottime_ns: at_ms * MS, receive_side_shut: shut }
    }

    fn received() -> Reset {
        Reset { direction: Direction::Received, active: false, state: Some(TcpState::FinWait2), ..testing::reset() }
    }

    fn answer() -> Reset {
        Reset { direction: Direction::Sent, active: false, state: None, ..testing::reset() }
    }

    #[test]
    fn a_received_reset_waits_its_window() {
        let mut settle = Settle::new(Duration::from_secs(1), 10);
        assert!(settle.push(firing(1, 100, false), received()).is_none());
        assert_eq!(settle.next_due_ns(), Some(1100 * MS));
        assert!(settle.pop_due(1099 * MS).is_none());
        assert!(settle.pop_due(1100 * MS).is_some());
        assert!(settle.pop_due(u64::MAX).is_none());
    }

    #[test]
    fn a_sent_reset_never_waits() {
        assert!(Settle::new(Duration::from_secs(1), 10).push(firing(1, 0, false), answer()).is_some());
    }

    #[test]
    fn payload_on_a_shut_down_socket_is_one_sent_reset_even_without_a_window() {
        let mut settle = Settle::new(Duration::ZERO, 10);
        assert!(settle.push(firing(7, 5, true), received()).is_none());
        let joined = settle.push(firing(7, 5, false), answer()).unwrap();
        assert_eq!((joined.direction, joined.state), (Direction::Sent, Some(TcpState::FinWait2)));
        assert_eq!((settle.joined(), settle.next_due_ns()), (1, None));
    }

    #[test]
    fn firings_of_other_sockets_cpus_and_times_are_not_joined() {
        for (sock, cpu, at_ms) in [(8, 0, 5), (7, 1, 5), (7, 0, 500)] {
            let mut settle = Settle::new(Duration::from_secs(1), 10);
            assert!(settle.push(firing(7, 5, true), received()).is_none());
            settle.push(Firing { cpu, ..firing(sock, at_ms, false) }, answer()).unwrap();
            assert_eq!(settle.joined(), 0, "sock {sock} cpu {cpu} at {at_ms} ms");
            assert_eq!(settle.drain().count(), 1);
        }
    }

    #[test]
    fn a_rst_on_a_half_closed_socket_stays_received() {
        let mut settle = Settle::new(Duration::ZERO, 10);
        assert!(settle.push(firing(7, 5, true), received()).is_none());
        assert_eq!(settle.pop_due(25 * MS).unwrap().direction, Direction::Received);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut settle = Settle::new(Duration::from_secs(1), 2);
        assert!(settle.push(firing(1, 1, false), received()).is_none());
        assert!(settle.push(firing(2, 2, false), received()).is_none());
        assert!(settle.push(firing(3, 3, false), received()).is_some());
    }
}
