//! Folding one packet into what is remembered of its direction.

use rstblame_ebpf::wire::{FlowState, Packet, packet_bit, seen};

const FIN: u16 = 1;
const SYN: u16 = 1 << 1;
const ACK: u16 = 1 << 4;

/// Takes in a packet that is no RST. `now` in jiffies.
#[inline(always)]
pub fn observe(flow: &mut FlowState, packet: &Packet, now: u32) {
    if flow.packets == 0 {
        flow.first = now;
        flow.ifindex = packet.ifindex;
    } else {
        flow.pause = now.wrapping_sub(flow.last);
        if flow.pause > flow.longest_pause {
            flow.longest_pause = flow.pause;
        }
        if flow.ifindex != packet.ifindex {
            flow.other_interfaces = flow.other_interfaces.wrapping_add(1);
        }
    }
    flow.last = now;
    flow.packets += 1;
    if packet.payload > 0 {
        flow.bytes += u64::from(packet.payload);
        flow.last_payload = now;
    }
    if packet.flags & SYN != 0 {
        handshake(flow, packet);
    } else {
        established(flow, packet);
    }
    sequence(flow, packet);
    flow.window = packet.window;
    flow.tos = packet.tos;
    if packet.bits & packet_bit::TIMESTAMPS != 0 {
        if flow.seen & seen::TIMESTAMP == 0 {
            flow.first_ts_value = packet.ts_value;
            flow.first_ts = now;
            flow.seen |= seen::TIMESTAMP;
        }
        flow.last_ts_value = packet.ts_value;
        flow.last_ts_echo = packet.ts_echo;
        flow.last_ts = now;
    }
    if packet.bits & packet_bit::SOURCE_MAC != 0 {
        if flow.seen & seen::SOURCE_MAC == 0 {
            flow.source_mac = packet.source_mac;
            flow.seen |= seen::SOURCE_MAC;
        } else if flow.source_mac != packet.source_mac {
            flow.other_macs = flow.other_macs.wrapping_add(1);
        }
    }
}

/// A SYN-ACK, which a proxy may have made: kept apart from what comes later.
#[inline(always)]
fn handshake(flow: &mut FlowState, packet: &Packet) {
    flow.handshake_ttl = packet.ttl;
    flow.handshake_ip_id = packet.ip_id;
    flow.initial_seq = packet.seq;
    flow.seen |= seen::HANDSHAKE;
    if packet.bits & packet_bit::DONT_FRAGMENT != 0 {
        flow.seen |= seen::HANDSHAKE_DONT_FRAGMENT;
    }
}

#[inline(always)]
fn established(flow: &mut FlowState, packet: &Packet) {
    ttl(flow, packet.ttl);
    if packet.bits & packet_bit::IPV6 == 0 {
        ip_id(flow, packet.ip_id);
        if packet.bits & packet_bit::DONT_FRAGMENT == 0 {
            flow.dont_fragment_clear = flow.dont_fragment_clear.wrapping_add(1);
        } else {
            flow.dont_fragment_set = flow.dont_fragment_set.wrapping_add(1);
        }
    } else {
        flow.flow_label = packet.flow_label;
    }
    if packet.bits & packet_bit::TIMESTAMPS == 0 {
        flow.without_timestamps = flow.without_timestamps.wrapping_add(1);
    } else {
        flow.with_timestamps = flow.with_timestamps.wrapping_add(1);
    }
    flow.seen |= seen::ESTABLISHED;
}

/// The most frequent TTL by majority vote (Boyer and Moore, 1981), which needs no table.
#[inline(always)]
fn ttl(flow: &mut FlowState, ttl: u8) {
    if flow.ttl_count == 0 {
        flow.ttl_lowest = ttl;
        flow.ttl_highest = ttl;
    }
    if flow.ttl_votes == 0 {
        flow.ttl_mode = ttl;
    }
    if flow.ttl_mode == ttl {
        flow.ttl_votes = flow.ttl_votes.wrapping_add(1);
    } else {
        flow.ttl_votes -= 1;
    }
    flow.ttl_last = ttl;
    if ttl < flow.ttl_lowest {
        flow.ttl_lowest = ttl;
    }
    if ttl > flow.ttl_highest {
        flow.ttl_highest = ttl;
    }
    flow.ttl_count = flow.ttl_count.wrapping_add(1);
}

#[inline(always)]
fn ip_id(flow: &mut FlowState, id: u16) {
    if flow.seen & seen::IP_ID != 0 {
        match id.wrapping_sub(flow.id_last) {
            0 if id == 0 => flow.id_zeros = flow.id_zeros.wrapping_add(1),
            1 => flow.id_by_one = flow.id_by_one.wrapping_add(1),
            2..=2048 => flow.id_forward = flow.id_forward.wrapping_add(1),
            _ => flow.id_other = flow.id_other.wrapping_add(1),
        }
    }
    flow.id_last = id;
    flow.seen |= seen::IP_ID;
}

#[inline(always)]
fn sequence(flow: &mut FlowState, packet: &Packet) {
    let syn = u32::from(packet.flags & SYN != 0);
    let fin = u32::from(packet.flags & FIN != 0);
    let end = packet.seq.wrapping_add(packet.payload).wrapping_add(syn).wrapping_add(fin);
    if flow.packets == 1 || end.wrapping_sub(flow.end_seq).cast_signed() > 0 {
        flow.end_seq = end;
    }
    if packet.flags & ACK != 0 {
        if flow.seen & seen::ACK == 0 || packet.ack.wrapping_sub(flow.last_ack).cast_signed() > 0 {
            flow.last_ack = packet.ack;
        }
        flow.seen |= seen::ACK;
    }
    if fin == 1 {
        flow.seen |= seen::FIN;
    }
}
