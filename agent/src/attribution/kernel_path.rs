//! The code path that this host's kernel took to a RST.
//!
//! Linux 6.12 and later name the path (`enum sk_rst_reason`). Older kernels do not; there the
//! socket's own facts stand in for it, with less confidence. The paths and what each looks like are
//! those of <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>, tcp_ipv4.c, tcp_timer.c
//! and tcp_minisocks.c (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).

use std::time::Duration;

use crate::{
    flow::{Reset, SocketKind, Trigger},
    model::{Effect, OriginKind, TcpState},
};

/// Confidence where the kernel names its own code path.
pub const NAMED: f64 = 0.99;

/// Confidence where the path follows from the socket's facts alone.
pub const INFERRED: f64 = 0.9;

/// The keepalive timer gives up no peer that was heard so recently.
const JUST_HEARD: Duration = Duration::from_secs(1);

/// A way to a RST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// `close()` with data in the receive queue.
    UnreadData,
    /// `close()` with `SO_LINGER {on, 0}`.
    Linger,
    /// `close()` with `TCP_LINGER2` below zero.
    Linger2,
    /// The listener was closed before the connection was accepted.
    ClosedUnaccepted,
    /// `connect()` to `AF_UNSPEC`.
    Disconnect,
    /// The same, with data still to be sent.
    DisconnectWithData,
    /// `tcp_abort()`: `SOCK_DESTROY`, `bpf_sock_destroy()`.
    Destroyed,
    /// Nobody holds the socket, and the peer's FIN did not come.
    OrphanTimeout,
    /// The keepalive timer, or `TCP_USER_TIMEOUT` in it.
    Keepalive,
    /// No memory, or too many orphans.
    Memory,
    /// Multipath TCP, with the kernel's name for the reason.
    Multipath(String),
    /// Of the kernel's own accord, by no path that can be told.
    Unnamed,
    /// Nothing listens where a SYN went.
    NoListener,
    /// No socket, and what came was not seen.
    NoSocketBlind,
    /// No socket for a segment of a connection.
    NoSocket,
    /// Only a TIME_WAIT entry for a segment.
    TimeWait,
    /// Payload for a socket whose receive side is shut.
    AbortOnData,
    /// The accept queue is full, and `tcp_abort_on_overflow` is set.
    AcceptQueueFull,
    /// A segment of no connection met a listener.
    MetListener,
    /// The last step of the handshake was not acceptable.
    BadHandshake,
    /// An answer to a segment, by no path that can be told.
    UnnamedAnswer,
}

impl Path {
    /// The path, and how sure it is.
    pub fn of(reset: &Reset) -> (Self, f64) {
        if !reset.active {
            return Self::answer(reset);
        }
        let named = match reset.reason_name() {
            Some("TCP_ABORT_ON_CLOSE") => Some(Self::UnreadData),
            Some("TCP_ABORT_ON_LINGER") => Some(Self::Linger2),
            Some("TCP_ABORT_ON_MEMORY") => Some(Self::Memory),
            Some("TCP_KEEPALIVE_TIMEOUT") => Some(Self::Keepalive),
            Some("TCP_DISCONNECT_WITH_DATA") => Some(Self::DisconnectWithData),
            Some("TCP_STATE") => Some(Self::of_tcp_state(reset)),
            Some(name) if name.starts_with("MPTCP_") => Some(Self::Multipath(name.to_owned())),
            _ => None,
        };
        named.map_or_else(|| (Self::inferred(reset), INFERRED), |path| (path, NAMED))
    }

    /// `TCP_STATE` stands for tcp_disconnect(), tcp_abort() and the FIN_WAIT2 timer.
    fn of_tcp_state(reset: &Reset) -> Self {
        let socket = reset.socket.as_ref();
        if !reset.closed_first {
            let orphan = reset.state == Some(TcpState::FinWait2) && socket.is_some_and(|socket| socket.orphan);
            return if orphan { Self::OrphanTimeout } else { Self::Destroyed };
        }
        match socket {
            Some(socket) if !socket.owned => Self::ClosedUnaccepted,
            Some(socket) if socket.linger_zero => Self::Linger,
            Some(_) => Self::Disconnect,
            None => Self::Unnamed,
        }
    }

