//! Connections that ended without a RST: whoever acted first ended them.

use super::{
    EITHER, Origin, SEEN_HERE, Verdict,
    causes::{self, Source},
    evidence,
};
use crate::{
    flow::{Act, Reset},
    model::{Effect, OriginKind},
};

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let (effect, origin) = match reset.act() {
        Some(Act::LocalClose { .. }) => (Effect::ClosedWithoutAmqpClose, Origin::settled(OriginKind::LocalProcess, SEEN_HERE)),
        Some(Act::TimedOut(_)) => (Effect::TimedOut, Origin::settled(OriginKind::LocalHost, SEEN_HERE)),
        Some(Act::ConnectTimedOut(_)) => (Effect::ConnectTimedOut, Origin::settled(OriginKind::LocalHost, SEEN_HERE)),
        Some(Act::PeerClose) | None => (Effect::ClosedWithoutAmqpClose, Origin::unknown(&EITHER)),
    };
    let mut found = Vec::new();
    found.extend(evidence::first_act(reset));
    found.extend(evidence::owner_ended(reset));
    found.extend(evidence::shared_socket(reset));
    let mut verdict = Verdict::undecided(effect, origin, found);
    causes::decide(reset, &Source::Ended, &mut verdict);
    super::settle_origin(reset, &mut verdict);
    verdict
}
