//! Ends of open connections at which a segment came in under another address than their peer's: the
//! translation of addresses between the two does not cover them any more, and they are about to
//! die.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use crate::{
    flow::{Bypass, Earlier, Reset},
    units::nanoseconds,
};

/// An end: its address, and the inode number of its network namespace.
type Place = (SocketAddr, u32);

/// How long it may take until the connection dies of it: by retransmission, a quarter of an hour
/// (`net.ipv4.tcp_retries2`).
const DYING: Duration = Duration::from_mins(20);

#[derive(Debug)]
struct Stray {
    from: SocketAddr,
    id: String,
    at_ns: u64,
}

/// The latest of them. Time comes in with the resets.
#[derive(Debug)]
pub struct Bypassed {
    entries: HashMap<Place, Stray>,
    order: VecDeque<Place>,
    capacity: usize,
}

impl Bypassed {
    /// Keeps at most `capacity` ends.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// Remembers the RST that answered a stray segment.
    pub fn note(&mut self, reset: &Reset) {
        let place = place(reset);
        let stray = Stray { from: reset.tuple.peer, id: reset.id.clone(), at_ns: reset.boottime_ns };
        if self.entries.insert(place, stray).is_none() {
            self.order.push_back(place);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// What came in at the end of a connection before it died, if it did not come from its peer.
    pub fn before(&self, reset: &Reset) -> Option<Bypass> {
        let stray = self.entries.get(&place(reset))?;
        let ago = Duration::from_nanos(reset.boottime_ns.checked_sub(stray.at_ns)?);
        (stray.from != reset.tuple.peer && nanoseconds(ago) <= nanoseconds(DYING))
            .then(|| Bypass { other: stray.from, earlier: Some(Earlier { id: stray.id.clone(), ago, routine: false }) })
    }
}

const fn place(reset: &Reset) -> Place {
    (
        reset.tuple.local,
        match reset.netns {
            Some(netns) => netns,
            None => 0,
        },
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::Bypassed;
    use crate::{flow::Reset, testing};

    const SECOND: u64 = 1_000_000_000;

    fn from(address: &str, at_ns: u64) -> Reset {
        let mut reset = testing::reset();
        reset.tuple.peer = address.parse().unwrap();
        Reset { boottime_ns: at_ns, ..reset }
    }

    #[test]
    fn a_connection_dies_of_what_came_in_beside_it() {
        let mut bypassed = Bypassed::new(2);
        bypassed.note(&from("198.51.100.7:5672", SECOND));
        let found = bypassed.before(&from("203.0.113.1:5672", 3 * SECOND)).unwrap();
        assert_eq!((found.other.to_string().as_str(), found.earlier.unwrap().ago.as_secs()), ("198.51.100.7:5672", 2));
        assert!(bypassed.before(&from("198.51.100.7:5672", 3 * SECOND)).is_none(), "the stray itself");
        assert!(bypassed.before(&from("203.0.113.1:5672", 0)).is_none(), "before it");
        assert!(bypassed.before(&from("203.0.113.1:5672", 2000 * SECOND)).is_none(), "long after it");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut bypassed = Bypassed::new(2);
        for port in 1..=5 {
            let mut reset = testing::reset();
            reset.tuple.local.set_port(port);
            bypassed.note(&reset);
            bypassed.note(&reset);
        }
        assert_eq!((bypassed.entries.len(), bypassed.order.len()), (2, 2));
    }
}
