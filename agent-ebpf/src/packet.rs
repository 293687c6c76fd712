//! The offending segment behind a RST that answers one.
//!
//! Listener, request and TIME_WAIT sockets do not hold the connection's tuple, or hold another; the packet always does.

use rstblame_ebpf::{ResetRecord, valid};

use crate::address::{AF_INET, AF_INET6, read_ipv4};
use crate::memory::{offset_of_member, read, read_into};

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

/// A segment whose headers can be read.
pub struct Segment {
    network: u64,
    tcp: TcpHeader,
}

impl Segment {
    /// Reads the TCP header of `skb` (the address of a `struct sk_buff`, or 0).
    #[inline(always)]
    pub fn of(skb: u64) -> Option<Self> {
        let head: u64 = read(skb, offset_of_member!(skb_head))?;
        let network: u16 = read(skb, offset_of_member!(skb_network_header))?;
        let transport: u16 = read(skb, offset_of_member!(skb_transport_header))?;
        let tcp = read(head, u32::from(transport))?;
        Some(Self { network: head.wrapping_add(u64::from(network)), tcp })
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

    /// Fills in the tuple and the trigger.
    #[inline(always)]
    pub fn fill(&self, record: &mut ResetRecord) {
        record.trigger_seq = u32::from_be_bytes(self.tcp.seq);
        record.trigger_ack = u32::from_be_bytes(self.tcp.ack);
        record.trigger_flags = self.tcp.flags;
        record.valid |= valid::TRIGGER;

        let Some(version) = read::<u8>(self.network, 0) else {
            return;
        };
        // RFC 791, section 3.1: source at byte 12. RFC 8200, section 3: source at byte 8.
        let done = match version >> 4 {
            4 => {
                record.family = AF_INET;
                read_ipv4(self.network, 12, &mut record.peer) && read_ipv4(self.network, 16, &mut record.local)
            }
            6 => {
                record.family = AF_INET6;
                read_into(self.network, 8, &mut record.peer) && read_into(self.network, 24, &mut record.local)
            }
            _ => false,
        };
        if !done {
            return;
        }
        record.local_port = self.local_port();
        record.peer_port = self.peer_port();
        record.valid |= valid::TUPLE;
    }
}

/// Network namespace of the device a packet came in by, for packets no socket wanted.
#[inline(always)]
pub fn netns_of(skb: u64) -> Option<u32> {
    let device: u64 = read(skb, offset_of_member!(skb_dev))?;
    let net: u64 = read(device, offset_of_member!(dev_net))?;
    read(net, offset_of_member!(net_inum))
}
