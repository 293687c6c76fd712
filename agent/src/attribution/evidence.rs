//! The signals the two tracepoints give. A signal is one function: what it looks at, what it is
//! worth, how it can mislead.

use std::net::IpAddr;

use crate::{
    flow::{Act, LocalSender, Reset, SocketKind, wire::Wire},
    model::{Direction, Evidence, OriginKind, Strength, TcpState, Text},
    signal,
};

pub(super) fn evidence(name: &'static str, points_to: OriginKind, strength: Strength, detail: impl Into<Text>) -> Evidence {
    Evidence { signal: name.into(), points_to, strength, detail: detail.into() }
}

/// Who ended the connection before the RST, or instead of it. Proof: `inet_sock_set_state` fired
/// for it.
pub fn first_act(reset: &Reset) -> Option<Evidence> {
    let first = reset.first_act.as_deref()?;
    let (who, points_to) = match first.act {
        Act::LocalClose { shutdown } => {
            let what = if shutdown { "shut down" } else { "closed" };
            let who = first.actor.as_ref().map_or_else(
                || format!("this host {what} the connection"),
                |task| format!("{} (pid {}) {what} the connection", task.comm, task.pid),
            );
            (who, OriginKind::LocalProcess)
        }
        Act::PeerClose => ("a FIN arrived".to_owned(), OriginKind::RemotePeer),
        Act::TimedOut(_) => ("this kernel gave the connection up".to_owned(), OriginKind::LocalHost),
        Act::ConnectTimedOut(_) => ("this kernel gave up to open the connection".to_owned(), OriginKind::LocalHost),
    };
    let before = if reset.ended { String::new() } else { format!(" {} ms before the RST", first.before(reset.boottime_ns).as_millis()) };
    let silent = first.silence.map_or_else(String::new, |silence| format!(", after {:.1} s without payload", silence.as_secs_f64()));
    Some(evidence("first_act", points_to, Strength::Proof, format!("{who}{before}{silent}")))
}

/// The kernel made the RST for a socket of its own accord. Proof that this host sent it:
/// `tcp_send_reset` fired without a packet.
pub fn active_reset(reset: &Reset, points_to: OriginKind) -> Evidence {
    let state = reset.state.map_or("an unrecorded state", TcpState::name);
    evidence("active_reset", points_to, Strength::Proof, format!("this kernel sent the RST unasked, for a socket in {state}"))
}

/// The kernel answered a segment with a RST. Proof that this host's kernel, and no process, decided
/// at that moment.
pub fn passive_reset(reset: &Reset, points_to: OriginKind) -> Evidence {
    let socket = match reset.socket_kind {
        SocketKind::None => "no socket",
        SocketKind::Listener => "only a listener",
        SocketKind::TimeWait => "only a TIME_WAIT entry",
        SocketKind::Connection => "a connection",
        SocketKind::Unseen => "a socket of a kind that was not read",
    };
    let trigger = reset.trigger.map_or_else(
        || "a segment".to_owned(),
        |trigger| format!("a segment [{}] seq {} ack {}", trigger.flags.letters(), trigger.seq, trigger.ack),
    );
    evidence("answer_to_segment", points_to, Strength::Proof, format!("{trigger} met {socket}"))
}

/// What kind of code built a RST that was sent, by its header.
pub fn sent_shape(wire: &Wire, points_to: OriginKind) -> Evidence {
    let rst = &wire.rst;
    let options = if rst.options.is_empty() { "no" } else { "with" };
    let detail = format!("flags {}, window {}, {options} TCP options", rst.flags.letters(), rst.window);
    evidence("sent_shape", points_to, Strength::Strong, detail)
}

/// The kernel's own name for the reason (`enum sk_rst_reason`, complete since Linux 6.12). It names
/// the code path, not a person.
pub fn kernel_reason(reset: &Reset, points_to: OriginKind) -> Option<Evidence> {
    let reason = reset.reason.as_ref()?;
    let name = reason.name.as_deref().filter(|name| *name != "NOT_SPECIFIED")?;
    Some(evidence("kernel_reason", points_to, Strength::Proof, format!("{name} ({})", reason.code)))
}

