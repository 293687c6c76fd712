//! Follows a conversation by the bytes of its segments.
//!
//! # The rules
//!
//! The kernel program keeps the same ones; a test runs the same segments through both. A follower
//! that has less room (frames a segment, bytes carried) may call a direction lost where this one
//! goes on, and says less then, never something else.
//!
//! **A direction** is the payload that one end sends. It is followed from its first byte on, whose
//! sequence number is that of the SYN or SYN-ACK plus one (or the acknowledgement number of the
//! other end's SYN-ACK), or not at all. It consists of units: the client's protocol header, then
//! frames; or TLS records. Two numbers describe where it stands: the sequence number of the unit
//! that is being read, and how many of its first bytes were carried over from earlier segments.
//! Their sum is the byte that is needed next.
//!
//! 1. A segment that ends at or before the byte that is needed is old, or lies within a body, and
//!    is ignored. Of one that begins before it, the part from there on counts. A segment that
//!    begins after it leaves a hole: the direction is *lost*, for good. Nobody looks for the next
//!    frame by guessing.
//! 2. Of a unit, only its first bytes are needed: the head (7 of a frame, 5 of a record); 11 of a
//!    method frame on channel 0; and all of it, with the octet at its end, of the methods whose
//!    size is in the table below; 11 of a method frame on another channel that is as long as
//!    `channel.close` may be, and all of it where it is one. The next unit is as many bytes further
//!    on as the head says. What lies between is not looked at, so that a hole there does no harm.
//! 3. The last octet of a frame is 0xCE. If a segment brings another value there, the direction is
//!    lost, and a frame whose needed bytes were completed by that very segment is not taken. The
//!    octet is looked at when it goes by for the first time only, since TCP keepalives may repeat
//!    the last byte with any value (RFC 1122, section 4.2.3.6). Where it is not needed and was not
//!    captured, it is taken for right.
//! 4. Bytes that are needed and were not captured (a short snapshot length) make the direction
//!    lost.
//!
//! **The protocol** is what the client's first bytes say: the head of a TLS record of type 22, or
//! what [`first_bytes`](rstblame_abi::conversation::first_bytes) takes eight bytes for. As long as
//! there are fewer than eight it is other, but for those that begin with 22 or `A`, which do not
//! tell before the fifth and the eighth. Where the broker's direction is ahead of the client's, its
//! first unit decides: a `connection.start`, or a TLS record of type 22. A direction that
//! contradicts the protocol is lost. Neither direction is followed in what is neither AMQP 0-9-1
//! nor TLS.
//!
//! **The answer** is what the broker's first bytes say where they are no part of that protocol: a
//! TLS record of type 21 to a client that does not speak TLS; or anything but a frame and a TLS
//! record, of which eight bytes are needed. The broker's direction is lost with it. Where a broker
//! begins with a method frame to a client that does not speak AMQP 0-9-1, or with the hello of TLS
//! to one that does not speak that, nothing is told: that client may have, behind a PROXY header.
//!
//! **A frame** has a type, a channel and a size of at most 2^30. There are methods (1) of at least
//! 4 bytes, content headers (2) and bodies (3) on channels other than 0, and heartbeats (8) on
//! channel 0 and without payload. Anything else makes the direction lost. Of methods, those of
//! channel 0 and class 10 count, and on other channels `channel.close` (class 20, method 40; 11
//! bytes and the length of its text), if its code is neither 0 nor 200; all others are skipped.
//!
//! | method | from | size of the payload | what is taken |
//! |---|---|---|---|
//! | `start` 10, `secure` 20 | broker | | phase |
//! | `start-ok` 11, `secure-ok` 21 | client | | phase; not a byte after the method id |
//! | `tune` 30 | broker | 12 | phase, heartbeat offered |
//! | `tune-ok` 31 | client | 12 | phase, heartbeat |
//! | `open` 40 | client | 7 and the lengths of its two strings | phase, vhost (63 bytes) |
//! | `open-ok` 41 | broker | 5 and the length of its string | phase |
//! | `close` 50 | either | 11 and the length of the text | phase, code, text (127 bytes), ids |
//! | `close-ok` 51 | either | 4 | phase |
//! | `blocked` 60 | broker | 5 and the length of its string | time |
//! | `unblocked` 61 | broker | 4 | time |
//!
//! One from the wrong end, or of another size than its arguments have, makes the direction lost.
//! The phase only ever grows. Of values that come twice, the first stands; of `blocked` and
//! `unblocked`, the last, and of `channel.close` the last of each end, of which the broker's is
//! told, if there is one.
//!
//! **A TLS record** has a type from 20 to 24, major version 3, and at most 2^14 + 2048 bytes;
//! anything else makes the direction lost. The first record of type 22 of the client and that of
//! the broker are the hellos; type 21 is an alert, type 23 application data.
//!
//! What would go stale once a direction is lost is not told: when it last sent a heartbeat, that
//! the broker has blocked the connection, and a phase before `open`. A frame on a channel is of an
//! open connection, also where `open-ok` went by unseen.

