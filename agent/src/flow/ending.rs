//! Who ended a connection first: the act before the RST, or instead of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rstblame_abi::errno;

use super::idle::Learnt;
use crate::{
    amqp::Conversation,
    host::process::ProcessFacts,
    model::{KnownFrom, Role, Task},
};

/// What began the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// This host's FIN, by close(2), shutdown(2), or the end of a process.
    LocalClose {
        /// shutdown(2) of the sending side: the process held the socket still.
        shutdown: bool,
    },
    /// The peer's FIN.
    PeerClose,
    /// This host's kernel gave an open connection up: nothing answered any more. The errno that the
    /// owner gets.
    TimedOut(u32),
    /// This host's kernel gave up to open one.
    ConnectTimedOut(u32),
}

impl Act {
    /// A process of this host acted.
    pub const fn is_local_close(self) -> bool {
        matches!(self, Self::LocalClose { .. })
    }
}

/// Who ended a connection first, when, and after what.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstAct {
    /// The id of its own line, whether that was written or not.
    pub id: String,
    /// A line of its own has gone out.
    pub told: bool,
    pub act: Act,
    /// `CLOCK_BOOTTIME`, ns.
    pub at_ns: u64,
    /// Since the last payload of either end; `None` when none went either way.
    pub silence: Option<Duration>,
    /// The process that acted.
    pub actor: Option<Task>,
    /// What is known of it; of the owner, where no process acted.
    pub process: Option<(Arc<ProcessFacts>, KnownFrom)>,
    /// What was seen of the AMQP conversation until then.
    pub amqp: Option<Box<Conversation>>,
    /// What earlier ends of the same destination gave away of an idle timeout on the way.
    pub learnt_idle: Option<Box<Learnt>>,
}

impl FirstAct {
    /// How long before a moment it was: `CLOCK_BOOTTIME`, ns.
    pub const fn before(&self, at_ns: u64) -> Duration {
        Duration::from_nanos(at_ns.saturating_sub(self.at_ns))
    }
}

/// The name of an error by which a kernel gives a connection up.
pub const fn error_name(errno: u32) -> Option<&'static str> {
    Some(match errno {
        errno::ENETDOWN => "ENETDOWN",
        errno::ENETUNREACH => "ENETUNREACH",
        errno::ETIMEDOUT => "ETIMEDOUT",
        errno::EHOSTDOWN => "EHOSTDOWN",
        errno::EHOSTUNREACH => "EHOSTUNREACH",
        _ => return None,
    })
}

/// Another connection of the same process that ended together with this one: the process is a
/// proxy, and this its other leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The id of the line about its end, whether that was written or not.
    pub id: String,
    /// Whether this host was the broker on it, or the client.
    pub role: Role,
    pub peer: SocketAddr,
    /// Its other end acted first, and not the process.
    pub ended_by_peer: bool,
    /// How long before this connection it ended; negative ones are counted as zero.
    pub before: Duration,
    /// Since its last payload when it ended.
    pub silence: Option<Duration>,
}
