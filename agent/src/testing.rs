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
    Reset {
        id: "test-1".to_owned(),
        timestamp: Timestamp::UNIX_EPOCH,
        boottime_ns: 0,
        direction: Direction::Sent,
        tuple: Tuple::new(end(1, 5672), end(2, 40000)),
        role: Role::Broker,
        netns: None,
        active: true,
        socket_kind: SocketKind::Connection,
        state: Some(TcpState::Established),
        closed_first: false,
        reason: None,
        trigger: None,
        socket: None,
        tcp: None,
        connection: None,
        actor: None,
        remembered: None,
        sock: 0,
        closed_later: None,
        process: None,
        pair: None,
        wire: None,
        known_middlebox: None,
        ignored: false,
        learnt_idle: None,
        capture: None,
    }
}
