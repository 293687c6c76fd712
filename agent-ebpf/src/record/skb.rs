//! The offending segment behind a RST that answers one.
//!
//! Listener, request and TIME_WAIT sockets do not hold the connection's tuple, or hold another; the
//! packet always does.

use rstblame_abi::{AF_INET, AF_INET6, ResetRecord, valid};

use crate::ground::{
    endpoints::{Ends, read_ipv4},
    probe_read::{offset_of_member, read_into, read_or_zero},
    verifier::{mark, unknown},
};

/// Fixed part of a TCP header (RFC 9293, section 3.1), network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
struct TcpHeader {
    source: [u8; 2],
    destination: [u8; 2],
    seq: [u8; 4],
    ack: [u8; 4],
    data_offset: u8,
    flags: u8,
}

/// A segment and where its headers are. Kept as a value with a mark, and not as an `Option`: see
/// [`read_or`](crate::ground::probe_read::read_or).
pub struct Segment {
    /// Its headers were read.
    pub present: bool,
    network: u64,
    tcp: TcpHeader,
}

impl Segment {
    /// Reads the TCP header of `skb` (the address of a `struct sk_buff`, or 0).
    #[inline(always)]
    pub fn of(skb: u64) -> Self {
        let tcp = TcpHeader { source: [0; 2], destination: [0; 2], seq: [0; 4], ack: [0; 4], data_offset: 0, flags: 0 };
        let mut segment = Self { present: false, network: 0, tcp };
        let head: u64 = read_or_zero(skb, offset_of_member!(skb_head));
        let network: u16 = read_or_zero(skb, offset_of_member!(skb_network_header));
        let transport: u16 = read_or_zero(skb, offset_of_member!(skb_transport_header));
        segment.network = head.wrapping_add(u64::from(network));
        segment.present = unknown((transport != 0) & read_into(head, u32::from(transport), &mut segment.tcp));
        segment
    }

    /// Port of this host: the segment was sent to it.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        u16::from_be_bytes(self.tcp.destination)
    }

    /// Port of the other host.
    #[inline(always)]
    pub fn peer_port(&self) -> u16 {
        u16::from_be_bytes(self.tcp.source)
    }

    /// Fills in what provoked the RST.
    #[inline(always)]
    pub fn fill(&self, record: &mut ResetRecord) {
        record.trigger_seq = u32::from_be_bytes(self.tcp.seq);
        record.trigger_ack = u32::from_be_bytes(self.tcp.ack);
        record.trigger_flags = self.tcp.flags;
        mark(&mut record.valid, valid::TRIGGER);
    }

    /// Reads both ends.
    #[inline(always)]
    pub fn read_ends(&self, ends: &mut Ends) {
        let version: u8 = read_or_zero(self.network, 0);
        // RFC 791, section 3.1: source at byte 12. RFC 8200, section 3: source at byte 8.
        let done = match version >> 4 {
            4 => {
                ends.family = AF_INET;
                read_ipv4(self.network, 12, &mut ends.peer) & read_ipv4(self.network, 16, &mut ends.local)
            }
            6 => {
                ends.family = AF_INET6;
                read_into(self.network, 8, &mut ends.peer) & read_into(self.network, 24, &mut ends.local)
            }
            _ => false,
        };
        ends.local_port = self.local_port();
        ends.peer_port = self.peer_port();
        ends.present = unknown(done);
    }
}
