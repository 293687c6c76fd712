//! What an AMQP conversation gave away before its connection was reset: plain values, bounded,
//! without credentials or content.
//!
//! The live tap and a capture file fill the same values. What could not be followed is absent,
//! never guessed.

mod direction;
mod follow;
mod frame;
mod method;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod unit;

use std::time::Duration;

use rstblame_abi::conversation::protocol;

pub use direction::Chunk;
pub use follow::Follower;

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This host's end.
    Local,
    /// The other.
    Peer,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Local => Self::Peer,
            Self::Peer => Self::Local,
        }
    }
}

/// What an end speaks, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `AMQP 0 0 9 1` (AMQP 0-9-1, section 4.2.2).
    Amqp091,
    /// `AMQP 0|2|3 1 0 0` (OASIS AMQP 1.0, section 2.2).
    Amqp10,
    /// A TLS record (RFC 8446, section 5.1).
    Tls,
    /// `AMQP` and another version.
    AmqpOther,
    /// HTTP/1, or the preface of HTTP/2.
    Http,
    /// The text header of the PROXY protocol (HAProxy, The PROXY protocol, section 2.1).
    Proxy1,
    /// Its binary header (section 2.2).
    Proxy2,
    /// `CONNECT` of MQTT 3.1 to 5.
    Mqtt,
    /// `CONNECT` or `STOMP` of STOMP.
    Stomp,
    /// Bytes, but none of these, or too few of them to tell.
    Other,
}

impl Protocol {
    /// What eight first bytes are that begin neither a frame nor a TLS record, by
    /// [`first_bytes`](rstblame_abi::conversation::first_bytes).
    pub(crate) const fn of_first_bytes(class: u8) -> Option<Self> {
        match class {
            protocol::AMQP_091 => Some(Self::Amqp091),
            protocol::AMQP_10 => Some(Self::Amqp10),
            protocol::TLS => Some(Self::Tls),
            protocol::AMQP_OTHER => Some(Self::AmqpOther),
            protocol::HTTP => Some(Self::Http),
            protocol::PROXY_1 => Some(Self::Proxy1),
            protocol::PROXY_2 => Some(Self::Proxy2),
            protocol::MQTT => Some(Self::Mqtt),
            protocol::STOMP => Some(Self::Stomp),
            protocol::OTHER => Some(Self::Other),
            _ => None,
        }
    }

    /// Whether more than its first bytes is followed.
    pub const fn is_followed(self) -> bool {
        matches!(self, Self::Amqp091 | Self::Tls)
    }
}

/// How far an AMQP 0-9-1 connection had come, in the order of the handshake (AMQP 0-9-1, section
/// 2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The client's protocol header was sent.
    Header,
    /// `connection.start` was sent.
    Start,
    /// `connection.start-ok` (or `secure`, `secure-ok`) was sent: credentials are being checked.
    StartOk,
    /// `connection.tune` was sent.
    Tune,
    /// `connection.tune-ok` was sent.
    TuneOk,
    /// `connection.open` was sent.
    Opening,
    /// `connection.open-ok` was sent.
    Open,
    /// `connection.close` was sent by either end.
    Closing,
    /// `connection.close-ok` was sent: AMQP is done with this connection.
    Closed,
}

impl Phase {
    /// This phase, where it can be told: one before `open` of a connection of which a part of the
    /// handshake went by unseen (`lost`) may be over.
    pub(crate) fn reached(self, lost: bool) -> Option<Self> {
        (!lost || self >= Self::Open).then_some(self)
    }
}

/// `connection.close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub from: Side,
    /// `reply-code`.
    pub code: u16,
    /// `reply-text`, invalid UTF-8 replaced; cut after 127 bytes.
    pub text: String,
    /// The method that failed, as class and method id; `None` when the close was not about one
    /// (both zero).
    pub method: Option<(u16, u16)>,
    /// How long before the reset.
    pub before: Duration,
}

