//! Why a RST left that this host's TCP did not make.

use super::{Candidate, Facts, Source};
use crate::{
    attribution::{maker::Maker, shape::answers_syn},
    flow::Reset,
    model::CauseId,
};

/// A rule of this host's firewall.
pub fn rejected(facts: &Facts) -> Option<Candidate> {
    let Source::Left(Some(Maker::Firewall)) = facts.source else { return None };
    let Reset { tuple, .. } = facts.reset;
    let refused = facts.reset.left.as_deref().is_some_and(|wire| answers_syn(&wire.rst));
    let what = if refused { "refused the connection" } else { "stopped a segment of the connection" };
    let sure = facts.origin.confidence.unwrap_or(0.0);
    let summary = format!("a firewall rule of this host {what} and answered with a RST in the name of {}", tuple.local);
    Some(Candidate::reason(CauseId::FirewallReject, sure, summary).advise(format!(
        "look for `reject with tcp reset` on this host that meets packets from {} to port {} (nft list ruleset, iptables-save)",
        tuple.peer.ip(),
        tuple.local.port()
    )))
}

/// A program that writes packets itself.
pub fn written(facts: &Facts) -> Option<Candidate> {
    let Source::Left(Some(Maker::Program)) = facts.source else { return None };
    let sure = facts.origin.confidence.unwrap_or(0.0);
    let summary = format!(
        "a RST in the name of {} left this host that neither its TCP nor its firewall makes: a program wrote the packet itself",
        facts.reset.tuple.local
    );
    Some(
        Candidate::reason(CauseId::Injected, sure, summary)
            .advise("look for a program with a raw or packet socket (ss -0p, ss -wp), and for tc and XDP programs (bpftool net)"),
    )
}
