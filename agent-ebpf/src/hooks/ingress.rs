//! The packet tap: a socket filter on packet sockets bound to one protocol, which see what arrives
//! and nothing that leaves.
//!
//! It always returns 0, so nothing is ever copied to user space that way. Of a watched connection
//! it remembers header facts; the header of every RST goes out with them, and for a while after it
//! the headers of what else arrives: a peer that keeps talking did not send it. Each protocol has a
//! program of its own, so that no packet runs through, or fetches, what is the other's. Sockets of
//! type `SOCK_DGRAM` hand packets over from the network header on, whatever the link (packet(7)).

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes_relative, macros::socket_filter, programs::SkBuffContext,
};
use rstblame_abi::{
    counter,
    flow::{FlowKey, FlowState, Followed, Packet, direction, packet_bit},
    kind,
    rate_limit::class,
    tcp::flag::{RST, SYN},
};

use crate::{
    ground::{
        clock::{self, boottime_ns, second},
        maps::{EVENTS, count},
    },
    record::{rate_limit, submit::header},
    tap::{
        amqp, flow, flow_table, handshake,
        headers::{self, Segment},
        rst,
    },
};

/// Packets reported after a RST at most.
const FOLLOWED_MAX: u16 = 16;

/// RSTs of one direction that are reported while it is watched, but for the one that is expected: a
/// share of the budget of all.
const RSTS_MAX: u8 = 8;

/// How long packets are reported after a RST, seconds.
const WATCH: u32 = 2;

/// `BPF_HDR_START_MAC` (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>).
const FROM_MAC: u32 = 0;

/// Ethernet header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ethernet {
    destination: [u8; 6],
    source: [u8; 6],
    ethertype: [u8; 2],
}

#[socket_filter]
pub fn tap_ipv4(ctx: SkBuffContext) -> i64 {
    let skb = ctx.as_ptr() as u64;
    // SAFETY: null, or what was read, which is this CPU's until the program ends.
    if let Some(segment) = unsafe { headers::ipv4(&ctx, skb, direction::IN).as_mut() } {
        ours(&ctx, skb, segment);
    }
    0
}

#[socket_filter]
pub fn tap_ipv6(ctx: SkBuffContext) -> i64 {
    let skb = ctx.as_ptr() as u64;
    // SAFETY: as above.
    if let Some(segment) = unsafe { headers::ipv6(&ctx, skb, direction::IN).as_mut() } {
        ours(&ctx, skb, segment);
    }
    0
}

/// A segment of a watched connection.
#[inline(always)]
fn ours(ctx: &SkBuffContext, skb: u64, segment: &mut Segment) {
    let now = clock::now();
    let known = flow_table::of(&segment.key);
    if segment.packet.flags & RST != 0 {
        if reset(skb, segment, known, now) {
            rst::report(ctx);
        }
        return;
    }
    if segment.packet.flags & SYN != 0 {
        handshake::seen(&segment.key, &segment.packet, known, now);
        return;
    }
    let flow = if known.is_null() { flow::begin(&segment.key, &segment.packet) } else { known };
    // SAFETY: null, or a value that stays valid while the program runs. Packets of one connection
    // arrive on one CPU, or the facts of two mix, which costs precision of a baseline and nothing
    // else.
    let Some(flow) = (unsafe { flow.as_mut() }) else {
        return;
    };
    if flow.packets != 0 && !flow::credible(flow, &segment.packet) && !flow::begins_anew(flow, &segment.key, &segment.packet) {
        return;
    }
    if flow.watch_until != 0 {
        still_talking(skb, segment, flow, now);
    } else if flow.packets <= 1 || flow.packets.is_multiple_of(16) {
        // The address of the link costs as much to read as the rest of the packet, and changes
        // seldom: now and then is enough.
        read_mac(skb, &mut segment.packet);
    }
    let Segment { key, packet, payload_at, window, .. } = segment;
    let before = flow.last_payload;
    flow::observe(flow, key, packet, now);
    amqp::take(ctx, flow, amqp::Part { key, packet, payload_at: *payload_at, window, before, now });
}

/// A RST. Like all that is not for each packet, it is no part of the program that each packet runs
/// through: instructions that are jumped over are fetched, too. False when it is one of too many.
#[inline(never)]
fn reset(skb: u64, segment: &mut Segment, flow: *mut FlowState, now: u32) -> bool {
    // SAFETY: null, or a map value, which stays valid while the program runs.
    if let Some(flow) = unsafe { flow.as_mut() } {
        let watched = flow.watch_until != 0 && flow.watch_until.wrapping_sub(now).cast_signed() >= 0;
        // The one that the connection expects, or the one before it after a FIN, is told in any
        // case: who makes up RSTs does not know it.
        let exact = flow.end_seq.wrapping_sub(segment.packet.seq) <= 1;
        if !watched {
            flow.rsts = 0;
            flow.followed = 0;
        } else if flow.rsts >= RSTS_MAX && !exact {
            count(counter::PACKETS_LOST);
            return false;
        }
        flow.rsts = flow.rsts.saturating_add(1);
        flow.watch_until = now.wrapping_add(WATCH * second()) | 1;
    }
    complete(skb, &mut segment.packet);
    segment.kind = kind::ARRIVED_RST;
    segment.class = if rst::is_proven(flow) { class::KNOWN_RST } else { class::STRAY_RST };
    true
}

/// A packet after a RST.
#[inline(never)]
fn still_talking(skb: u64, segment: &mut Segment, flow: &mut FlowState, now: u32) {
    if flow.watch_until.wrapping_sub(now).cast_signed() < 0 || flow.followed >= FOLLOWED_MAX {
        flow.watch_until = 0;
        return;
    }
    flow.followed += 1;
    complete(skb, &mut segment.packet);
    report_followed(&segment.key, &segment.packet);
}

/// Reads the source address of the link, where it has one of Ethernet's form.
#[inline(never)]
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

/// What is dear to read and matters only for a RST and what follows it.
#[inline(never)]
fn complete(skb: u64, packet: &mut Packet) {
    packet.boottime_ns = boottime_ns();
    read_mac(skb, packet);
    let skb = skb as *const __sk_buff;
    // SAFETY: the pointer the kernel gave; the verifier checks the members.
    let (present, tci) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
    if present != 0 {
        packet.vlan = tci as u16;
        packet.bits |= packet_bit::VLAN;
    }
}

#[inline(always)]
fn report_followed(key: &FlowKey, packet: &Packet) {
    if !rate_limit::admits_packet(class::KNOWN_RST) {
        count(counter::PACKETS_LOST);
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<Followed>(0) else {
        count(counter::PACKETS_LOST);
        return;
    };
    // All of it, so that nothing has to be cleared before.
    // SAFETY: as in `rst::report`.
    unsafe {
        let record = entry.as_mut_ptr();
        (*record).header = header(kind::FOLLOWED);
        (*record).key = *key;
        (*record).packet = *packet;
    }
    entry.submit(0);
}
