//! RSTs that this host sent: who decided follows from the code path that its kernel took.

use super::{
    Origin, Verdict,
    causes::{self, Source},
    evidence,
    kernel_path::{NAMED, Path},
};
use crate::{
    event::{CauseId, OriginKind},
    flow::Reset,
};

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let (path, sure) = Path::of(reset);
    let kind = path.kind(reset);
    let origin = match kind {
        OriginKind::Unknown => Origin::unknown(&[OriginKind::LocalProcess, OriginKind::LocalHost]),
        // An answer proves the origin by itself, and so does a socket that was CLOSE already, even where the path is inferred.
        settled => Origin::settled(settled, if reset.closed_first || !reset.active { NAMED } else { sure }),
    };
    let mut verdict = Verdict::undecided(path.effect(), origin, found(reset, kind));
    causes::decide(reset, &Source::Kernel { path, sure }, &mut verdict);
    if reset.active && verdict.cause.id == CauseId::RoutineClose {
        verdict.evidence.extend(evidence::peer_spoke_just_before(reset));
    }
    verdict
}

fn found(reset: &Reset, kind: OriginKind) -> Vec<crate::event::Evidence> {
    let common = [evidence::owner_ended(reset), evidence::pair(reset, kind), evidence::kernel_reason(reset, kind)].into_iter();
    if reset.active {
        let own = [evidence::unread_data(reset), evidence::linger_zero(reset), evidence::closed_by(reset), evidence::fin_received(reset)];
        return std::iter::once(evidence::active_reset(reset, kind)).chain(common.chain(own).flatten()).collect();
    }
    std::iter::once(evidence::passive_reset(reset, kind)).chain(common.chain([evidence::fin_sent(reset)]).flatten()).collect()
}
