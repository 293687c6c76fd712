//! The conversation of a reset, in the words of its roles.

use std::{fmt, time::Duration};

use rstblame_abi::conversation::is_success;

use super::Facts;
use crate::{
    amqp::{Close, Conversation, Phase, Protocol, Side},
    attribution::evidence::evidence,
    flow::Reset,
    model::{Evidence, OriginKind, Role, Strength, TcpState, Text},
};

impl<'a> Facts<'a> {
    /// What was seen of the conversation.
    pub(super) fn conversation(&self) -> Option<&'a Conversation> {
        self.reset.amqp.as_deref()
    }

    /// The side that the broker is on.
    pub(super) const fn broker(&self) -> Side {
        match self.reset.role {
            Role::Broker => Side::Local,
            Role::Client => Side::Peer,
        }
    }

    /// `the broker` or `the client`.
    pub(super) fn name(&self, side: Side) -> &'static str {
        if side == self.broker() { "the broker" } else { "the client" }
    }

    /// AMQP was taking leave, or had: an end closed it without naming an error.
    pub(super) fn finished_in_order(&self) -> bool {
        self.conversation().is_some_and(|it| match &it.close {
            Some(close) => is_success(close.code),
            None => it.phase == Some(Phase::Closed),
        })
    }

    /// The connection was open, and the peer took no leave: it sent no close, and answered none.
    pub(super) fn abandoned(&self) -> bool {
        self.conversation().is_some_and(|it| it.left_open_by(Side::Peer))
    }

    /// The connection was open, and this host took no leave.
    pub(super) fn left_open(&self) -> bool {
        self.conversation().is_some_and(|it| it.left_open_by(Side::Local))
    }

    /// The AMQP handshake had not come to its end, and nobody had taken leave. A phase is known
    /// only as far as at least one end was followed.
    pub(super) fn unopened(&self) -> bool {
        self.conversation().is_some_and(|it| {
            let followed = it.followed_local || it.followed_peer;
            it.protocol == Protocol::Amqp091 && it.phase.is_some_and(|phase| phase < Phase::Open) && it.close.is_none() && followed
        })
    }

    /// Heartbeats were agreed on that should have come within this silence: it is no idle timeout
    /// then, but somebody missed them.
    pub(super) fn heartbeat_was_due(&self, silence: Duration) -> bool {
        let agreed = self.conversation().and_then(|it| it.heartbeat);
        agreed.is_some_and(|heartbeat| heartbeat > 0 && Duration::from_secs(heartbeat.into()) <= silence)
    }

    /// A FIN of either end had gone by.
    pub(super) fn an_end_left(&self) -> bool {
        let socket = self.reset.socket.as_ref().is_some_and(|socket| socket.fin_received);
        let state = self.reset.state.is_some_and(|state| state.fin_sent() || state == TcpState::CloseWait);
        socket || state || self.reset.wire.as_deref().is_some_and(|wire| wire.sender.fin || wire.receiver.fin)
    }

    /// Not a byte of payload went either way, as far as the socket or a capture of the whole
    /// connection tells.
    pub(super) fn never_spoke(&self) -> bool {
        if self.conversation().is_some() {
            return false;
        }
        if let Some(tcp) = &self.reset.tcp {
            return tcp.bytes_received == 0 && tcp.bytes_sent == 0;
        }
        self.reset.capture.is_some()
            && self
                .reset
                .wire
                .as_deref()
                .is_some_and(|wire| [&wire.sender, &wire.receiver].iter().all(|side| side.bytes == 0 && side.initial_seq.is_some()))
    }

    /// The close, unless it names no error.
    pub(super) fn close_with_error(&self) -> Option<&'a Close> {
        self.conversation()?.close.as_ref().filter(|close| !is_success(close.code))
    }

    /// The error of a channel as evidence.
    pub(super) fn channel_evidence(&self) -> Option<Evidence> {
        let close = self.conversation()?.channel_close.as_ref()?;
        let text = if close.text.is_empty() { String::new() } else { format!(" {:?}", close.text) };
        let method = close.method.map_or_else(String::new, |(class, method)| format!(" about method {class}.{method}"));
        let detail = format!(
            "channel.close {}{text}{method} on channel {} from {}, {} ms before the reset",
            close.code,
            close.channel,
            self.name(close.from),
            close.before.as_millis()
        );
        Some(evidence("amqp_channel_close", points_to(close.from), Strength::Weak, detail))
    }

    /// The close as evidence.
    pub(super) fn close_evidence(&self) -> Option<Evidence> {
        let close = self.conversation()?.close.as_ref()?;
        let text = if close.text.is_empty() { String::new() } else { format!(" {:?}", close.text) };
        let method = close.method.map_or_else(String::new, |(class, method)| format!(" about method {class}.{method}"));
        let detail = format!(
            "connection.close {}{text}{method} from {}, {} ms before the reset",
            close.code,
            self.name(close.from),
            close.before.as_millis()
        );
        Some(evidence("amqp_close", points_to(close.from), Strength::Strong, detail))
    }
}

/// Whom it speaks for that `side` did something.
pub(super) const fn points_to(side: Side) -> OriginKind {
    match side {
        Side::Local => OriginKind::LocalProcess,
        Side::Peer => OriginKind::RemotePeer,
    }
}

/// The owner in a sentence.
pub(super) struct Subject<'a>(Option<(&'a str, u32)>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((name, pid)) => write!(f, "{name} (pid {pid})"),
            None => f.write_str("the owner"),
        }
    }
}

/// The owner, as far as it is known.
pub(super) fn subject(reset: &Reset) -> Subject<'_> {
    let of_process = reset.process.as_ref().map(|(process, _)| (process.executable_name.as_str(), process.pid));
    let of_task = reset.holder().map(|task| (task.comm.as_str(), task.pid));
    Subject(of_process.or(of_task))
}

/// RabbitMQ runs in Erlang's virtual machine.
pub(super) fn owner_is_beam(reset: &Reset) -> bool {
    reset.process.as_ref().is_some_and(|(process, _)| process.executable_name == "beam.smp")
        || reset.holder().is_some_and(|task| task.comm == "beam.smp")
}

/// The text, or the name the specification gives to the code.
pub fn shown(text: &str, name: &'static str) -> Text {
    if text.is_empty() { name.into() } else { format!("{text:?}").into() }
}
