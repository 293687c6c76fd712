//! What the state of a socket says when a RST ends it.

use super::{Candidate, Facts, Source};
use crate::model::{CauseId, OriginKind, TcpState};

/// States in which a RST explains itself, whoever made it.
pub fn state(facts: &Facts) -> Option<Candidate> {
    let Source::Arrived(_) = facts.source else { return None };
    let peer = facts.reset.tuple.peer;
    match facts.reset.state? {
        TcpState::SynSent => Some(
            Candidate::mechanism(CauseId::Refused, 0.97, format!("{peer} refused the connection: the SYN was answered by a RST")).advise(
                format!("check on that host that something listens on port {} (ss -ltn), and that no firewall rejects it", peer.port()),
            ),
        ),
        TcpState::SynRecv | TcpState::NewSynRecv => {
            Some(Candidate::mechanism(CauseId::HandshakeAborted, 0.9, "the connection was reset before its handshake finished").routine())
        }
        TcpState::CloseWait if facts.origin.kind != OriginKind::Middlebox => Some(
            Candidate::mechanism(
                CauseId::PeerGone,
                0.7,
                "the peer had sent FIN and no longer has the connection: what this host sent afterwards was answered by a RST",
            )
            .advise(format!("look at the program behind {peer}: it closed its socket, or ended, before this host had finished")),
        ),
        _ => None,
    }
}
