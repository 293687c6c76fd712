//! The hooks, and the ladder of ways to attach each: a BTF tracepoint where the kernel takes it,
//! else a plain tracepoint.
//!
//! Support is what load and attach say, never the kernel's version: distributions backport. Why
//! each rung failed is kept.

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, Program, ProgramError, TracePoint},
};

use super::{
    error::explain,
    liveness::{self, HookState, Link},
    options::Ladder,
    tracefs::{Format, FormatError},
    verify::{Load, Verified},
};
use crate::model::{Coverage, CoverageState};

/// One tracepoint and the two programs for it.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the tracepoint.
    pub tracepoint: &'static str,
    /// Its category in tracefs.
    pub category: &'static str,
    /// Program for the BTF tracepoint.
    pub btf_program: &'static str,
    /// Program for the plain tracepoint.
    pub plain_program: &'static str,
    /// Global that holds the record's layout.
    pub format_global: &'static str,
    /// What the agent cannot tell without it.
    pub serves: &'static str,
}

/// A RST leaves.
pub const SEND_RESET: Hook = Hook {
    tracepoint: "tcp_send_reset",
    category: "tcp",
    btf_program: "send_reset_btf",
    plain_program: "send_reset_tp",
    format_global: "SEND_FORMAT",
    serves: "resets that this host sends",
};

/// A RST was accepted.
pub const RECEIVE_RESET: Hook = Hook {
    tracepoint: "tcp_receive_reset",
    category: "tcp",
    btf_program: "recv_reset_btf",
    plain_program: "recv_reset_tp",
    format_global: "RECV_FORMAT",
    serves: "resets that this host receives",
};

/// A socket changed its state.
pub const SOCK_STATE: Hook = Hook {
    tracepoint: "inet_sock_set_state",
    category: "sock",
    btf_program: "sock_state_btf",
    plain_program: "sock_state_tp",
    format_global: "STATE_FORMAT",
    serves: "connection age, owner of outgoing connections, and the state before an abort",
};

/// A socket is gone.
pub const DESTROY_SOCK: Hook = Hook {
    tracepoint: "tcp_destroy_sock",
    category: "tcp",
    btf_program: "destroy_sock_btf",
    plain_program: "destroy_sock_tp",
    format_global: "DESTROY_FORMAT",
    serves: "forgetting connections that ended",
};

/// A signal was sent.
pub const SIGNAL: Hook = Hook {
    tracepoint: "signal_generate",
    category: "signal",
    btf_program: "signal_btf",
    plain_program: "signal_tp",
    format_global: "SIGNAL_FORMAT",
    serves: "who killed the owner of a connection",
};

/// The out-of-memory killer chose a process.
pub const OOM: Hook = Hook {
    tracepoint: "mark_victim",
    category: "oom",
    btf_program: "oom_btf",
    plain_program: "oom_tp",
    format_global: "OOM_FORMAT",
    serves: "whether the out-of-memory killer did",
};

/// All hooks. Those that feed what the resets are reported with come first, so that nothing is
/// reported before it is known.
pub const ALL: [Hook; 6] = [SIGNAL, OOM, DESTROY_SOCK, SOCK_STATE, SEND_RESET, RECEIVE_RESET];

/// How a hook is attached, or why it is not.
#[derive(Debug)]
pub struct Attached {
    pub hook: Hook,
    /// Name of the program that runs; `None` when every rung failed.
    pub program: Option<&'static str>,
    /// What each rung that was tried said.
    pub failures: Vec<String>,
    /// What holds the program there, where the kernel tells.
    pub(super) link: Option<Link>,
}

impl Attached {
    /// Whether it still is.
    pub fn state(&self) -> HookState {
        match (self.program, self.link) {
            (None, _) => HookState::Missing,
            (Some(_), None) => HookState::Unverifiable,
            (Some(_), Some(link)) if link.exists() => HookState::Attached,
            (Some(_), Some(_)) => HookState::Detached,
        }
    }

