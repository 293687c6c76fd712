//! Values that tests start from.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;

use crate::{
    flow::{Reset, SocketKind},
    model::{Direction, Role, TcpState, Tuple},
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

/// Texts that somebody chose for what they do to a terminal, a log or whoever reads them.
pub const UNSAFE_TEXTS: [&str; 18] = [
    "\x1b[2J\x1b[1;1H",
    "\x1b]0;title\x07",
    "\x1b]52;c;cm0gLXJmIC8K\x07",
    "\u{9b}31mred",
    "one\ntwo",
    "one\r\x1b[Ktwo",
    "tab\there",
    "\u{0}nul",
    "\u{7f}del",
    "\u{85}next line",
    "line\u{2028}separator",
    "paragraph\u{2029}separator",
    "\u{202e}gpj.exe",
    "\u{2066}isolate\u{2069}",
    "zero\u{200b}width\u{200d}\u{feff}",
    "soft\u{ad}hyphen",
    "tag\u{e0041}",
    "\u{fff9}annotation\u{fffb}",
];
