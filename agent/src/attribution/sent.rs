//! RSTs that this host sent: who decided follows from the code path that its kernel took.

use super::{
    Origin, Verdict,
    causes::{self, Source},
    evidence,
    kernel_path::{NAMED, Path},
};
use crate::{
    flow::Reset,
    model::{CauseId, Evidence, OriginKind},
};

/// Confidence where the task that closed is of another user than the socket's maker. A descriptor
/// on its way through a unix socket (`SCM_RIGHTS`) is closed in the context of whoever closes that
/// socket, or of whoever happens to collect the garbage, without ever having been theirs
/// (<https://github.com/torvalds/linux/blob/v6.12/net/unix/garbage.c>).
const FOREIGN_CLOSER: f64 = 0.6;

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let (path, sure) = Path::of(reset);
    let kind = path.kind(reset);
    let origin = match kind {
        OriginKind::Unknown => Origin::unknown(&[OriginKind::LocalProcess, OriginKind::LocalHost]),
        // An answer proves the origin by itself, and so does a socket that was CLOSE already, even
        // where the path is inferred.
        settled => Origin::settled(settled, if reset.closed_first || !reset.active { NAMED } else { sure }),
    };
    let mut verdict = Verdict::undecided(path.effect(), origin, found(reset, kind));
    if super::acted_locally(reset) {
        verdict.origin = Origin::settled(OriginKind::LocalProcess, NAMED);
    }
    causes::decide(reset, &Source::Kernel { path, sure }, &mut verdict);
    super::settle_origin(reset, &mut verdict);
    if reset.foreign_closer().is_some() {
        verdict.origin.confidence = verdict.origin.confidence.map(|sure| sure.min(FOREIGN_CLOSER));
        verdict.cause.confidence = verdict.cause.confidence.map(|sure| sure.min(FOREIGN_CLOSER));
    }
    if reset.active && verdict.cause.id == CauseId::RoutineClose {
        verdict.evidence.extend(evidence::peer_spoke_just_before(reset));
    }
    verdict
}

fn found(reset: &Reset, kind: OriginKind) -> Vec<Evidence> {
    let mut found: Vec<_> = evidence::first_act(reset).into_iter().collect();
    found.push(if reset.active { evidence::active_reset(reset, kind) } else { evidence::passive_reset(reset, kind) });
    found.extend(evidence::owner_ended(reset));
    found.extend(evidence::shared_socket(reset));
    found.extend(evidence::destroyed_owner(reset));
    found.extend(evidence::pair(reset, kind));
    found.extend(evidence::kernel_reason(reset, kind));
    if reset.active {
        found.extend(evidence::unread_data(reset));
        found.extend(evidence::linger_zero(reset));
        found.extend(evidence::closed_by(reset));
        found.extend(evidence::fin_received(reset));
    } else {
        found.extend(evidence::fin_sent(reset));
    }
    found
}
