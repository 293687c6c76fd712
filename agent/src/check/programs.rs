//! The kernel programs: what loading, attaching and detaching each of them showed.

use std::fmt;

use super::{Line, Status};
use crate::{
    kernel::{
        KernelError,
        error::first_line,
        hooks::{self, Hook},
        options::Ladder,
        probe::{Probe, Programs, Rung},
    },
    model::{Coverage, CoverageState},
};

/// The two hooks that are the main job.
const MAIN_JOB: [Hook; 2] = [hooks::SEND_RESET, hooks::RECEIVE_RESET];

/// Whether the main job can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MainJob {
    Runs,
    /// Only one of the two hooks.
    Half(&'static str),
    Blocked,
}

impl MainJob {
    pub(super) fn of(probe: &Probe) -> Self {
        let Ok(Programs { rungs, ring: Ok(()) }) = &probe.programs else {
            return Self::Blocked;
        };
        match MAIN_JOB.map(|hook| attaches(rungs, hook)) {
            [true, true] => Self::Runs,
            [true, false] => Self::Half(hooks::SEND_RESET.serves),
            [false, true] => Self::Half(hooks::RECEIVE_RESET.serves),
            [false, false] => Self::Blocked,
        }
    }
}

impl fmt::Display for MainJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => write!(f, "rstblame capture can run here"),
            Self::Half(serves) => write!(f, "rstblame capture can run here, but sees only {serves}: mend the lines marked FAIL"),
            Self::Blocked => write!(f, "rstblame capture cannot run here: mend the lines marked FAIL"),
        }
    }
}

fn attaches(rungs: &[Rung], hook: Hook) -> bool {
    rungs.iter().any(|rung| rung.hook.tracepoint == hook.tracepoint && rung.outcome.is_ok())
}

/// One line for each way of each hook, and one for the ring buffer.
pub(super) fn lines(probe: &Probe, ring_size: u64) -> Vec<Line> {
    match &probe.programs {
        Err(error) => vec![
            Line::fail("programs", format!("cannot be loaded: {}", plain(error)))
                .breaks("everything")
                .fix("mend the lines marked FAIL above; if there are none, report this line with the output of uname -a"),
        ],
        Ok(programs) => {
            let mut lines: Vec<Line> = programs.rungs.iter().map(|rung| rung_line(rung, attaches(&programs.rungs, rung.hook))).collect();
            lines.push(match &programs.ring {
                Ok(()) => Line::ok("ring buffer", format!("{} KiB created and mapped", ring_size / 1024)),
                Err(error) => Line::fail("ring buffer", plain(error)).breaks("everything").fix("give a smaller --ring-size"),
            });
            lines
        }
    }
}

/// One line for each source of evidence that depends on the kernel alone.
pub(super) fn sources(probe: &Probe) -> Vec<Line> {
    let sources = [("kernel reasons", "kernel_reason"), ("resets without socket", "resets_without_socket")];
    sources.into_iter().filter_map(|(what, key)| Some(source_line(what, probe.sources.get(key)?))).collect()
}

fn rung_line(rung: &Rung, by_another_way: bool) -> Line {
    let Hook { tracepoint, serves, .. } = rung.hook;
    let (way, fix) = match rung.way {
        Ladder::Tracepoint => ("plain tracepoint", "make tracefs readable (see tracefs)"),
        Ladder::Btf | Ladder::Auto => ("BTF tracepoint", "run a kernel with CONFIG_DEBUG_INFO_BTF=y (see BTF)"),
    };
    // The reason may name the way itself.
    let outcome =
        rung.outcome.as_ref().map_err(|error| error.strip_prefix(way).map_or(error.as_str(), |rest| rest.trim_start_matches(": ")));
    match outcome {
        Ok(()) => Line::ok(tracepoint, format!("{way}: loaded, attached, detached ({serves})")),
        Err(error) if by_another_way => {
            Line::note(tracepoint, format!("{way}: {error}")).breaks("nothing: the other way to attach works").fix(fix)
        }
        Err(error) => {
            let main_job = MAIN_JOB.iter().any(|hook| hook.tracepoint == tracepoint);
            Line::new(if main_job { Status::Fail } else { Status::Note }, tracepoint, format!("{way}: {error}")).breaks(serves).fix(fix)
        }
    }
}

fn source_line(what: &str, coverage: &Coverage) -> Line {
    match (coverage.state, &coverage.reason) {
        (CoverageState::Active, reason) => Line::ok(what, reason.clone().unwrap_or_else(|| "available".to_owned())),
        (CoverageState::Degraded | CoverageState::Unavailable, reason) => {
            Line::note(what, reason.clone().unwrap_or_else(|| "not available".to_owned())).fix("a newer kernel; nothing else brings it")
        }
    }
}

/// The error without its advice to run this very command.
fn plain(error: &KernelError) -> String {
    match error {
        KernelError::Load { source } | KernelError::Denied { source } => first_line(source),
        other => other.to_string().trim_end_matches("; run `rstblame check`").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{MainJob, lines};
    use crate::{
        check::Status,
        kernel::{
            KernelError,
            hooks::{self, Hook},
            options::Ladder,
            probe::{Probe, Programs, Rung},
        },
    };

    fn probe(rungs: &[(Hook, Ladder, bool)]) -> Probe {
        let outcome = |works: bool| if works { Ok(()) } else { Err("no BTF in this kernel".to_owned()) };
        let rungs = rungs.iter().map(|&(hook, way, works)| Rung { hook, way, outcome: outcome(works) }).collect();
        Probe { sources: BTreeMap::new(), programs: Ok(Programs { rungs, ring: Ok(()) }) }
    }

    #[test]
    fn one_way_for_each_reset_hook_is_enough() {
        let all = [
            (hooks::SEND_RESET, Ladder::Btf, false),
            (hooks::SEND_RESET, Ladder::Tracepoint, true),
            (hooks::RECEIVE_RESET, Ladder::Btf, true),
            (hooks::SOCK_STATE, Ladder::Btf, false),
        ];
        let probe = probe(&all);
        assert_eq!(MainJob::of(&probe), MainJob::Runs);
        let statuses: Vec<Status> = lines(&probe, 4096).iter().map(|line| line.status).collect();
        assert_eq!(statuses, [Status::Note, Status::Ok, Status::Ok, Status::Note, Status::Ok]);
    }

    #[test]
    fn half_is_told_from_nothing() {
        let half = probe(&[(hooks::SEND_RESET, Ladder::Btf, true), (hooks::RECEIVE_RESET, Ladder::Btf, false)]);
        assert_eq!(MainJob::of(&half), MainJob::Half("resets that this host sends"));
        let nothing = probe(&[(hooks::SEND_RESET, Ladder::Btf, false), (hooks::SOCK_STATE, Ladder::Btf, true)]);
        assert_eq!(MainJob::of(&nothing), MainJob::Blocked);
    }

    #[test]
    fn without_a_ring_buffer_or_the_object_nothing_runs() {
        let mut probe = probe(&[(hooks::SEND_RESET, Ladder::Btf, true), (hooks::RECEIVE_RESET, Ladder::Btf, true)]);
        probe.programs.as_mut().map(|programs| programs.ring = Err(KernelError::NoMap { name: "EVENTS" })).unwrap_or_default();
        assert_eq!(MainJob::of(&probe), MainJob::Blocked);
        probe.programs = Err(KernelError::NoMap { name: "EVENTS" });
        assert_eq!(MainJob::of(&probe), MainJob::Blocked);
        assert!(lines(&probe, 4096).iter().any(|line| line.status == Status::Fail));
    }
}
