//! What a connection of a capture is known by.

use std::net::SocketAddr;

use crate::flow::wire::End;

/// The two ends of a connection, the lower address first, whichever sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub first: SocketAddr,
    pub second: SocketAddr,
}

impl Key {
    /// The key, and which end `source` is.
    pub fn of(source: SocketAddr, destination: SocketAddr) -> (Self, End) {
        if source <= destination {
            (Self { first: source, second: destination }, End::First)
        } else {
            (Self { first: destination, second: source }, End::Second)
        }
    }

    /// The address of one end.
    pub const fn address(&self, end: End) -> SocketAddr {
        match end {
            End::First => self.first,
            End::Second => self.second,
        }
    }
}
