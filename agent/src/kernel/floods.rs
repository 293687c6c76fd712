//! What the kernel programs counted instead of reporting.

use std::{
    collections::HashMap as StdHashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use rstblame_abi::{
    AF_INET,
    rate_limit::{Budget, Counted, Flood, FloodKey, class},
};

use super::{error::KernelError, maps::take, options::Budgets};
use crate::{flow::flood::Place, model::Role};

/// Seconds after which a key of which nothing came is forgotten, so that there is room for others.
const IDLE: u64 = 10;

/// Share of its class's budget that one key may have, for resets of connections and for packets:
/// one part in so many.
const KEY_SHARE: u32 = 2;

/// Share of the budget that classes without a connection have: one part in so many.
const STRAY_SHARE: u32 = 5;

/// The budgets of all classes, when resets of connections have `records` a second (0: no bounds),
/// and of what is alike no more than `above` (0: all) is to go out whole.
pub fn budgets(records: u32, above: u32) -> Budgets {
    let strays = records.div_ceil(STRAY_SHARE);
    // Refusals of one peer are alike. What befalls its connections need not be, and user space has
    // to see it to tell.
    let alike = if above == 0 { strays } else { above.min(strays) };
    let shared = |class: u32| Budget { class, key: class.div_ceil(KEY_SHARE) };
    let mut budgets = [shared(strays); class::COUNT as usize];
    for (class, budget) in (0..).zip(&mut budgets) {
        match class {
            class::REFUSED => *budget = Budget { class: strays, key: alike },
            class::CONNECTED | class::KNOWN_RST | class::LEFT_RST => *budget = shared(records),
            _ => {}
        }
    }
    budgets
}

/// Of whom something was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whom {
    /// It ended a connection of this host.
    pub connected: bool,
    /// `None` for all those for which there was no entry.
    pub place: Option<Place>,
}

/// What was counted since the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreported {
    pub whom: Whom,
    pub resets: u64,
    /// `CLOCK_BOOTTIME` of the first and the last, ns.
    pub first_ns: u64,
    pub last_ns: u64,
}

/// Counts of even and odd seconds that were read.
type Read = [u64; 2];

struct Tracked {
    connected: bool,
    map: HashMap<MapData, FloodKey, Flood>,
    read: StdHashMap<FloodKey, Read>,
}

/// The maps, and what was read of them.
pub struct Floods {
    tracked: [Tracked; class::RESETS as usize],
    untracked: Array<MapData, Flood>,
    untracked_read: [Read; class::RESETS as usize],
}

impl Floods {
    /// Takes the maps.
    ///
    /// # Errors
    ///
    /// When the object has none such.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let mut tracked = |name, connected| {
            let map = HashMap::try_from(take(ebpf, name)?).map_err(|error| KernelError::map(name, error))?;
            Ok::<_, KernelError>(Tracked { connected, map, read: StdHashMap::new() })
        };
        let tracked = [tracked("REFUSED", false)?, tracked("CONNECTED", true)?];
        let untracked = Array::try_from(take(ebpf, "UNTRACKED")?).map_err(|error| KernelError::map("UNTRACKED", error))?;
        Ok(Self { tracked, untracked, untracked_read: Default::default() })
    }

    /// What was counted in seconds that are over: those before `second`, since boot. All of it for
    /// `u64::MAX`, once nothing is attached.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn read(&mut self, second: u64) -> Result<Vec<Unreported>, KernelError> {
        let mut unreported = Vec::new();
        for tracked in &mut self.tracked {
            tracked.read(second, &mut unreported)?;
        }
        for ((number, read), tracked) in (0..).zip(&mut self.untracked_read).zip(&self.tracked) {
            let flood = self.untracked.get(&number, 0).map_err(|error| KernelError::map("UNTRACKED", error))?;
            let whom = Whom { connected: tracked.connected, place: None };
            unreported.extend(news(&flood, read, second, whom));
        }
        Ok(unreported)
    }
}

