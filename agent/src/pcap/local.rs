//! Which end of a captured connection is local.
//!
//! What is most certain decides: the command line, what the capture marks as leaving and arriving,
//! TTLs that no router has touched, and last what the connections of the file have in common.

use std::{collections::HashMap, net::IpAddr};

use super::{key::Key, reader::FrameDirection};
use crate::{
    attribution::fresh,
    flow::{
        LocalKnown,
        wire::{End, Side, Wire},
    },
};

/// Addresses that are remembered of a file.
const ADDRESSES: usize = 4096;

/// Counterparts of one address that are told apart.
const COUNTERPARTS: usize = 8;

/// Counterparts of an address from which on it is what connections have in common.
const HUB: usize = 3;

/// How often the capture marked the packets of each end as leaving the capturing host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Votes {
    first: u32,
    second: u32,
}

impl Votes {
    /// Counts one packet.
    pub fn count(&mut self, direction: Option<FrameDirection>, from: End) {
        let local = match direction {
            Some(FrameDirection::Leaving) => from,
            Some(FrameDirection::Arriving) => from.other(),
            None => return,
        };
        match local {
            End::First => self.first = self.first.saturating_add(1),
            End::Second => self.second = self.second.saturating_add(1),
        }
    }
}

/// What a file shows of one address.
#[derive(Debug, Default)]
struct Address {
    /// Packets from it that no router had seen, and others.
    fresh: u32,
    worn: u32,
    counterparts: Vec<IpAddr>,
}

/// What a file shows of its addresses.
#[derive(Debug, Default)]
pub struct Addresses(HashMap<IpAddr, Address>);

impl Addresses {
    /// Takes in one packet.
    pub fn see(&mut self, source: IpAddr, destination: IpAddr, ttl: u8) {
        if let Some(known) = self.of(source) {
            let count = if fresh(ttl) { &mut known.fresh } else { &mut known.worn };
            *count = count.saturating_add(1);
            known.meet(destination);
        }
        if let Some(known) = self.of(destination) {
            known.meet(source);
        }
    }

    fn of(&mut self, address: IpAddr) -> Option<&mut Address> {
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&address) {
            return None;
        }
        Some(self.0.entry(address).or_default())
    }

    /// Which of two is local, as far as the file's other connections tell.
    fn local(&self, first: IpAddr, second: IpAddr) -> Option<End> {
        let (a, b) = (self.0.get(&first)?, self.0.get(&second)?);
        match (a.near(), b.near()) {
            (Some(true), Some(false)) => return Some(End::First),
            (Some(false), Some(true)) => return Some(End::Second),
            // In the midst of the way: neither.
            (Some(false), Some(false)) => return None,
            _ => {}
        }
        match (a.counterparts.len(), b.counterparts.len()) {
            (HUB.., 1) => Some(End::First),
            (1, HUB..) => Some(End::Second),
            _ => None,
        }
    }
}

impl Address {
    fn meet(&mut self, other: IpAddr) {
        if self.counterparts.len() < COUNTERPARTS && !self.counterparts.contains(&other) {
            self.counterparts.push(other);
        }
    }

    /// Whether its packets are made on the link: nearly all or nearly none.
    fn near(&self) -> Option<bool> {
        match (self.fresh, self.worn) {
            (0, 0) => None,
            (fresh, worn) if worn >= fresh.saturating_mul(4) => Some(false),
            (fresh, worn) if fresh >= worn.saturating_mul(4) => Some(true),
            _ => None,
        }
    }
}

/// Decides, by what is most certain first.
pub fn local_end(key: &Key, told: Option<IpAddr>, votes: Votes, wire: &Wire, from: End, file: &Addresses) -> (End, LocalKnown) {
    let at = |end| told == Some(key.address(end).ip());
    match (at(End::First), at(End::Second)) {
        (true, false) => return (End::First, LocalKnown::Told),
        (false, true) => return (End::Second, LocalKnown::Told),
        _ => {}
    }
    match votes.first.cmp(&votes.second) {
        std::cmp::Ordering::Greater => return (End::First, LocalKnown::PacketType),
        std::cmp::Ordering::Less => return (End::Second, LocalKnown::PacketType),
        std::cmp::Ordering::Equal => {}
    }
    // Of an end that sent nothing else, the RST is what there is to go by.
    let sender = near(&wire.sender).unwrap_or_else(|| fresh(wire.rst.ttl));
    match (sender, near(&wire.receiver)) {
        (true, Some(false)) => return (from, LocalKnown::FreshTtl),
        (false, Some(true)) => return (from.other(), LocalKnown::FreshTtl),
        _ => {}
    }
    match file.local(key.first.ip(), key.second.ip()) {
        Some(end) => (end, LocalKnown::Shared),
        None => (from.other(), LocalKnown::Assumed),
    }
}

/// Whether an end's packets still had an initial TTL: no router had seen them.
fn near(side: &Side) -> Option<bool> {
    match side.handshake_ttl {
        Some(ttl) => Some(fresh(ttl)),
        None if side.ttl.count > 0 => Some(fresh(side.ttl.mode)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::IpAddr;

    use super::{Addresses, End};

    fn local(packets: &[(&str, &str, u8)], first: &str, second: &str) -> Option<End> {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut addresses = Addresses::default();
        for (source, destination, ttl) in packets {
            addresses.see(address(source), address(destination), *ttl);
        }
        addresses.local(address(first), address(second))
    }

    #[test]
    fn the_end_of_all_connections_is_local() {
        let hub = [("10.0.0.1", "10.0.0.2", 64), ("10.0.0.3", "10.0.0.1", 128), ("10.0.0.1", "10.0.0.4", 64), ("10.0.0.2", "10.0.0.1", 64)];
        assert_eq!(local(&hub, "10.0.0.1", "10.0.0.2"), Some(End::First));
        assert_eq!(local(&hub, "10.0.0.2", "10.0.0.1"), Some(End::Second));
        // Two are no multitude.
        assert_eq!(local(&hub[..2], "10.0.0.1", "10.0.0.2"), None);
    }

    #[test]
    fn who_is_far_off_on_one_connection_is_far_off_on_the_next() {
        let packets = [("10.0.0.1", "10.0.9.2", 64), ("10.0.9.2", "10.0.0.1", 61)];
        assert_eq!(local(&packets, "10.0.0.1", "10.0.9.2"), Some(End::First));
        let between = [("10.0.0.1", "10.0.9.2", 63), ("10.0.9.2", "10.0.0.1", 61)];
        assert_eq!(local(&between, "10.0.0.1", "10.0.9.2"), None);
    }
}