    /// What `agent_started` says of this hook.
    pub fn coverage(&self, struct_layouts: bool) -> Coverage {
        let reasons = self.failures.join("; ");
        match self.program {
            None => Coverage { state: CoverageState::Unavailable, reason: Some(reasons) },
            Some(_) if !struct_layouts => Coverage {
                state: CoverageState::Degraded,
                reason: Some("no BTF in this kernel: plain tracepoint, addresses and state only".to_owned()),
            },
            Some(program) if program == self.hook.plain_program && !reasons.is_empty() => {
                Coverage { state: CoverageState::Active, reason: Some(format!("by plain tracepoint: {reasons}")) }
            }
            Some(_) => Coverage { state: CoverageState::Active, reason: None },
        }
    }
}

/// The programs of the rungs that are tried first, the large ones before the small.
pub(super) fn first_rungs(ladder: Ladder, btf: Option<&Btf>) -> Vec<(&'static str, Load<'_>)> {
    let btf = btf.filter(|_| ladder != Ladder::Tracepoint);
    [SEND_RESET, SOCK_STATE, RECEIVE_RESET, DESTROY_SOCK, SIGNAL, OOM]
        .into_iter()
        .filter_map(|hook| match btf {
            Some(btf) => Some((hook.btf_program, Load::BtfTracePoint(hook.tracepoint, btf))),
            None => (ladder != Ladder::Btf).then_some((hook.plain_program, Load::TracePoint)),
        })
        .collect()
}

/// Climbs the ladder for one hook.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    hook: Hook,
    ladder: Ladder,
    btf: Option<&Btf>,
    format: Option<&Result<Format, FormatError>>,
    verified: &mut Verified,
) -> Attached {
    let mut failures = Vec::new();
    if ladder != Ladder::Tracepoint {
        match btf {
            None => failures.push("no BTF in this kernel".to_owned()),
            Some(btf) => match attach_btf(ebpf, hook, btf, verified) {
                Ok(()) => return Attached { hook, program: Some(hook.btf_program), failures, link: None },
                Err(error) => failures.push(format!("BTF tracepoint: {}", explain(&error))),
            },
        }
    }
    if ladder != Ladder::Btf {
        match format {
            None => failures.push("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing".to_owned()),
            Some(Err(error)) => failures.push(error.to_string()),
            Some(Ok(_)) => match attach_plain(ebpf, hook, verified) {
                Ok(()) => return Attached { hook, program: Some(hook.plain_program), failures, link: None },
                Err(error) => failures.push(format!("plain tracepoint: {}", explain(&error))),
            },
        }
    }
    Attached { hook, program: None, failures, link: None }
}

fn attach_btf(ebpf: &mut Ebpf, hook: Hook, btf: &Btf, verified: &mut Verified) -> Result<(), ProgramError> {
    verified.load(ebpf, hook.btf_program, Load::BtfTracePoint(hook.tracepoint, btf))?;
    let program: &mut BtfTracePoint = ebpf.program_mut(hook.btf_program).ok_or(ProgramError::UnexpectedProgramType)?.try_into()?;
    program.attach()?;
    Ok(())
}

fn attach_plain(ebpf: &mut Ebpf, hook: Hook, verified: &mut Verified) -> Result<(), ProgramError> {
    verified.load(ebpf, hook.plain_program, Load::TracePoint)?;
    let program: &mut TracePoint = ebpf.program_mut(hook.plain_program).ok_or(ProgramError::UnexpectedProgramType)?.try_into()?;
    program.attach(hook.category, hook.tracepoint)?;
    Ok(())
}

/// Takes a program off its tracepoint and out of the kernel again.
///
/// # Errors
///
/// When there is no such program, or it was not loaded.
pub fn detach(ebpf: &mut Ebpf, program: &str) -> Result<(), ProgramError> {
    match ebpf.program_mut(program) {
        Some(Program::BtfTracePoint(program)) => program.unload(),
        Some(Program::TracePoint(program)) => program.unload(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Firings that the kernel skipped because the program was already running on that CPU, from the
/// program's `fdinfo` (`recursion_misses`, since Linux 5.12:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/syscall.c>, `bpf_prog_show_fdinfo()`).
pub fn skipped(ebpf: &Ebpf, program: &str) -> u64 {
    liveness::program_member(ebpf, program, "recursion_misses").unwrap_or(0)
}
