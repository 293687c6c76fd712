//! Keepalive that gave up, by its probes on the wire.

use super::{Candidate, Facts};
use crate::{
    flow::wire::Wire,
    model::{CauseId, Direction},
};

const ADVICE: &str = "look for what became of the other end or of the way to it: it was silent for all of this time; \
                      net.ipv4.tcp_keepalive_time, _intvl and _probes say how long that is";

/// Whoever sent the RST had probed the other end at even intervals, and got no answer.
pub(super) fn gave_up(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    let wire = reset.wire.as_deref()?;
    let interval = gave_up_after(wire)?;
    let (count, seconds) = (wire.sender.probes.count, interval.as_secs_f64());
    let (who, whom) = match reset.direction {
        Direction::Sent => ("this end", reset.tuple.peer.to_string()),
        Direction::Received => ("the peer", "this end".to_owned()),
    };
    let summary = format!("{who} gave the connection up: {count} keepalive probes, {seconds:.0} s apart, got no answer from {whom}");
    Some(Candidate::reason(CauseId::KeepaliveTimeout, 0.95, summary).advise(ADVICE))
}

/// The interval of the probes, if the sender of the RST gave up after them.
pub fn gave_up_after(wire: &Wire) -> Option<std::time::Duration> {
    wire.rst.flags.ack().then(|| wire.sender.probes.given_up_by(&wire.rst)).flatten()
}