use std::time::Duration;

use rstblame_abi::conversation::first_bytes;

use super::{
    Blocked, ChannelClose, Close, Conversation, LastSeen, Phase, Protocol, Side, Tls,
    direction::{Chunk, Direction},
    frame::{self, Frame},
    method::{ChannelClose as ChannelClosed, Method},
    tls::{self, Record},
    unit::{Malformed, Parsed},
};
use crate::model::Role;

/// Length of a protocol header (AMQP 0-9-1, section 4.2.2), bytes.
const HEADER: u32 = 8;

/// One value for each end.
#[derive(Clone, Copy, Debug, Default)]
struct Ends<T> {
    client: T,
    broker: T,
}

impl<T> Ends<T> {
    const fn of(&mut self, role: Role) -> &mut T {
        match role {
            Role::Client => &mut self.client,
            Role::Broker => &mut self.broker,
        }
    }

    /// (local, peer).
    fn seen_from(self, local: Role) -> (T, T) {
        match local {
            Role::Client => (self.client, self.broker),
            Role::Broker => (self.broker, self.client),
        }
    }
}

#[derive(Clone, Debug)]
struct CloseSeen {
    from: Role,
    code: u16,
    text: String,
    method: Option<(u16, u16)>,
    time_ns: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct TlsSeen {
    hello: Ends<bool>,
    alert: Ends<bool>,
    application_data: bool,
}

/// What the first bytes of a direction turned out to be, or the next.
enum Unit {
    /// Of the client.
    Header(Protocol),
    /// Of the broker.
    Answer(Protocol),
    /// Of a broker that begins as one of AMQP 0-9-1 does, to a client that does not.
    Contradiction,
    Frame(Frame),
    Record(Record),
}

/// Follows one connection. Its size is fixed but for a vhost and the texts of closes, and the bytes
/// carried from one segment to the next: 525 at most for each direction, and none while nothing is
/// split.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    protocol: Option<Protocol>,
    /// The client began with what is nothing that is followed, and too little of it has come to
    /// tell what.
    begins_otherwise: bool,
    answer: Option<Protocol>,
    /// The broker speaks AMQP 0-9-1 to a client that does not, as far as can be seen: behind a
    /// PROXY header it may.
    contradicted: bool,
    client: Direction,
    broker: Direction,
    phase: Option<Phase>,
    heartbeat_offered: Option<u16>,
    heartbeat: Option<u16>,
    vhost: Option<String>,
    /// When, and whether it was `blocked`.
    blocked: Option<(u64, bool)>,
    close: Option<CloseSeen>,
    channel_close: Ends<Option<(ChannelClosed, u64)>>,
    heartbeat_ns: Ends<Option<u64>>,
    payload_ns: Ends<Option<u64>>,
    tls: TlsSeen,
}

impl Follower {
    /// One end's SYN or SYN-ACK had this sequence number, or the SYN-ACK that answers it
    /// acknowledged the one after it. A client's SYN with another number than before begins another
    /// connection; a broker's contradicts the first, and its direction is lost.
    pub fn open(&mut self, from: Role, syn: u32) {
        let first = syn.wrapping_add(1);
        match (from, self.direction(from).opened_at()) {
            (_, Some(known)) if known == first => {}
            (Role::Client, Some(_)) => {
                *self = Self::default();
                self.client.open(first);
            }
            (Role::Broker, Some(_)) => self.broker.lose(),
            (_, None) => self.direction_mut(from).open(first),
        }
    }

