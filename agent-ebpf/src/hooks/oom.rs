//! `oom:mark_victim`: the out-of-memory killer chose a process.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_abi::{COMM_LEN, RecordFormat, Signal, signal_flag};

use crate::{
    ground::{
        clock::boottime_ns,
        diagnose,
        maps::SIGNALS,
        probe_read::{offset_of_member, read_or_zero},
    },
    record::tracepoint::record_offset,
};

/// Layout of the plain tracepoint's record.
#[unsafe(no_mangle)]
static OOM_FORMAT: RecordFormat = RecordFormat::UNKNOWN;

/// 1 where the BTF tracepoint hands over the task (Linux 6.9 and later), 0 where it is a process
/// id.
#[unsafe(no_mangle)]
static OOM_HAS_TASK: u32 = 0;

#[btf_tracepoint(function = "mark_victim")]
pub fn oom_btf(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as u64;
    // SAFETY: a valid static.
    let has_task = unsafe { core::ptr::read_volatile(&raw const OOM_HAS_TASK) };
    let first: u64 = read_or_zero(args, 0);
    mark(if has_task == 1 { read_or_zero(first, offset_of_member!(task_tgid)) } else { first as u32 });
    0
}

#[tracepoint]
pub fn oom_tp(ctx: TracePointContext) -> u32 {
    mark(read_or_zero(ctx.as_ptr() as u64, record_offset!(OOM_FORMAT, pid)));
    0
}

#[inline(always)]
fn mark(victim: u32) {
    if victim == 0 {
        return;
    }
    if let Some(known) = SIGNALS.get_ptr_mut(victim) {
        // SAFETY: the value stays valid while the program runs.
        unsafe { (*known).flags |= signal_flag::OOM };
        return;
    }
    let signal = Signal {
        at_ns: boottime_ns(),
        sender_tgid: 0,
        number: 0,
        sender_comm: [0; COMM_LEN],
        flags: signal_flag::OOM | signal_flag::FROM_KERNEL,
        reserved: 0,
    };
    // Least recently used entries make room for it.
    if let Err(error) = SIGNALS.insert(victim, signal, 0) {
        diagnose::signal_not_stored(victim, error);
    }
}
