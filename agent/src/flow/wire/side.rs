//! What the segments of one end of a connection have in common: the baseline that a RST in its name
//! is held against.

use super::{
    probes::Probes,
    ring::Ring,
    segment::{Segment, Timestamps},
};
use crate::model::seq_after;

/// TTLs or hop limits of the segments after the handshake. The handshake is left out because a
/// proxy may have answered it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathTtl {
    /// Most frequent one; a majority vote (Boyer and Moore) that needs no table.
    pub mode: u8,
    votes: u32,
    /// Latest one.
    pub last: u8,
    pub lowest: u8,
    pub highest: u8,
    /// Segments counted.
    pub count: u64,
}

impl PathTtl {
    fn observe(&mut self, ttl: u8) {
        if self.count == 0 {
            (self.lowest, self.highest) = (ttl, ttl);
        }
        if self.votes == 0 {
            self.mode = ttl;
        }
        self.votes = if self.mode == ttl { self.votes.saturating_add(1) } else { self.votes.saturating_sub(1) };
        self.last = ttl;
        self.lowest = self.lowest.min(ttl);
        self.highest = self.highest.max(ttl);
        self.count = self.count.saturating_add(1);
    }

    /// Whether every segment had the same.
    pub const fn constant(&self) -> bool {
        self.lowest == self.highest
    }
}

/// How the IPv4 identification moves from segment to segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpIds {
    pub last: Option<u16>,
    /// Steps of exactly one: the counter of a Linux socket.
    pub by_one: u32,
    /// Zero after zero.
    pub zeros: u32,
    /// Forward steps of 2 to 2048: a counter shared with other traffic, or segments that went
    /// unseen.
    pub forward: u32,
    /// All else.
    pub other: u32,
    /// The latest few.
    pub recent: Ring<u16, 4>,
}

impl IpIds {
    fn observe(&mut self, id: u16) {
        if let Some(last) = self.last {
            match id.wrapping_sub(last) {
                _ if id == 0 && last == 0 => self.zeros = self.zeros.saturating_add(1),
                1 => self.by_one = self.by_one.saturating_add(1),
                2..=2048 => self.forward = self.forward.saturating_add(1),
                _ => self.other = self.other.saturating_add(1),
            }
        }
        self.last = Some(id);
        self.recent.push(id);
    }

    /// A counter of the connection's own: most steps were exactly one, and few went anywhere else.
    pub const fn per_connection(&self) -> bool {
        // A busy connection has a billion segments within hours.
        let elsewhere = self.other as u64 + self.zeros as u64;
        self.by_one >= 2 && self.by_one as u64 >= 4 * elsewhere && self.by_one >= self.forward
    }
}

/// When segments were seen, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    pub first_ns: Option<u64>,
    pub last_ns: Option<u64>,
    pub last_payload_ns: Option<u64>,
    /// The latest segments that asked for an answer or gave one: (end of sequence, time).
    pub recent: Ring<(u32, u64), 8>,
}

/// The facts about the segments that one end sent, RSTs left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    pub packets: u64,
    /// Payload bytes, retransmissions included.
    pub bytes: u64,
    /// Segments after the handshake.
    pub ttl: PathTtl,
    /// TTL of the SYN or SYN-ACK.
    pub handshake_ttl: Option<u8>,
    /// DF of the SYN or SYN-ACK.
    pub handshake_dont_fragment: Option<bool>,
    /// Identification of the SYN or SYN-ACK; not part of [`IpIds`], since Linux sends SYN-ACKs
    /// with 0.
    pub handshake_ip_id: Option<u16>,
    /// Window of the SYN or SYN-ACK, which is never scaled (RFC 7323, section 2.2).
    pub handshake_window: Option<u16>,
    /// The handshake's segment was a SYN-ACK; `None` where none was seen, or not which.
    pub answered_handshake: Option<bool>,
    /// From a SYN of the other end to the SYN-ACK of this one, or from SYN-ACK to ACK; `None` if
    /// one was sent twice.
    pub handshake_rtt_ns: Option<u64>,
    /// Shortest time between a segment of the other end, or its SYN, and the acknowledgement of
    /// exactly that segment by this one.
    pub min_rtt_ns: Option<u64>,
    /// How many such times there were.
    pub rtt_samples: u32,
    pub ip_ids: IpIds,
    /// Segments after the handshake with DF set, and without.
    pub dont_fragment: (u64, u64),
    /// Segments after the handshake with the timestamps option, and without.
    pub timestamped: (u64, u64),
    /// First and latest TSval with their times, ns.
    pub first_timestamp: Option<(Timestamps, u64)>,
    pub last_timestamp: Option<(Timestamps, u64)>,
    /// Latest window, unscaled.
    pub window: Option<u16>,
    /// Latest flow label after the handshake.
    pub flow_label: Option<u32>,
    /// Latest TOS or traffic class.
    pub tos: Option<u8>,
    pub initial_seq: Option<u32>,
    /// Highest sequence number sent, plus one.
    pub end_seq: Option<u32>,
    /// Highest acknowledgement number sent.
    pub last_ack: Option<u32>,
    /// The latest different acknowledgement numbers.
    pub acks: Ring<u32, 8>,
    pub fin: bool,
    pub source_mac: Option<[u8; 6]>,
    /// Segments that came from another source address of the link than [`Side::source_mac`].
    pub other_macs: u64,
    pub interface: Option<u32>,
    /// Segments that came in elsewhere than by [`Side::interface`].
    pub other_interfaces: u64,
    pub outer_source: Option<std::net::IpAddr>,
    pub times: Timeline,
    /// Keepalive probes that the other end has not answered.
    pub probes: Probes,
    syns: u32,
    syn_ns: Option<u64>,
}

