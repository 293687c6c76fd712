//! A RST from a socket of this host that answers in the peer's name.

use super::{Candidate, Facts};
use crate::{
    attribution::evidence::answering,
    model::{CauseId, OriginKind, Tuple},
};

/// How sure it is that nothing else ended the connection.
const SENT: f64 = 0.95;

/// What leaves this host for the peer is handed to a program of this host, and that one reset the
/// connection.
pub fn aborted(facts: &Facts) -> Option<Candidate> {
    let sender = facts.reset.sender.as_deref()?;
    let (who, peer) = (answering(sender), facts.reset.tuple.peer);
    let summary = format!("{who}, which answers on this host in the name of {peer}, reset the connection");
    Some(
        Candidate::act(CauseId::PeerAborted, SENT, summary)
            .advise(format!("look at the log and the timeouts of {who}, and at its own connection to {}", peer.ip())),
    )
}

/// A RST came over the loopback interface in the name of a peer whose address is not this host's.
pub fn over_loopback(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    if reset.sender.is_some() || facts.origin.kind != OriginKind::LocalHost || !reset.came_over_loopback() {
        return None;
    }
    // A firewall's answer is the only RST that is nobody's TCP's.
    if reset.made_by_tcp == Some(false) {
        let Tuple { local, peer } = reset.tuple;
        let summary = format!("a firewall rule of this host stopped what {} sent to {peer} and answered with a RST", local.ip());
        let advice = format!(
            "look for `reject with tcp reset` in the output chains of this host (nft list ruleset, iptables-save) that meets port {}",
            peer.port()
        );
        return Some(Candidate::reason(CauseId::FirewallReject, SENT, summary).advise(advice));
    }
    let (id, what) = if facts.peer_acted() {
        (CauseId::PeerGone, "closed the connection and reset what came after")
    } else {
        (CauseId::PeerAborted, "reset the connection")
    };
    let summary = format!("a proxy of this host, which answers in the name of {}, {what}: the RST came over lo", reset.tuple.peer);
    Some(
        Candidate::act(id, SENT, summary)
            .advise("look for a redirect on this host (nft list ruleset, iptables-save -t nat) and at the proxy that it leads to"),
    )
}
