//! `tcp:tcp_receive_reset`: `tcp_reset()` tears a socket down.
//!
//! Mostly because a RST arrived, but also when payload meets a socket whose receive side is shut
//! down: then the kernel answers with a RST of its own at once, and user space joins the two
//! firings (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>,
//! tcp_rcv_state_process()).

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_abi::{RecordFormat, kind, rate_limit::class, tcp::state, valid};

use crate::{
    ground::{
        endpoints::Ends,
        filter, netns,
        probe_read::read_or_zero,
        verifier::{mark, marked, unknown},
    },
    record::{
        socket,
        submit::{Seen, submit_reset},
        tracepoint::{RecordTuple, record_offset},
    },
};

/// Layout of the plain tracepoint's record.
#[unsafe(no_mangle)]
static RECV_FORMAT: RecordFormat = RecordFormat::UNKNOWN;

#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn recv_reset_btf(ctx: BtfTracePointContext) -> i32 {
    let sock = read_or_zero(ctx.as_ptr() as u64, 0);
    handle(sock, &RecordTuple { base: 0, format: &RECV_FORMAT });
    0
}

#[tracepoint]
pub fn recv_reset_tp(ctx: TracePointContext) -> u32 {
    let base = ctx.as_ptr() as u64;
    handle(read_or_zero(base, record_offset!(RECV_FORMAT, skaddr)), &RecordTuple { base, format: &RECV_FORMAT });
    0
}

#[inline(always)]
fn handle(sock: u64, tuple: &RecordTuple<'_>) {
    let (local, peer) = tuple.ports_of(sock);
    if !filter::ports_watched(local, peer) {
        return;
    }
    let netns = netns::of_socket(sock);
    if !filter::netns_watched(netns) {
        return;
    }
    let mut ends = Ends::none();
    socket::read_ends(sock, &mut ends);
    if !unknown(ends.present) {
        tuple.read_ends(&mut ends);
    }
    let state = socket::state(sock);
    let class = if unknown(state == state::SYN_SENT) { class::REFUSED } else { class::CONNECTED };
    submit_reset(&Seen { kind: kind::RECEIVE_RESET, class, ends: &ends, netns }, |record| {
        record.sock = sock;
        mark(&mut record.valid, valid::HAS_SOCK);
        record.state = state;
        if marked(&record.state) != 0 {
            mark(&mut record.valid, valid::STATE);
        }
        socket::fill_facts(sock, record);
    });
}
