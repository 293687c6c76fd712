//! Whose view it is, and over which protocol below TCP.

use std::net::IpAddr;

use super::{
    net::Host,
    router::{CLIENT_LAN, SERVER_LAN},
};

/// Which host lost the connection, and is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host that connected.
    Client,
    /// The host that listens.
    Server,
}

/// The protocol below TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    V4,
    V6,
}

/// Every side with every protocol.
pub const ALL: [(Side, Ip); 4] = [(Side::Client, Ip::V4), (Side::Client, Ip::V6), (Side::Server, Ip::V4), (Side::Server, Ip::V6)];

/// The client's view, with every protocol.
pub const CLIENT: [(Side, Ip); 2] = [(Side::Client, Ip::V4), (Side::Client, Ip::V6)];

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The interface of the router that faces this side.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Client => CLIENT_LAN,
            Self::Server => SERVER_LAN,
        }
    }
}

impl Ip {
    /// The address of a host.
    pub fn of(self, host: &Host) -> IpAddr {
        match self {
            Self::V4 => host.v4(),
            Self::V6 => host.v6(),
        }
    }
}
