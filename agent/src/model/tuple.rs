//! The two ends of a connection.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

/// The two ends of a connection. IPv4-mapped IPv6 addresses are stored as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl Hash for Tuple {
    /// In two pieces: the address types hash themselves in a dozen, and a reset is looked up by its
    /// tuple in several maps.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write([octets(self.local.ip()), octets(self.peer.ip())].as_flattened());
        // A flow label or a scope may differ, which makes them unequal all the same.
        state.write_u32(u32::from(self.local.port()) << 16 | u32::from(self.peer.port()));
    }
}

/// An address in as many bytes as any: what hashes go by.
pub const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl Tuple {
    /// Builds a tuple, turning IPv4-mapped addresses into IPv4 (RFC 4291, section 2.5.5.2).
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let unmap = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { local: unmap(local), peer: unmap(peer) }
    }

    /// The same connection seen from the other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { local: self.peer, peer: self.local }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hash::{BuildHasher as _, RandomState},
        net::AddrParseError,
    };

    use crate::model::Tuple;

    #[test]
    fn every_part_of_both_ends_is_hashed() -> Result<(), AddrParseError> {
        let ends = ["192.0.2.1:5672", "192.0.2.1:5673", "192.0.2.2:5672", "[2001:db8::1]:5672", "[2001:db8::2]:5672"];
        let hasher = RandomState::new();
        let mut hashes = Vec::new();
        for local in ends {
            for peer in ends {
                hashes.push(hasher.hash_one(Tuple::new(local.parse()?, peer.parse()?)));
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), ends.len() * ends.len());
        Ok(())
    }
}
