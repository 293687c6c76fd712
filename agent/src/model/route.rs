//! What this host's own tables say of the way a RST came.

use std::net::IpAddr;

/// The way to the peer and the sender of the RST's frame, from routing and neighbour tables a
/// moment after the RST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The router that packets for the peer are handed to; `None` where the peer's address is on a
    /// link of this host.
    pub gateway: Option<IpAddr>,
    /// The peer's address is one of this host's.
    pub peer_is_local: bool,
    /// Address of the machine on the link that has the RST's source MAC address; `None` if the
    /// neighbour table does not know it.
    pub sender: Option<IpAddr>,
    /// Name of that machine from the configuration, if it is a known middlebox.
    pub sender_name: Option<String>,
    /// Name of the interface the RST came in by.
    pub interface: Option<String>,
}
