//! The RST came from another box on the local network than the peer's packets do: another source MAC, interface or tunnel end.
//!
//! Source: the link header. Strength: 50. Failure modes: failover between gateways, several gateways used at random, asymmetric routes; so the
//! signal needs a baseline of three packets that never varied. In clouds MAC addresses are made up and all the same: then it is silent.

use super::{Finding, Scene};

/// Packets that the baseline must rest on.
const BASELINE: u64 = 3;

pub fn look(scene: &Scene) -> Option<Finding> {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    if sender.packets < BASELINE {
        return None;
    }
    let packets = sender.packets;
    if let (Some(theirs), Some(its)) = (sender.outer_source, rst.outer_source)
        && theirs != its
    {
        return Some(Finding::new(
            50.0,
            format!("it came through the tunnel from {its}, {packets} packets of the peer through that from {theirs}"),
        ));
    }
    if let (Some(theirs), Some(its)) = (sender.interface, rst.interface)
        && theirs != its
        && sender.other_interfaces == 0
    {
        return Some(Finding::new(50.0, format!("it came in by interface {its}, all {packets} packets of the peer by interface {theirs}")));
    }
    if let (Some(theirs), Some(its)) = (sender.source_mac, rst.source_mac)
        && theirs != its
        && sender.other_macs == 0
    {
        return Some(Finding::new(50.0, format!("it came from {}, all {packets} packets of the peer from {}", mac(its), mac(theirs))));
    }
    None
}

/// A MAC address in the usual notation.
pub fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
