//! Machines on the link that answer in the name of many: one counter of IPv4 identifications runs
//! through the RSTs of addresses that have nothing to do with each other.
//!
//! What makes an address translator of a hypervisor, a captive portal or a firewall that rejects
//! known: their RSTs have passed no router, whatever address they bear, and each takes the next
//! number. A host has a counter of its own, which begins anywhere and runs by itself. That two run
//! side by side for long is chance of one in a thousand, so that three addresses must come back to
//! the counter.

use std::{net::IpAddr, time::Duration};

use super::wire::Segment;
use crate::units::nanoseconds;

/// Counters that are followed at once.
const COUNTERS: usize = 64;

/// Addresses of one counter that are told apart.
const ADDRESSES: usize = 16;

/// Furthest step from one RST to the next: the machine sends other packets as well.
const STEP: u16 = 64;

/// Longest time between two.
const APART: Duration = Duration::from_secs(30);

/// Addresses that must have come back to the counter, and networks they must be of.
const RETURNED: usize = 3;
const NETWORKS: usize = 2;

/// Number of a counter, for as long as a file is read or the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterId(u64);

#[derive(Debug)]
struct Counter {
    id: CounterId,
    ttl: u8,
    mac: Option<[u8; 6]>,
    /// Who is answered.
    to: IpAddr,
    last: u16,
    last_ns: u64,
    /// Addresses, and how many RSTs of each.
    addresses: Vec<(IpAddr, u32)>,
}

/// The counters.
#[derive(Debug, Default)]
pub struct Machines {
    counters: Vec<Counter>,
    next: u64,
}

impl Machines {
    /// Takes in a RST from `source` to `to` that has passed no router; gives back the counter it
    /// belongs to.
    pub fn see(&mut self, rst: &Segment, source: IpAddr, to: IpAddr) -> Option<CounterId> {
        let last = rst.ip_id.filter(|id| *id != 0)?;
        let fits = |counter: &&mut Counter| {
            let step = last.wrapping_sub(counter.last);
            let since = rst.time_ns.saturating_sub(counter.last_ns);
            (counter.ttl, counter.mac, counter.to) == (rst.ttl, rst.source_mac, to)
                && (1..=STEP).contains(&step)
                && since <= nanoseconds(APART)
        };
        if let Some(counter) = self.counters.iter_mut().find(fits) {
            (counter.last, counter.last_ns) = (last, rst.time_ns);
            if let Some((_, count)) = counter.addresses.iter_mut().find(|(known, _)| *known == source) {
                *count = count.saturating_add(1);
            } else if counter.addresses.len() < ADDRESSES {
                counter.addresses.push((source, 1));
            }
            return Some(counter.id);
        }
        let id = CounterId(self.next);
        self.next += 1;
        let begun = Counter { id, ttl: rst.ttl, mac: rst.source_mac, to, last, last_ns: rst.time_ns, addresses: vec![(source, 1)] };
        let oldest = self.counters.iter().enumerate().min_by_key(|(_, counter)| counter.last_ns).map(|(at, _)| at);
        match oldest.filter(|_| self.counters.len() >= COUNTERS).and_then(|at| self.counters.get_mut(at)) {
            Some(place) => *place = begun,
            None => self.counters.push(begun),
        }
        Some(id)
    }

    /// In the name of how many addresses a counter's machine answers; `None` unless it is sure that
    /// it is one.
    pub fn answers_for(&self, id: CounterId) -> Option<usize> {
        let counter = self.counters.iter().find(|counter| counter.id == id)?;
        let returned: Vec<IpAddr> = counter.addresses.iter().filter(|(_, count)| *count > 1).map(|(address, _)| *address).collect();
        let mut networks: Vec<[u8; 2]> = returned.iter().filter_map(|address| network(*address)).collect();
        networks.sort_unstable();
        networks.dedup();
        (returned.len() >= RETURNED && networks.len() >= NETWORKS).then_some(counter.addresses.len())
    }
}

/// The network of sixteen bits that an IPv4 address is of: a host with several has them side by
/// side.
const fn network(address: IpAddr) -> Option<[u8; 2]> {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            Some([a, b])
        }
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::{Machines, Segment};

    const TO: [u8; 4] = [10, 0, 0, 1];

    /// What is known at the end of RSTs (address, identification), a tenth of a second apart.
    fn after(rsts: &[([u8; 4], u16)]) -> Option<usize> {
        let mut machines = Machines::default();
        let mut last = None;
        for ((address, id), at) in rsts.iter().zip(1..) {
            let rst = Segment { time_ns: at * 100_000_000, ttl: 255, ip_id: Some(*id), ..Segment::default() };
            last = machines.see(&rst, IpAddr::from(*address), IpAddr::from(TO));
        }
        machines.answers_for(last.unwrap())
    }

    proptest! {
        #[test]
        fn one_counter_for_many(first: u16, steps in prop::collection::vec(1_u16..30, 12)) {
            let addresses = [[192, 0, 2, 1], [198, 51, 100, 7], [203, 0, 113, 9]];
            let mut id = first;
            let rsts: Vec<_> = steps.iter().zip(addresses.iter().cycle()).map(|(step, address)| {
                id = id.wrapping_add(*step);
                (*address, id)
            }).filter(|(_, id)| *id != 0).collect();
            prop_assert_eq!(after(&rsts), Some(3));
        }

        /// Hosts on the link, each with a counter of its own.
        #[test]
        fn many_counters_are_many_hosts(counters in prop::collection::vec(any::<u16>(), 12)) {
            let mut rsts = Vec::new();
            for round in 0..3_u16 {
                for (host, first) in (1_u8..).zip(&counters) {
                    rsts.push(([192, host, 2, 1], first.wrapping_add(1 + round)));
                }
            }
            prop_assert_eq!(after(&rsts), None);
        }
    }

    #[test]
    fn one_host_with_many_addresses_of_a_network_is_a_host() {
        let rsts: Vec<_> = (1..20_u16).map(|id| ([192, 0, 2, 1 + u8::try_from(id % 4).unwrap()], id)).collect();
        assert_eq!(after(&rsts), None);
    }
}
