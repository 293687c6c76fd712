//! Verdicts in a few words: for lines that must be short, and for sentences about many connections.

use std::fmt::Write as _;

use crate::{
    event::{AmqpRole, ResetEvent},
    model::{CauseId, Effect, OriginKind, Role},
};

/// What a line means for whoever owned the connection, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A connection that was open is gone.
    Lost,
    /// A connection did not come to be: it was refused.
    Refused,
    /// It did not come to be: its handshake ended early.
    Aborted,
    /// It did not come to be: nothing answered.
    Unanswered,
    /// Nothing of this host's was lost.
    Harmless,
}

impl Outcome {
    /// Of an effect.
    pub const fn of(effect: Effect) -> Self {
        match effect {
            Effect::ConnectionReset | Effect::ClosedWithoutAmqpClose | Effect::TimedOut => Self::Lost,
            Effect::ConnectionRefused => Self::Refused,
            Effect::HandshakeAborted => Self::Aborted,
            Effect::ConnectTimedOut => Self::Unanswered,
            Effect::Ignored | Effect::Answered => Self::Harmless,
        }
    }

    /// What connections were: "were ...".
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Aborted => "broken off in the handshake",
            Self::Unanswered => "not answered",
            Self::Harmless => "touched without harm",
        }
    }
}

/// Which end this host is: by what AMQP said, else by the sentence of the line, which names the
/// client first.
pub fn role(event: &ResetEvent) -> Role {
    match event.amqp.as_ref().map(|amqp| amqp.role) {
        Some(AmqpRole::Client) => return Role::Client,
        Some(AmqpRole::Broker) => return Role::Broker,
        None => {}
    }
    let local = std::net::SocketAddr::new(event.network.local.address, event.network.local.port).to_string();
    let first = event.message.split([' ', ',']).next().unwrap_or_default();
    if first == local { Role::Client } else { Role::Broker }
}

/// How long the connection had been silent, milliseconds, where that is known.
pub fn silence_ms(event: &ResetEvent) -> Option<u64> {
    let told = event.first_act.as_ref().and_then(|first| first.silence_ms);
    let tcp = event.tcp.as_ref();
    told.or_else(|| event.pattern.iter().find_map(|pattern| pattern.idle_ms)).or_else(|| tcp?.idle_ms).or_else(|| tcp?.last_received_ms)
}

/// The negotiated heartbeat, seconds; 0: off.
pub fn heartbeat_s(event: &ResetEvent) -> Option<u16> {
    event.amqp.as_ref()?.heartbeat_s
}

/// A length of time: `350 ms`, `35.2 s`, `350 s`, `2 h 5 min`.
pub fn length(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..100_000 if !milliseconds.is_multiple_of(1_000) => {
            format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100)
        }
        1_000..600_000 => format!("{} s", milliseconds / 1_000),
        600_000..7_200_000 => format!("{} min", milliseconds / 60_000),
        7_200_000..172_800_000 => match (milliseconds / 3_600_000, milliseconds / 60_000 % 60) {
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        },
        _ => format!("{} days", milliseconds / 86_400_000),
    }
}

/// `1 connection`, `41 connections`.
pub fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Who sent it, without articles: for one line.
pub fn sender(event: &ResetEvent) -> String {
    let origin = &event.origin;
    let mut text = match origin.kind {
        OriginKind::LocalProcess => "process here".to_owned(),
        OriginKind::LocalHost => "kernel here".to_owned(),
        OriginKind::RemotePeer => "peer".to_owned(),
        OriginKind::Middlebox => "middlebox".to_owned(),
        OriginKind::Unknown => return "sender not known".to_owned(),
    };
    if let OriginKind::Middlebox = origin.kind {
        if let Some(name) = &origin.name {
            let _infallible = write!(text, " {name}");
        } else if let Some(address) = origin.address {
            let _infallible = write!(text, " {address}");
        }
        if let Some(hops) = origin.hops.filter(|hops| *hops > 0) {
            let _infallible = write!(text, ", {}", count(u64::from(hops), "hop"));
        }
    }
    if let Some(confidence) = origin.confidence {
        let _infallible = write!(text, " {}%", percent(confidence));
    }
    text
}

/// A probability for people: never rounded up to certainty.
pub fn percent(confidence: f64) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped to 0 to 99")]
    let percent = (confidence * 100.0).round().clamp(0.0, 99.0) as u8;
    percent
}

