//! The closed sets of a verdict: what happened, who, why, how bad, how sure.

use super::token::tokens;

tokens! {
    /// Which way the RST went, seen from this host.
    pub enum Direction {
        Sent = "sent",
        Received = "received",
    }
}

tokens! {
    /// What the RST did.
    pub enum Effect {
        /// An open connection ended.
        ConnectionReset = "connection_reset",
        /// A connection that was being opened was refused.
        ConnectionRefused = "connection_refused",
        /// A connection ended before its handshake, or before it was accepted.
        HandshakeAborted = "handshake_aborted",
        /// The kernel did not act on the RST.
        Ignored = "ignored",
        /// This host answered a stray packet; no connection of its own died.
        Answered = "answered",
        /// No RST: a FIN of either end, while AMQP was open.
        ClosedWithoutAmqpClose = "closed_without_amqp_close",
        /// No RST: nothing answered any more, and the kernel gave an open connection up.
        TimedOut = "timed_out",
        /// No RST: nothing answered the SYN.
        ConnectTimedOut = "connect_timed_out",
    }
}

tokens! {
    /// Who tore the connection down.
    pub enum OriginKind {
        /// An owner on this host called close or abort, or died.
        LocalProcess = "local_process",
        /// This host's kernel, with no process behind the decision.
        LocalHost = "local_host",
        /// The host at the peer address.
        RemotePeer = "remote_peer",
        /// Something between, or a peer address known to be a load balancer or proxy.
        Middlebox = "middlebox",
        /// Not settled: see `possible`.
        Unknown = "unknown",
    }
}

/// Declares the causes, with the page of each beside its word.
macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $token:literal,)+) => {
        tokens! {
            /// Why the connection was torn down.
            pub enum CauseId { $($(#[$doc])* $variant = $token,)+ }
        }

        impl CauseId {
            /// Where the documentation describes the cause.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("docs/causes.md#", $token),)+
                }
            }
        }
    };
}

causes! {
    RoutineClose = "routine_close",
    CloseWithUnreadData = "close_with_unread_data",
    LingerAbort = "linger_abort",
    ProcessKilled = "process_killed",
    ProcessCrashed = "process_crashed",
    ProcessExited = "process_exited",
    HeartbeatTimeout = "heartbeat_timeout",
    BrokerShutdown = "broker_shutdown",
    BrokerResourceAlarm = "broker_resource_alarm",
    ForcedClose = "forced_close",
    KeepaliveTimeout = "keepalive_timeout",
    SocketDestroyed = "socket_destroyed",
    OutOfMemory = "out_of_memory",
    DataAfterClose = "data_after_close",
    NoListener = "no_listener",
    StaleConnection = "stale_connection",
    ListenOverflow = "listen_overflow",
    FirewallReject = "firewall_reject",
    HandshakeAborted = "handshake_aborted",
    IdleTimeout = "idle_timeout",
    StateLost = "state_lost",
    Injected = "injected",
    PeerAborted = "peer_aborted",
    PeerGone = "peer_gone",
    ClosedWithoutAmqpClose = "closed_without_amqp_close",
    TimedOut = "timed_out",
    Refused = "refused",
    WrongProtocol = "wrong_protocol",
    NatBypassed = "nat_bypassed",
    TupleCollision = "tuple_collision",
    Unknown = "unknown",
}

tokens! {
    /// How much an operator should care.
    pub enum Severity {
        /// Belongs to normal operation.
        Info = "info",
        /// A connection was lost.
        Warning = "warning",
        /// A process was killed or crashed, or a pattern repeats.
        Error = "error",
    }
}
