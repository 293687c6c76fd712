//! A connection, as one of its ends sees it.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

/// The two ends of a connection as one host sees them. IPv4-mapped addresses are stored as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl Flow {
    /// A flow by its ends.
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Self { local: plain(local), peer: plain(peer) }
    }

    /// The same connection as the other host sees it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { local: self.peer, peer: self.local }
    }

    /// The connection an event is about; `None` when it names none.
    pub fn of(event: &Value) -> Option<Self> {
        let end = |side: &str| -> Option<SocketAddr> {
            let end = event.get("network")?.get(side)?;
            let address: IpAddr = end.get("address")?.as_str()?.parse().ok()?;
            let port = u16::try_from(end.get("port")?.as_u64()?).ok()?;
            Some(SocketAddr::new(address, port))
        };
        Some(Self { local: end("local")?, peer: end("peer")? })
    }

    /// Whether an event is about this connection, seen from this side.
    pub fn is_of(self, event: &Value) -> bool {
        Self::of(event) == Some(self)
    }
}