/// Payload lay unread when the owner closed (RFC 2525, section 2.17; `__tcp_close()`).
pub fn unread_data(reset: &Reset) -> Option<Evidence> {
    let unread = reset.tcp.as_ref()?.unread_bytes;
    (unread > 0).then(|| evidence("unread_data", OriginKind::LocalProcess, Strength::Proof, format!("{unread} bytes not read at close")))
}

/// `SO_LINGER` with a timeout of zero turns close() into an abort.
pub fn linger_zero(reset: &Reset) -> Option<Evidence> {
    reset
        .socket
        .as_ref()
        .filter(|socket| socket.linger_zero)
        .map(|_| evidence("linger_zero", OriginKind::LocalProcess, Strength::Proof, "SO_LINGER {on, 0} was set on the socket"))
}

/// The RST went out in the context of the task that closed.
pub fn closed_by(reset: &Reset) -> Option<Evidence> {
    if let Some((task, maker)) = reset.foreign_closer() {
        let detail = format!(
            "closed in the context of {} (pid {}) of user {}, while user {maker} made the socket: its descriptor was handed on, perhaps to \
             a process that never took it",
            task.comm, task.pid, task.uid
        );
        return Some(evidence("closing_task", OriginKind::LocalProcess, Strength::Weak, detail));
    }
    reset.closer().map(|task| {
        evidence(
            "closing_task",
            OriginKind::LocalProcess,
            Strength::Strong,
            format!("closed in the context of {} (pid {})", task.comm, task.pid),
        )
    })
}

/// The processes that hold the socket: several, as after fork(2), or others than the one that shut
/// it down.
pub fn shared_socket(reset: &Reset) -> Option<Evidence> {
    let holders: Vec<String> = reset.shared_by.iter().map(|facts| format!("{} (pid {})", facts.executable_name, facts.pid)).collect();
    let detail = format!("held by {} when it was looked for: {}", holders.len(), holders.join(", "));
    (!holders.is_empty()).then(|| evidence("shared_socket", OriginKind::Unknown, Strength::Weak, detail))
}

/// Who connected, where another process destroyed the socket.
pub fn destroyed_owner(reset: &Reset) -> Option<Evidence> {
    let destroyer = reset.destroyer()?;
    let (owner, _) = reset.remembered.as_ref().filter(|(task, _)| task.pid != destroyer.pid)?;
    let detail = format!(
        "the connection was that of {} (pid {}); {} (pid {}) had it destroyed",
        owner.comm, owner.pid, destroyer.comm, destroyer.pid
    );
    Some(evidence("destroyed_by", OriginKind::LocalHost, Strength::Proof, detail))
}

/// The peer's FIN had been processed: it had already finished its half.
pub fn fin_received(reset: &Reset) -> Option<Evidence> {
    reset
        .socket
        .as_ref()
        .filter(|socket| socket.fin_received)
        .map(|_| evidence("fin_received", OriginKind::RemotePeer, Strength::Strong, "the peer's FIN had arrived before the reset"))
}

/// This host's FIN was out: it had already finished its half.
pub fn fin_sent(reset: &Reset) -> Option<Evidence> {
    reset.state.filter(|state| state.fin_sent()).map(|state| {
        evidence(
            "fin_sent",
            OriginKind::LocalProcess,
            Strength::Strong,
            format!("this host had closed before the reset, the socket was in {}", state.name()),
        )
    })
}

/// The peer spoke a moment before this host's owner closed: what an orderly close over AMQP looks
/// like from outside.
pub fn peer_spoke_just_before(reset: &Reset) -> Option<Evidence> {
    let since = reset.tcp.as_ref()?.since_received?;
    Some(evidence(
        "peer_spoke_just_before",
        OriginKind::LocalProcess,
        Strength::Weak,
        format!("payload from the peer {} ms before the close", since.as_millis()),
    ))
}

/// How long the peer was silent before the reset. Long silence fits an idle timeout, and much else.
pub fn silence(reset: &Reset) -> Option<Evidence> {
    let heard = reset.tcp.as_ref()?.since_heard?;
    (heard.as_secs() >= 30).then(|| {
        evidence(
            "silence",
            OriginKind::Unknown,
            Strength::Weak,
            format!("nothing heard from the peer for {} s before the reset", heard.as_secs()),
        )
    })
}

