//! The packet tap: a socket filter on packet sockets bound to one protocol, which see what arrives and nothing that leaves.
//!
//! It always returns 0, so nothing is ever copied to user space that way. Of a watched connection it remembers header facts; the header of
//! every RST goes out with them, and for a while after it the headers of what else arrives: a peer that keeps talking did not send it.
//! Sockets of type `SOCK_DGRAM` hand packets over from the network header on, whatever the link (packet(7)).

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_jiffies64, bpf_skb_load_bytes, bpf_skb_load_bytes_relative},
    macros::socket_filter,
    programs::SkBuffContext,
};
use rstblame_ebpf::{
    counter, kind,
    wire::{ArrivedRst, FlowKey, FlowState, Followed, Packet, packet_bit},
};

use crate::{
    address::{AF_INET, AF_INET6, widen},
    filter, flow,
    maps::{EVENTS, FLOWS, count},
    packet::netns_of,
    record::{boottime_ns, header},
};

const TCP: u8 = 6;

const SYN: u16 = 1 << 1;
const RST: u16 = 1 << 2;
const ACK: u16 = 1 << 4;

/// Packets reported after a RST at most.
const FOLLOWED_MAX: u16 = 16;

/// How long packets are reported after a RST, jiffies: two seconds at 1000 Hz, up to twenty at 100 Hz.
const WATCH: u32 = 2_000;

/// `BPF_HDR_START_MAC` (include/uapi/linux/bpf.h).
const FROM_MAC: u32 = 0;

/// Ethernet header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ethernet {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: [u8; 2],
}

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

#[socket_filter]
pub fn tap(ctx: SkBuffContext) -> i64 {
    let skb = ctx.as_ptr() as u64;
    let version: u8 = load(skb, 0).unwrap_or(0) >> 4;
    if version == 4 {
        ipv4(&ctx, skb);
    } else if version == 6 {
        ipv6(&ctx, skb);
    }
    0
}

/// Loads a `T` at `offset` from where the socket type puts the start of the packet, in place: the stack has 512 bytes.
#[inline(always)]
fn load_into<T: Copy>(skb: u64, offset: u32, slot: &mut T) -> bool {
    // SAFETY: the destination is as large as it is told; the helper checks the bounds of the packet. Every `T` used here is integers and
    // arrays of integers, of which every bit pattern is a value.
    unsafe { bpf_skb_load_bytes(skb as *const _, offset, core::ptr::from_mut(slot).cast(), size_of::<T>() as u32) == 0 }
}

/// Loads something small.
#[inline(always)]
fn load<T: Copy + Default>(skb: u64, offset: u32) -> Option<T> {
    let mut slot = T::default();
    let done = load_into(skb, offset, &mut slot);
    // SAFETY: a valid, aligned local; volatile for the reason given in `memory::read`.
    let value = unsafe { core::ptr::read_volatile(&raw const slot) };
    if done { Some(value) } else { None }
}

#[inline(always)]
fn ipv4(ctx: &SkBuffContext, skb: u64) {
    // SAFETY: integers only.
    let mut ip: V4 = unsafe { core::mem::zeroed() };
    if !load_into(skb, 0, &mut ip) {
        return;
    }
    // Later fragments have no TCP header.
    if ip.protocol != TCP || u16::from_be_bytes(ip.fragment) & 0x1fff != 0 {
        return;
    }
    let length = u32::from(ip.version_length & 0xf) * 4;
    if length != 20 && !load_into(skb, length, &mut ip.tcp) {
        return;
    }
    let tcp = &ip.tcp;
    let (peer_port, local_port) = (u16::from_be_bytes(tcp.source), u16::from_be_bytes(tcp.destination));
    if !filter::ports_watched(local_port, peer_port) {
        return;
    }
    let key = FlowKey { local: widen(ip.destination), peer: widen(ip.source), local_port, peer_port, family: AF_INET, reserved: 0 };
    let mut packet = EMPTY;
    packet.ttl = ip.ttl;
    packet.tos = ip.tos;
    packet.ip_id = u16::from_be_bytes(ip.identification);
    if u16::from_be_bytes(ip.fragment) & 0x4000 != 0 {
        packet.bits |= packet_bit::DONT_FRAGMENT;
    }
    // Packets merged on their way up may be longer than the field can say; then it is zero (BIG TCP).
    let total = match u16::from_be_bytes(ip.total_length) {
        0 => ctx.len(),
        total => u32::from(total),
    };
    ours(ctx, skb, &key, &mut packet, tcp, length, total);
}

