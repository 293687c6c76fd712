//! SYNs and SYN-ACKs, which a proxy or a flood may have made: kept apart from what comes later.

use rstblame_abi::{
    conversation::stage,
    counter,
    flow::{FlowKey, FlowState, HANDSHAKE_TAKEN, Handshake, Packet, direction, packet_bit, seen},
    tcp::flag::ACK,
};

use super::flow_table::clear;
use crate::ground::maps::{HANDSHAKES, SPOKEN, count};

/// Remembers a SYN or SYN-ACK. One with another sequence number begins another connection on the
/// same addresses and ports.
#[inline(never)]
pub fn seen(key: &FlowKey, packet: &Packet, known: *mut FlowState, now: u32) {
    let mut waited = false;
    if let Some(earlier) = HANDSHAKES.get_ptr(key) {
        // SAFETY: the value stays valid while the program runs.
        let earlier = unsafe { &*earlier };
        if earlier.seq == packet.seq {
            return;
        }
        waited = earlier.bits & HANDSHAKE_TAKEN == 0;
    }
    let handshake = Handshake { seq: packet.seq, at: now, ip_id: packet.ip_id, ttl: packet.ttl, bits: packet.bits };
    if HANDSHAKES.insert(key, handshake, 0).is_ok() && !waited {
        count(counter::HANDSHAKES_BEGUN);
    }
    // Of most addresses and ports of which nothing is known nothing was said, and what was is told
    // by its time to be of an earlier connection: each SYN of a scan is spared a lookup. Anybody
    // can send a SYN with the addresses and ports of a connection that lives; the packet after it
    // tells. A SYN-ACK is held against the socket's numbers later. SAFETY: null, or a value that
    // stays valid while the program runs.
    if let Some(flow) = unsafe { known.as_mut() }
        && !(key.direction == direction::IN && packet.flags & ACK == 0 && lives(flow))
    {
        let _none_perhaps = SPOKEN.remove(key);
        clear(flow);
        take(key, flow);
    }
}

/// Whether a direction is that of a connection that neither it nor a RST has ended.
#[inline(always)]
fn lives(flow: &FlowState) -> bool {
    flow.packets > 1 && flow.seen & seen::FIN == 0 && flow.watch_until == 0
}

/// Whether the latest SYN or SYN-ACK of a direction had the number before this one.
#[inline(always)]
pub fn precedes(key: &FlowKey, seq: u32) -> bool {
    // SAFETY: as above.
    HANDSHAKES.get_ptr(key).is_some_and(|handshake| unsafe { (*handshake).seq }.wrapping_add(1) == seq)
}

/// The latest SYN or SYN-ACK of a direction; zeros where none is known.
#[inline(always)]
pub fn latest(key: &FlowKey, place: &mut Handshake) {
    *place = match HANDSHAKES.get_ptr(key) {
        // SAFETY: as above.
        Some(handshake) => unsafe { *handshake },
        None => Handshake { seq: 0, at: 0, ip_id: 0, ttl: 0, bits: 0 },
    };
}

/// Begins a direction with what its handshake showed, as its first packet.
#[inline(never)]
pub fn take(key: &FlowKey, flow: &mut FlowState) {
    let Some(handshake) = HANDSHAKES.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: as above.
    let handshake = unsafe { &mut *handshake };
    apply(handshake, flow);
    if handshake.bits & HANDSHAKE_TAKEN == 0 {
        handshake.bits |= HANDSHAKE_TAKEN;
        count(counter::HANDSHAKES_TAKEN);
    }
}

/// Puts down what the handshake of a direction showed, of which nothing else was seen.
#[inline(always)]
pub fn copy(key: &FlowKey, flow: &mut FlowState) {
    if let Some(handshake) = HANDSHAKES.get_ptr(key) {
        // SAFETY: as above.
        apply(unsafe { &*handshake }, flow);
    }
}

#[inline(never)]
fn apply(handshake: &Handshake, flow: &mut FlowState) {
    flow.packets = 1;
    flow.first = handshake.at;
    flow.last = handshake.at;
    flow.initial_seq = handshake.seq;
    flow.end_seq = handshake.seq.wrapping_add(1);
    flow.handshake_ttl = handshake.ttl;
    flow.handshake_ip_id = handshake.ip_id;
    flow.seen |= seen::HANDSHAKE;
    flow.stage = stage::FIRST;
    flow.want = 1;
    flow.next = flow.end_seq;
    if handshake.bits & packet_bit::DONT_FRAGMENT != 0 {
        flow.seen |= seen::HANDSHAKE_DONT_FRAGMENT;
    }
}
