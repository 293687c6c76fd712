//! From the start of a packet to its payload: IPv4 and IPv6 with their options and extensions, and TCP.

use aya_ebpf::{helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use rstblame_ebpf::wire::{FlowKey, Packet, direction, packet_bit};

use crate::{
    address::{AF_INET, AF_INET6, widen},
    filter,
    packet::netns_of,
};

const TCP: u8 = 6;

/// `ETH_P_IP` and `ETH_P_IPV6` (include/uapi/linux/if_ether.h), network byte order.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Fixed part of a TCP header (RFC 9293, section 3.1), network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tcp {
    source: [u8; 2],
    destination: [u8; 2],
    seq: [u8; 4],
    ack: [u8; 4],
    offset_flags: [u8; 2],
    window: [u8; 2],
    checksum: [u8; 2],
    urgent: [u8; 2],
}

/// Fixed part of an IPv4 header (RFC 791, section 3.1) and the TCP header behind it when there are no options.
#[repr(C)]
#[derive(Clone, Copy)]
struct V4 {
    version_length: u8,
    tos: u8,
    total_length: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
    tcp: Tcp,
}

/// IPv6 header (RFC 8200, section 3) and the TCP header behind it when there are no extension headers.
#[repr(C)]
#[derive(Clone, Copy)]
struct V6 {
    version_class_label: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
    tcp: Tcp,
}

/// A segment of a watched connection, and where its parts are.
pub struct Segment {
    pub key: FlowKey,
    pub packet: Packet,
    /// Offset of the TCP header.
    pub tcp_at: u32,
    /// Offset of the payload.
    pub payload_at: u32,
}

/// Loads a `T` at `offset` from where the socket type puts the start of the packet, in place: the stack has 512 bytes.
#[inline(always)]
pub fn load_into<T: Copy>(skb: u64, offset: u32, slot: &mut T) -> bool {
    // SAFETY: the destination is as large as it is told; the helper checks the bounds of the packet. Every `T` used here is integers and
    // arrays of integers, of which every bit pattern is a value.
    unsafe { bpf_skb_load_bytes(skb as *const _, offset, core::ptr::from_mut(slot).cast(), size_of::<T>() as u32) == 0 }
}

/// Loads something small.
#[inline(always)]
pub fn load<T: Copy + Default>(skb: u64, offset: u32) -> Option<T> {
    let mut slot = T::default();
    let done = load_into(skb, offset, &mut slot);
    // SAFETY: a valid, aligned local; volatile for the reason given in `memory::read`.
    let value = unsafe { core::ptr::read_volatile(&raw const slot) };
    if done { Some(value) } else { None }
}

/// Fills in what the IPv4 header says; false for what is not a watched segment.
#[inline(always)]
fn ipv4(ctx: &SkBuffContext, skb: u64, direction: u16, segment: &mut Segment) -> bool {
    // SAFETY: integers only.
    let mut ip: V4 = unsafe { core::mem::zeroed() };
    if !load_into(skb, 0, &mut ip) {
        return false;
    }
    // Later fragments have no TCP header.
    if ip.protocol != TCP || u16::from_be_bytes(ip.fragment) & 0x1fff != 0 {
        return false;
    }
    let tcp_at = u32::from(ip.version_length & 0xf) * 4;
    if tcp_at != 20 && !load_into(skb, tcp_at, &mut ip.tcp) {
        return false;
    }
    // Packets merged on their way up may be longer than the field can say; then it is zero (BIG TCP).
    let total = match u16::from_be_bytes(ip.total_length) {
        0 => ctx.len(),
        total => u32::from(total),
    };
    if !tcp(segment, &ip.tcp, tcp_at, total, direction) {
        return false;
    }
    segment.key.family = AF_INET;
    (segment.key.local, segment.key.peer) = match direction {
        direction::OUT => (widen(ip.source), widen(ip.destination)),
        _ => (widen(ip.destination), widen(ip.source)),
    };
    segment.packet.ttl = ip.ttl;
    segment.packet.tos = ip.tos;
    segment.packet.ip_id = u16::from_be_bytes(ip.identification);
    if u16::from_be_bytes(ip.fragment) & 0x4000 != 0 {
        segment.packet.bits |= packet_bit::DONT_FRAGMENT;
    }
    true
}

