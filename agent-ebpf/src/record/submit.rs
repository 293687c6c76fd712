//! The one place where the record of a connection is reserved, zeroed, filled in and submitted.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE},
    helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64},
    maps::ring_buf::RingBufEntry,
};
use rstblame_abi::{Header, ResetRecord, counter, valid};

use super::rate_limit;
use crate::ground::{
    clock::boottime_ns,
    diagnose,
    endpoints::Ends,
    maps::{EVENTS, count},
    verifier::{mark, marked, unknown, zero},
};

/// The beginning of a record that is written now.
#[inline(always)]
pub fn header(kind: u32) -> Header {
    Header {
        kind,
        // SAFETY: a helper without arguments.
        cpu: unsafe { bpf_get_smp_processor_id() },
        boottime_ns: boottime_ns(),
    }
}

/// A reset that passed the filter.
pub struct Seen<'a> {
    /// One of [`rstblame_abi::kind`].
    pub kind: u32,
    /// One of [`rstblame_abi::rate_limit::class`].
    pub class: u32,
    pub ends: &'a Ends,
    /// 0 when it could not be read.
    pub netns: u32,
}

/// Counts a reset that passed the filter, makes room for its record if that is within the budget,
/// lets `fill` write the rest of it, and submits it.
///
/// A reset for which there is no room is counted as lost: `seen` is always the sum of what was
/// submitted and what was not.
#[inline(always)]
pub fn submit_reset(seen: &Seen<'_>, fill: impl FnOnce(&mut ResetRecord)) {
    count(counter::SEEN);
    if !rate_limit::admits_reset(seen.class, seen.ends, seen.netns) {
        return;
    }
    let Some(entry) = EVENTS.reserve::<ResetRecord>(0) else {
        count(counter::RING_FULL);
        diagnose::no_room_for_reset(seen.kind);
        return;
    };
    submit(entry, seen, fill);
}

/// Submits the end of a connection, unless the ring buffer is filling up: a crowd that leaves at
/// once takes no room from resets.
///
/// What is not submitted is counted as lost.
#[inline(always)]
pub fn submit_ending(seen: &Seen<'_>, fill: impl FnOnce(&mut ResetRecord)) {
    count(counter::ENDINGS);
    let crowded = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > EVENTS.query(u64::from(BPF_RB_RING_SIZE)) / 2;
    let entry = if crowded { None } else { EVENTS.reserve::<ResetRecord>(0) };
    let Some(entry) = entry else {
        count(counter::ENDINGS_LOST);
        return;
    };
    submit(entry, seen, fill);
}

/// Writes the record of a connection: what every one begins with, and what `fill` knows.
#[inline(always)]
fn submit(mut entry: RingBufEntry<ResetRecord>, seen: &Seen<'_>, fill: impl FnOnce(&mut ResetRecord)) {
    // SAFETY: the entry is memory for one record, aligned to 8; all-zero bytes are a valid record,
    // and none of the ring's old bytes survive.
    let record = unsafe {
        zero(entry.as_mut_ptr());
        &mut *entry.as_mut_ptr()
    };
    record.header = header(seen.kind);
    // SAFETY: a helper without arguments.
    record.jiffies = unsafe { bpf_jiffies64() } as u32;
    if seen.netns != 0 {
        record.netns = seen.netns;
        mark(&mut record.valid, valid::NETNS);
    }
    if unknown(seen.ends.present) {
        record.family = seen.ends.family;
        record.local_port = seen.ends.local_port;
        record.peer_port = seen.ends.peer_port;
        record.local = seen.ends.local;
        record.peer = seen.ends.peer;
        mark(&mut record.valid, valid::TUPLE);
    }
    fill(record);
    if marked(&record.valid) & valid::TUPLE == 0 {
        diagnose::no_tuple(seen.kind, u32::from(record.family));
    }
    entry.submit(0);
}
