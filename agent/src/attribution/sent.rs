//! RSTs that this host sent: decided by the code path that its kernel took.
//!
//! Linux 6.12 and later name the path (`enum sk_rst_reason`). Older kernels do not; there the socket's own facts stand in for it, with less
//! confidence. The paths and what each looks like are those of net/ipv4/tcp.c, tcp_ipv4.c, tcp_timer.c and tcp_minisocks.c
//! (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).

use std::time::Duration;

use super::{Cause, Origin, Verdict, evidence};
use crate::{
    event::{CauseId, Effect, OriginKind, Severity},
    flow::{Reset, Role, SocketKind, TcpState, Trigger},
    signal,
};

/// RabbitMQ closes a connection a moment after the client's last frame, and every other close of its own (missed heartbeats, handshake timeout)
/// only after seconds of silence: the shortest heartbeat is one second, and it waits for two.
const JUST_BEFORE: Duration = Duration::from_secs(1);

/// Confidence where the kernel names its own code path.
const NAMED: f64 = 0.99;

/// Confidence where the path follows from the socket's facts alone.
const INFERRED: f64 = 0.9;

pub(super) fn attribute(reset: &Reset) -> Verdict {
    if reset.active { active(reset) } else { passive(reset) }
}

/// The code paths behind an active reset.
enum Path {
    UnreadData,
    Linger,
    Linger2,
    ClosedUnaccepted,
    Disconnect,
    DisconnectWithData,
    Destroyed,
    OrphanTimeout,
    Keepalive,
    Memory,
    Multipath(String),
    Unnamed,
}

impl Path {
    fn of(reset: &Reset) -> (Self, f64) {
        let named = match reset.reason_name() {
            Some("TCP_ABORT_ON_CLOSE") => Some(Self::UnreadData),
            Some("TCP_ABORT_ON_LINGER") => Some(Self::Linger2),
            Some("TCP_ABORT_ON_MEMORY") => Some(Self::Memory),
            Some("TCP_KEEPALIVE_TIMEOUT") => Some(Self::Keepalive),
            Some("TCP_DISCONNECT_WITH_DATA") => Some(Self::DisconnectWithData),
            Some("TCP_STATE") => Some(Self::of_tcp_state(reset)),
            Some(name) if name.starts_with("MPTCP_") => Some(Self::Multipath(name.to_owned())),
            _ => None,
        };
        named.map_or_else(|| (Self::inferred(reset), INFERRED), |path| (path, NAMED))
    }

    /// `TCP_STATE` stands for tcp_disconnect(), tcp_abort() and the FIN_WAIT2 timer.
    fn of_tcp_state(reset: &Reset) -> Self {
        let socket = reset.socket.as_ref();
        if !reset.closed_first {
            let orphan = reset.state == Some(TcpState::FinWait2) && socket.is_some_and(|socket| socket.orphan);
            return if orphan { Self::OrphanTimeout } else { Self::Destroyed };
        }
        match socket {
            Some(socket) if !socket.owned => Self::ClosedUnaccepted,
            Some(socket) if socket.linger_zero => Self::Linger,
            Some(_) => Self::Disconnect,
            None => Self::Unnamed,
        }
    }

    /// Kernels before 6.12 give no reason: the order of events in the socket has to do.
    fn inferred(reset: &Reset) -> Self {
        let Some(socket) = &reset.socket else {
            return Self::Unnamed;
        };
        if !reset.closed_first {
            let orphan = reset.state == Some(TcpState::FinWait2) && socket.orphan;
            let heard = reset.tcp.as_ref().and_then(|tcp| tcp.since_heard);
            return match heard {
                _ if orphan => Self::OrphanTimeout,
                // The keepalive timer gives up only on a silent peer; tcp_abort() does not care.
                Some(heard) if socket.keepalive && heard > JUST_BEFORE => Self::Keepalive,
                _ => Self::Unnamed,
            };
        }
        match reset.tcp.as_ref() {
            _ if !socket.owned => Self::ClosedUnaccepted,
            Some(tcp) if tcp.unread_bytes > 0 => Self::UnreadData,
            _ if socket.linger_zero => Self::Linger,
            _ => Self::Unnamed,
        }
    }
}

