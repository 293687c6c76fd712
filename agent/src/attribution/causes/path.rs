//! What the path of this host's kernel says of a RST that it sent of its own accord.

use super::{Candidate, Facts, amqp::subject};
use crate::{
    attribution::kernel_path::Path,
    flow::Reset,
    model::{CauseId, Severity, Text},
};

/// The paths of `tcp_send_active_reset()`.
pub fn active(facts: &Facts) -> Option<Candidate> {
    let (path, sure) = facts.path()?;
    let reset = facts.reset;
    let who = subject(reset);
    Some(match path {
        Path::UnreadData => {
            let unread = reset.tcp.as_ref().map_or(0, |tcp| tcp.unread_bytes);
            let amount: Text = if unread > 0 { format!("{unread} received bytes").into() } else { "received data".into() };
            Candidate::mechanism(CauseId::CloseWithUnreadData, sure, format!("{who} closed the connection with {amount} unread"))
                .advise("let the program read until the other side has finished, or close the AMQP connection before the socket")
        }
        Path::Linger => {
            Candidate::mechanism(CauseId::LingerAbort, sure, format!("{who} aborted the connection: it closed with SO_LINGER 0"))
                .advise("if this was not meant, let the program close the AMQP connection first, or turn SO_LINGER off")
        }
        Path::Linger2 => Candidate::mechanism(
            CauseId::LingerAbort,
            sure,
            format!("{who} closed with TCP_LINGER2 below zero, which aborts once its FIN is out"),
        ),
        Path::ClosedUnaccepted => Candidate::mechanism(
            CauseId::HandshakeAborted,
            sure,
            format!("{who} closed its listener before it had accepted the connection"),
        ),
        Path::Disconnect => Candidate::mechanism(
            CauseId::LingerAbort,
            0.7,
            format!("{who} disconnected the socket, by connect() to AF_UNSPEC or an equivalent"),
        ),
        Path::DisconnectWithData => {
            Candidate::mechanism(CauseId::LingerAbort, sure, format!("{who} disconnected while data was still to be sent"))
        }
        Path::Destroyed => {
            let by = match (reset.destroyer(), &reset.actor) {
                (Some(task), _) => format!(" by {} (pid {})", task.comm, task.pid),
                (None, Some(task)) => format!("; the task on the CPU was {} (pid {})", task.comm, task.pid),
                (None, None) => String::new(),
            };
            let summary = format!("the socket was destroyed from outside its owner{by}");
            Candidate::mechanism(CauseId::SocketDestroyed, sure.min(0.97), summary)
                .advise("look for `ss -K`, a service mesh or a network agent that destroys sockets on this host")
        }
        Path::Keepalive => {
            let heard = reset.tcp.as_ref().and_then(|tcp| tcp.since_heard);
            let silent = heard.map_or_else(String::new, |heard| format!(" after {:.1} s without an answer", heard.as_secs_f64()));
            Candidate::mechanism(CauseId::KeepaliveTimeout, sure, format!("TCP keepalive gave the peer up{silent}")).advise(
                "the peer or the path to it was dead: look for a host that went down or a firewall that dropped the flow; \
                 net.ipv4.tcp_keepalive_time, _intvl and _probes say how long this takes",
            )
        }
        Path::Memory => {
            Candidate::mechanism(CauseId::OutOfMemory, sure, "the kernel ran out of memory or orphans for TCP (tcp_mem, tcp_max_orphans)")
                .advise("compare /proc/net/sockstat with net.ipv4.tcp_mem and net.ipv4.tcp_max_orphans")
                .severity(Severity::Error)
        }
        _ => return None,
    })
}

/// What can be said of a path that gives no cause.
pub fn unexplained(path: &Path, reset: &Reset) -> Text {
    match path {
        Path::Multipath(name) => format!("Multipath TCP reset one of its subflows ({name})").into(),
        Path::Unnamed if reset.closed_first => {
            format!("{} closed the connection by a RST; this kernel does not say why", subject(reset)).into()
        }
        Path::NoSocketBlind => {
            "a segment met no socket; whether it asked for a connection or belonged to one cannot be seen on this kernel".into()
        }
        Path::UnnamedAnswer => "this kernel answered a segment with a RST".into(),
        _ => "this host reset the connection by itself; this kernel does not say why".into(),
    }
}
