//! Values that tests start from.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;

use crate::{
    event::Direction,
    flow::{Reset, Role, SocketKind, TcpState, Tuple},
};

/// A reset of which nothing is known beyond its connection: an open one, on the broker's host.
pub fn reset() -> Reset {
    let end = |last, port| SocketAddr::new(Ipv4Addr::new(192, 0, 2, last).into(), port);
    let tuple = Tuple::new(end(1, 5672), end(2, 40000));
    Reset {
        active: true,
        socket_kind: SocketKind::Connection,
        state: Some(TcpState::Established),
        ..Reset::bare("test-1".to_owned(), Timestamp::UNIX_EPOCH, Direction::Sent, tuple, Role::Broker)
    }
}