fn active(reset: &Reset) -> Verdict {
    let (path, sure) = Path::of(reset);
    let who = subject(reset);
    let mut effect = Effect::ConnectionReset;
    let (kind, cause, severity) = match path {
        Path::UnreadData => {
            let unread = reset.tcp.as_ref().map_or(0, |tcp| tcp.unread_bytes);
            let amount = if unread > 0 { format!("{unread} received bytes") } else { "received data".to_owned() };
            (
                OriginKind::LocalProcess,
                Cause::new(CauseId::CloseWithUnreadData, sure, format!("{who} closed the connection with {amount} unread"))
                    .advise("let the program read until the other side has finished, or close the AMQP connection before the socket"),
                Severity::Warning,
            )
        }
        Path::Linger => linger(reset, &who, sure),
        Path::Linger2 => (
            OriginKind::LocalProcess,
            Cause::new(CauseId::LingerAbort, sure, format!("{who} closed with TCP_LINGER2 below zero, which aborts once its FIN is out")),
            Severity::Warning,
        ),
        Path::ClosedUnaccepted => {
            effect = Effect::HandshakeAborted;
            (
                OriginKind::LocalProcess,
                Cause::new(CauseId::HandshakeAborted, sure, format!("{who} closed its listener before it had accepted the connection")),
                Severity::Warning,
            )
        }
        Path::Disconnect => (
            OriginKind::LocalProcess,
            Cause::new(CauseId::LingerAbort, 0.7, format!("{who} disconnected the socket, by connect() to AF_UNSPEC or an equivalent")),
            Severity::Warning,
        ),
        Path::DisconnectWithData => (
            OriginKind::LocalProcess,
            Cause::new(CauseId::LingerAbort, sure, format!("{who} disconnected while data was still to be sent")),
            Severity::Warning,
        ),
        Path::Destroyed => {
            let by =
                reset.actor.as_ref().map_or_else(String::new, |task| format!("; the task on the CPU was {} (pid {})", task.comm, task.pid));
            (
                OriginKind::LocalHost,
                Cause::new(CauseId::SocketDestroyed, sure.min(0.97), format!("the socket was destroyed from outside its owner{by}"))
                    .advise("look for `ss -K`, a service mesh or a network agent that destroys sockets on this host"),
                Severity::Warning,
            )
        }
        Path::OrphanTimeout => (
            OriginKind::LocalHost,
            Cause::new(CauseId::RoutineClose, 0.8, "the owner had closed, and the kernel stopped waiting for the peer's FIN"),
            Severity::Info,
        ),
        Path::Keepalive => {
            let silent = reset
                .tcp
                .as_ref()
                .and_then(|tcp| tcp.since_heard)
                .map_or_else(String::new, |heard| format!(" after {:.1} s without an answer", heard.as_secs_f64()));
            (
                OriginKind::LocalHost,
                Cause::new(CauseId::KeepaliveTimeout, sure, format!("TCP keepalive gave the peer up{silent}"))
                    .advise("the peer or the path to it was dead; look for a host that went down or a firewall that dropped the flow"),
                Severity::Warning,
            )
        }
        Path::Memory => (
            OriginKind::LocalHost,
            Cause::new(CauseId::OutOfMemory, sure, "the kernel ran out of memory or orphans for TCP (tcp_mem, tcp_max_orphans)")
                .advise("compare /proc/net/sockstat with net.ipv4.tcp_mem and net.ipv4.tcp_max_orphans"),
            Severity::Error,
        ),
        Path::Multipath(name) => {
            (OriginKind::LocalHost, Cause::unknown(format!("Multipath TCP reset one of its subflows ({name})")), Severity::Warning)
        }
        Path::Unnamed => unnamed(reset, &who),
    };
    let (cause, severity) = ended_owner(reset, kind).unwrap_or((cause, severity));
    let mut found = vec![evidence::active_reset(reset, kind)];
    found.extend(
        [
            evidence::owner_ended(reset),
            evidence::pair(reset, kind),
            evidence::kernel_reason(reset, kind),
            evidence::unread_data(reset),
            evidence::linger_zero(reset),
            evidence::closed_by(reset),
            evidence::fin_received(reset),
        ]
        .into_iter()
        .flatten(),
    );
    if cause.id == CauseId::RoutineClose {
        found.extend(evidence::peer_spoke_just_before(reset));
    }
    // That the socket was CLOSE already proves the origin even where the path is inferred.
    let sure_of_origin = if reset.closed_first { NAMED } else { sure };
    Verdict { effect, origin: origin_of(kind, sure_of_origin), cause, severity, evidence: found }
}

