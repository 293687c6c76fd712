//! What the tables of a network namespace say of the way a RST came: route, neighbours, name of the
//! interface.
//!
//! By `NETLINK_ROUTE` (rtnetlink(7)): one route for the peer, and the neighbours on the interface
//! the RST came in by. The structures are those of
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/rtnetlink.h> and
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/neighbour.h>. Nothing is sent
//! on any link.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::net::netdevice::index_to_name_inlined;

use super::{
    crew::{Crew, Questions},
    netlink::{self, AF_INET, AF_INET6, NetlinkError, attributes, bytes_at, push_attribute, u16_at, u32_at},
};
use crate::{model::Route, text::clean};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

/// `RTA_DST`, `RTA_SRC`, `RTA_GATEWAY` and `RTA_VIA`: the last is a gateway of another family.
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_IFINDEX: u16 = 8;

/// Length of a `struct rtmsg`, and of a `struct ndmsg`.
const HEAD_BYTES: usize = 12;

/// How long an answer holds: tables change seldom, and resets come in bursts.
const HOLDS: Duration = Duration::from_secs(2);

/// Answers kept.
const KEPT: usize = 1024;

/// Questions asked within [`HOLDS`]; more resets than that from different peers go without.
const QUESTIONS: u32 = 128;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Inode number of the namespace.
    pub netns: u32,
    pub local: IpAddr,
    pub peer: IpAddr,
    /// Index of the interface the RST came in by.
    pub interface: u32,
    /// Source address of its frame.
    pub source_mac: Option<[u8; 6]>,
}

/// How long the session waits for one answer, and for those of all in a second. The kernel answers
/// in a tenth of a millisecond, but a namespace may belong to a user who has filled its tables, or
/// who keeps the lock on them busy.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));

/// Threads that ask, and questions that may wait for one.
const ASKING: (usize, usize) = (8, 128);

/// The tables of the namespaces that are listened in.
pub struct Neighbours {
    sockets: HashMap<u32, Arc<OwnedFd>>,
    /// By namespace: one at a time, since the answers come by its one socket.
    questions: Questions<Question, u32, Option<Route>>,
    /// Of the last request that was sent.
    sequence: u32,
    answers: HashMap<Question, Option<Route>>,
    /// Since when `answers` are kept, and questions counted.
    since: Option<Instant>,
    asked: u32,
}

/// A socket by which the tables of the calling thread's namespace can be asked, wherever it is
/// used; `None` where the kernel makes none.
pub fn tables_of_this() -> Option<OwnedFd> {
    netlink::open(None).ok()
}

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            sockets: HashMap::new(),
            questions: Questions::new(Crew::new("netlink", ASKING.0, ASKING.1), PATIENCE.0, PATIENCE.1, 1),
            sequence: 0,
            answers: HashMap::new(),
            since: None,
            asked: 0,
        }
    }
}

impl Neighbours {
    /// Makes a namespace one that can be asked about, by a socket of [`tables_of_this`] in it.
    pub fn listen(&mut self, netns: u32, socket: OwnedFd) {
        self.sockets.insert(netns, Arc::new(socket));
    }

    /// Questions that were not answered in time.
    pub const fn missed(&self) -> u64 {
        self.questions.missed()
    }

    /// Lets go of all namespaces but those that `alive` says are still used.
    pub fn retain(&mut self, alive: impl Fn(u32) -> bool) {
        self.sockets.retain(|netns, _| alive(*netns));
    }

    /// The answer, from memory if it is new enough. `None` where the tables cannot be read, or not
    /// soon, and where there were too many questions.
    pub fn ask(&mut self, question: Question, now: Instant) -> Option<Route> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= HOLDS) {
            self.answers.clear();
            self.asked = 0;
            self.since = Some(now);
        }
        if let Some(known) = self.answers.get(&question) {
            return known.clone();
        }
        for (late, answer) in self.questions.late() {
            if self.answers.len() < KEPT {
                self.answers.insert(late, answer);
            }
        }
        if let Some(known) = self.answers.get(&question) {
            return known.clone();
        }
        let socket = Arc::clone(self.sockets.get(&question.netns)?);
        if self.asked >= QUESTIONS || self.answers.len() >= KEPT {
            return None;
        }
        self.asked += 1;
        // What was asked before and not answered in time may be answered yet.
        self.sequence = self.sequence.wrapping_add(2);
        let first = self.sequence;
        let answer = self.questions.ask(&question, question.netns, move || way(&socket, &question, first).ok().flatten())?;
        self.answers.insert(question, answer.clone());
        answer
    }
}