/// Fills in what the IPv6 header says; false for what is not a watched segment.
#[inline(always)]
fn ipv6(ctx: &SkBuffContext, skb: u64, direction: u16, segment: &mut Segment) -> bool {
    // SAFETY: integers only.
    let mut ip: V6 = unsafe { core::mem::zeroed() };
    if !load_into(skb, 0, &mut ip) {
        return false;
    }
    let mut tcp_at: u32 = 40;
    if ip.next_header != TCP {
        // Hop-by-hop options, routing and destination options (RFC 8200, section 4); more than three in a row are nobody's. Fragments are
        // left out: the first may be told from its header, the others have none.
        let mut next = ip.next_header;
        for _ in 0..3 {
            if next != 0 && next != 43 && next != 60 {
                break;
            }
            let Some([following, length]) = load::<[u8; 2]>(skb, tcp_at) else {
                return false;
            };
            next = following;
            tcp_at += (u32::from(length) + 1) * 8;
        }
        if next != TCP || !load_into(skb, tcp_at, &mut ip.tcp) {
            return false;
        }
    }
    let total = match u16::from_be_bytes(ip.payload_length) {
        0 => ctx.len(),
        payload => u32::from(payload) + 40,
    };
    if !tcp(segment, &ip.tcp, tcp_at, total, direction) {
        return false;
    }
    let word = u32::from_be_bytes(ip.version_class_label);
    segment.key.family = AF_INET6;
    (segment.key.local, segment.key.peer) = match direction {
        direction::OUT => (ip.source, ip.destination),
        _ => (ip.destination, ip.source),
    };
    segment.packet.ttl = ip.hop_limit;
    segment.packet.tos = (word >> 20) as u8;
    segment.packet.flow_label = word & 0xf_ffff;
    segment.packet.bits |= packet_bit::IPV6;
    true
}

/// Fills in what the TCP header says; false when neither port is watched.
#[inline(always)]
fn tcp(segment: &mut Segment, tcp: &Tcp, tcp_at: u32, total: u32, direction: u16) -> bool {
    let (source, destination) = (u16::from_be_bytes(tcp.source), u16::from_be_bytes(tcp.destination));
    (segment.key.local_port, segment.key.peer_port) = match direction {
        direction::OUT => (source, destination),
        _ => (destination, source),
    };
    segment.key.direction = direction;
    if !filter::ports_watched(segment.key.local_port, segment.key.peer_port) {
        return false;
    }
    let offset_flags = u16::from_be_bytes(tcp.offset_flags);
    segment.tcp_at = tcp_at;
    segment.payload_at = tcp_at + u32::from(offset_flags >> 12) * 4;
    segment.packet.flags = offset_flags & 0xfff;
    segment.packet.seq = u32::from_be_bytes(tcp.seq);
    segment.packet.ack = u32::from_be_bytes(tcp.ack);
    segment.packet.window = u16::from_be_bytes(tcp.window);
    segment.packet.payload = total.saturating_sub(segment.payload_at);
    true
}

const NO_KEY: FlowKey = FlowKey { local: [0; 16], peer: [0; 16], local_port: 0, peer_port: 0, family: 0, direction: 0, netns: 0 };

const NO_PACKET: Packet = Packet {
    boottime_ns: 0,
    seq: 0,
    ack: 0,
    ts_value: 0,
    ts_echo: 0,
    flow_label: 0,
    payload: 0,
    ifindex: 0,
    flags: 0,
    window: 0,
    ip_id: 0,
    vlan: 0,
    ttl: 0,
    tos: 0,
    bits: 0,
    reserved: 0,
    source_mac: [0; 6],
    reserved2: [0; 2],
};

/// Nothing read yet.
pub const NO_SEGMENT: Segment = Segment { key: NO_KEY, packet: NO_PACKET, tcp_at: 0, payload_at: 0 };

/// Fills in what the headers say; false for what is not a segment of a watched connection.
#[inline(always)]
pub fn read(ctx: &SkBuffContext, skb: u64, direction: u16, segment: &mut Segment) -> bool {
    // SAFETY: `ctx` holds the pointer the kernel gave; the verifier checks the member.
    let watched = match unsafe { (*ctx.skb.skb).protocol } {
        IPV4 => ipv4(ctx, skb, direction, segment),
        IPV6 => ipv6(ctx, skb, direction, segment),
        _ => false,
    };
    if watched {
        // SAFETY: as above.
        segment.packet.ifindex = unsafe { (*ctx.skb.skb).ifindex };
        segment.key.netns = netns_of(skb).unwrap_or(0);
    }
    watched
}

/// Reads the timestamps where most stacks put them: NOP, NOP, kind 8, length 10 (RFC 7323, appendix A).
#[inline(always)]
pub fn read_timestamps(skb: u64, packet: &mut Packet, tcp_at: u32, payload_at: u32) {
    if payload_at < tcp_at + 32 {
        return;
    }
    let mut words = [[0_u8; 4]; 3];
    if load_into(skb, tcp_at + 20, &mut words) {
        let [nops, value, echo] = words;
        if nops == [1, 1, 8, 10] {
            packet.ts_value = u32::from_be_bytes(value);
            packet.ts_echo = u32::from_be_bytes(echo);
            packet.bits |= packet_bit::TIMESTAMPS;
        }
    }
}
