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
    Refused,
    Unknown,
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

/// How much one piece of evidence is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    Weak,
    Strong,
    Proof,
}
