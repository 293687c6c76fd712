//! Idle timeouts, learnt: the silence before each reset of a destination is remembered, and a tight
//! cluster of repeats gives the timeout away.
//!
//! Pure and bounded; time comes in from outside, and the memory is serialisable so that it survives
//! a restart.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::wire::Silence;
use crate::model::octets;

/// Destinations remembered at once.
const DESTINATIONS: usize = 1024;

/// Silences remembered of one destination.
const SILENCES: usize = 16;

/// Repeats that make a cluster.
const REPEATS: usize = 3;

/// Shorter silences are ordinary pauses: no device in the field table ships a timer below it.
const SHORTEST: Duration = Duration::from_secs(10);

/// Half width of a cluster, relative to its middle. Timers are swept at intervals, so their expiry
/// is not exact.
const WIDTH: f64 = 0.01;

/// Half width of a cluster at least: the sweep interval of common devices.
const SWEEP: Duration = Duration::from_secs(1);

/// A service at an address: whatever sits on the way to it is common to its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    pub address: IpAddr,
    /// The watched port, on whichever side it is.
    pub port: u16,
}

impl Hash for Destination {
    /// In two pieces, as [`Tuple`](crate::model::Tuple) does.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&octets(self.address));
        state.write_u16(self.port);
    }
}

impl Destination {
    /// The destination of a connection: the peer's address, and the service's port.
    pub const fn new(peer: SocketAddr, service_port: u16) -> Self {
        Self { address: peer.ip(), port: service_port }
    }
}

/// What is remembered of one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct History {
    /// (silence in ms, whether the receiver had broken it), oldest first.
    silences: VecDeque<(u64, bool)>,
    /// Longest silence that a connection outlived, ms.
    survived_ms: u64,
    /// Order of use, for eviction.
    used: u64,
}

/// An idle timeout that resets gave away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learnt {
    pub timeout: Duration,
    /// Resets in the cluster.
    pub repeats: usize,
    /// Longest minus shortest silence in the cluster.
    pub spread: Duration,
    /// The resets answered the first segment after the silence, rather than coming at its end by
    /// themselves.
    pub on_next_segment: bool,
}

impl Learnt {
    /// Whether `silence` fits: at the timeout, or, where the reset waits for a segment, beyond it.
    pub fn explains(&self, silence: Silence) -> bool {
        let tolerance = tolerance(self.timeout);
        let at = silence.length.abs_diff(self.timeout) <= tolerance;
        at || (self.on_next_segment && silence.broken_by_receiver && silence.length >= self.timeout)
    }
}

/// The memory of all destinations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(Destination, History)>", into = "Vec<(Destination, History)>")]
pub struct IdleMemory {
    destinations: BTreeMap<Destination, History>,
    uses: u64,
    evicted: u64,
}

impl From<Vec<(Destination, History)>> for IdleMemory {
    /// Takes no more than fits from a file that may have been tampered with.
    fn from(entries: Vec<(Destination, History)>) -> Self {
        let mut destinations = BTreeMap::new();
        for (destination, mut history) in entries.into_iter().take(DESTINATIONS) {
            history.silences.truncate(SILENCES);
            destinations.insert(destination, history);
        }
        let uses = destinations.values().map(|history| history.used).max().unwrap_or(0);
        Self { destinations, uses, evicted: 0 }
    }
}

impl From<IdleMemory> for Vec<(Destination, History)> {
    fn from(memory: IdleMemory) -> Self {
        memory.destinations.into_iter().collect()
    }
}

impl IdleMemory {
    /// Remembers one reset of a connection to `destination`, and gives back what is known of the
    /// destination's timeout with it.
    ///
    /// `survived`: the longest silence that this connection had outlived. It contradicts any
    /// shorter timeout.
    pub fn learn(&mut self, destination: Destination, silence: Option<Silence>, survived: Duration) -> Option<Learnt> {
        self.uses = self.uses.saturating_add(1);
        let known = self.destinations.contains_key(&destination);
        let remembered = silence.filter(|silence| silence.length >= SHORTEST);
        if !known && remembered.is_none() && survived < SHORTEST {
            return None;
        }
        if !known && self.destinations.len() >= DESTINATIONS {
            self.evict();
        }
        let history = self.destinations.entry(destination).or_default();
        history.used = self.uses;
        history.survived_ms = history.survived_ms.max(milliseconds(survived));
        if let Some(silence) = remembered {
            if history.silences.len() >= SILENCES {
                history.silences.pop_front();
            }
            history.silences.push_back((milliseconds(silence.length), silence.broken_by_receiver));
        }
        history.learnt()
    }

    /// Destinations that had to be forgotten.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    fn evict(&mut self) {
        let oldest = self.destinations.iter().min_by_key(|(_, history)| history.used).map(|(destination, _)| *destination);
        if let Some(oldest) = oldest {
            self.destinations.remove(&oldest);
            self.evicted = self.evicted.saturating_add(1);
        }
    }
}