#[inline(always)]
fn ipv6(ctx: &SkBuffContext, skb: u64) {
    // SAFETY: integers only.
    let mut ip: V6 = unsafe { core::mem::zeroed() };
    if !load_into(skb, 0, &mut ip) {
        return;
    }
    let mut offset: u32 = 40;
    let mut next = ip.next_header;
    if next != TCP {
        // Hop-by-hop options, routing and destination options (RFC 8200, section 4); more than four in a row are nobody's.
        for _ in 0..4 {
            match next {
                0 | 43 | 60 => {
                    let Some([following, length]) = load::<[u8; 2]>(skb, offset) else {
                        return;
                    };
                    next = following;
                    offset += (u32::from(length) + 1) * 8;
                }
                _ => break,
            }
        }
        // Fragments are left out: the first may be told from its header, the others have none.
        if next != TCP {
            return;
        }
        if !load_into(skb, offset, &mut ip.tcp) {
            return;
        }
    }
    let tcp = &ip.tcp;
    let (peer_port, local_port) = (u16::from_be_bytes(tcp.source), u16::from_be_bytes(tcp.destination));
    if !filter::ports_watched(local_port, peer_port) {
        return;
    }
    let key = FlowKey { local: ip.destination, peer: ip.source, local_port, peer_port, family: AF_INET6, reserved: 0 };
    let word = u32::from_be_bytes(ip.version_class_label);
    let mut packet = EMPTY;
    packet.ttl = ip.hop_limit;
    packet.tos = (word >> 20) as u8;
    packet.flow_label = word & 0xf_ffff;
    packet.bits |= packet_bit::IPV6;
    let total = match u16::from_be_bytes(ip.payload_length) {
        0 => ctx.len(),
        payload => u32::from(payload) + 40,
    };
    ours(ctx, skb, &key, &mut packet, tcp, offset, total);
}

/// No packet.
const EMPTY: Packet = Packet {
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
    options: [0; 8],
    source_mac: [0; 6],
    reserved2: [0; 6],
};

/// A packet of a watched connection.
#[inline(always)]
fn ours(ctx: &SkBuffContext, skb: u64, key: &FlowKey, packet: &mut Packet, tcp: &Tcp, tcp_at: u32, total: u32) {
    let offset_flags = u16::from_be_bytes(tcp.offset_flags);
    let tcp_length = u32::from(offset_flags >> 12) * 4;
    packet.flags = offset_flags & 0xfff;
    packet.seq = u32::from_be_bytes(tcp.seq);
    packet.ack = u32::from_be_bytes(tcp.ack);
    packet.window = u16::from_be_bytes(tcp.window);
    packet.payload = total.saturating_sub(tcp_at).saturating_sub(tcp_length);
    // SAFETY: `ctx` holds the pointer the kernel gave; the verifier checks the member.
    packet.ifindex = unsafe { (*ctx.skb.skb).ifindex };
    read_timestamps(skb, packet, tcp_at, tcp_length);

    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    let is_rst = packet.flags & RST != 0;
    if is_rst {
        read_options(skb, packet, tcp_at + 20, tcp_at + tcp_length);
    }
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        // SAFETY: the value stays valid while the program runs. Packets of one connection arrive on one CPU, or the facts of two mix, which
        // costs precision of a baseline and nothing else.
        let flow = unsafe { &mut *flow };
        if is_rst {
            flow.rsts = flow.rsts.saturating_add(1);
            flow.watch_until = now.wrapping_add(WATCH) | 1;
            flow.followed = 0;
            report_rst(ctx, skb, key, packet, flow, now, tcp_at + tcp_length);
            return;
        }
        if packet.flags & (SYN | ACK) == SYN {
            // A new connection with the addresses and ports of an old one.
            *flow = NOTHING_SEEN;
            return;
        }
        if flow.watch_until != 0 {
            if flow.watch_until.wrapping_sub(now).cast_signed() < 0 || flow.followed >= FOLLOWED_MAX {
                flow.watch_until = 0;
            } else {
                flow.followed += 1;
                report_followed(ctx, skb, key, packet);
            }
        }
        sample_mac(skb, packet, flow.packets);
        flow::observe(flow, packet, now);
        return;
    }
    if is_rst {
        report_rst(ctx, skb, key, packet, &NOTHING_SEEN, now, tcp_at + tcp_length);
        return;
    }
    // A scan sends SYNs and nothing else: it shall not drive live connections out.
    if packet.flags & (SYN | ACK) == SYN {
        return;
    }
    // The least recently used make room. From its place in read-only memory, since the stack has no room for it.
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
    let _best_effort = FLOWS.insert(key, &NOTHING_SEEN, 0);
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        read_mac(skb, packet);
        // SAFETY: as above.
        flow::observe(unsafe { &mut *flow }, packet, now);
    }
}

