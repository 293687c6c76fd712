//! The closed sets of the contract: who, why, how bad, how sure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which way the RST went, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Sent,
    Received,
}

impl Direction {
    /// The word of the contract.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// What the RST did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// An open connection ended.
    ConnectionReset,
    /// A connection that was being opened was refused.
    ConnectionRefused,
    /// A connection ended before its handshake, or before it was accepted.
    HandshakeAborted,
    /// The kernel did not act on the RST.
    Ignored,
    /// This host answered a stray packet; no connection of its own died.
    Answered,
    /// No RST: a FIN of either end, while AMQP was open.
    ClosedWithoutAmqpClose,
    /// No RST: nothing answered any more, and the kernel gave an open connection up.
    TimedOut,
    /// No RST: nothing answered the SYN.
    ConnectTimedOut,
}

impl Effect {
    /// The word of the contract.
    pub const fn token(self) -> &'static str {
        match self {
            Self::ConnectionReset => "connection_reset",
            Self::ConnectionRefused => "connection_refused",
            Self::HandshakeAborted => "handshake_aborted",
            Self::Ignored => "ignored",
            Self::Answered => "answered",
            Self::ClosedWithoutAmqpClose => "closed_without_amqp_close",
            Self::TimedOut => "timed_out",
            Self::ConnectTimedOut => "connect_timed_out",
        }
    }
}

/// Who tore the connection down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginKind {
    /// An owner on this host called close or abort, or died.
    LocalProcess,
    /// This host's kernel, with no process behind the decision.
    LocalHost,
    /// The host at the peer address.
    RemotePeer,
    /// Something between, or a peer address known to be a load balancer or proxy.
    Middlebox,
    /// Not settled: see `possible`.
    Unknown,
}

impl OriginKind {
    /// The word of the contract.
    pub const fn token(self) -> &'static str {
        match self {
            Self::LocalProcess => "local_process",
            Self::LocalHost => "local_host",
            Self::RemotePeer => "remote_peer",
            Self::Middlebox => "middlebox",
            Self::Unknown => "unknown",
        }
    }
}

/// Why the connection was torn down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CauseId {
    RoutineClose,
    CloseWithUnreadData,
    LingerAbort,
    ProcessKilled,
    ProcessCrashed,
    ProcessExited,
    HeartbeatTimeout,
    BrokerShutdown,
    BrokerResourceAlarm,
    ForcedClose,
    KeepaliveTimeout,
    SocketDestroyed,
    OutOfMemory,
    DataAfterClose,
    NoListener,
    StaleConnection,
    ListenOverflow,
    FirewallReject,
    HandshakeAborted,
    IdleTimeout,
    StateLost,
    Injected,
    PeerAborted,
    PeerGone,
    ClosedWithoutAmqpClose,
    TimedOut,
    Refused,
    WrongProtocol,
    Unknown,
}

/// The words of causes, and what follows from them.
macro_rules! words {
    ($($cause:ident => $word:literal,)*) => {
        impl CauseId {
            /// The word of the contract, which is the heading of the cause in docs/causes.md as
            /// well.
            pub const fn token(self) -> &'static str {
                match self {
                    $(Self::$cause => $word,)*
                }
            }

            /// Where the documentation describes the cause.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$cause => concat!("docs/causes.md#", $word),)*
                }
            }
        }
    };
}

words! {
    RoutineClose => "routine_close",
    CloseWithUnreadData => "close_with_unread_data",
    LingerAbort => "linger_abort",
    ProcessKilled => "process_killed",
    ProcessCrashed => "process_crashed",
    ProcessExited => "process_exited",
    HeartbeatTimeout => "heartbeat_timeout",
    BrokerShutdown => "broker_shutdown",
    BrokerResourceAlarm => "broker_resource_alarm",
    ForcedClose => "forced_close",
    KeepaliveTimeout => "keepalive_timeout",
    SocketDestroyed => "socket_destroyed",
    OutOfMemory => "out_of_memory",
    DataAfterClose => "data_after_close",
    NoListener => "no_listener",
    StaleConnection => "stale_connection",
    ListenOverflow => "listen_overflow",
    FirewallReject => "firewall_reject",
    HandshakeAborted => "handshake_aborted",
    IdleTimeout => "idle_timeout",
    StateLost => "state_lost",
    Injected => "injected",
    PeerAborted => "peer_aborted",
    PeerGone => "peer_gone",
    ClosedWithoutAmqpClose => "closed_without_amqp_close",
    TimedOut => "timed_out",
    Refused => "refused",
    WrongProtocol => "wrong_protocol",
    Unknown => "unknown",
}

/// How much an operator should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Belongs to normal operation.
    Info,
    /// A connection was lost.
    Warning,
    /// A process was killed or crashed, or a pattern repeats.
    Error,
}

impl Severity {
    /// The word of the contract.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How much one piece of evidence is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    Weak,
    Strong,
    Proof,
}

/// What a reset has in common with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PatternId {
    /// Many connections of one peer at once: a host, a process or a load balancer went down.
    Burst,
    /// The same silence before each reset.
    SameIdle,
    /// Every reset that a middlebox made was made by the same one.
    OneMiddlebox,
    /// One peer fails to get a connection, again and again.
    ReconnectLoop,
    /// Resets after silence come at the same hours, day after day.
    QuietHours,
}