    /// Kernels before 6.12 give no reason: the order of events in the socket has to do.
    fn inferred(reset: &Reset) -> Self {
        let Some(socket) = &reset.socket else {
            return Self::Unnamed;
        };
        if !reset.closed_first {
            let orphan = reset.state == Some(TcpState::FinWait2) && socket.orphan;
            let heard = reset.tcp.as_ref().and_then(|tcp| tcp.since_heard);
            return match heard {
                _ if orphan => Self::OrphanTimeout,
                // The keepalive timer gives up only on a silent peer; tcp_abort() does not care.
                Some(heard) if socket.keepalive && heard > JUST_HEARD => Self::Keepalive,
                _ => Self::Unnamed,
            };
        }
        match reset.tcp.as_ref() {
            _ if !socket.owned => Self::ClosedUnaccepted,
            Some(tcp) if tcp.unread_bytes > 0 => Self::UnreadData,
            _ if socket.linger_zero => Self::Linger,
            _ => Self::Unnamed,
        }
    }

    fn answer(reset: &Reset) -> (Self, f64) {
        let opens = reset.trigger.is_some_and(Trigger::opens);
        match (reset.reason_name(), reset.socket_kind) {
            (_, SocketKind::None) if opens => (Self::NoListener, NAMED),
            (_, SocketKind::None) if reset.trigger.is_none() => (Self::NoSocketBlind, NAMED),
            (_, SocketKind::None) => (Self::NoSocket, 0.97),
            (_, SocketKind::TimeWait) => (Self::TimeWait, 0.97),
            (Some("TCP_ABORT_ON_DATA"), _) => (Self::AbortOnData, NAMED),
            (Some("INVALID_SYN"), SocketKind::Listener) if !opens => (Self::AcceptQueueFull, 0.9),
            (_, SocketKind::Listener) => (Self::MetListener, 0.9),
            // Without a reason, this is the order that tcp_rcv_state_process() leaves behind: torn
            // down first, then answered.
            (None | Some("NOT_SPECIFIED"), SocketKind::Connection) if reset.closed_first => (Self::AbortOnData, INFERRED),
            (_, SocketKind::Connection) if reset.state.is_some_and(TcpState::in_handshake) => (Self::BadHandshake, 0.9),
            _ => (Self::UnnamedAnswer, NAMED),
        }
    }

    /// Who decided to take it.
    pub const fn kind(&self, reset: &Reset) -> OriginKind {
        match self {
            Self::UnreadData
            | Self::Linger
            | Self::Linger2
            | Self::ClosedUnaccepted
            | Self::Disconnect
            | Self::DisconnectWithData
            | Self::AbortOnData => OriginKind::LocalProcess,
            // That the socket was CLOSE already proves who acted.
            Self::Unnamed if reset.closed_first => OriginKind::LocalProcess,
            Self::Unnamed => OriginKind::Unknown,
            Self::Destroyed
            | Self::OrphanTimeout
            | Self::Keepalive
            | Self::Memory
            | Self::Multipath(_)
            | Self::NoListener
            | Self::NoSocketBlind
            | Self::NoSocket
            | Self::TimeWait
            | Self::AcceptQueueFull
            | Self::MetListener
            | Self::BadHandshake
            | Self::UnnamedAnswer => OriginKind::LocalHost,
        }
    }

    /// What it did.
    pub const fn effect(&self) -> Effect {
        match self {
            Self::ClosedUnaccepted | Self::AcceptQueueFull | Self::BadHandshake => Effect::HandshakeAborted,
            Self::NoListener => Effect::ConnectionRefused,
            Self::NoSocketBlind | Self::NoSocket | Self::TimeWait | Self::MetListener | Self::UnnamedAnswer => Effect::Answered,
            _ => Effect::ConnectionReset,
        }
    }
}