/// Reads the timestamps where most stacks put them: NOP, NOP, kind 8, length 10 (RFC 7323, appendix A).
#[inline(always)]
fn read_timestamps(skb: u64, packet: &mut Packet, tcp_at: u32, tcp_length: u32) {
    if tcp_length < 32 || packet.flags & (SYN | RST) != 0 {
        return;
    }
    if let Some([nops, value, echo]) = load::<[[u8; 4]; 3]>(skb, tcp_at + 20)
        && nops == [1, 1, 8, 10]
    {
        packet.ts_value = u32::from_be_bytes(value);
        packet.ts_echo = u32::from_be_bytes(echo);
        packet.bits |= packet_bit::TIMESTAMPS;
    }
}

/// Reads the options one by one, for packets where order and kind matter.
#[inline(always)]
fn read_options(skb: u64, packet: &mut Packet, tcp_at: u32, tcp_end: u32) {
    let mut at = tcp_at;
    let mut found = 0;
    for _ in 0..12 {
        if at >= tcp_end {
            return;
        }
        let Some(option) = load::<u8>(skb, at) else {
            return;
        };
        if option == 0 {
            return;
        }
        if option == 1 {
            at += 1;
            continue;
        }
        let Some(length) = load::<u8>(skb, at + 1) else {
            return;
        };
        if let Some(slot) = packet.options.get_mut(found) {
            *slot = option;
        }
        found += 1;
        if option == 8
            && length == 10
            && let Some([value, echo]) = load::<[[u8; 4]; 2]>(skb, at + 2)
        {
            packet.ts_value = u32::from_be_bytes(value);
            packet.ts_echo = u32::from_be_bytes(echo);
            packet.bits |= packet_bit::TIMESTAMPS;
        }
        if length < 2 {
            return;
        }
        at += u32::from(length);
    }
}

/// Reads the source address of the link, where it has one of Ethernet's form.
#[inline(always)]
fn read_mac(skb: u64, packet: &mut Packet) {
    let mut ethernet = Ethernet { destination: [0; 6], source: [0; 6], ethertype: [0; 2] };
    // SAFETY: as in `load`; without a link header the helper fails.
    let failed =
        unsafe { bpf_skb_load_bytes_relative(skb as *const _, 0, (&raw mut ethernet).cast(), size_of::<Ethernet>() as u32, FROM_MAC) };
    if failed == 0 {
        // What lies before the network header is an Ethernet header only if it says so.
        let ethertype = u16::from_be_bytes(ethernet.ethertype);
        if ethertype == 0x0800 || ethertype == 0x86dd {
            packet.source_mac = ethernet.source;
            packet.bits |= packet_bit::SOURCE_MAC;
        }
    }
}

/// Reads the source address of the link now and then: it costs as much as the rest of the packet, and changes seldom.
#[inline(always)]
fn sample_mac(skb: u64, packet: &mut Packet, packets: u64) {
    if packets & 15 == 1 && packet.bits & packet_bit::SOURCE_MAC == 0 {
        read_mac(skb, packet);
    }
}

