//! The RST has passed no router, and the peer's packets pass some.
//!
//! Source: RFC 9293 leaves the TTL to the stack, and stacks in use begin at 64, 128 or 255; each
//! router takes one (RFC 1812, section 5.3.1; RFC 5082, section 3). A RST that arrives with just
//! such a number was made by a machine on this very link. Where the host's routing table hands
//! packets for the peer to a router, and the peer's own packets arrive with less, that machine is
//! not the peer.
//!
//! Strength: 100 with a constant baseline, were it the handshake only, since no host can send what
//! its routers have taken one off; 30 for a baseline of less than three packets where the neighbour
//! table does not say that the router sent it; 8 without any (a refused connection). 150 where the
//! peer's address is on the link itself and its packets come from one or two hops beyond: the
//! machine at that address translates or forwards, and answered for itself. Failure modes: a
//! program that set IP_TTL moves the baseline, which is why a routing table has to speak and why
//! nothing is said of an address on the link with a larger distance; a peer on this link that is
//! reached by a router in one direction only is told apart by its MAC address, where the neighbour
//! table has it. Virtual networks whose routers take nothing off the TTL leave the baseline at an
//! initial TTL as well.

use super::{Finding, Scene, ttl};
use crate::attribution::shape::answers_syn;

/// Packets that the baseline must rest on.
const BASELINE: u64 = 3;

/// Hops behind an address on the link that a translating machine accounts for.
const BEHIND: std::ops::RangeInclusive<u8> = 1..=2;

pub fn look(scene: &Scene) -> Option<Finding> {
    let wire = scene.wire;
    let way = wire.way.as_ref()?;
    let peer = scene.reset.tuple.peer.ip();
    let ttl = wire.rst.ttl;
    if !ttl::fresh(ttl) || way.gateway.is_some() && way.sender == Some(peer) {
        return None;
    }
    let baseline = &wire.sender.ttl;
    if baseline.count == 0 && wire.sender.handshake_ttl.is_none() {
        let gateway = way.gateway.filter(|_| answers_syn(&wire.rst))?;
        return Some(Finding::new(8.0, format!("TTL {ttl}: it has passed no router, and {peer} is reached by {gateway}")));
    }
    let away = ttl::hops(baseline.mode).1;
    // The handshake of a translated connection comes from beyond as well; one from the link was the
    // peer's, which then set IP_TTL.
    if way.gateway.is_none() && wire.sender.handshake_ttl == Some(ttl) {
        return None;
    }
    if !baseline.constant() {
        return None;
    }
    if baseline.count < BASELINE {
        let before = if baseline.count == 0 { wire.sender.handshake_ttl? } else { baseline.mode };
        let gateway = way.gateway.filter(|_| !ttl::fresh(before))?;
        let by_gateway = way.sender == Some(gateway);
        return Some(Finding::new(
            if by_gateway { 100.0 } else { 30.0 },
            format!("TTL {ttl}: it has passed no router; {peer} is reached by {gateway}, and what came from it before had {before}"),
        ));
    }
    if away == 0 {
        return None;
    }
    let packets = baseline.count;
    match way.gateway {
        Some(gateway) => Some(Finding::new(
            100.0,
            format!(
                "TTL {ttl}: it has passed no router; {peer} is reached by {gateway}, and its {packets} packets came with {}",
                baseline.mode
            ),
        )),
        None if scene.shape.answers() && BEHIND.contains(&away) => Some(Finding::new(
            150.0,
            format!(
                "TTL {ttl}: it is from this link, and so is {peer}, but the {packets} packets came with {}, from beyond",
                baseline.mode
            ),
        )),
        None => None,
    }
}
