//! What is reported of a RST, whichever way it goes: its header, its options, and the packets
//! before it.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, macros::socket_filter, programs::SkBuffContext};
use rstblame_abi::{
    called, counter,
    flow::{FlowKey, FlowState, WireRst, direction},
};

use super::{
    flow_table, handshake,
    headers::{self, Segment, load},
};
use crate::{
    ground::{
        clock::now,
        maps::{CALLED, EVENTS, count},
        verifier::{at_most, zero},
    },
    record::{rate_limit, submit::header},
};

/// Packets of a direction from which on it counts as a connection: one or two can be made up by
/// anybody.
const PROVEN: u64 = 4;

/// Whether a direction counts as a connection's.
#[inline(always)]
pub fn is_proven(flow: *const FlowState) -> bool {
    // SAFETY: null, or a map value, which stays valid while the program runs.
    unsafe { flow.as_ref() }.is_some_and(|flow| flow.packets >= PROVEN)
}

/// Has a RST reported, whose segment says as what. Does not return.
#[inline(always)]
pub fn report(ctx: &SkBuffContext) {
    // SAFETY: the program that is called has the same context.
    unsafe { CALLED.tail_call(ctx, called::REPORT_RST) };
    // There is no such program.
    count(counter::PACKETS_LOST);
}

/// Reports a RST, with the packets before it of both directions.
#[socket_filter]
pub fn report_rst(ctx: SkBuffContext) -> i64 {
    // SAFETY: null, or what was read, which is this CPU's until the program ends.
    if let Some(segment) = unsafe { headers::handed_over().as_mut() } {
        submit(ctx.as_ptr() as u64, segment);
    }
    0
}

#[inline(always)]
fn submit(skb: u64, segment: &mut Segment) {
    let Segment { key, packet, tcp_at, payload_at, kind, class, .. } = segment;
    if !rate_limit::admits_packet_of(*class, key) {
        count(counter::PACKETS_LOST);
        return;
    }
    let flow = flow_table::seldom_of(key);
    let Some(mut entry) = EVENTS.reserve::<WireRst>(0) else {
        count(counter::PACKETS_LOST);
        return;
    };
    let record = entry.as_mut_ptr();
    const { assert!(core::mem::offset_of!(WireRst, options).is_multiple_of(8)) };
    const { assert!(size_of::<WireRst>() - core::mem::offset_of!(WireRst, options) == size_of::<[u64; 13]>()) };
    // Member by member: the whole of it at once would be a store for each word, and these two are
    // cleared by what the program has anyway. SAFETY: the record is as large as it is told and
    // aligned; each member is integers, and all are written here.
    let record = unsafe {
        flow_table::clear(&mut (*record).flow);
        flow_table::clear(&mut (*record).answered);
        zero(record.cast::<u64>().add(core::mem::offset_of!(WireRst, options) / 8).cast::<[u64; 13]>());
        (*record).header = header(*kind);
        (*record).key = *key;
        (*record).packet = *packet;
        (*record).now = now();
        handshake::latest(key, &mut (*record).handshake);
        &mut *record
    };
    copy_flow(key, flow, &mut record.flow);
    key.direction ^= direction::OUT;
    copy_flow(key, flow_table::seldom_of(key), &mut record.answered);
    let options_at = *tcp_at + 20;
    load_upto(skb, options_at, payload_at.wrapping_sub(options_at), &mut record.options);
    read_vendor_text(skb, *payload_at, packet.payload, &mut record.text);
    entry.submit(0);
}

/// What is known of a direction: its packets, or its handshake alone.
#[inline(never)]
fn copy_flow(key: &FlowKey, known: *const FlowState, place: &mut FlowState) {
    // SAFETY: null, or a map value, which stays readable while the program runs.
    match unsafe { known.as_ref() } {
        Some(flow) => *place = *flow,
        None => handshake::copy(key, place),
    }
}

/// Reads the payload of a RST if, and only if, it begins with the mark of a device that explains
/// itself there. Any other payload may be somebody's data and stays where it is.
#[inline(always)]
fn read_vendor_text(skb: u64, at: u32, length: u32, text: &mut [[u8; 16]; 4]) {
    // With what follows it, in one word.
    const MARK: u64 = u64::from_ne_bytes(*b"BIG-IP: ");
    if load::<u64>(skb, at) == Some(MARK) {
        load_upto(skb, at, length, text);
    }
}

/// Loads so many bytes, or as many as there is room for; nothing where the packet ends earlier.
#[inline(always)]
fn load_upto<T: Copy>(skb: u64, at: u32, length: u32, room: &mut T) {
    let most = size_of::<T>() as u32;
    if length.cast_signed() <= 0 {
        return;
    }
    let length = at_most(length, most);
    // SAFETY: the room is at least as large as is told; the helper checks the bounds of the packet,
    // and writes zeros where it fails.
    unsafe { bpf_skb_load_bytes(skb as *const _, at, core::ptr::from_mut(room).cast(), length) };
}