fn origin_of(kind: OriginKind, sure: f64) -> Origin {
    match kind {
        OriginKind::Unknown => Origin::unknown(&[OriginKind::LocalProcess, OriginKind::LocalHost]),
        settled => Origin::settled(settled, sure),
    }
}

/// The owner did not close: it ended, and the kernel closed for it.
fn ended_owner(reset: &Reset, kind: OriginKind) -> Option<(Cause, Severity)> {
    let end = reset.owner_end().filter(|_| kind == OriginKind::LocalProcess)?;
    let who = subject(reset);
    let Some(number) = end.signal else {
        let status = end.code.unwrap_or(0);
        let cause = Cause::new(CauseId::ProcessExited, NAMED, format!("{who} exited with status {status} and left the connection open"))
            .advise("let the program close its AMQP connection before it exits");
        return Some((cause, Severity::Warning));
    };
    let name = signal::name(number);
    if signal::is_crash(number) {
        let cause = Cause::new(CauseId::ProcessCrashed, NAMED, format!("{who} crashed with {name}"))
            .advise("look for its core dump and its last log lines (coredumpctl, journalctl)");
        return Some((cause, Severity::Error));
    }
    let cause = if end.oom {
        Cause::new(CauseId::ProcessKilled, NAMED, format!("{who} was killed by the out-of-memory killer"))
            .advise("raise the memory limit of its container or unit, or find out what it used the memory for (dmesg | grep -i oom)")
    } else {
        let by = end.sent_by.as_ref().map_or_else(String::new, |(pid, name)| format!(" sent by {name} (pid {pid})"));
        Cause::new(CauseId::ProcessKilled, NAMED, format!("{who} was ended by {name}{by}"))
            .advise("let the program close its connections on SIGTERM, and let whoever stops it wait for that")
    };
    Some((cause, Severity::Error))
}

/// `close()` with `SO_LINGER {on, 0}`. RabbitMQ's listeners set it by default, so that this is how each of its connections ends.
fn linger(reset: &Reset, who: &str, sure: f64) -> (OriginKind, Cause, Severity) {
    let peer_finished = reset.socket.as_ref().is_some_and(|socket| socket.fin_received);
    if peer_finished {
        let summary = format!("{who} closed after the peer had, with SO_LINGER 0");
        return (OriginKind::LocalProcess, Cause::new(CauseId::RoutineClose, 0.95, summary), Severity::Info);
    }
    let rabbitmq = reset.process.as_ref().is_some_and(|(process, _)| process.executable_name == "beam.smp")
        || reset.closer().is_some_and(|task| task.comm == "beam.smp");
    let just_spoken = reset.tcp.as_ref().and_then(|tcp| tcp.since_received).is_some_and(|since| since < JUST_BEFORE);
    if reset.role == Role::Broker && rabbitmq && just_spoken {
        let summary = format!("{who} ended the connection right after the client's last frame; RabbitMQ closes by RST (linger {{true,0}})");
        return (OriginKind::LocalProcess, Cause::new(CauseId::RoutineClose, 0.85, summary), Severity::Info);
    }
    let cause = Cause::new(CauseId::LingerAbort, sure, format!("{who} aborted the connection: it closed with SO_LINGER 0"))
        .advise("if this was not meant, let the program close the AMQP connection first, or turn SO_LINGER off");
    (OriginKind::LocalProcess, cause, Severity::Warning)
}

/// Nothing names the path. That the socket was CLOSE already still proves who acted.
fn unnamed(reset: &Reset, who: &str) -> (OriginKind, Cause, Severity) {
    if reset.closed_first {
        let cause = Cause::unknown(format!("{who} closed the connection by a RST; this kernel does not say why"));
        return (OriginKind::LocalProcess, cause, Severity::Warning);
    }
    let cause = Cause::unknown("this host reset the connection by itself; this kernel does not say why");
    (OriginKind::Unknown, cause, Severity::Warning)
}