/// `channel.close` that names an error. It ends a channel and no connection; what its client does
/// next may end that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelClose {
    pub from: Side,
    pub channel: u16,
    /// `reply-code`; neither 0 nor 200.
    pub code: u16,
    /// `reply-text`, invalid UTF-8 replaced; cut after 127 bytes.
    pub text: String,
    /// The method that failed, as class and method id; `None` when the close was not about one
    /// (both zero).
    pub method: Option<(u16, u16)>,
    /// How long before the reset.
    pub before: Duration,
}

/// A `connection.blocked` that may have been lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Since the latest `connection.blocked` or `connection.unblocked`.
    pub before: Duration,
    /// No `connection.unblocked` came after it.
    pub still: bool,
}

/// What was seen of TLS, by record type alone: the rest is encrypted.
#[expect(clippy::struct_excessive_bools, reason = "independent sightings on the wire")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub client_hello: bool,
    pub server_hello: bool,
    /// A record of application data, or of anything that TLS 1.3 hides as such.
    pub application_data: bool,
    /// An alert in a record that says so: up to TLS 1.2, or before keys exist. TLS 1.3 hides its
    /// `close_notify`.
    pub alert_from_local: bool,
    pub alert_from_peer: bool,
}

/// How long before the reset each end last did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSeen {
    pub local: Option<Duration>,
    pub peer: Option<Duration>,
}

/// One conversation, as far as it could be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// What the client speaks; the broker, where the client's first bytes were not seen.
    pub protocol: Protocol,
    /// What the broker's first bytes say, where they do not belong to what the client speaks: it
    /// was refused by the header or the alert of what is spoken there, or by something that is no
    /// broker.
    pub answer: Option<Protocol>,
    /// Of AMQP 0-9-1 only.
    pub phase: Option<Phase>,
    /// Seconds in `connection.tune`: the broker's proposal.
    pub heartbeat_offered: Option<u16>,
    /// Seconds in `connection.tune-ok`: what was agreed on; 0 is off.
    pub heartbeat: Option<u16>,
    /// Of `connection.open`; cut after 63 bytes.
    pub vhost: Option<String>,
    pub blocked: Option<Blocked>,
    /// The first one.
    pub close: Option<Close>,
    /// The broker's last one; the client's, where the broker has sent none.
    pub channel_close: Option<ChannelClose>,
    /// Heartbeat frames.
    pub last_heartbeat: LastSeen,
    /// Payload of any kind.
    pub last_payload: LastSeen,
    /// Only with [`Protocol::Tls`].
    pub tls: Option<Tls>,
    /// Frames of this host's end were followed up to the reset: what it is not said to have sent,
    /// it did not send.
    pub followed_local: bool,
    /// The same of the peer's end.
    pub followed_peer: bool,
}

impl Conversation {
    /// The connection was open, and neither end is known to have sent `connection.close`.
    pub fn is_open(&self) -> bool {
        self.phase == Some(Phase::Open) && self.close.is_none()
    }

    /// It was open, and this end took no leave: it sent no `connection.close`, and answered none.
    /// Where it was not followed to its end that is not known.
    pub fn left_open_by(&self, side: Side) -> bool {
        let followed = match side {
            Side::Local => self.followed_local,
            Side::Peer => self.followed_peer,
        };
        self.is_open() && followed
    }

    /// An end had sent `connection.close`, for whatever reason.
    pub fn was_closed(&self) -> bool {
        self.close.is_some() || self.phase == Some(Phase::Closed)
    }

    /// A conversation of which only the protocol is known.
    pub const fn of(protocol: Protocol) -> Self {
        Self {
            protocol,
            answer: None,
            phase: None,
            heartbeat_offered: None,
            heartbeat: None,
            vhost: None,
            blocked: None,
            close: None,
            channel_close: None,
            last_heartbeat: LastSeen { local: None, peer: None },
            last_payload: LastSeen { local: None, peer: None },
            tls: None,
            followed_local: false,
            followed_peer: false,
        }
    }
}
