//! What the path of this host's kernel says of a RST by which it answered a segment.

use super::{Candidate, Facts};
use crate::{attribution::kernel_path::Path, flow::Trigger, model::CauseId};

/// The paths of `tcp_v4_send_reset()` and `tcp_v6_send_reset()`.
pub fn passive(facts: &Facts) -> Option<Candidate> {
    let (path, sure) = facts.path()?;
    let local = facts.reset.tuple.local;
    let port = local.port();
    Some(match path {
        Path::NoListener => Candidate::mechanism(CauseId::NoListener, sure, format!("nothing listens on port {port} of {}", local.ip()))
            .advise("start the broker, or correct the address or port the client uses"),
        Path::NoSocket if facts.reset.bypass.is_some() => return None,
        Path::NoSocket => {
            let stale =
                Candidate::mechanism(CauseId::StaleConnection, sure, "a segment arrived for a connection that this host does not have");
            // A peer that closes loses nothing by it.
            if facts.reset.trigger.is_some_and(Trigger::closes) {
                stale.routine()
            } else {
                stale.advise(
                    "the peer still believed in the connection: look for a restart, a crash or a destroyed socket on this host before",
                )
            }
        }
        Path::TimeWait => Candidate::mechanism(
            CauseId::StaleConnection,
            sure,
            "a segment arrived for a connection that this host had finished (TIME_WAIT)",
        )
        .routine(),
        Path::AbortOnData => {
            Candidate::mechanism(CauseId::DataAfterClose, sure, "the owner had closed, or shut down reading, and the peer went on sending")
                .advise("close the AMQP connection before the socket, and read until the other side has finished")
        }
        Path::AcceptQueueFull => Candidate::mechanism(
            CauseId::ListenOverflow,
            sure,
            format!("the accept queue of port {port} is full (net.ipv4.tcp_abort_on_overflow = 1)"),
        )
        .advise("raise the listener's backlog and net.core.somaxconn, or find out why the broker does not accept"),
        Path::MetListener => Candidate::mechanism(
            CauseId::StaleConnection,
            sure,
            format!("a segment of a connection this host does not have met the listener on port {port}"),
        )
        .advise("the peer still believed in the connection: look for a restart of this host or of the broker before"),
        Path::BadHandshake => {
            Candidate::mechanism(CauseId::HandshakeAborted, sure, "the handshake went wrong: an unacceptable acknowledgement or timestamp")
        }
        _ => return None,
    })
}
