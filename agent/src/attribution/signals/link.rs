//! The RST came from another box on the local network than the peer's packets do: another source
//! MAC, interface or tunnel end.
//!
//! Source: the link header. Strength: 50 where the RST has passed no router (see [`ttl::fresh`]),
//! so that the box made it; 12 where it has, and was only handed on by the box; 4 where it comes
//! from just as far away as the peer's packets. Failure modes: failover between gateways, several
//! gateways used at random, asymmetric routes; so the signal needs a baseline of three packets that
//! never varied. In clouds MAC addresses are made up and all the same: then it is silent.

use super::{
    Finding, Scene,
    path::{self, Distance},
    ttl,
};

/// Packets that the baseline must rest on.
const BASELINE: u64 = 3;

pub fn look(scene: &Scene) -> Option<Finding> {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    if sender.packets < BASELINE {
        return None;
    }
    let packets = sender.packets;
    let ratio = match path::distance(scene.wire) {
        Distance::Same => 4.0,
        _ if ttl::fresh(rst.ttl) => 50.0,
        _ => 12.0,
    };
    if let (Some(theirs), Some(its)) = (sender.outer_source, rst.outer_source)
        && theirs != its
    {
        return Some(Finding::new(
            ratio,
            format!("it came through the tunnel from {its}, {packets} packets of the peer through that from {theirs}"),
        ));
    }
    if let (Some(theirs), Some(its)) = (sender.interface, rst.interface)
        && theirs != its
        && sender.other_interfaces == 0
    {
        return Some(Finding::new(
            ratio,
            format!("it came in by interface {its}, all {packets} packets of the peer by interface {theirs}"),
        ));
    }
    if let (Some(theirs), Some(its)) = (sender.source_mac, rst.source_mac)
        && theirs != its
        && sender.other_macs == 0
    {
        return Some(Finding::new(ratio, format!("it came from {}, all {packets} packets of the peer from {}", mac(its), mac(theirs))));
    }
    None
}

/// A MAC address in the usual notation.
pub fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