    /// Takes the conversation up in its midst: this segment consists of whole frames, and speaks
    /// AMQP 0-9-1 beyond doubt ([`whole_frames`](super::frame::whole_frames)). Gives back whether
    /// it does. A direction that was followed before, or lost, stays as it is.
    pub fn resume(&mut self, from: Role, chunk: &Chunk) -> bool {
        let whole = u32::try_from(chunk.captured.len()).is_ok_and(|captured| captured == chunk.length);
        if !whole || self.direction(from).opened_at().is_some() || !frame::whole_frames(chunk.captured) {
            return false;
        }
        if *self.protocol.get_or_insert(Protocol::Amqp091) != Protocol::Amqp091 {
            return false;
        }
        self.direction_mut(from).resume(chunk.seq);
        true
    }

    /// What the connection speaks, once that is known.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol.or_else(|| self.begins_otherwise.then_some(Protocol::Other))
    }

    /// Nothing that comes will change what is known, but for another SYN.
    pub fn is_done(&self) -> bool {
        self.protocol.is_some_and(|protocol| !protocol.is_followed()) && !self.broker.followed()
    }

    /// Takes in the payload of one segment, in the order of arrival. Segments without payload may
    /// be left out.
    pub fn segment(&mut self, from: Role, chunk: &Chunk) {
        if chunk.length == 0 {
            return;
        }
        let within = usize::try_from(chunk.length).unwrap_or(usize::MAX).min(chunk.captured.len());
        let chunk = Chunk { captured: chunk.captured.get(..within).unwrap_or_default(), ..*chunk };
        *self.payload_ns.of(from) = Some(chunk.time_ns);
        loop {
            let (protocol, direction) = (self.protocol, self.direction_mut(from));
            let fresh = direction.untouched();
            let Some(unit) = direction.next(&chunk, |bytes| parse(bytes, from, fresh, protocol)) else {
                let first = direction.carried_first().filter(|_| fresh && from == Role::Client);
                self.begins_otherwise |= first.is_some_and(|first| ![b'A', tls::HANDSHAKE].contains(&first));
                return;
            };
            if self.take(from, unit, chunk.time_ns).is_err() {
                self.direction_mut(from).lose();
            }
        }
    }

    /// What is known at this time, on the clock of [`Chunk::time_ns`]; `None` while the protocol is
    /// not. `local`: which end this host is.
    pub fn conversation(&self, at_ns: u64, local: Role) -> Option<Conversation> {
        let before = |time_ns: u64| Duration::from_nanos(at_ns.saturating_sub(time_ns));
        let last_seen = |times: Ends<Option<u64>>| {
            let (local, peer) = times.seen_from(local);
            LastSeen { local: local.map(before), peer: peer.map(before) }
        };
        let protocol = self.protocol().filter(|_| !self.contradicted)?;
        let follows = protocol.is_followed();
        let followed = Ends { client: follows && self.client.followed(), broker: follows && self.broker.followed() };
        let (followed_local, followed_peer) = followed.seen_from(local);
        let side = |role: Role| if role == local { Side::Local } else { Side::Peer };
        Some(Conversation {
            answer: self.answer.filter(|answer| *answer != Protocol::Tls || protocol != Protocol::Tls),
            phase: self.phase.and_then(|phase| phase.reached(self.handshake_unseen())),
            heartbeat_offered: self.heartbeat_offered,
            heartbeat: self.heartbeat,
            vhost: self.vhost.clone(),
            blocked: self
                .blocked
                .filter(|(_, still)| followed.broker || !still)
                .map(|(time_ns, still)| Blocked { before: before(time_ns), still }),
            close: self.close.as_ref().map(|close| Close {
                from: side(close.from),
                code: close.code,
                text: close.text.clone(),
                method: close.method,
                before: before(close.time_ns),
            }),
            channel_close: self.channel_error(at_ns, local),
            last_heartbeat: last_seen(Ends {
                client: self.heartbeat_ns.client.filter(|_| followed.client),
                broker: self.heartbeat_ns.broker.filter(|_| followed.broker),
            }),
            last_payload: last_seen(self.payload_ns),
            tls: (protocol == Protocol::Tls).then(|| self.tls(local)),
            followed_local,
            followed_peer,
            ..Conversation::of(protocol)
        })
    }

    /// A part of what was said went by unseen. A broker that answers something else says nothing
    /// that counts.
    fn handshake_unseen(&self) -> bool {
        self.client.is_lost() || self.answer.is_none() && self.broker.is_lost()
    }

    fn channel_error(&self, at_ns: u64, local: Role) -> Option<ChannelClose> {
        let of = |from, seen: &Option<(ChannelClosed, u64)>| seen.clone().map(|(close, time_ns)| (from, close, time_ns));
        let Ends { client, broker } = &self.channel_close;
        let (from, ChannelClosed { channel, code, text, method }, time_ns) =
            of(Role::Broker, broker).or_else(|| of(Role::Client, client))?;
        let from = if from == local { Side::Local } else { Side::Peer };
        Some(ChannelClose { from, channel, code, text, method, before: Duration::from_nanos(at_ns.saturating_sub(time_ns)) })
    }

    /// Bytes carried over to the next segments.
    #[cfg(test)]
    pub(super) fn carried(&self) -> usize {
        self.client.carried() + self.broker.carried()
    }

    fn tls(&self, local: Role) -> Tls {
        let (alert_from_local, alert_from_peer) = self.tls.alert.seen_from(local);
        let TlsSeen { hello, application_data, .. } = self.tls;
        Tls { client_hello: hello.client, server_hello: hello.broker, application_data, alert_from_local, alert_from_peer }
    }

    const fn direction(&self, from: Role) -> &Direction {
        match from {
            Role::Client => &self.client,
            Role::Broker => &self.broker,
        }
    }

    const fn direction_mut(&mut self, from: Role) -> &mut Direction {
        match from {
            Role::Client => &mut self.client,
            Role::Broker => &mut self.broker,
        }
    }

    fn take(&mut self, from: Role, unit: Unit, time_ns: u64) -> Result<(), Malformed> {
        match unit {
            Unit::Header(protocol) => {
                self.decide(protocol)?;
                if protocol == Protocol::Amqp091 {
                    self.reach(Phase::Header);
                } else {
                    self.client.lose();
                    // Its first bytes may still say what it takes that for.
                    if !self.broker.untouched() {
                        self.broker.lose();
                    }
                }
                Ok(())
            }
            Unit::Contradiction => {
                self.contradicted = true;
                Err(Malformed)
            }
            Unit::Answer(protocol) => {
                self.answer = Some(protocol);
                Err(Malformed)
            }
            Unit::Frame(frame) => {
                if self.protocol.is_none() && frame != Frame::Method(Method::Start) {
                    return Err(Malformed);
                }
                match frame {
                    Frame::Heartbeat => {
                        // Taken up in its midst, a conversation with heartbeats is an open one.
                        if self.phase.is_none() {
                            self.reach(Phase::Open);
                        }
                        *self.heartbeat_ns.of(from) = Some(time_ns);
                    }
                    Frame::Method(method) => self.method(from, method, time_ns)?,
                    // Its connection.open-ok may have gone by unseen.
                    Frame::Channel => self.reach(Phase::Open),
                    Frame::ChannelClose(close) => {
                        self.reach(Phase::Open);
                        *self.channel_close.of(from) = Some((close, time_ns));
                    }
                    Frame::Other => {}
                }
                Ok(())
            }
            Unit::Record(record) => {
                if from == Role::Broker && self.protocol != Some(Protocol::Tls) {
                    match record {
                        Record::Handshake => self.contradicted = self.protocol.is_some(),
                        _ => self.answer = Some(Protocol::Tls),
                    }
                }
                // An alert does not tell what the client speaks.
                if self.protocol.is_some() || record == Record::Handshake {
                    self.decide(Protocol::Tls)?;
                }
                match record {
                    Record::Handshake => *self.tls.hello.of(from) = true,
                    Record::Alert => *self.tls.alert.of(from) = true,
                    Record::ApplicationData => self.tls.application_data = true,
                    Record::Other => {}
                }
                Ok(())
            }
        }
    }

    fn decide(&mut self, protocol: Protocol) -> Result<(), Malformed> {
        if *self.protocol.get_or_insert(protocol) == protocol { Ok(()) } else { Err(Malformed) }
    }

    fn reach(&mut self, phase: Phase) {
        self.phase = self.phase.max(Some(phase));
    }

    fn method(&mut self, from: Role, method: Method, time_ns: u64) -> Result<(), Malformed> {
        match (method, from) {
            (Method::Start, Role::Broker) => {
                self.decide(Protocol::Amqp091)?;
                self.reach(Phase::Start);
            }
            (Method::StartOk, Role::Client) | (Method::Secure, Role::Broker) => self.reach(Phase::StartOk),
            (Method::Tune { heartbeat }, Role::Broker) => {
                self.reach(Phase::Tune);
                self.heartbeat_offered.get_or_insert(heartbeat);
            }
            (Method::TuneOk { heartbeat }, Role::Client) => {
                self.reach(Phase::TuneOk);
                self.heartbeat.get_or_insert(heartbeat);
            }
            (Method::Open { vhost }, Role::Client) => {
                self.reach(Phase::Opening);
                self.vhost.get_or_insert(vhost);
            }
            (Method::OpenOk, Role::Broker) => self.reach(Phase::Open),
            (Method::Close { code, text, method }, from) => {
                self.reach(Phase::Closing);
                self.close.get_or_insert(CloseSeen { from, code, text, method, time_ns });
            }
            (Method::CloseOk, _) => self.reach(Phase::Closed),
            (Method::Blocked, Role::Broker) => self.blocked = Some((time_ns, true)),
            (Method::Unblocked, Role::Broker) => self.blocked = Some((time_ns, false)),
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// `fresh`: these are the first bytes of the direction.
fn parse(bytes: &[u8], from: Role, fresh: bool, protocol: Option<Protocol>) -> Result<Parsed<Unit>, Malformed> {
    match (from, fresh, protocol) {
        (Role::Client, true, _) => Ok(first_of_client(bytes)),
        (Role::Broker, true, _) => match bytes.first() {
            Some(&frame::METHOD) if protocol.is_some_and(|protocol| protocol != Protocol::Amqp091) => {
                Ok(Parsed::Unit { unit: Unit::Contradiction, length: 1, end_octet: false })
            }
            Some(&frame::METHOD) => Ok(frame::parse(bytes)?.map(Unit::Frame)),
            Some(&(tls::ALERT | tls::HANDSHAKE)) => Ok(tls::parse(bytes)?.map(Unit::Record)),
            _ => Ok(header(bytes, Unit::Answer)),
        },
        (_, _, Some(Protocol::Amqp091)) => Ok(frame::parse(bytes)?.map(Unit::Frame)),
        (_, _, Some(Protocol::Tls)) => Ok(tls::parse(bytes)?.map(Unit::Record)),
        _ => Err(Malformed),
    }
}

fn first_of_client(bytes: &[u8]) -> Parsed<Unit> {
    if bytes.first() != Some(&tls::HANDSHAKE) {
        return header(bytes, Unit::Header);
    }
    let other = Parsed::Unit { unit: Unit::Header(Protocol::Other), length: HEADER, end_octet: false };
    tls::parse(bytes).map_or_else(|Malformed| other, |parsed| parsed.map(Unit::Record))
}

/// A protocol header, or what stands in its place.
fn header(bytes: &[u8], unit: fn(Protocol) -> Unit) -> Parsed<Unit> {
    bytes.first_chunk().map_or(Parsed::More(HEADER as usize), |first| {
        let protocol = Protocol::of_first_bytes(first_bytes(*first)).unwrap_or(Protocol::Other);
        Parsed::Unit { unit: unit(protocol), length: HEADER, end_octet: false }
    })
}
