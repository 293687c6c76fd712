//! Translations of addresses that went wrong: one that a connection had is gone, or two connections
//! have got the same addresses and ports.

use std::time::Duration;

use super::{Candidate, Facts};
use crate::{
    attribution::{evidence::evidence, kernel_path::Path, shape::Shape},
    flow::Trigger,
    model::{CauseId, Direction, Flags, OriginKind, Strength, TcpState},
};

/// How sure it is that a segment at the own end of an open connection, from where nothing was ever
/// sent to, is of that connection: a port may be that of several.
const BYPASSED: f64 = 0.9;

/// How sure it is that a SYN on an open connection led to its RST.
const COLLIDED: f64 = 0.9;

/// A kernel whose SYN met an open connection is challenged, and answers that by a RST (RFC 5961,
/// section 4): it comes a round trip after the SYN.
const ROUND_TRIPS: u32 = 3;

/// The same where the round-trip time is not known, or less.
const CHALLENGED: Duration = Duration::from_millis(250);

const ADVICE: &str = "look at what translates addresses between the two (kube-proxy, a load balancer, DNAT or masquerading): was its conntrack \
                      table full, flushed or failed over (conntrack -S), or did it take a segment for INVALID and let it pass untranslated \
                      (net.netfilter.nf_conntrack_tcp_be_liberal=1, or drop INVALID)";

/// A segment came in beside the translation, or had before the connection died.
pub fn bypassed(facts: &Facts) -> Option<Candidate> {
    let reset = facts.reset;
    let bypass = reset.bypass.as_deref()?;
    let (local, peer, other) = (reset.tuple.local, reset.tuple.peer, bypass.other);
    let summary = match &bypass.earlier {
        None => {
            format!(
                "a segment of {peer} came for {local}, whose connection goes to {other}: a translation of addresses on the way was lost"
            )
        }
        Some(earlier) => format!(
            "the translation of addresses between {local} and {peer} was lost: {} ms before, a segment of {other} had come in untranslated \
             and was refused (event {})",
            earlier.ago.as_millis(),
            earlier.id
        ),
    };
    let detail =
        format!("{local} has a connection of its own, and {} is not its peer", if bypass.earlier.is_none() { peer } else { other });
    let because = evidence("beside_translation", facts.origin.kind, Strength::Strong, detail);
    Some(Candidate::reason(CauseId::NatBypassed, BYPASSED, summary).advise(ADVICE).because([because]))
}

/// A SYN with the addresses and ports of an open connection: the connection's kernel challenged it,
/// and whoever had sent it answered that by a RST.
pub fn collided(facts: &Facts) -> Option<Candidate> {
    match facts.reset.direction {
        Direction::Received => challenged(facts),
        Direction::Sent => challenger(facts),
    }
}

const COLLISION: &str = "two connections have the same addresses and ports: the client was restarted and took its old port at once, or a NAT \
                         gave two clients one port; give the NAT more ports or addresses, and keep its entries for longer than the \
                         connections";

/// The end whose connection was in the way. Anybody can send a SYN with its addresses and ports:
/// only where nothing but the challenge was there to be answered, and the RST came from where the
/// SYN had come from, was it the answer to that.
fn challenged(facts: &Facts) -> Option<Candidate> {
    let testimony = facts.testimony()?;
    let (wire, tcp) = (testimony.scene.wire, facts.reset.tcp.as_ref());
    let syn = wire.other_syn?;
    let before = Duration::from_nanos(wire.rst.time_ns.checked_sub(syn.time_ns)?);
    let rtt = wire.min_rtt().or_else(|| tcp.and_then(|tcp| tcp.srtt)).unwrap_or_default();
    let late = before > (rtt * ROUND_TRIPS).max(CHALLENGED);
    let spoke_since = wire.receiver.times.last_payload_ns.is_some_and(|spoke| spoke >= syn.time_ns);
    let in_flight = match tcp {
        Some(tcp) => tcp.bytes_in_flight > 0,
        None => wire.receiver.end_seq != wire.sender.last_ack,
    };
    let bare = testimony.scene.shape == Shape::Answer && !wire.rst.flags.ack();
    if late || spoke_since || in_flight || !bare || wire.rst.ttl != syn.ttl {
        return None;
    }
    let peer = facts.reset.tuple.peer;
    let summary =
        format!("a new connection began with the addresses and ports of this one, {} ms before {peer} reset it", before.as_millis());
    let detail = format!("a SYN with another sequence number came from {peer} {} ms before the RST", before.as_millis());
    let because = evidence("other_syn", facts.origin.kind, Strength::Strong, detail);
    Some(Candidate::reason(CauseId::TupleCollision, COLLIDED, summary).advise(COLLISION).because([because]))
}

/// The end that opened another.
fn challenger(facts: &Facts) -> Option<Candidate> {
    let (path, _) = facts.path()?;
    let bare_ack = |trigger: Trigger| trigger.flags.has(Flags::ACK) && !trigger.flags.syn() && !trigger.flags.rst();
    let opening = facts.reset.state == Some(TcpState::SynSent) && facts.reset.trigger.is_some_and(bare_ack);
    if !opening || !matches!(path, Path::BadHandshake | Path::UnnamedAnswer) {
        return None;
    }
    let peer = facts.reset.tuple.peer;
    let summary = format!("{peer} still has an older connection with the addresses and ports of this one, which the RST ends");
    let because = evidence("challenge", OriginKind::LocalHost, Strength::Strong, "the SYN was answered by an ACK of another connection");
    Some(Candidate::reason(CauseId::TupleCollision, COLLIDED, summary).advise(COLLISION).because([because]))
}