impl History {
    fn learnt(&self) -> Option<Learnt> {
        let mut sorted: Vec<(u64, bool)> = self.silences.iter().copied().collect();
        sorted.sort_unstable();
        let mut best: Option<&[(u64, bool)]> = None;
        for (from, (shortest, _)) in sorted.iter().enumerate() {
            let width = 2 * milliseconds(tolerance(Duration::from_millis(*shortest)));
            let to = sorted.partition_point(|(length, _)| *length <= shortest.saturating_add(width));
            let cluster = sorted.get(from..to).unwrap_or_default();
            if best.is_none_or(|best| cluster.len() > best.len()) {
                best = Some(cluster);
            }
        }
        let cluster = best.filter(|cluster| cluster.len() >= REPEATS)?;
        let ((shortest, _), (longest, _)) = (cluster.first()?, cluster.last()?);
        // A connection that outlived more contradicts the timeout.
        if self.survived_ms > longest.saturating_add(milliseconds(tolerance(Duration::from_millis(*longest)))) {
            return None;
        }
        let answers = cluster.iter().filter(|(_, broken_by_receiver)| *broken_by_receiver).count();
        let on_next_segment = answers * 2 > cluster.len();
        // A RST that waits for a segment comes at the timeout or later: the shortest silence is
        // nearest to it.
        let timeout_ms = if on_next_segment { *shortest } else { shortest.midpoint(*longest) };
        Some(Learnt {
            timeout: Duration::from_millis(timeout_ms),
            repeats: cluster.len(),
            spread: Duration::from_millis(longest - shortest),
            on_next_segment,
        })
    }
}

fn tolerance(timeout: Duration) -> Duration {
    timeout.mul_f64(WIDTH).max(SWEEP)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A product that ships with a certain idle timeout, and what it does when that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: &'static str,
    pub timeout: Duration,
}

const fn candidate(seconds: u64, name: &'static str) -> Candidate {
    Candidate { name, timeout: Duration::from_secs(seconds) }
}

/// Defaults of products that reset an idle connection, or answer its next segment by a RST. Values
/// can be set, and several products share one: a match is a hint, never proof.
const CANDIDATES: [Candidate; 12] = [
    // Azure Load Balancer: 4 minutes; RST to both ends where TCP reset is enabled
    // (learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset).
    candidate(240, "Azure load balancer or NAT gateway (240 s)"),
    // BIG-IP FastL4 profile: 300 s, resetOnTimeout (clouddocs.f5.com, L4_Profile).
    candidate(300, "F5 BIG-IP FastL4 (300 s)"),
    // AWS Network Load Balancer: 350 s, RST to whoever sends next
    // (docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html).
    candidate(350, "AWS network load balancer (350 s)"),
    // AWS NAT gateway: 350 s, RST to the sender of the next packet (docs.aws.amazon.com/vpc, NAT
    // gateway troubleshooting).
    candidate(350, "AWS NAT gateway (350 s)"),
    // ngx_stream_proxy_module, proxy_timeout: 10 minutes (nginx.org).
    candidate(600, "nginx stream proxy (600 s)"),
    // IPVS, established: 15 minutes
    // (<https://github.com/torvalds/linux/blob/v6.12/net/netfilter/ipvs/ip_vs_proto_tcp.c>,
    // tcp_timeouts).
    candidate(900, "IPVS, as in kube-proxy and Docker swarm (900 s)"),
    // GCP Cloud NAT, established: 20 minutes (cloud.google.com/nat/docs, TCP established connection
    // idle timeout).
    candidate(1200, "GCP Cloud NAT (1200 s)"),
    // Envoy tcp_proxy idle_timeout: 1 hour (envoyproxy.io, tcp_proxy.proto).
    candidate(3600, "Envoy or Istio TCP proxy (3600 s)"),
    // Palo Alto TCP session timeout: 3600 s (docs.paloaltonetworks.com, session timeouts).
    candidate(3600, "Palo Alto firewall (3600 s)"),
    // Cisco ASA conn timeout: 1 hour (cisco.com, ASA command reference, timeout).
    candidate(3600, "Cisco ASA firewall (3600 s)"),
    // kube-proxy conntrack, established: 24 hours (pkg/proxy/apis/config/v1alpha1/defaults.go).
    candidate(86_400, "conntrack as kube-proxy sets it (86400 s)"),
    // nf_conntrack, established: 5 days
    // (<https://github.com/torvalds/linux/blob/v6.12/net/netfilter/nf_conntrack_proto_tcp.c>,
    // tcp_timeouts).
    candidate(432_000, "Linux conntrack (432000 s)"),
];

/// The defaults of products that are known, in seconds, with their names.
pub fn defaults() -> impl Iterator<Item = (u64, &'static str)> {
    CANDIDATES.iter().map(|known| (known.timeout.as_secs(), known.name))
}