/// What is dear to read and matters only for a RST and what follows it.
#[inline(always)]
fn complete(ctx: &SkBuffContext, skb: u64, packet: &mut Packet) {
    packet.boottime_ns = boottime_ns();
    read_mac(skb, packet);
    // SAFETY: as for `ifindex`.
    let (present, tci) = unsafe { ((*ctx.skb.skb).vlan_present, (*ctx.skb.skb).vlan_tci) };
    if present != 0 {
        packet.vlan = tci as u16;
        packet.bits |= packet_bit::VLAN;
    }
}

#[inline(always)]
fn report_rst(ctx: &SkBuffContext, skb: u64, key: &FlowKey, packet: &mut Packet, flow: &FlowState, now: u32, payload_at: u32) {
    complete(ctx, skb, packet);
    let Some(mut entry) = EVENTS.reserve::<ArrivedRst>(0) else {
        count(counter::PACKETS_LOST);
        return;
    };
    // SAFETY: as in `record::submit_reset`.
    let record = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        &mut *entry.as_mut_ptr()
    };
    record.header = header(kind::ARRIVED_RST);
    record.key = *key;
    record.packet = *packet;
    record.flow = *flow;
    record.now = now;
    record.netns = netns_of(skb).unwrap_or(0);
    read_vendor_text(skb, payload_at, packet.payload, &mut record.text);
    entry.submit(0);
}

/// Reads the payload of a RST if, and only if, it begins with the mark of a device that explains itself there. Any other payload may be
/// somebody's data and stays where it is.
#[inline(always)]
fn read_vendor_text(skb: u64, at: u32, length: u32, text: &mut [u8; 64]) {
    const MARK: [u8; 7] = *b"BIG-IP:";
    if load::<[u8; 7]>(skb, at) != Some(MARK) {
        return;
    }
    let (first, rest) = text.split_at_mut(16);
    let (second, rest) = rest.split_at_mut(16);
    let (third, fourth) = rest.split_at_mut(16);
    for (index, part) in [first, second, third, fourth].into_iter().enumerate() {
        let from = index as u32 * 16;
        if from + 16 > length {
            return;
        }
        if let Some(bytes) = load::<[u8; 16]>(skb, at + from) {
            part.copy_from_slice(&bytes);
        }
    }
}

#[inline(always)]
fn report_followed(ctx: &SkBuffContext, skb: u64, key: &FlowKey, packet: &mut Packet) {
    complete(ctx, skb, packet);
    let Some(mut entry) = EVENTS.reserve::<Followed>(0) else {
        count(counter::PACKETS_LOST);
        return;
    };
    // SAFETY: as in `record::submit_reset`.
    let record = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        &mut *entry.as_mut_ptr()
    };
    record.header = header(kind::FOLLOWED);
    record.key = *key;
    record.packet = *packet;
    record.netns = netns_of(skb).unwrap_or(0);
    entry.submit(0);
}

/// A direction of which nothing was seen.
static NOTHING_SEEN: FlowState = FlowState {
    packets: 0,
    bytes: 0,
    first: 0,
    last: 0,
    last_payload: 0,
    pause: 0,
    longest_pause: 0,
    end_seq: 0,
    last_ack: 0,
    initial_seq: 0,
    first_ts_value: 0,
    first_ts: 0,
    last_ts_value: 0,
    last_ts_echo: 0,
    last_ts: 0,
    flow_label: 0,
    ifindex: 0,
    other_interfaces: 0,
    other_macs: 0,
    ttl_count: 0,
    ttl_votes: 0,
    id_by_one: 0,
    id_zeros: 0,
    id_forward: 0,
    id_other: 0,
    dont_fragment_set: 0,
    dont_fragment_clear: 0,
    with_timestamps: 0,
    without_timestamps: 0,
    watch_until: 0,
    id_last: 0,
    handshake_ip_id: 0,
    window: 0,
    followed: 0,
    ttl_mode: 0,
    ttl_last: 0,
    ttl_lowest: 0,
    ttl_highest: 0,
    handshake_ttl: 0,
    tos: 0,
    seen: 0,
    rsts: 0,
    source_mac: [0; 6],
    reserved: [0; 2],
};
