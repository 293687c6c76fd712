//! `tcp:tcp_destroy_sock`: the end of a TCP socket, after any RST it caused. Its entry goes, so the map holds what lives.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_ebpf::RecordFormat;

use crate::{maps::CONNECTIONS, memory::read, record::record_offset};

/// Layout of the plain tracepoint's record.
#[unsafe(no_mangle)]
static DESTROY_FORMAT: RecordFormat = RecordFormat::UNKNOWN;

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn destroy_sock_btf(ctx: BtfTracePointContext) -> i32 {
    forget(read(ctx.as_ptr() as u64, 0));
    0
}

#[tracepoint]
pub fn destroy_sock_tp(ctx: TracePointContext) -> u32 {
    forget(read(ctx.as_ptr() as u64, record_offset!(DESTROY_FORMAT, skaddr)));
    0
}

#[inline(always)]
fn forget(sock: Option<u64>) {
    if let Some(sock) = sock {
        // Most sockets are not watched and have no entry: a failure is the common case, not an error.
        let _missing = CONNECTIONS.remove(sock);
    }
}