fn passive(reset: &Reset) -> Verdict {
    let port = reset.tuple.local.port();
    let opens = reset.trigger.is_some_and(Trigger::opens);
    let mut kind = OriginKind::LocalHost;
    let (effect, cause, severity) = match (reset.reason_name(), reset.socket_kind) {
        (_, SocketKind::None) if opens => (
            Effect::ConnectionRefused,
            Cause::new(CauseId::NoListener, NAMED, format!("nothing listens on port {port} of {}", reset.tuple.local.ip()))
                .advise("start the broker, or correct the address or port the client uses"),
            Severity::Warning,
        ),
        (_, SocketKind::None) if reset.trigger.is_none() => (
            Effect::Answered,
            Cause::unknown("a segment met no socket; whether it asked for a connection or belonged to one cannot be seen on this kernel"),
            Severity::Warning,
        ),
        (_, SocketKind::None) => (
            Effect::Answered,
            Cause::new(CauseId::StaleConnection, 0.97, "a segment arrived for a connection that this host does not have")
                .advise("the peer still believed in the connection: look for a restart, a crash or a destroyed socket on this host before"),
            Severity::Warning,
        ),
        (_, SocketKind::TimeWait) => (
            Effect::Answered,
            Cause::new(CauseId::StaleConnection, 0.97, "a segment arrived for a connection that this host had finished (TIME_WAIT)"),
            Severity::Info,
        ),
        (Some("TCP_ABORT_ON_DATA"), _) => {
            kind = OriginKind::LocalProcess;
            (Effect::ConnectionReset, data_after_close(NAMED), Severity::Warning)
        }
        (Some("INVALID_SYN"), SocketKind::Listener) if !opens => (
            Effect::HandshakeAborted,
            Cause::new(
                CauseId::ListenOverflow,
                0.9,
                format!("the accept queue of port {port} is full (net.ipv4.tcp_abort_on_overflow = 1)"),
            )
            .advise("raise the listener's backlog and net.core.somaxconn, or find out why the broker does not accept"),
            Severity::Warning,
        ),
        (_, SocketKind::Listener) => (
            Effect::Answered,
            Cause::new(
                CauseId::StaleConnection,
                0.9,
                format!("a segment of a connection this host does not have met the listener on port {port}"),
            )
            .advise("the peer still believed in the connection: look for a restart of this host or of the broker before"),
            Severity::Warning,
        ),
        // Without a reason, this is the order that tcp_rcv_state_process() leaves behind: torn down first, then answered.
        (None | Some("NOT_SPECIFIED"), SocketKind::Connection) if reset.closed_first => {
            kind = OriginKind::LocalProcess;
            (Effect::ConnectionReset, data_after_close(INFERRED), Severity::Warning)
        }
        (_, SocketKind::Connection) if reset.state.is_some_and(TcpState::in_handshake) => (
            Effect::HandshakeAborted,
            Cause::new(CauseId::HandshakeAborted, 0.9, "the handshake went wrong: an unacceptable acknowledgement or timestamp"),
            Severity::Warning,
        ),
        _ => (Effect::Answered, Cause::unknown("this kernel answered a segment with a RST"), Severity::Warning),
    };
    let (cause, severity) = ended_owner(reset, kind).unwrap_or((cause, severity));
    let mut found = vec![evidence::passive_reset(reset, kind)];
    found.extend(
        [evidence::owner_ended(reset), evidence::pair(reset, kind), evidence::kernel_reason(reset, kind), evidence::fin_sent(reset)]
            .into_iter()
            .flatten(),
    );
    Verdict { effect, origin: Origin::settled(kind, NAMED), cause, severity, evidence: found }
}

fn data_after_close(sure: f64) -> Cause {
    Cause::new(CauseId::DataAfterClose, sure, "the owner had closed, or shut down reading, and the peer went on sending")
        .advise("close the AMQP connection before the socket, and read until the other side has finished")
}

/// The owner in a sentence.
fn subject(reset: &Reset) -> String {
    let of_process = reset.process.as_ref().map(|(process, _)| (process.executable_name.as_str(), process.pid));
    let of_task = reset.holder().map(|task| (task.comm.as_str(), task.pid));
    match of_process.or(of_task) {
        Some((name, pid)) => format!("{name} (pid {pid})"),
        None => "the owner".to_owned(),
    }
}