/// A RST was accepted by the socket. That is certain, and weak all the same: the tracepoint has no
/// packet, so it does not tell who made it.
pub fn accepted_rst(reset: &Reset) -> Evidence {
    let state = reset.state.map_or("an unrecorded state", TcpState::name);
    evidence("accepted_rst", OriginKind::Unknown, Strength::Weak, format!("tcp_reset() ended a socket in {state}"))
}

/// The owner was ending, by a signal or by itself, when its socket was closed (`PF_EXITING` and
/// `exit_code` of the task).
pub fn owner_ended(reset: &Reset) -> Option<Evidence> {
    let end = reset.owner_end()?;
    let owner = reset.holder().map_or_else(String::new, |task| format!("{} (pid {})", task.comm, task.pid));
    let how = match (end.signal, end.code) {
        (Some(number), _) if end.oom => format!("was killed by the out-of-memory killer ({})", signal::name(number)),
        (Some(number), _) => format!("was ended by {}", signal::name(number)),
        (None, code) => format!("exited with status {}", code.unwrap_or(0)),
    };
    let by = end.sent_by.as_ref().map_or_else(String::new, |(pid, name)| format!(", sent by {name} (pid {pid})"));
    let before = reset.boottime_ns.saturating_sub(end.at_ns) / 1_000_000;
    Some(evidence("owner_ended", OriginKind::LocalProcess, Strength::Proof, format!("{owner} {how}{by}, {before} ms before the RST")))
}

/// The configuration says that the peer address is a load balancer or proxy. It can be out of date.
pub fn configured_middlebox(peer: IpAddr, name: &str) -> Evidence {
    evidence("configured_middlebox", OriginKind::Middlebox, Strength::Strong, format!("{peer} is {name}, by --middlebox"))
}

/// A socket of this host sent a RST to this end under another address than the peer has. Proof of
/// who sent it; it can mislead only where two network namespaces use the same address and port
/// within the same 20 ms.
pub fn local_sender(reset: &Reset) -> Option<Evidence> {
    let sender = reset.sender.as_deref()?;
    let to = if sender.task.is_some() { OriginKind::LocalProcess } else { OriginKind::LocalHost };
    let (who, peer) = (answering(sender), reset.tuple.peer);
    let detail = if sender.end == peer {
        format!("{who} holds a socket with the address of {peer} on this host, and the RST was sent there")
    } else {
        format!(
            "{who}, a socket of this host at {}, sent a RST to {} within {} us of the one of {peer}: this host translates one into the other",
            sender.end,
            reset.tuple.local,
            sender.apart.as_micros(),
        )
    };
    Some(evidence("local_sender", to, Strength::Proof, detail))
}

/// Who answers on this host in the name of a peer.
pub fn answering(sender: &LocalSender) -> String {
    match (&sender.process, &sender.task) {
        (Some(facts), _) => format!("{} (pid {})", facts.executable_name, facts.pid),
        (None, Some(task)) => format!("{} (pid {})", task.comm, task.pid),
        (None, None) => format!("a socket at {}", sender.end),
    }
}

/// The RST came over the loopback interface, by which nothing comes from outside.
pub fn over_loopback(reset: &Reset) -> Option<Evidence> {
    let detail = format!("the RST came over lo, and {} is no address of this host: it is redirected here", reset.tuple.peer.ip());
    reset.came_over_loopback().then(|| evidence("over_loopback", OriginKind::LocalHost, Strength::Proof, detail))
}

/// The other end of the connection is on this host too, and the reset was seen there as well. Proof
/// of who sent it; it can mislead only where two network namespaces use the same addresses and
/// ports within the same 20 ms.
pub fn pair(reset: &Reset, sender: OriginKind) -> Option<Evidence> {
    let pair = reset.pair.as_ref()?;
    let owner = pair.process.as_ref().map_or_else(|| "an unknown process".to_owned(), |(pid, name, _)| format!("{name} (pid {pid})"));
    let what = match pair.direction {
        Direction::Sent => "was sent there",
        Direction::Received => "arrived there",
    };
    Some(evidence(
        "pair",
        sender,
        Strength::Proof,
        format!("the other end is on this host, owned by {owner}; the RST {what} (event {})", pair.id),
    ))
}