impl Tracked {
    fn read(&mut self, second: u64, unreported: &mut Vec<Unreported>) -> Result<(), KernelError> {
        let mut idle = Vec::new();
        for entry in &self.map {
            let (key, flood) = entry.map_err(|error| KernelError::map("floods", error))?;
            let read = self.read.entry(key).or_default();
            unreported.extend(news(&flood, read, second, Whom { connected: self.connected, place: Some(place(&key)) }));
            if flood.second.saturating_add(IDLE) < second && *read == flood.counted.map(|counted| counted.count) {
                idle.push(key);
            }
        }
        for key in idle {
            self.read.remove(&key);
            // A program that was about to count may still do so, for nobody to read: all in all it
            // is counted, and shows at the end.
            let _gone_either_way = self.map.remove(&key);
        }
        Ok(())
    }
}

/// What is new in an entry, in seconds that are over.
fn news(flood: &Flood, read: &mut Read, second: u64, whom: Whom) -> Option<Unreported> {
    let mut news: Option<Unreported> = None;
    for (parity, (Counted { count, first_ns, last_ns }, read)) in (0..).zip(flood.counted.iter().zip(read)) {
        // Of the second that is not over the rest is still to come.
        let over = second == u64::MAX || second % 2 != parity;
        let resets = count.saturating_sub(*read);
        if !over || resets == 0 {
            continue;
        }
        *read = *count;
        news = Some(news.map_or(Unreported { whom, resets, first_ns: *first_ns, last_ns: *last_ns }, |other| Unreported {
            whom,
            resets: other.resets + resets,
            first_ns: other.first_ns.min(*first_ns),
            last_ns: other.last_ns.max(*last_ns),
        }));
    }
    news
}

fn place(key: &FloodKey) -> Place {
    let peer = if key.family == AF_INET {
        let [a, b, c, d, ..] = key.peer;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        Ipv6Addr::from(key.peer).to_canonical()
    };
    let (role, port) = if key.local_port == 0 { (Role::Client, key.peer_port) } else { (Role::Broker, key.local_port) };
    Place { netns: (key.netns != 0).then_some(key.netns), peer, role, port }
}

#[cfg(test)]
mod tests {
    use rstblame_abi::rate_limit::{Counted, Flood, FloodKey};

    use super::{Role, Whom, budgets, news, place};

    const WHOM: Whom = Whom { connected: true, place: None };

    #[test]
    fn a_second_is_read_when_it_is_over_and_nothing_twice() {
        let counted = |count, first_ns, last_ns| Counted { count, first_ns, last_ns };
        let mut flood = Flood { second: 7, whole: 0, counted: [counted(5, 60, 69), counted(3, 70, 75)] };
        let mut read = [0, 0];
        let tell = |flood: &Flood, read: &mut [u64; 2], second| {
            news(flood, read, second, WHOM).map(|news| (news.resets, news.first_ns, news.last_ns))
        };
        assert_eq!(tell(&flood, &mut read, 7), Some((5, 60, 69)), "the sixth second");
        assert_eq!(tell(&flood, &mut read, 7), None);
        flood.counted = [counted(5, 60, 69), counted(9, 70, 79)];
        assert_eq!(tell(&flood, &mut read, 8), Some((9, 70, 79)), "the seventh");
        flood.counted = [counted(6, 80, 81), counted(10, 90, 91)];
        assert_eq!(tell(&flood, &mut read, u64::MAX), Some((2, 80, 91)), "whatever is left");
        assert_eq!(tell(&flood, &mut read, u64::MAX), None);
    }

    #[test]
    fn a_key_says_whose_port_is_watched() {
        let key = FloodKey { peer: [192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], family: 2, local_port: 5672, ..FloodKey::default() };
        let broker = place(&key);
        assert_eq!((broker.peer.to_string().as_str(), broker.role, broker.port, broker.netns), ("192.0.2.7", Role::Broker, 5672, None));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
        let client = place(&FloodKey { peer: mapped, netns: 9, family: 10, local_port: 0, peer_port: 5672, reserved: 0 });
        assert_eq!((client.peer, client.role, client.port, client.netns), (broker.peer, Role::Client, 5672, Some(9)));
    }

    #[test]
    fn no_bound_is_none_for_any_class_and_a_small_one_lets_something_through() {
        assert!(budgets(0, 100).iter().all(|budget| budget.class == 0));
        assert!(budgets(1, 100).iter().all(|budget| budget.class == 1));
        let [refused, connected, ..] = budgets(10_000, 100);
        assert_eq!((refused.class, refused.key, connected.class, connected.key), (2000, 100, 10_000, 5000));
    }
}
