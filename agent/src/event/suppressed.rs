//! The `rst_suppressed` line.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Host, ResetEvent};
use crate::model::{CauseId, Direction, OriginKind};

/// Resets that were alike and too many to be written one by one: one line for each key and second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suppressed {
    pub schema: String,
    /// When the line was made; the resets were before.
    pub timestamp: Timestamp,
    pub host: Host,
    /// One sentence for a person.
    pub message: String,
    pub key: SuppressedKey,
    /// How many, exactly. None of them has an `rst` line.
    pub count: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// One of them, or, where the kernel programs only counted, one of the same peer and port that
    /// was reported whole. Absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Box<ResetEvent>>,
}

/// What they have in common. Without `peer` it sums up those for which there were too many keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressedKey {
    /// Absent where not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    pub origin: OriginKind,
    pub cause: CauseId,
    /// Inode number of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalEnd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerEnd>,
}

/// This host's side of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalEnd {
    /// The watched port.
    pub port: u16,
}

/// The other side of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerEnd {
    pub address: IpAddr,
    /// The port, where it is the peer's that is watched: this host is the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}