impl Side {
    /// Takes in one segment of this end.
    pub(super) fn observe(&mut self, segment: &Segment, other: &Self) {
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(segment.payload));
        if segment.flags.syn() {
            self.observe_handshake(segment, other);
        } else {
            self.observe_established(segment, other);
        }
        self.probes.observe(segment, self.end_seq);
        let end = segment.end_seq();
        if self.end_seq.is_none_or(|highest| seq_after(end, highest)) {
            self.end_seq = Some(end);
        }
        if segment.flags.ack() {
            if self.acks.last() != Some(&segment.ack) {
                self.acks.push(segment.ack);
            }
            if self.last_ack.is_none_or(|highest| seq_after(segment.ack, highest)) {
                self.last_ack = Some(segment.ack);
                self.observe_acknowledgement(segment, other);
            }
        }
        self.fin |= segment.flags.fin();
        self.window = Some(segment.window);
        self.tos = Some(segment.tos);
        if segment.timestamps.is_some() {
            let stamp = segment.timestamps.map(|stamp| (stamp, segment.time_ns));
            self.first_timestamp = self.first_timestamp.or(stamp);
            self.last_timestamp = stamp;
        }
        if self.source_mac.is_none() {
            self.source_mac = segment.source_mac;
        } else if self.source_mac != segment.source_mac {
            self.other_macs = self.other_macs.saturating_add(1);
        }
        if self.interface.is_none() {
            self.interface = segment.interface;
        } else if self.interface != segment.interface {
            self.other_interfaces = self.other_interfaces.saturating_add(1);
        }
        self.outer_source = segment.outer_source.or(self.outer_source);
        self.times.first_ns = self.times.first_ns.or(Some(segment.time_ns));
        self.times.last_ns = Some(segment.time_ns);
        if segment.payload > 0 {
            self.times.last_payload_ns = Some(segment.time_ns);
        }
        self.times.recent.push((end, segment.time_ns));
    }

    fn observe_acknowledgement(&mut self, segment: &Segment, other: &Self) {
        // A sequence number sent twice is ambiguous: the later of the two times makes the sample
        // too short, never the verdict bolder than the factor in its rule allows for, so the
        // earlier one is taken.
        let asked = other.times.recent.iter().find(|(end, _)| *end == segment.ack).map(|(_, time)| *time);
        if let Some(asked) = asked {
            let sample = segment.time_ns.saturating_sub(asked);
            self.rtt_samples = self.rtt_samples.saturating_add(1);
            self.min_rtt_ns = Some(self.min_rtt_ns.map_or(sample, |shortest| shortest.min(sample)));
        }
    }

    fn observe_handshake(&mut self, segment: &Segment, other: &Self) {
        self.syns = self.syns.saturating_add(1);
        self.handshake_ttl = Some(segment.ttl);
        self.handshake_dont_fragment = segment.dont_fragment;
        self.handshake_ip_id = segment.ip_id;
        self.handshake_window = Some(segment.window);
        self.answered_handshake = Some(segment.flags.ack());
        self.initial_seq = Some(segment.seq);
        self.syn_ns = Some(segment.time_ns);
        // A retransmitted SYN makes the answer ambiguous (Karn and Partridge; RFC 6298, section 3).
        self.handshake_rtt_ns = match other.syn_ns {
            Some(asked) if segment.flags.ack() && self.syns == 1 && other.syns == 1 => Some(segment.time_ns.saturating_sub(asked)),
            _ => None,
        };
    }

    fn observe_established(&mut self, segment: &Segment, other: &Self) {
        let completes_handshake = self.syns == 1 && other.syns == 1 && self.ttl.count == 0 && self.handshake_rtt_ns.is_none();
        if let Some(asked) = other.syn_ns.filter(|_| completes_handshake) {
            self.handshake_rtt_ns = Some(segment.time_ns.saturating_sub(asked));
        }
        self.ttl.observe(segment.ttl);
        if let Some(id) = segment.ip_id {
            self.ip_ids.observe(id);
        }
        match segment.dont_fragment {
            Some(true) => self.dont_fragment.0 = self.dont_fragment.0.saturating_add(1),
            Some(false) => self.dont_fragment.1 = self.dont_fragment.1.saturating_add(1),
            None => {}
        }
        if segment.timestamps.is_some() {
            self.timestamped.0 = self.timestamped.0.saturating_add(1);
        } else {
            self.timestamped.1 = self.timestamped.1.saturating_add(1);
        }
        self.flow_label = segment.flow_label.or(self.flow_label);
    }

    /// Whether this end's packets bear DF: those after the handshake if there are any, else that of
    /// the handshake. `None` on IPv6, when nothing was seen, and when they differ among themselves.
    pub const fn sets_dont_fragment(&self) -> Option<bool> {
        match self.dont_fragment {
            (0, 0) => self.handshake_dont_fragment,
            (_, 0) => Some(true),
            (0, _) => Some(false),
            _ => None,
        }
    }

    /// Both ends use timestamps on this connection: then every segment bears them (RFC 7323,
    /// section 3.2), those of Linux sockets included.
    pub const fn uses_timestamps(&self) -> bool {
        self.timestamped.0 > 0 && self.timestamped.1 == 0
    }
}
