//! Conversations written by their specification (AMQP 0-9-1, sections 1.4 and 4.2), and what they
//! give away.

use proptest::prelude::*;

use crate::{
    amqp::{Blocked, ChannelClose, Close, Conversation, LastSeen, Phase, Protocol, Side},
    model::Role,
};

pub const PASSWORD: &str = "correct horse battery staple";

pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[0xce]].concat()
}

pub fn method(id: u16, arguments: &[u8]) -> Vec<u8> {
    frame(1, 0, &[&10_u16.to_be_bytes()[..], &id.to_be_bytes(), arguments].concat())
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap_or(u8::MAX)][..], text].concat()
}

fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes()[..], text].concat()
}

pub fn start() -> Vec<u8> {
    method(10, &[&[0, 9][..], &long(b""), &long(b"PLAIN AMQPLAIN"), &long(b"en_US")].concat())
}

pub fn start_ok() -> Vec<u8> {
    let response = format!("\0guest\0{PASSWORD}");
    method(11, &[long(b""), short(b"PLAIN"), long(response.as_bytes()), short(b"en_US")].concat())
}

/// `tune` or `tune-ok`.
pub fn tune(id: u16, heartbeat: u16) -> Vec<u8> {
    method(id, &[&2047_u16.to_be_bytes()[..], &131_072_u32.to_be_bytes(), &heartbeat.to_be_bytes()].concat())
}

pub fn open(vhost: &[u8]) -> Vec<u8> {
    method(40, &[&short(vhost)[..], &short(b""), &[0]].concat())
}

pub fn close(code: u16, text: &[u8], (class, id): (u16, u16)) -> Vec<u8> {
    method(50, &[&code.to_be_bytes()[..], &short(text), &class.to_be_bytes(), &id.to_be_bytes()].concat())
}

/// A conversation: who sent what, in order, and what it gives away to the broker's host when all of
/// it happens at one instant.
#[derive(Clone, Debug)]
pub struct Script {
    pub messages: Vec<(Role, Vec<u8>)>,
    pub truth: Conversation,
}

#[derive(Clone, Debug)]
enum Talk {
    /// Of a message with its content header, by either end.
    Publish(bool, Vec<u8>),
    Heartbeat(bool),
    Blocked(bool),
    UpdateSecret,
    /// `channel.close`: who, on which channel, code, text, ids; and its answer.
    ChannelClose(bool, u16, u16, Vec<u8>, (u16, u16)),
}

fn talk() -> impl Strategy<Value = Talk> {
    prop_oneof![
        4 => (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(client, body)| Talk::Publish(client, body)),
        3 => any::<bool>().prop_map(Talk::Heartbeat),
        1 => any::<bool>().prop_map(Talk::Blocked),
        1 => Just(Talk::UpdateSecret),
        2 => channel_close(),
    ]
}

fn channel_close() -> impl Strategy<Value = Talk> {
    let codes = prop_oneof![Just(0_u16), Just(200), Just(406), any::<u16>()];
    let ids = prop_oneof![Just((0, 0)), (1_u16..100, 1_u16..100)];
    (any::<bool>(), 1_u16..=u16::MAX, codes, proptest::collection::vec(any::<u8>(), 0..=255), ids)
        .prop_map(|(client, channel, code, text, ids)| Talk::ChannelClose(client, channel, code, text, ids))
}

type Closing = Option<(bool, u16, Vec<u8>, (u16, u16), bool)>;

fn closing() -> impl Strategy<Value = Closing> {
    let ids = prop_oneof![Just((0, 0)), (1_u16..100, 1_u16..100)];
    proptest::option::of((any::<bool>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..=255), ids, any::<bool>()))
}

/// Any whole conversation.
pub fn script() -> impl Strategy<Value = Script> {
    let vhost = proptest::collection::vec(any::<u8>(), 0..=255);
    (any::<(u16, u16, bool)>(), vhost, proptest::collection::vec(talk(), 0..12), closing())
        .prop_map(|(handshake, vhost, talks, closing)| write(handshake, &vhost, talks, closing))
}

