//! `tcp:tcp_destroy_sock`: the end of a TCP socket, after any RST it caused. Its entry goes, so the
//! map holds what lives.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_abi::{RecordFormat, kind};

use crate::{
    ground::{maps::CONNECTIONS, probe_read::read},
    record::{task::submit_task, tracepoint::record_offset},
};

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
    let Some(sock) = sock else {
        return;
    };
    // SAFETY: the value stays readable while the program runs.
    let was_reset = unsafe { CONNECTIONS.get(sock) }.is_some_and(|connection| connection.was_reset != 0);
    if was_reset {
        // It was in its owner's hands when it was reset, and a socket in hands is destroyed by the
        // close(2) of the last of them (__tcp_close(),
        // <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).
        submit_task(kind::CLOSED, sock);
    }
    // Most sockets are not watched and have no entry: a failure is the common case, not an error.
    let _missing = CONNECTIONS.remove(sock);
}
