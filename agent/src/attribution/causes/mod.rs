//! Why a connection was torn down.

mod wire;

use super::{
    Verdict,
    signals::{Findings, Scene},
};
use crate::{event::OriginKind, flow::TcpState};

/// Lets what the wire showed name the cause, where the socket's state has not settled it.
pub(super) fn by_wire(scene: &Scene, findings: &Findings, probability: f64, verdict: &mut Verdict) {
    let open = !scene.reset.state.is_some_and(|state| state.in_handshake() || state.fin_sent() || state == TcpState::CloseWait);
    if open || verdict.origin.kind == OriginKind::Middlebox {
        verdict.cause = wire::cause(scene, findings, &verdict.origin, probability);
    }
}