/// Why, in as few words as a headline has room for.
pub fn cause(event: &ResetEvent) -> String {
    let exit = event.process.as_ref().and_then(|process| process.exit.as_ref());
    let signal = exit.and_then(|exit| exit.signal.as_deref());
    let after = |what: &str| silence_ms(event).map_or_else(|| what.to_owned(), |silence| format!("{what} after {}", length(silence)));
    match event.cause.id {
        CauseId::RoutineClose => "routine close".to_owned(),
        CauseId::CloseWithUnreadData => match event.tcp.as_ref().and_then(|tcp| tcp.unread_bytes) {
            Some(unread) if unread > 0 => format!("closed with {} unread", count(u64::from(unread), "byte")),
            _ => "closed with bytes unread".to_owned(),
        },
        CauseId::LingerAbort => "aborted by SO_LINGER 0".to_owned(),
        CauseId::ProcessKilled if exit.is_some_and(|exit| exit.oom == Some(true)) => "killed: out of memory".to_owned(),
        CauseId::ProcessKilled => signal.map_or_else(|| "killed".to_owned(), |signal| format!("killed by {signal}")),
        CauseId::ProcessCrashed => signal.map_or_else(|| "crashed".to_owned(), |signal| format!("crashed by {signal}")),
        CauseId::ProcessExited => "exited".to_owned(),
        CauseId::HeartbeatTimeout => after("heartbeats missed"),
        CauseId::BrokerShutdown => "broker shut down".to_owned(),
        CauseId::BrokerResourceAlarm => "broker's resource alarm".to_owned(),
        CauseId::ForcedClose => {
            let code = event.amqp.as_ref().and_then(|amqp| amqp.close.as_ref()).map(|close| close.code);
            code.map_or_else(|| "closed by force".to_owned(), |code| format!("closed by force, {code}"))
        }
        CauseId::KeepaliveTimeout => "keepalive not answered".to_owned(),
        CauseId::SocketDestroyed => "socket destroyed".to_owned(),
        CauseId::OutOfMemory => "kernel out of memory".to_owned(),
        CauseId::DataAfterClose => "data after close".to_owned(),
        CauseId::NoListener => "nothing listens there".to_owned(),
        CauseId::StaleConnection => "connection not known".to_owned(),
        CauseId::ListenOverflow => "listen queue full".to_owned(),
        CauseId::FirewallReject => "firewall reject".to_owned(),
        CauseId::HandshakeAborted => "handshake broken off".to_owned(),
        CauseId::IdleTimeout if heartbeat_s(event) == Some(0) => format!("{}, heartbeats off", after("idle timeout")),
        CauseId::IdleTimeout => after("idle timeout"),
        CauseId::StateLost => "state lost".to_owned(),
        CauseId::Injected => "injected".to_owned(),
        CauseId::PeerAborted => "aborted".to_owned(),
        CauseId::PeerGone if is_here(event.origin.kind) => "passed on, the other end gone".to_owned(),
        CauseId::PeerGone => "gone".to_owned(),
        CauseId::ClosedWithoutAmqpClose => "no AMQP close".to_owned(),
        CauseId::TimedOut => after("no answer"),
        CauseId::Refused => "refused".to_owned(),
        CauseId::WrongProtocol => "wrong protocol".to_owned(),
        CauseId::NatBypassed => "translation bypassed".to_owned(),
        CauseId::TupleCollision => "address and port used twice".to_owned(),
        CauseId::Unknown => "cause not known".to_owned(),
    }
}

/// Whether it is this host.
const fn is_here(origin: OriginKind) -> bool {
    matches!(origin, OriginKind::LocalProcess | OriginKind::LocalHost)
}

/// Why, as a clause about several connections (`them`) or one (`it`), `who` being the sender.
pub fn clause(cause: CauseId, origin: OriginKind, who: &str, detail: &str, them: &str) -> String {
    let was = |what: &str| if detail.is_empty() { format!("{who} {what}") } else { format!("{who} {what} ({detail})") };
    match cause {
        CauseId::RoutineClose => format!("{who} closed {them} as usual"),
        CauseId::CloseWithUnreadData => format!("{who} closed {them} before it had read all that had arrived"),
        CauseId::LingerAbort => format!("{who} aborted {them} by SO_LINGER with a time of 0"),
        CauseId::ProcessKilled => was("was killed"),
        CauseId::ProcessCrashed => was("crashed"),
        CauseId::ProcessExited => was("exited without closing"),
        CauseId::HeartbeatTimeout => format!("{who} gave {them} up: heartbeats did not come"),
        CauseId::BrokerShutdown => "the broker shut down".to_owned(),
        CauseId::BrokerResourceAlarm => "the broker had a resource alarm (memory or disk)".to_owned(),
        CauseId::ForcedClose if !detail.is_empty() => detail.to_owned(),
        CauseId::ForcedClose => format!("{who} closed {them} by force"),
        CauseId::KeepaliveTimeout => "TCP keepalive was not answered".to_owned(),
        CauseId::SocketDestroyed => format!("{who} destroyed the socket from outside its owner"),
        CauseId::OutOfMemory => format!("{who} had no memory left for TCP"),
        CauseId::DataAfterClose => format!("data came after {who} had closed"),
        CauseId::NoListener => "nothing listened on the port".to_owned(),
        CauseId::StaleConnection => format!("{who} did not know {them} any more"),
        CauseId::ListenOverflow => format!("{who} had its listen queue full"),
        CauseId::FirewallReject => "a firewall rule rejected what was sent".to_owned(),
        CauseId::HandshakeAborted => format!("{who} broke the handshake off"),
        CauseId::IdleTimeout => format!("{who} cut {them} by an idle timeout"),
        CauseId::StateLost => format!("{who} no longer knew {them}"),
        CauseId::Injected => format!("{who} injected a RST"),
        CauseId::PeerAborted => format!("{who} aborted {them}"),
        // It only passed on, or found, what the other end had done.
        CauseId::PeerGone if is_here(origin) => format!("the other end had gone, which {who} passed on"),
        CauseId::PeerGone => format!("{who} went away, or no longer had {them}"),
        CauseId::ClosedWithoutAmqpClose => format!("{who} closed TCP without closing AMQP"),
        CauseId::TimedOut if is_here(origin) => format!("nothing answered any more, and {who} gave {them} up"),
        CauseId::TimedOut => format!("{who} did not answer any more"),
        CauseId::Refused => format!("{who} refused {them}"),
        CauseId::WrongProtocol => "the client did not speak what the port expects".to_owned(),
        CauseId::NatBypassed => "a segment went past the translation of its addresses".to_owned(),
        CauseId::TupleCollision => "another connection had the same addresses and ports".to_owned(),
        CauseId::Unknown => format!("{who} sent the RST; why is not known"),
    }
}
