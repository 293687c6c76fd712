//! What a verdict rests on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OriginKind, Text, token::tokens};

tokens! {
    /// How much one piece of evidence is worth.
    pub enum Strength {
        Weak = "weak",
        Strong = "strong",
        Proof = "proof",
    }
}

/// One signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Stable token.
    pub signal: Text,
    /// Whom it speaks for.
    pub points_to: OriginKind,
    pub strength: Strength,
    /// The numbers, so that the reasoning can be checked by hand.
    pub detail: Text,
}

tokens! {
    /// What a reset has in common with others.
    pub enum PatternId {
        /// Many connections of one peer at once: a host, a process or a load balancer went down.
        Burst = "burst",
        /// The same silence before each reset.
        SameIdle = "same_idle",
        /// Every reset that a middlebox made was made by the same one.
        OneMiddlebox = "one_middlebox",
        /// One peer fails to get a connection, again and again.
        ReconnectLoop = "reconnect_loop",
        /// Resets after silence come at the same hours, day after day.
        QuietHours = "quiet_hours",
    }
}

/// Something that repeats, as far as it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pattern {
    pub id: PatternId,
    /// Resets in it, this one included.
    pub count: u64,
    /// From the first of them to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u64>,
    /// The silence they have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// The numbers, in a sentence.
    pub detail: String,
}

tokens! {
    /// How the owner is known.
    pub enum KnownFrom {
        /// It called connect(2).
        Connect = "connect",
        /// It accepted the connection.
        Accept = "accept",
        /// It held the socket when the agent started.
        Snapshot = "snapshot",
        /// It alone owned the listener.
        Listener = "listener",
        /// It holds the socket's inode.
        Inode = "inode",
        /// It closed the socket itself, in its own context.
        Close = "close",
        /// It had the kernel destroy the socket, which was another's.
        Destroy = "destroy",
    }
}
