//! Whether the RST came from as far away as the peer's other packets.
//!
//! Source: TTL or hop limit against those of the connection's packets after the handshake; a SYN or
//! SYN-ACK alone may be a proxy's and counts less. Strength: 0.1 to 0.3 when equal, since boxes at
//! the same distance and injectors that copy the TTL exist; 5 when more than two hops off; 20 when
//! even the initial TTL (64, 128, 255) is another. Failure modes: the TTL of a bare answer is the
//! host's default, not the socket's IP_TTL (`ip_send_unicast_reply()`), and its route is looked up
//! afresh, so that the signal never decides on a bare answer: 5 at most, and 20 only for a TTL of
//! 255, which has passed no router, against packets that have.
//!
//! Injectors arrive with less as often as with more, so that the sign says nothing of them in
//! general. But what builds just such an answer as Linux does is a host or a router with the
//! initial TTL of a host, and one between is nearer, not farther: a bare Linux answer from farther
//! away than the peer's packets is worth less, 1 when a little and 3 when more; from a little
//! nearer than packets that never varied it is worth 4, and any other RST from a little beside
//! them 2.

use super::{Finding, Scene, stack::lacks_timestamp, ttl::hops};
use crate::{
    attribution::shape::Shape,
    flow::wire::{PathTtl, Wire},
};

/// Where a RST came from, by TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// No baseline.
    Unknown,
    /// As far as the peer's packets.
    Same,
    /// Off by one or two.
    Near,
    /// Off by more, with the same initial TTL.
    Far,
    /// Another initial TTL.
    OtherInitial,
    /// The peer's packets have no common initial TTL (set by IP_TTL, presumably), and the RST a
    /// plain one: nothing can be compared.
    OwnTtl,
}

/// More hops than paths in use have: the initial TTL is not one of the common three.
const IMPLAUSIBLE: u8 = 27;

/// Compares the RST with the baseline.
pub fn distance(wire: &Wire) -> Distance {
    let (ttl, baseline) = (wire.rst.ttl, &wire.sender.ttl);
    let (known, latest) = match (baseline.count, wire.sender.handshake_ttl) {
        (0, None) => return Distance::Unknown,
        (0, Some(handshake)) => (handshake, handshake),
        _ => (baseline.mode, baseline.last),
    };
    if ttl == known || ttl == latest {
        return Distance::Same;
    }
    let delta = ttl.abs_diff(known).min(ttl.abs_diff(latest));
    if delta <= 2 {
        return Distance::Near;
    }
    let ((initial, _), (theirs, away)) = (hops(ttl), hops(latest));
    if away >= IMPLAUSIBLE && hops(ttl).1 < IMPLAUSIBLE {
        return Distance::OwnTtl;
    }
    if initial == theirs { Distance::Far } else { Distance::OtherInitial }
}

pub fn look(scene: &Scene) -> Option<Finding> {
    let wire = scene.wire;
    let baseline = &wire.sender.ttl;
    let distance = distance(wire);
    let bare = scene.shape.answers();
    let established = baseline.count > 0;
    let from_handshake = wire.sender.handshake_ttl == Some(wire.rst.ttl);
    let ratio = match (distance, established) {
        (Distance::Unknown, _) => return None,
        // Copying the TTL is what an injector does that gets the rest wrong.
        (Distance::Same, _) if scene.shape == Shape::Foreign || lacks_timestamp(scene) => 0.4,
        (Distance::Same, true) => same(baseline),
        (Distance::Same, false) => 0.35,
        // The answer comes with the host's default TTL, as the handshake did before the program
        // chose another.
        (Distance::OwnTtl, _) if from_handshake => 0.3,
        // It comes from where the handshake came from: of a program that chose its own TTL later,
        // or of a proxy that answered both.
        (_, true) if bare && from_handshake => 1.0,
        // A constant baseline with a bare answer just beside it: a router next to the peer, or a
        // route that changed while all was quiet.
        (Distance::Near, true) if !farther(scene) && baseline.constant() && baseline.count >= 4 => {
            if bare {
                4.0
            } else {
                2.0
            }
        }
        (Distance::Near | Distance::OwnTtl, _) => 1.0,
        (Distance::Far, true) if farther(scene) => 3.0,
        (Distance::Far, true) => 5.0,
        (Distance::Far, false) => 2.5,
        (Distance::OtherInitial, true) if on_link(wire) => 20.0,
        (Distance::OtherInitial, true) if bare => 5.0,
        (Distance::OtherInitial, false) if bare => 4.0,
        (Distance::OtherInitial, true) => 20.0,
        (Distance::OtherInitial, false) => 8.0,
    };
    let ttl = wire.rst.ttl;
    let (initial, away) = hops(ttl);
    let against = if established {
        format!("{} on most of {} packets of the peer, {} on the latest", baseline.mode, baseline.count, baseline.last)
    } else {
        format!("{} on the peer's part of the handshake", wire.sender.handshake_ttl.unwrap_or_default())
    };
    Some(Finding::new(ratio, format!("TTL {ttl} ({initial} less {away}), against {against}")))
}

/// A bare answer as Linux builds it, from farther away than the peer's packets.
fn farther(scene: &Scene) -> bool {
    scene.shape == Shape::Answer && hops(scene.wire.rst.ttl).1 > hops(scene.wire.sender.ttl.last).1
}

/// A TTL of 255 has passed no router (RFC 5082, section 3), and the peer's packets pass some:
/// whoever made the RST is nearer than the peer.
fn on_link(wire: &Wire) -> bool {
    let baseline = &wire.sender.ttl;
    wire.rst.ttl == u8::MAX && baseline.count >= 3 && baseline.constant() && hops(baseline.mode).1 > 0
}

fn same(baseline: &PathTtl) -> f64 {
    match baseline.count {
        8.. if baseline.constant() => 0.1,
        5.. if baseline.constant() => 0.12,
        3.. => 0.15,
        _ => 0.3,
    }
}
