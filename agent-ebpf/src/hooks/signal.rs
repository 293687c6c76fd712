//! `signal:signal_generate`: who sent a signal that ends processes, kept until the process has
//! ended.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid},
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_abi::{COMM_LEN, RecordFormat, Signal, signal_flag};

use crate::{
    ground::{
        clock::boottime_ns,
        diagnose,
        maps::SIGNALS,
        probe_read::{offset_of_member, read_or, read_or_zero},
    },
    record::tracepoint::record_offset,
};

/// Layout of the plain tracepoint's record.
#[unsafe(no_mangle)]
static SIGNAL_FORMAT: RecordFormat = RecordFormat::UNKNOWN;

/// Signals whose default is to end the process (signal(7)): HUP INT QUIT ILL TRAP ABRT BUS FPE KILL
/// SEGV PIPE ALRM TERM XCPU XFSZ SYS.
const FATAL: u32 = 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 9
    | 1 << 11
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 24
    | 1 << 25
    | 1 << 31;

/// `SEND_SIG_NOINFO` and `SEND_SIG_PRIV`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched/signal.h>): stand-ins for a
/// siginfo, from a process and from the kernel.
const NO_INFO: u64 = 0;
const PRIVILEGED: u64 = 1;

#[btf_tracepoint(function = "signal_generate")]
pub fn signal_btf(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as u64;
    let info = read_or(args, 8, PRIVILEGED);
    let code: i32 = match info {
        NO_INFO => 0,
        PRIVILEGED => 1,
        info => read_or_zero(info, offset_of_member!(siginfo_code)),
    };
    let target = read_or_zero(args, 16);
    handle(read_or_zero(args, 0), code, read_or_zero(target, offset_of_member!(task_tgid)));
    0
}

#[tracepoint]
pub fn signal_tp(ctx: TracePointContext) -> u32 {
    let base = ctx.as_ptr() as u64;
    handle(
        read_or_zero(base, record_offset!(SIGNAL_FORMAT, sig)),
        read_or_zero(base, record_offset!(SIGNAL_FORMAT, code)),
        read_or_zero(base, record_offset!(SIGNAL_FORMAT, pid)),
    );
    0
}

#[inline(always)]
fn handle(number: u32, code: i32, target: u32) {
    if target == 0 || number > 31 || FATAL >> (number & 31) & 1 == 0 {
        return;
    }
    let now = boottime_ns();
    // Codes above zero are the kernel's own; zero and below come from kill(2), tgkill(2) and
    // sigqueue(3) (siginfo(2)).
    let mut flags = if code > 0 { signal_flag::FROM_KERNEL } else { 0 };
    // SAFETY: the value stays readable while the program runs.
    if let Some(known) = unsafe { SIGNALS.get(target) } {
        flags |= known.flags & signal_flag::OOM;
        // SIGKILL is final: what comes right after it did not end the process. Later, the id may be
        // another process's.
        if known.number == SIGKILL && now.wrapping_sub(known.at_ns) < SECOND_NS {
            return;
        }
    }
    let signal = Signal {
        at_ns: now,
        sender_tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        number,
        sender_comm: bpf_get_current_comm().unwrap_or([0; COMM_LEN]),
        flags,
        reserved: 0,
    };
    // Least recently used entries make room for it.
    if let Err(error) = SIGNALS.insert(target, signal, 0) {
        diagnose::signal_not_stored(target, error);
    }
}

const SIGKILL: u32 = 9;

const SECOND_NS: u64 = 1_000_000_000;
