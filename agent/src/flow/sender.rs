//! Who on this host sent the RST that a connection of this host received.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{host::process::ProcessFacts, model::Task};

/// A socket of this host that sent a RST to the local end of a connection, under another address
/// than the connection's peer has: this host translates the one into the other, as a redirect to a
/// proxy does.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalSender {
    /// The socket's own end.
    pub end: SocketAddr,
    /// Its network namespace; `None` where that could not be read.
    pub netns: Option<u32>,
    /// The process that closed it, where that is certain.
    pub task: Option<Task>,
    /// What is known of that process.
    pub process: Option<Arc<ProcessFacts>>,
    /// Time between the sending and the arrival, as the tracepoints saw them.
    pub apart: Duration,
}
