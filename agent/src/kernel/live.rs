//! Connections that this host opened, by their own end.

use std::net::{IpAddr, SocketAddr};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use rstblame_abi::{AF_INET, AF_INET6, LiveConnection, LocalEnd};

use super::{decode::address, error::KernelError, maps::take};
use crate::model::Tuple;

/// The map of them.
pub struct Live(HashMap<MapData, LocalEnd, LiveConnection>);

impl Live {
    /// Takes the map out of the object.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoMap`] and the like.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        HashMap::try_from(take(ebpf, "LIVE")?).map(Self).map_err(|error| KernelError::map("LIVE", error))
    }

    /// The other end of the open connection that has this end.
    pub fn peer_of(&self, local: SocketAddr, netns: u32) -> Option<SocketAddr> {
        let live = |(family, bytes): (u16, [u8; 16])| {
            let end = LocalEnd { address: bytes, netns, port: local.port(), family };
            let live = self.0.get(&end, 0).ok()?;
            Some(SocketAddr::new(address(family, live.peer)?, live.peer_port))
        };
        let peer = forms(local.ip()).into_iter().flatten().find_map(live)?;
        // As tuples have it: IPv4 in either form.
        Some(Tuple::new(local, peer).peer)
    }
}

/// An address as sockets of either family have it.
fn forms(address: IpAddr) -> [Option<(u16, [u8; 16])>; 2] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [Some((AF_INET, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Some((AF_INET6, address.to_ipv6_mapped().octets()))]
        }
        IpAddr::V6(address) => [Some((AF_INET6, address.octets())), None],
    }
}
