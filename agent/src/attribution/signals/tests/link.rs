//! The way a RST came in, against that of the peer's packets.

use std::net::IpAddr;

use super::{
    super::{link, on_link},
    ask, check,
};
use crate::{
    attribution::tests::linux::{ACK, Linux, RST},
    flow::wire::{PathTtl, Wire},
    model::{Flags, Route},
    testing,
};

const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ITS: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A bare answer with this TTL on a connection whose packets came with 61, from [`THEIRS`], by
/// interface 2, through no tunnel.
fn came(ttl: u8, change: impl FnOnce(&mut Wire)) -> Wire {
    let it = Linux::new(61, 6);
    let mut wire = it.wire(&it.answer(ttl));
    (wire.sender.source_mac, wire.rst.source_mac) = (Some(THEIRS), Some(THEIRS));
    (wire.sender.interface, wire.rst.interface) = (Some(2), Some(2));
    change(&mut wire);
    wire
}

fn tunnel(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[test]
fn another_way_is_another_box() {
    let mac = |ttl| came(ttl, |wire| wire.rst.source_mac = Some(ITS));
    let interface = |others| came(62, |wire| (wire.rst.interface, wire.sender.other_interfaces) = (Some(3), others));
    let tunnels = |theirs, its| came(62, |wire| (wire.sender.outer_source, wire.rst.outer_source) = (theirs, its));
    let baseline = |packets| {
        let mut wire = mac(62);
        wire.sender.packets = packets;
        wire
    };
    check(
        link::look,
        [
            ("the same way", came(64, |_| ()), None),
            // Only on the link does a TTL have such a value; the box made it.
            ("another MAC, no router passed", mac(64), Some(50.0)),
            ("another MAC, a router passed", mac(63), Some(12.0)),
            ("another MAC, as far away as the peer", mac(61), Some(4.0)),
            ("two packets are no baseline", baseline(2), None),
            ("three are", baseline(3), Some(12.0)),
            ("gateways used in turn", came(64, |wire| (wire.rst.source_mac, wire.sender.other_macs) = (Some(ITS), 1)), None),
            ("no MAC on the RST", came(64, |wire| wire.rst.source_mac = None), None),
            ("no MAC known of the peer", came(64, |wire| wire.sender.source_mac = None), None),
            ("another interface", interface(0), Some(12.0)),
            ("interfaces used in turn", interface(1), None),
            ("no interface known of the RST", came(64, |wire| wire.rst.interface = None), None),
            ("another tunnel", tunnels(Some(tunnel(1)), Some(tunnel(2))), Some(12.0)),
            ("the same tunnel", tunnels(Some(tunnel(1)), Some(tunnel(1))), None),
            ("a tunnel for one only", tunnels(Some(tunnel(1)), None), None),
        ],
    );
}

#[test]
fn addresses_are_named() {
    let detail = |wire: &Wire| ask(link::look, wire).unwrap().detail;
    let mac = came(64, |wire| wire.rst.source_mac = Some([2, 0, 0, 0, 0xab, 0xc]));
    assert_eq!(detail(&mac), "it came from 02:00:00:00:ab:0c, all 7 packets of the peer from 02:00:00:00:00:01");
    let other = came(64, |wire| (wire.sender.outer_source, wire.rst.outer_source) = (Some(tunnel(1)), Some(tunnel(2))));
    assert_eq!(detail(&other), "it came through the tunnel from 192.0.2.2, 7 packets of the peer through that from 192.0.2.1");
}

/// The routing and neighbour tables beside the TTL. Packets of the peer came with 61 or 63.
#[test]
fn what_passed_no_router_was_made_on_the_link() {
    let gateway = || Some(IpAddr::from([10, 0, 0, 1]));
    let routed = || Some(Route { gateway: gateway(), sender: gateway(), ..Route::default() });
    let link = || Some(Route::default());
    let peer = testing::reset().tuple.peer.ip();
    // A bare answer with 64, where the peer's part of the handshake was not seen.
    let came = |peer_ttl, packets, way| {
        let it = Linux::new(peer_ttl, packets);
        let mut wire = it.wire(&it.answer(64));
        (wire.way, wire.sender.handshake_ttl) = (way, None);
        wire
    };
    let changed = |mut wire: Wire, change: fn(&mut Wire)| {
        change(&mut wire);
        wire
    };
    let handshake = |ttl, way| {
        let mut wire = came(61, 0, way);
        (wire.sender.ttl, wire.sender.handshake_ttl) = (PathTtl::default(), ttl);
        wire
    };
    let refused = |mut wire: Wire| {
        (wire.rst.seq, wire.rst.flags) = (0, Flags(RST | ACK));
        wire
    };
    let unknown = Some(Route { sender: None, ..routed().unwrap() });
    let neighbour = Some(Route { sender: Some(peer), ..routed().unwrap() });
    check(
        on_link::look,
        [
            ("three packets from beyond the router", came(61, 3, routed()), Some(100.0)),
            ("two packets", came(61, 2, routed()), Some(100.0)),
            ("two packets, the sender not known", came(61, 2, unknown.clone()), Some(30.0)),
            ("packets that varied", changed(came(61, 3, routed()), |wire| wire.sender.ttl.lowest = 60), None),
            ("the tables are not known", came(61, 3, None), None),
            ("a router passed", changed(came(61, 3, routed()), |wire| wire.rst.ttl = 63), None),
            // Its MAC says that it is the peer, which is on the link, and reached by a router the
            // other way.
            ("the neighbour is the peer", came(61, 3, neighbour), None),
            ("packets that passed none either", came(64, 3, routed()), None),
            ("two packets that passed none either", came(64, 2, routed()), None),
            ("the handshake only", handshake(Some(61), routed()), Some(100.0)),
            ("the handshake only, the sender not known", handshake(Some(61), unknown.clone()), Some(30.0)),
            ("the handshake only, from the link", handshake(Some(64), routed()), None),
            ("the handshake only, of a neighbour", handshake(Some(61), link()), None),
            ("a refusal", refused(handshake(None, routed())), Some(8.0)),
            ("a refusal by a neighbour", refused(handshake(None, link())), None),
            ("nothing seen, and no refusal", handshake(None, routed()), None),
            ("a neighbour's packets from one hop beyond", came(63, 3, link()), Some(150.0)),
            ("two hops beyond", came(62, 3, link()), Some(150.0)),
            // No translation: a program with an IP_TTL of its own.
            ("three hops beyond", came(61, 3, link()), None),
            ("an abort of its own", changed(came(63, 3, link()), |wire| (wire.rst.flags, wire.rst.window) = (Flags(RST | ACK), 9)), None),
            (
                "a neighbour whose handshake was from the link",
                changed(came(63, 3, link()), |wire| wire.sender.handshake_ttl = Some(64)),
                None,
            ),
        ],
    );
}