/// Products whose default fits a timeout within one percent.
pub fn candidates(timeout: Duration) -> Vec<&'static str> {
    CANDIDATES.iter().filter(|known| known.timeout.abs_diff(timeout) <= tolerance(known.timeout)).map(|known| known.name).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{net::IpAddr, time::Duration};

    use proptest::prelude::*;

    use super::{DESTINATIONS, Destination, IdleMemory, Silence, candidates};

    fn to(last: u8) -> Destination {
        Destination { address: IpAddr::from([192, 0, 2, last]), port: 5672 }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it is handed over")]
    fn silence(milliseconds: u64, broken_by_receiver: bool) -> Option<Silence> {
        Some(Silence { length: Duration::from_millis(milliseconds), broken_by_receiver })
    }

    #[test]
    fn three_alike_are_a_timeout() {
        let mut memory = IdleMemory::default();
        for length in [350_020, 349_900] {
            assert!(memory.learn(to(1), silence(length, false), Duration::ZERO).is_none());
        }
        assert!(memory.learn(to(2), silence(350_000, false), Duration::ZERO).is_none(), "another destination");
        let learnt = memory.learn(to(1), silence(350_400, false), Duration::ZERO).unwrap();
        assert_eq!(learnt.repeats, 3);
        assert!(learnt.timeout.abs_diff(Duration::from_secs(350)) < Duration::from_secs(1));
        assert!(!learnt.on_next_segment);
        assert!(learnt.explains(silence(350_200, false).unwrap()));
        assert!(!learnt.explains(silence(500_000, false).unwrap()));
        assert_eq!(candidates(learnt.timeout).len(), 2);
    }

    #[test]
    fn scattered_silences_teach_nothing() {
        let mut memory = IdleMemory::default();
        for length in [20_000, 47_000, 91_000, 130_000, 244_000, 410_000] {
            assert!(memory.learn(to(1), silence(length, true), Duration::ZERO).is_none());
        }
    }

    #[test]
    fn a_reset_that_waits_for_a_segment_comes_at_the_timeout_or_later() {
        let mut memory = IdleMemory::default();
        for length in [350_900, 350_100, 351_000] {
            memory.learn(to(1), silence(length, true), Duration::ZERO);
        }
        let learnt = memory.learn(to(1), silence(350_100, true), Duration::ZERO).unwrap();
        assert!(learnt.on_next_segment);
        assert_eq!(learnt.timeout, Duration::from_millis(350_100));
        assert!(learnt.explains(silence(900_000, true).unwrap()));
    }

    #[test]
    fn a_longer_silence_that_was_survived_contradicts() {
        let mut memory = IdleMemory::default();
        for _ in 0..5 {
            memory.learn(to(1), silence(60_000, false), Duration::ZERO);
        }
        assert!(memory.learn(to(1), silence(60_000, false), Duration::ZERO).is_some());
        assert!(memory.learn(to(1), None, Duration::from_secs(500)).is_none());
    }

    #[test]
    fn short_pauses_are_not_remembered() {
        let mut memory = IdleMemory::default();
        for _ in 0..10 {
            assert!(memory.learn(to(1), silence(3_000, true), Duration::ZERO).is_none());
        }
        assert_eq!(memory, IdleMemory { uses: 10, ..IdleMemory::default() });
    }

    #[test]
    fn the_memory_is_bounded_and_survives() {
        let mut memory = IdleMemory::default();
        for number in 0..=u16::try_from(DESTINATIONS).unwrap() {
            let [high, low] = number.to_be_bytes();
            let destination = Destination { address: IpAddr::from([10, 0, high, low]), port: 5672 };
            memory.learn(destination, silence(60_000, false), Duration::ZERO);
        }
        assert_eq!((memory.destinations.len(), memory.evicted()), (DESTINATIONS, 1));
        let text = serde_json::to_string(&memory).unwrap();
        let mut again: IdleMemory = serde_json::from_str(&text).unwrap();
        assert_eq!(again.destinations, memory.destinations);
        for _ in 0..2 {
            again.learn(Destination { address: IpAddr::from([10, 0, 0, 9]), port: 5672 }, silence(60_000, false), Duration::ZERO);
        }
        assert!(
            again
                .learn(Destination { address: IpAddr::from([10, 0, 0, 9]), port: 5672 }, None, Duration::ZERO)
                .is_some_and(|learnt| learnt.repeats == 3)
        );
    }

    proptest! {
        #[test]
        fn any_history_is_taken(lengths in proptest::collection::vec((any::<u64>(), any::<bool>(), any::<u32>()), 0..60)) {
            let mut memory = IdleMemory::default();
            for (length, broken, survived) in lengths {
                if let Some(learnt) = memory.learn(to(1), silence(length, broken), Duration::from_millis(u64::from(survived))) {
                    prop_assert!(learnt.repeats >= 3);
                }
            }
        }

        #[test]
        fn no_state_file_makes_it_panic(text in "\\PC*") {
            let _ = serde_json::from_str::<IdleMemory>(&text);
        }
    }
}
