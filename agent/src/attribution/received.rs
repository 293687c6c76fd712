//! RSTs that arrived.
//!
//! `tcp_receive_reset` proves that a socket accepted a RST with the peer's address on it. It
//! carries no packet, so whether the peer made it or something between stays open here.

use super::{
    Cause, EITHER, Origin, SEEN_HERE, Verdict,
    causes::{self, Source},
    evidence, wire,
};
use crate::{
    flow::Reset,
    model::{Direction, Effect, OriginKind, Severity, TcpState},
};

pub(super) fn attribute(reset: &Reset) -> Verdict {
    let effect = match reset.state {
        Some(TcpState::SynSent) => Effect::ConnectionRefused,
        Some(TcpState::SynRecv | TcpState::NewSynRecv) => Effect::HandshakeAborted,
        _ => Effect::ConnectionReset,
    };
    // A capture shows the packet, not what the kernel made of it.
    let accepted = reset.capture.is_none() && !reset.ignored;
    let mut found = Vec::new();
    found.extend(accepted.then(|| evidence::accepted_rst(reset)));
    found.extend(evidence::first_act(reset));
    found.extend(evidence::shared_socket(reset));
    found.extend(evidence::pair(reset, OriginKind::RemotePeer));
    found.extend(evidence::fin_received(reset));
    found.extend(evidence::fin_sent(reset));
    found.extend(evidence::silence(reset));
    let seen_leaving = reset.pair.as_ref().is_some_and(|pair| pair.direction == Direction::Sent);
    found.extend(evidence::local_sender(reset));
    found.extend(evidence::over_loopback(reset));
    let origin = if let Some(sender) = &reset.sender {
        let kind = if sender.task.is_some() { OriginKind::LocalProcess } else { OriginKind::LocalHost };
        Origin::settled(kind, SEEN_HERE)
    } else if reset.came_over_loopback() {
        Origin::settled(OriginKind::LocalHost, SEEN_HERE)
    } else if super::acted_locally(reset) {
        Origin::settled(OriginKind::LocalProcess, SEEN_HERE)
    } else if seen_leaving {
        Origin::settled(OriginKind::RemotePeer, SEEN_HERE)
    } else {
        Origin::unknown(&EITHER)
    };
    let mut verdict = Verdict::undecided(effect, origin, found);
    match &reset.wire {
        Some(wire) => wire::testify(reset, wire, &mut verdict),
        None => causes::decide(reset, &Source::Arrived(None), &mut verdict),
    }
    super::settle_origin(reset, &mut verdict);
    if reset.ignored {
        ignored(&mut verdict);
    }
    verdict
}

/// The RST ended nothing: its sequence number was stale or not exactly the expected one (RFC 5961,
/// section 3), or there was no connection left.
fn ignored(verdict: &mut Verdict) {
    verdict.effect = Effect::Ignored;
    verdict.severity = Severity::Info;
    verdict.cause = Cause::unknown("a RST arrived, and the kernel did not act on it");
}
