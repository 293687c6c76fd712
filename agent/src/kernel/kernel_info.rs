//! What is known of the running kernel before anything is loaded, and what a run can see by it.

use std::collections::{BTreeMap, HashMap};

use aya::Btf as AyaBtf;
use rstblame_abi::{ABSENT, Layout, RecordFormat};

use super::{
    btf::{Btf, Param},
    hooks::{self, Attached, Hook},
    layout,
    options::ArmOptions,
    reasons::Reasons,
    tracefs::{Format, FormatError, tracefs_root},
};
use crate::model::{Coverage, CoverageState};

/// What is known of this kernel before anything is loaded.
pub(super) struct Knowledge {
    pub(super) layout: Layout,
    pub(super) missing: Vec<String>,
    pub(super) reason_argument: u32,
    /// 1 where `mark_victim` hands over the task.
    pub(super) oom_has_task: u32,
    pub(super) reasons: Reasons,
    /// `None` when tracefs is not mounted.
    pub(super) formats: Option<HashMap<&'static str, Result<Format, FormatError>>>,
    /// The numbers of the tracepoints' prototypes.
    pub(super) btf: Option<AyaBtf>,
    pub(super) btf_error: Option<String>,
}

impl Knowledge {
    pub(super) fn gather(options: &ArmOptions) -> Self {
        let own = options.btf.as_deref().map(Btf::from_file);
        let formats = tracefs_root().map(|root| {
            hooks::ALL.iter().map(|hook| (hook.tracepoint, Format::read(&root, hook.category, hook.tracepoint))).collect::<HashMap<_, _>>()
        });
        let mut knowledge = Self {
            layout: Layout::UNKNOWN,
            missing: Vec::new(),
            reason_argument: ABSENT,
            oom_has_task: 0,
            reasons: Reasons::default(),
            formats,
            btf: None,
            btf_error: None,
        };
        match own {
            None => knowledge.btf_error = Some("turned off by --btf none".to_owned()),
            Some(Err(error)) => knowledge.btf_error = Some(error.to_string()),
            Some(Ok(own)) => {
                let resolved = layout::resolve(&own);
                knowledge.layout = resolved.layout;
                knowledge.missing = resolved.missing;
                knowledge.reason_argument = reason_argument(&own);
                let victim = own.tracepoint_params(hooks::OOM.tracepoint).unwrap_or_default();
                knowledge.oom_has_task = u32::from(victim.first() == Some(&Param::StructPointer("task_struct")));
                knowledge.reasons = Reasons::from_btf(&own);
                match own.prototypes(hooks::ALL.map(|hook| hook.tracepoint)) {
                    Ok(btf) => knowledge.btf = Some(btf),
                    Err(error) => knowledge.btf_error = Some(super::error::first_line(&error)),
                }
            }
        }
        if knowledge.reasons.is_empty()
            && let Some(Ok(format)) = knowledge.formats.as_ref().and_then(|formats| formats.get(hooks::SEND_RESET.tracepoint))
        {
            knowledge.reasons = Reasons::from_format(format);
        }
        knowledge
    }

    /// The kernel's types, as aya wants them.
    pub(super) const fn btf(&self) -> Option<&AyaBtf> {
        self.btf.as_ref()
    }

    /// What tracefs says of a hook; `None` when it is not mounted.
    pub(super) fn format(&self, hook: Hook) -> Option<&Result<Format, FormatError>> {
        self.formats.as_ref().and_then(|formats| formats.get(hook.tracepoint))
    }

    pub(super) fn record_format(&self, hook: Hook) -> RecordFormat {
        match self.format(hook) {
            Some(Ok(format)) => layout::record_format(format),
            _ => RecordFormat::UNKNOWN,
        }
    }
}

/// Which argument of `tcp_send_reset` is the reason: asked of the running kernel, since
/// distributions backport.
fn reason_argument(btf: &Btf) -> u32 {
    btf.tracepoint_params(hooks::SEND_RESET.tracepoint)
        .ok()
        .and_then(|params| params.iter().position(|param| matches!(param, Param::Enum("sk_rst_reason"))))
        .and_then(|index| u32::try_from(index).ok())
        .unwrap_or(ABSENT)
}

/// What this run can and cannot see.
pub(super) fn coverage(attached: &[Attached], knowledge: &Knowledge) -> BTreeMap<String, Coverage> {
    let layouts = knowledge.layout != Layout::UNKNOWN;
    let mut coverage: BTreeMap<String, Coverage> =
        attached.iter().map(|attached| (attached.hook.tracepoint.to_owned(), attached.coverage(layouts))).collect();
    let state = |state, reason: Option<String>| Coverage { state, reason };
    coverage.insert(
        "socket_facts".to_owned(),
        match (&knowledge.btf_error, knowledge.missing.as_slice()) {
            (Some(error), _) => state(CoverageState::Unavailable, Some(error.clone())),
            (None, []) => state(CoverageState::Active, None),
            (None, missing) => state(CoverageState::Degraded, Some(missing.join("; "))),
        },
    );
    coverage.insert(
        "kernel_reason".to_owned(),
        if knowledge.reasons.is_empty() {
            state(CoverageState::Unavailable, Some("this kernel gives no reasons for its resets; Linux 6.10 and later do".to_owned()))
        } else if knowledge.reasons.names("TCP_KEEPALIVE_TIMEOUT") {
            state(CoverageState::Active, None)
        } else {
            state(
                CoverageState::Degraded,
                Some("this kernel gives reasons for answers to segments only; Linux 6.12 and later for all".to_owned()),
            )
        },
    );
    // The tracepoint was moved before the test for a full socket in the same release that added the
    // reason (commit 19822a980e19).
    coverage.insert(
        "resets_without_socket".to_owned(),
        if knowledge.reasons.is_empty() {
            state(
                CoverageState::Unavailable,
                Some("resets without a socket (refused, stale, TIME_WAIT) are not traced before Linux 6.10".to_owned()),
            )
        } else {
            state(CoverageState::Active, None)
        },
    );
    let seen = attached.iter().any(|attached| attached.hook.tracepoint == hooks::SOCK_STATE.tracepoint && attached.program.is_some());
    coverage.insert(
        "endings".to_owned(),
        match (seen, knowledge.layout.sk_err) {
            (false, _) => state(CoverageState::Unavailable, Some("inet_sock_set_state is not attached: see there".to_owned())),
            (true, ABSENT) => state(
                CoverageState::Degraded,
                Some(
                    "without BTF: a peer that no longer answers is not told from an ordinary end, nor silence before an end seen"
                        .to_owned(),
                ),
            ),
            (true, _) => state(CoverageState::Active, None),
        },
    );
    coverage
}
