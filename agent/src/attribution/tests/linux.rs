//! A connection as two Linux hosts make it, segment by segment.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::{
    flow::wire::{End, Segment, Timestamps, Wire, WireFlow},
    model::Flags,
};

pub const MS: u64 = 1_000_000;
pub const RTT: u64 = 20 * MS;
pub const ACK: u16 = Flags::ACK;
pub const PSH: u16 = Flags::PSH | Flags::ACK;
pub const RST: u16 = Flags::RST;

/// The same RST, turned around from one of the receiver's own packets: something between is
/// convicted of it.
pub fn convict(mut wire: Wire) -> Wire {
    wire.rst.ip_id = Some(31_337);
    wire.receiver.ip_ids.recent.push(31_337);
    wire
}

/// A connection between two Linux hosts, seen at the local one; the peer is three hops away.
pub struct Linux {
    pub flow: WireFlow,
    pub now: u64,
    pub peer_ttl: u8,
    peer_id: u16,
    pub peer_seq: u32,
    own_seq: u32,
    tos: u8,
}

impl Linux {
    /// Handshake, and `exchanges` questions with their answers.
    pub fn new(peer_ttl: u8, exchanges: u32) -> Self {
        let mut it =
            Self { flow: WireFlow::default(), now: 1_000 * MS, peer_ttl, peer_id: 40_000, peer_seq: 7_000, own_seq: 90_000, tos: 0 };
        let syn = it.own(Flags::SYN, 0);
        it.flow.observe(&Segment { ack: 0, timestamps: None, ..syn }, End::First);
        it.own_seq += 1;
        it.now += RTT;
        let answer = Segment { ip_id: Some(0), seq: 6_999, ..it.peer(Flags::SYN | Flags::ACK, 0) };
        it.peer_id -= 1;
        it.flow.observe(&answer, End::Second);
        it.send(ACK, 0);
        for _ in 0..exchanges {
            it.exchange();
        }
        it
    }

    pub fn exchange(&mut self) {
        self.wait(100);
        self.send(PSH, 50);
        self.now += RTT;
        self.arrive(PSH, 80);
        self.send(ACK, 0);
    }

    pub fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds * MS;
    }

    fn stamp(&self, base: u32) -> Timestamps {
        Timestamps { value: base.wrapping_add(u32::try_from(self.now / MS).unwrap()), echo: 1 }
    }

    pub fn own(&self, flags: u16, payload: u32) -> Segment {
        Segment {
            time_ns: self.now,
            ttl: 64,
            tos: self.tos,
            ip_id: Some(500),
            dont_fragment: Some(true),
            seq: self.own_seq,
            ack: self.peer_seq,
            flags: Flags(flags),
            window: 501,
            timestamps: Some(self.stamp(5)),
            payload,
            ..Segment::default()
        }
    }

    pub fn peer(&mut self, flags: u16, payload: u32) -> Segment {
        self.peer_id = self.peer_id.wrapping_add(1);
        Segment {
            time_ns: self.now,
            ttl: self.peer_ttl,
            ip_id: Some(self.peer_id),
            dont_fragment: Some(true),
            seq: self.peer_seq,
            ack: self.own_seq,
            flags: Flags(flags),
            window: 502,
            timestamps: Some(self.stamp(77)),
            payload,
            ..Segment::default()
        }
    }

    pub fn send(&mut self, flags: u16, payload: u32) {
        let segment = self.own(flags, payload);
        self.flow.observe(&segment, End::First);
        self.own_seq = segment.end_seq();
    }

    pub fn arrive(&mut self, flags: u16, payload: u32) {
        let segment = self.peer(flags, payload);
        self.flow.observe(&segment, End::Second);
        self.peer_seq = segment.end_seq();
    }

    /// `tcp_send_active_reset()`.
    pub fn active(&mut self) -> Segment {
        self.peer(RST | ACK, 0)
    }

    /// `tcp_v4_send_reset()` or `nf_send_reset()`, with the host's default TTL.
    pub fn answer(&self, ttl: u8) -> Segment {
        Segment {
            time_ns: self.now,
            ttl,
            ip_id: Some(0),
            dont_fragment: Some(true),
            seq: self.peer_seq,
            flags: Flags(RST),
            ..Segment::default()
        }
    }

    pub fn wire(&self, rst: &Segment) -> Wire {
        self.flow.reset(rst, End::Second, None)
    }
}