fn write((offered, agreed, challenge): (u16, u16, bool), vhost: &[u8], talks: Vec<Talk>, closing: Closing) -> Script {
    let role = |client: bool| if client { Role::Client } else { Role::Broker };
    let now = Some(std::time::Duration::ZERO);
    let mut messages = vec![(Role::Client, super::HEADER.to_vec()), (Role::Broker, start()), (Role::Client, start_ok())];
    if challenge {
        messages.push((Role::Broker, method(20, &long(b"challenge"))));
        messages.push((Role::Client, method(21, &long(PASSWORD.as_bytes()))));
    }
    messages.push((Role::Broker, tune(30, offered)));
    messages.push((Role::Client, tune(31, agreed)));
    messages.push((Role::Client, open(vhost)));
    messages.push((Role::Broker, method(41, &short(b""))));
    let mut truth = Conversation {
        phase: Some(Phase::Open),
        heartbeat_offered: Some(offered),
        heartbeat: Some(agreed),
        vhost: Some(crate::text::clean_bytes(vhost.get(..63).unwrap_or(vhost))),
        last_payload: LastSeen { local: now, peer: now },
        followed_local: true,
        followed_peer: true,
        ..Conversation::of(Protocol::Amqp091)
    };
    for talk in talks {
        match talk {
            Talk::Publish(client, body) => {
                messages.push((role(client), frame(1, 1, &[0, 60, 0, 40, 0, 0, 0, 0, 0])));
                messages.push((role(client), frame(2, 1, &[0; 14])));
                messages.push((role(client), frame(3, 1, &body)));
            }
            Talk::Heartbeat(client) => {
                messages.push((role(client), frame(8, 0, &[])));
                *(if client { &mut truth.last_heartbeat.peer } else { &mut truth.last_heartbeat.local }) = now;
            }
            Talk::Blocked(still) => {
                messages.push((Role::Broker, if still { method(60, &short(b"low on memory")) } else { method(61, &[]) }));
                truth.blocked = Some(Blocked { before: std::time::Duration::ZERO, still });
            }
            Talk::ChannelClose(client, channel, code, text, ids) => {
                let arguments = [&code.to_be_bytes()[..], &short(&text), &ids.0.to_be_bytes(), &ids.1.to_be_bytes()].concat();
                messages.push((role(client), frame(1, channel, &[&[0, 20, 0, 40][..], &arguments].concat())));
                messages.push((role(!client), frame(1, channel, &[0, 20, 0, 41])));
                let from = if client { Side::Peer } else { Side::Local };
                let told = truth.channel_close.as_ref().is_none_or(|other| other.from == Side::Peer || !client);
                if ![0, 200].contains(&code) && told {
                    truth.channel_close = Some(ChannelClose {
                        from,
                        channel,
                        code,
                        text: crate::text::clean_bytes(text.get(..127).unwrap_or(&text)),
                        method: (ids != (0, 0)).then_some(ids),
                        before: std::time::Duration::ZERO,
                    });
                }
            }
            Talk::UpdateSecret => messages.push((Role::Client, method(70, &[long(PASSWORD.as_bytes()), short(b"expired")].concat()))),
        }
    }
    if let Some((client, code, text, ids, answered)) = closing {
        messages.push((role(client), close(code, &text, ids)));
        truth.phase = Some(Phase::Closing);
        truth.close = Some(Close {
            from: if client { Side::Peer } else { Side::Local },
            code,
            text: crate::text::clean_bytes(text.get(..127).unwrap_or(&text)),
            method: (ids != (0, 0)).then_some(ids),
            before: std::time::Duration::ZERO,
        });
        if answered {
            messages.push((role(!client), method(51, &[])));
            truth.phase = Some(Phase::Closed);
        }
    }
    Script { messages, truth }
}
