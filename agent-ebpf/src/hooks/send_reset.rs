//! `tcp:tcp_send_reset`: this host's kernel sends a RST.
//!
//! Active resets come with a socket and no packet, passive ones with the offending packet and any
//! kind of socket or none
//! (<https://github.com/torvalds/linux/blob/v6.12/include/trace/events/tcp.h>). Before Linux 6.10
//! only full sockets reach it, and there is no reason.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_abi::{ABSENT, RecordFormat, ResetRecord, kind, rate_limit::class, tcp::state, valid};

use crate::{
    ground::{
        endpoints::Ends,
        filter, netns,
        probe_read::{read_or, read_or_zero},
        verifier::{mark, marked, unknown},
    },
    record::{
        sender,
        skb::Segment,
        socket,
        submit::{Seen, submit_reset},
        task,
        tracepoint::{RecordTuple, record_offset},
    },
};

/// Layout of the plain tracepoint's record.
#[unsafe(no_mangle)]
static SEND_FORMAT: RecordFormat = RecordFormat::UNKNOWN;

/// Which argument of the BTF tracepoint is the reason; [`ABSENT`] before Linux 6.10.
#[unsafe(no_mangle)]
static SEND_REASON_ARG: u32 = ABSENT;

/// One firing, whichever way it was attached.
struct Firing<'a> {
    sock: u64,
    skb: u64,
    /// [`ABSENT`] when this kernel gives none.
    reason: u32,
    /// The record's own word for the state; 0 when there is no record.
    state: u8,
    record: RecordTuple<'a>,
}

#[btf_tracepoint(function = "tcp_send_reset")]
pub fn send_reset_btf(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as u64;
    // SAFETY: a valid static.
    let reason_arg = unsafe { core::ptr::read_volatile(&raw const SEND_REASON_ARG) };
    handle(&Firing {
        sock: read_or_zero(args, 0),
        skb: read_or_zero(args, 8),
        reason: if reason_arg == ABSENT { ABSENT } else { read_or(args, reason_arg * 8, ABSENT) },
        state: 0,
        record: RecordTuple { base: 0, format: &SEND_FORMAT },
    });
    0
}

#[tracepoint]
pub fn send_reset_tp(ctx: TracePointContext) -> u32 {
    let base = ctx.as_ptr() as u64;
    handle(&Firing {
        sock: read_or_zero(base, record_offset!(SEND_FORMAT, skaddr)),
        skb: read_or_zero(base, record_offset!(SEND_FORMAT, skbaddr)),
        reason: read_or(base, record_offset!(SEND_FORMAT, reason), ABSENT),
        state: read_or_zero::<u32>(base, record_offset!(SEND_FORMAT, state)) as u8,
        record: RecordTuple { base, format: &SEND_FORMAT },
    });
    0
}

#[inline(always)]
fn handle(firing: &Firing<'_>) {
    let segment = Segment::of(firing.skb);
    let (local, peer) =
        if unknown(segment.present) { (segment.local_port(), segment.peer_port()) } else { firing.record.ports_of(firing.sock) };
    let watched = filter::ports_watched(local, peer);
    // It may be the end of a watched connection all the same: with other addresses and ports at its
    // other end, which this host translates.
    let of_its_own = firing.sock != 0 && firing.skb == 0;
    let netns = match netns::of_socket(firing.sock) {
        0 => netns::of_packet(firing.skb).unwrap_or(0),
        netns => netns,
    };
    let here = filter::netns_watched(netns);
    let watched = unknown(watched) && unknown(here);
    let mut ends = Ends::none();
    if unknown(segment.present) {
        segment.read_ends(&mut ends);
    } else {
        socket::read_ends(firing.sock, &mut ends);
    }
    if !unknown(ends.present) {
        firing.record.read_ends(&mut ends);
    }
    if unknown(ends.present) {
        if !unknown(of_its_own) {
            sender::answers(&ends);
        } else if unknown(here) {
            sender::remember(firing.sock, &ends, netns);
        }
    }
    if !unknown(watched) {
        return;
    }
    let state = match socket::state(firing.sock) {
        0 => firing.state,
        state => state,
    };
    let connected = unknown(firing.sock != 0 && socket::is_full(state) && state != state::LISTEN);
    let class = if unknown(connected) { class::CONNECTED } else { class::REFUSED };
    let seen = Seen { kind: kind::SEND_RESET, class, ends: &ends, netns };
    submit_reset(&seen, |record| fill(firing, &segment, state, connected, record));
}

#[inline(always)]
fn fill(firing: &Firing<'_>, segment: &Segment, state: u8, connected: bool, record: &mut ResetRecord) {
    record.sock = firing.sock;
    if firing.reason != ABSENT {
        record.reason = firing.reason;
        mark(&mut record.valid, valid::REASON);
    }
    if marked(&record.sock) != 0 {
        mark(&mut record.valid, valid::HAS_SOCK);
        record.state = state;
        if marked(&record.state) != 0 {
            mark(&mut record.valid, valid::STATE);
        }
    }
    if unknown(segment.present) {
        segment.fill(record);
    }
    if firing.skb == 0 && task::is_kernel_thread() {
        mark(&mut record.valid, valid::KERNEL_THREAD);
    }
    if unknown(connected) && marked(&record.state) != 0 {
        socket::fill_facts(firing.sock, record);
    }
    if firing.skb != 0 {
        mark(&mut record.valid, valid::HAS_SKB);
    } else {
        // Only an active reset can run in its owner's context; in a passive one the task is whoever
        // was interrupted.
        task::fill_current(&mut record.current);
        if marked(&record.valid) & valid::KERNEL_THREAD == 0 {
            task::fill_signal(record.current.tgid, &mut record.signal);
        }
        mark(&mut record.valid, valid::CURRENT);
    }
}
