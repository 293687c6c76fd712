//! A conversation into `amqp` or `tls` of the line.

use super::milliseconds;
use crate::{
    amqp::{ChannelClose, Close, Phase, Protocol, Side},
    event::{Amqp, AmqpChannelClose, AmqpClose, AmqpPhase, AmqpRole, NetworkProtocol, Tls, TlsStage},
    flow::Reset,
    model::Role,
};

/// `network.protocol`.
pub(super) fn protocol(reset: &Reset) -> Option<NetworkProtocol> {
    let (name, version) = match reset.amqp.as_deref()?.protocol {
        Protocol::Amqp091 => ("amqp", Some("0-9-1")),
        Protocol::Amqp10 => ("amqp", Some("1.0")),
        Protocol::AmqpOther => ("amqp", None),
        Protocol::Tls => ("tls", None),
        Protocol::Http => ("http", None),
        Protocol::Proxy1 => ("proxy", Some("1")),
        Protocol::Proxy2 => ("proxy", Some("2")),
        Protocol::Mqtt => ("mqtt", None),
        Protocol::Stomp => ("stomp", None),
        Protocol::Other => return None,
    };
    Some(NetworkProtocol { name: name.into(), version: version.map(Into::into) })
}

/// `amqp`, where AMQP was spoken in the clear.
pub(super) fn amqp(reset: &Reset) -> Option<Amqp> {
    let conversation = reset.amqp.as_deref()?;
    let version = match conversation.protocol {
        Protocol::Amqp091 => "0-9-1",
        Protocol::Amqp10 => "1.0",
        _ => return None,
    };
    let heard = conversation.last_heartbeat;
    Some(Amqp {
        version: version.into(),
        role: role(reset.role),
        phase: conversation.phase.map(phase),
        heartbeat_s: conversation.heartbeat,
        vhost: conversation.vhost.clone(),
        blocked: conversation.blocked.map(|blocked| blocked.still),
        close: conversation.close.as_ref().map(|it| close(it, reset.role)),
        channel_close: conversation.channel_close.as_ref().map(|it| channel_close(it, reset.role)),
        last_heartbeat_ms: heard.local.into_iter().chain(heard.peer).min().map(milliseconds),
    })
}

/// `tls`, where it was TLS.
pub(super) fn tls(reset: &Reset) -> Option<Tls> {
    let conversation = reset.amqp.as_deref()?;
    let seen = conversation.tls?;
    let stage = match seen {
        seen if seen.application_data => TlsStage::ApplicationData,
        seen if seen.server_hello => TlsStage::Handshake,
        _ => TlsStage::ClientHello,
    };
    // A record of application data may be an alert of TLS 1.3: then only the sight of one says
    // something.
    let alert = |seen_one: bool, followed: bool| {
        if seen_one { Some(true) } else { (followed && stage != TlsStage::ApplicationData).then_some(false) }
    };
    Some(Tls {
        stage,
        alert_sent: alert(seen.alert_from_local, conversation.followed_local),
        alert_received: alert(seen.alert_from_peer, conversation.followed_peer),
    })
}

fn close(close: &Close, local: Role) -> AmqpClose {
    AmqpClose { from: end(close.from, local), code: close.code, text: text(&close.text) }
}

fn channel_close(close: &ChannelClose, local: Role) -> AmqpChannelClose {
    AmqpChannelClose { from: end(close.from, local), code: close.code, text: text(&close.text), channel: Some(close.channel) }
}

fn end(side: Side, local: Role) -> AmqpRole {
    match side {
        Side::Local => role(local),
        Side::Peer => role(local.other()),
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

const fn role(role: Role) -> AmqpRole {
    match role {
        Role::Broker => AmqpRole::Broker,
        Role::Client => AmqpRole::Client,
    }
}

const fn phase(phase: Phase) -> AmqpPhase {
    match phase {
        Phase::Header => AmqpPhase::Header,
        Phase::Start => AmqpPhase::Start,
        Phase::StartOk => AmqpPhase::Authentication,
        Phase::Tune => AmqpPhase::Tune,
        Phase::TuneOk | Phase::Opening => AmqpPhase::Opening,
        Phase::Open => AmqpPhase::Open,
        Phase::Closing => AmqpPhase::Closing,
        Phase::Closed => AmqpPhase::Closed,
    }
}
