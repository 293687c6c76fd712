//! TLS, by the types of its records: the rest is encrypted. TLS 1.3 hides alerts once it has keys,
//! so that only the sight of one says something.

use super::{Candidate, Facts, Source, amqp::points_to};
use crate::{
    amqp::{Side, Tls},
    attribution::evidence::evidence,
    model::{CauseId, Evidence, OriginKind, Role, Strength, TcpState},
};

/// An alert after data had gone both ways: `close_notify`, as a rule (RFC 5246, section 7.2.1).
pub fn finished(facts: &Facts) -> Option<Candidate> {
    let tls = facts.conversation()?.tls.filter(|tls| tls.application_data)?;
    let side = alert_from(tls)?;
    let summary = format!("{} had ended the TLS session before, by close_notify as a rule", facts.name(side));
    Some(Candidate::reason(CauseId::RoutineClose, 0.75, summary).routine().because([alert(facts, side)]))
}

/// A client that had sent FIN after data went both ways, and whose host had forgotten the
/// connection by the time the broker sent its rest: an ordinary close, as a rule. TLS 1.3 hides the
/// `close_notify` that would tell; a client that ends by itself without one looks the same, which
/// is why the confidence is low.
pub fn closed_unseen(facts: &Facts) -> Option<Candidate> {
    let Source::Arrived(_) = facts.source else { return None };
    let reset = facts.reset;
    let by_client = reset.role == Role::Broker && reset.state == Some(TcpState::CloseWait) && facts.origin.kind != OriginKind::Middlebox;
    if !by_client || !facts.conversation()?.tls?.application_data {
        return None;
    }
    let summary = format!("{} had sent FIN after its TLS session and was gone when the broker sent the rest", reset.tuple.peer);
    let hidden = "TLS 1.3 hides whether close_notify went before the FIN";
    Some(Candidate::reason(CauseId::RoutineClose, 0.6, summary).routine().because([evidence(
        "tls_fin",
        OriginKind::RemotePeer,
        Strength::Weak,
        hidden,
    )]))
}

/// The TLS handshake did not come to its end.
pub fn handshake(facts: &Facts) -> Option<Candidate> {
    let conversation = facts.conversation()?;
    let tls = conversation.tls.filter(|tls| !tls.application_data && (tls.client_hello || tls.server_hello))?;
    let by_an_end = facts.local_end_aborted() || matches!(facts.source, Source::Arrived(_)) && facts.origin.kind != OriginKind::Middlebox;
    if !by_an_end {
        return None;
    }
    let stage = if tls.server_hello { "after the server's hello" } else { "after the client's hello" };
    if let Some(side) = alert_from(tls) {
        let summary = format!("the TLS handshake failed {stage}: {} sent an alert", facts.name(side));
        return Some(
            Candidate::reason(CauseId::HandshakeAborted, 0.9, summary)
                .advise("compare certificates, their dates, and TLS versions of both ends (openssl s_client -connect HOST:5671)")
                .because([alert(facts, side)]),
        );
    }
    (conversation.followed_local || conversation.followed_peer).then(|| {
        Candidate::reason(CauseId::HandshakeAborted, 0.8, format!("the connection died in its TLS handshake, {stage}"))
            .advise("look for a proxy that does not speak TLS to this port, and at the logs of both ends")
            .because([evidence("tls_stage", OriginKind::Unknown, Strength::Strong, format!("no TLS record of data {stage}"))])
    })
}

const fn alert_from(tls: Tls) -> Option<Side> {
    match (tls.alert_from_local, tls.alert_from_peer) {
        (true, _) => Some(Side::Local),
        (_, true) => Some(Side::Peer),
        _ => None,
    }
}

fn alert(facts: &Facts, side: Side) -> Evidence {
    evidence("tls_alert", points_to(side), Strength::Strong, format!("a TLS alert from {} went by before the reset", facts.name(side)))
}