/// Asks the tables of the socket's namespace, by requests with the sequence numbers `first` and the
/// next. `None` without a route.
fn way(socket: &OwnedFd, question: &Question, first: u32) -> Result<Option<Route>, NetlinkError> {
    let mut route = None;
    netlink::ask(socket, &route_request(question.local, question.peer, first), first, |kind, payload| {
        if kind == RTM_NEWROUTE {
            route = Some((read_gateway(payload), is_local(payload)));
        }
        true
    })?;
    let mut sender: Option<IpAddr> = None;
    if let Some(mac) = question.source_mac {
        let second = first.wrapping_add(1);
        netlink::ask(socket, &neighbours_request(question.peer, question.interface, second), second, |kind, payload| {
            if kind == RTM_NEWNEIGH
                && let Some(address) = read_neighbour(payload, question.interface, mac)
            {
                // The peer's own, if it is that; else one that means something beyond the link;
                // else any, but always the same.
                let rank = |address: IpAddr| (address != question.peer, is_link_local(address), address);
                sender = Some(sender.map_or(address, |known| if rank(known) <= rank(address) { known } else { address }));
            }
            true
        })?;
    }
    let interface = index_to_name_inlined(socket, question.interface).ok().map(|name| clean(name.as_str()).into_owned());
    Ok(route.map(|(gateway, peer_is_local)| Route { gateway, peer_is_local, sender, sender_name: None, interface }))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn push_address(body: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => push_attribute(body, kind, &address.octets()),
        IpAddr::V6(address) => push_attribute(body, kind, &address.octets()),
    }
}

/// The route that packets from `local` to `peer` take.
fn route_request(local: IpAddr, peer: IpAddr, sequence: u32) -> Vec<u8> {
    let (family, bits) = if peer.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
    // Family, lengths of destination and source; then TOS, table, protocol, scope, type and flags,
    // none of them asked for.
    let mut body = vec![family, bits, bits];
    body.resize(HEAD_BYTES, 0);
    push_address(&mut body, RTA_DST, peer);
    push_address(&mut body, RTA_SRC, local);
    netlink::request(RTM_GETROUTE, netlink::ACK, sequence, &body)
}

/// The neighbours of the peer's family on an interface; kernels that do not select give those of
/// all.
fn neighbours_request(peer: IpAddr, interface: u32, sequence: u32) -> Vec<u8> {
    let mut body = vec![if peer.is_ipv4() { AF_INET } else { AF_INET6 }];
    body.resize(HEAD_BYTES, 0);
    push_attribute(&mut body, NDA_IFINDEX, &interface.to_ne_bytes());
    netlink::request(RTM_GETNEIGH, netlink::DUMP, sequence, &body)
}

/// The gateway of a `struct rtmsg`; `None` where the destination is on the link.
fn read_gateway(bytes: &[u8]) -> Option<IpAddr> {
    attributes(bytes.get(HEAD_BYTES..)?).find_map(|(kind, payload)| match kind {
        RTA_GATEWAY => address(payload),
        // A family of two bytes before the address.
        RTA_VIA => address(payload.get(2..)?),
        _ => None,
    })
}

/// Whether the destination of a `struct rtmsg` is an address of this host.
fn is_local(bytes: &[u8]) -> bool {
    /// `RTN_LOCAL`.
    const LOCAL: u8 = 2;
    bytes.get(7) == Some(&LOCAL)
}

/// The address of a `struct ndmsg`, if it is a neighbour with this MAC address on this interface.
fn read_neighbour(bytes: &[u8], interface: u32, mac: [u8; 6]) -> Option<IpAddr> {
    /// `NUD_INCOMPLETE` and `NUD_FAILED`: whatever address such an entry has is an old one.
    const UNUSABLE: u16 = 0x01 | 0x20;
    if u32_at(bytes, 4)? != interface || u16_at(bytes, 8)? & UNUSABLE != 0 {
        return None;
    }
    let mut found = None;
    let mut same = false;
    for (kind, payload) in attributes(bytes.get(HEAD_BYTES..)?) {
        match kind {
            NDA_DST => found = address(payload),
            NDA_LLADDR => same = payload == mac,
            _ => {}
        }
    }
    found.filter(|_| same)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(bytes_at::<4>(bytes, 0)?).into()),
        16 => Some(Ipv6Addr::from(bytes_at::<16>(bytes, 0)?).into()),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should fail here")]
mod tests;
