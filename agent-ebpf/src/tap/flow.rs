//! Folding one packet into what is remembered of its direction.

use rstblame_abi::{
    conversation::stage,
    flow::{FlowKey, FlowState, Packet, direction, packet_bit, seen},
    tcp::flag::{ACK, FIN},
};

use super::{flow_table, handshake};
use crate::ground::clock;

/// Begins to remember a direction, with what its handshake showed; null when that fails.
#[inline(never)]
pub fn begin(key: &FlowKey, packet: &Packet) -> *mut FlowState {
    let begun = flow_table::put(key);
    // SAFETY: null, or a value that stays valid while the program runs.
    if let Some(flow) = unsafe { begun.as_mut() } {
        // Another CPU may have begun it meanwhile: the first acknowledgement and the first payload
        // of a server leave on two of them. What it has followed since must not begin anew.
        if flow.packets == 0 {
            enter(flow, key, packet);
        }
    }
    begun
}

/// Furthest distance of a sequence number from the highest one seen, as a power of two: what
/// arrives passes here whole, so that no more than what is out of order or was lost lies between.
const AHEAD: u32 = 22;

/// The same of acknowledgements: one may acknowledge all that is in flight.
const ACKNOWLEDGED: u32 = 24;

/// Whether a packet can be of the connection, by its numbers (RFC 9293, section 3.10.7.4; RFC 5961,
/// section 5): anybody may have put the address on it. Of those who do not know the numbers, one in
/// 65,000 hits both.
#[inline(always)]
pub fn credible(flow: &FlowState, packet: &Packet) -> bool {
    let mut far = packet.seq.wrapping_sub(flow.end_seq).wrapping_add(1 << AHEAD) >> (AHEAD + 1);
    if flow.seen & seen::ACK != 0 {
        far |= packet.ack.wrapping_sub(flow.last_ack).wrapping_add(1 << ACKNOWLEDGED) >> (ACKNOWLEDGED + 1);
    }
    far == 0 && packet.flags & ACK != 0
}

/// A packet that cannot be of what is remembered. Gives back whether it begins something else: a
/// connection whose SYN was seen, what comes after a first packet that was nobody's, or, after 256
/// of them, what is there instead.
#[inline(never)]
pub fn begins_anew(flow: &mut FlowState, key: &FlowKey, packet: &Packet) -> bool {
    flow.strangers = flow.strangers.wrapping_add(1);
    let proven = flow.packets > 1 || flow.seen & seen::HANDSHAKE != 0;
    if proven && flow.strangers != 0 && !handshake::precedes(key, packet.seq) {
        return false;
    }
    flow_table::clear(flow);
    enter(flow, key, packet);
    true
}

/// Begins with what the handshake showed.
#[inline(never)]
fn enter(flow: &mut FlowState, key: &FlowKey, packet: &Packet) {
    handshake::take(key, flow);
    // A handshake may be long past, and the sequence numbers have come round since.
    if packet.seq != flow.next {
        flow.stage = stage::NONE;
    }
}

/// Takes in a packet that is neither SYN nor RST. `now` in jiffies. `key` is changed meanwhile.
#[inline(always)]
pub fn observe(flow: &mut FlowState, key: &mut FlowKey, packet: &Packet, now: u32) {
    if flow.packets == 0 {
        flow.first = now;
    } else {
        flow.pause = now.wrapping_sub(flow.last);
        if flow.pause > flow.longest_pause {
            flow.longest_pause = flow.pause;
        }
        if flow.pause >= clock::second() {
            silence(flow, key, now);
        }
    }
    if flow.ifindex == 0 {
        flow.ifindex = packet.ifindex;
    } else if flow.ifindex != packet.ifindex {
        flow.other_interfaces = flow.other_interfaces.wrapping_add(1);
    }
    flow.last = now;
    flow.packets += 1;
    if packet.payload > 0 {
        flow.bytes += u64::from(packet.payload);
        flow.last_payload = now;
    }
    established(flow, packet);
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

/// A packet after a pause of its direction: it answers the other one, or breaks the silence of
/// both.
#[inline(never)]
fn silence(flow: &mut FlowState, key: &mut FlowKey, now: u32) {
    key.direction ^= direction::OUT;
    let other = flow_table::seldom_of(key);
    key.direction ^= direction::OUT;
    // SAFETY: null, or a value that stays valid while the program runs. Its own direction may
    // change it meanwhile, on another CPU; what is lost then is a pause, as if the two packets had
    // come in the other order.
    let Some(other) = (unsafe { other.as_mut() }) else {
        return;
    };
    if other.asked != 0 {
        if other.asked_pause > flow.survived {
            flow.survived = other.asked_pause;
        }
        other.asked = 0;
        return;
    }
    let quiet = now.wrapping_sub(other.last);
    let quiet = if quiet < flow.pause { quiet } else { flow.pause };
    if flow.asked == 0 && quiet >= clock::second() {
        flow.asked = now | 1;
        flow.asked_pause = quiet;
    }
}

#[inline(always)]
fn established(flow: &mut FlowState, packet: &Packet) {
    ttl(flow, packet.ttl);
    if packet.bits & packet_bit::IPV6 == 0 {
        ip_id(flow, packet.ip_id);
        if packet.bits & packet_bit::DONT_FRAGMENT == 0 {
            flow.dont_fragment_clear = flow.dont_fragment_clear.wrapping_add(1);
        }
    } else {
        flow.flow_label = packet.flow_label;
    }
    if packet.bits & packet_bit::TIMESTAMPS == 0 {
        flow.without_timestamps = flow.without_timestamps.wrapping_add(1);
    }
    flow.seen |= seen::ESTABLISHED;
}

/// The most frequent TTL by majority vote (Boyer and Moore, 1981), which needs no table.
#[inline(always)]
fn ttl(flow: &mut FlowState, ttl: u8) {
    if flow.seen & seen::ESTABLISHED == 0 {
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

/// The sequence number that follows a packet that is no SYN.
#[inline(always)]
pub fn end(packet: &Packet) -> u32 {
    packet.seq.wrapping_add(packet.payload).wrapping_add(u32::from(packet.flags & FIN != 0))
}

#[inline(always)]
fn sequence(flow: &mut FlowState, packet: &Packet) {
    let fin = u32::from(packet.flags & FIN != 0);
    let end = end(packet);
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
