//! Which side of the service a host is on.

/// Which side of the service this host is on, by the watched port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The watched port is this host's.
    Broker,
    /// The watched port is the peer's.
    Client,
}

impl Role {
    /// That of the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Broker => Self::Client,
            Self::Client => Self::Broker,
        }
    }
}
