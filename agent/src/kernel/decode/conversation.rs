//! What the kernel side kept of a conversation into a [`Conversation`].

use std::{ops::RangeInclusive, time::Duration};

use rstblame_abi::{
    conversation::{ChannelError, Spoken, method, protocol, record, spoken, stage},
    flow::FlowState,
};

pub use super::jiffies::Jiffies;
use crate::{
    amqp::{Blocked, ChannelClose, Close, Conversation, LastSeen, Phase, Protocol, Side, Tls},
    model::Role,
    text::clean_bytes,
};

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direction {
    /// Its packets.
    pub flow: Option<FlowState>,
    /// What was said.
    pub said: Option<Spoken>,
    /// The latest error of a channel, with [`method::CHANNEL_CLOSE`].
    pub channel_error: Option<ChannelError>,
}

impl Direction {
    /// This, if it began in that time (`CLOCK_BOOTTIME`, ns): else it is of another connection with
    /// the same addresses and ports, and nothing is known.
    #[must_use]
    pub fn within(self, lifetime: &RangeInclusive<u64>) -> Self {
        match self.said {
            Some(said) if !lifetime.contains(&said.began_ns) => Self::default(),
            _ => self,
        }
    }

    fn methods(&self) -> u16 {
        self.said.map_or(0, |said| said.methods)
    }

    fn records(&self) -> u8 {
        self.said.map_or(0, |said| said.records)
    }

    fn protocol(&self) -> Option<u8> {
        self.said.map(|said| said.protocol)
    }

    /// It has begun with something other than a frame.
    fn begins_otherwise(&self) -> bool {
        self.flow.is_some_and(|flow| matches!(flow.stage, stage::PROTOCOL | stage::RECORD))
    }

    /// Followed to its last packet.
    fn followed(&self) -> bool {
        self.flow.is_some_and(|flow| flow.stage != stage::NONE) && self.said.is_none_or(|said| said.flags & spoken::LOST == 0)
    }

    /// A part of what it said went by unseen.
    fn lost(&self) -> bool {
        match self.said {
            Some(said) => said.flags & spoken::LOST != 0 || self.flow.is_some_and(|flow| flow.stage == stage::NONE),
            // It has said nothing, or what it said had to make room.
            None => self.flow.is_some_and(|flow| flow.stage != stage::FIRST),
        }
    }

    fn last_payload(&self, clock: &Jiffies) -> Option<Duration> {
        self.flow.filter(|flow| flow.bytes > 0).map(|flow| clock.since(flow.last_payload))
    }

    fn last_heartbeat(&self, clock: &Jiffies) -> Option<Duration> {
        let said = self.said.filter(|said| said.methods & method::HEARTBEAT != 0 && self.followed())?;
        Some(clock.since(said.heartbeat_at))
    }

    fn close(&self, from: Side, clock: &Jiffies) -> Option<Close> {
        let said = self.said.filter(|said| said.methods & method::CLOSE != 0)?;
        Some(Close {
            from,
            code: said.close_code,
            text: text(&said.text, said.text_length),
            method: Some((said.close_class, said.close_method)).filter(|ids| *ids != (0, 0)),
            before: clock.since(said.close_at),
        })
    }
}

impl Direction {
    fn channel_close(&self, from: Side, clock: &Jiffies) -> Option<ChannelClose> {
        let error = self.channel_error.filter(|_| self.methods() & method::CHANNEL_CLOSE != 0)?;
        Some(ChannelClose {
            from,
            channel: error.channel,
            code: error.code,
            text: text(&error.text, error.text_length),
            method: Some((error.class, error.method)).filter(|ids| *ids != (0, 0)),
            before: clock.since(error.at),
        })
    }
}

/// Joins the two directions of a connection; `None` when it is not known what was spoken. `role`:
/// that of this host.
pub fn conversation(local: &Direction, peer: &Direction, role: Role, clock: &Jiffies) -> Option<Conversation> {
    let (client, broker) = match role {
        Role::Client => (local, peer),
        Role::Broker => (peer, local),
    };
    let spoken = spoken_by(client, broker)?;
    let answering = broker;
    // A direction that speaks something else says nothing here.
    let fits = |direction: &Direction, expected: u8| direction.protocol().is_none_or(|protocol| protocol == expected);
    let nothing = Direction::default();
    let (client, broker) = match spoken {
        Protocol::Amqp091 => (
            if fits(client, protocol::AMQP_091) { client } else { &nothing },
            if fits(broker, protocol::UNKNOWN) && !broker.begins_otherwise() { broker } else { &nothing },
        ),
        Protocol::Tls => {
            (if fits(client, protocol::TLS) { client } else { &nothing }, if fits(broker, protocol::TLS) { broker } else { &nothing })
        }
        _ => (&nothing, &nothing),
    };
    let (said_local, said_peer, broker_side) = match role {
        Role::Client => (client, broker, Side::Peer),
        Role::Broker => (broker, client, Side::Local),
    };
    let answer = answer(spoken, answering);
    let closes = [said_local.close(Side::Local, clock), said_peer.close(Side::Peer, clock)];
    Some(Conversation {
        answer,
        phase: phase(client, broker),
        heartbeat_offered: broker.said.filter(|said| said.methods & method::TUNE != 0).map(|said| said.heartbeat),
        heartbeat: client.said.filter(|said| said.methods & method::TUNE_OK != 0).map(|said| said.heartbeat),
        vhost: client.said.filter(|said| said.methods & method::OPEN != 0).map(|said| text(&said.vhost, said.vhost_length)),
        blocked: blocked(broker, clock),
        close: closes.into_iter().flatten().max_by_key(|close| close.before),
        channel_close: broker.channel_close(broker_side, clock).or_else(|| client.channel_close(broker_side.other(), clock)),
        last_heartbeat: LastSeen { local: said_local.last_heartbeat(clock), peer: said_peer.last_heartbeat(clock) },
        last_payload: LastSeen { local: local.last_payload(clock), peer: peer.last_payload(clock) },
        tls: (spoken == Protocol::Tls).then(|| Tls {
            client_hello: client.records() & record::HANDSHAKE != 0,
            server_hello: broker.records() & record::HANDSHAKE != 0,
            application_data: (client.records() | broker.records()) & record::APPLICATION_DATA != 0,
            alert_from_local: said_local.records() & record::ALERT != 0,
            alert_from_peer: said_peer.records() & record::ALERT != 0,
        }),
        followed_local: said_local.followed(),
        followed_peer: said_peer.followed(),
        ..Conversation::of(spoken)
    })
}

/// What the client's first bytes say; where they were not seen, the broker's. Nothing where the two
/// contradict each other.
fn spoken_by(client: &Direction, broker: &Direction) -> Option<Protocol> {
    let hello = |direction: &Direction| (direction.records() & record::HANDSHAKE != 0).then_some(Protocol::Tls);
    let client = match client.protocol() {
        // Its first bytes went by unseen.
        Some(_) if client.said.is_some_and(|said| said.flags & spoken::FIRST_LOST != 0) => None,
        // As yet they do not tell, or make no sense.
        Some(protocol::UNKNOWN | protocol::TLS) => Some(hello(client)?),
        Some(class) => Some(Protocol::of_first_bytes(class)?),
        None => None,
    };
    let begins_with_frame = broker.protocol() == Some(protocol::UNKNOWN) && !broker.begins_otherwise();
    let broker = match broker.protocol() {
        Some(protocol::UNKNOWN) => (broker.methods() & method::START != 0).then_some(Protocol::Amqp091),
        Some(_) => hello(broker),
        None => None,
    };
    match (client, broker) {
        // It begins with a frame: that client speaks AMQP after all, behind a PROXY header perhaps.
        (Some(client), None) if client != Protocol::Amqp091 && begins_with_frame => None,
        (Some(client), Some(broker)) => (client == broker).then_some(client),
        (one, other) => one.or(other),
    }
}

/// What the broker's first bytes say, where they do not belong to that.
fn answer(spoken: Protocol, broker: &Direction) -> Option<Protocol> {
    let class = broker.protocol().filter(|class| *class != protocol::UNKNOWN)?;
    // There may have been too few bytes to tell.
    let all =
        broker.flow.is_some_and(|flow| flow.stage != stage::PROTOCOL) && broker.said.is_some_and(|said| said.flags & spoken::LOST == 0);
    let answer = Protocol::of_first_bytes(class).filter(|answer| *answer != Protocol::Other || all)?;
    (answer != Protocol::Tls || spoken != Protocol::Tls).then_some(answer)
}

fn phase(client: &Direction, broker: &Direction) -> Option<Phase> {
    const PHASES: [(u16, Phase); 8] = [
        (method::CLOSE_OK, Phase::Closed),
        (method::CLOSE, Phase::Closing),
        (method::OPEN_OK | method::CHANNEL, Phase::Open),
        (method::OPEN, Phase::Opening),
        (method::TUNE_OK, Phase::TuneOk),
        (method::TUNE, Phase::Tune),
        (method::START_OK | method::SECURE | method::SECURE_OK, Phase::StartOk),
        (method::START, Phase::Start),
    ];
    let sent = client.methods() | broker.methods();
    let reached = PHASES.into_iter().find(|(methods, _)| sent & methods != 0).map(|(_, phase)| phase);
    let reached = reached.or_else(|| (client.protocol() == Some(protocol::AMQP_091)).then_some(Phase::Header))?;
    reached.reached(client.lost() || broker.lost())
}

/// That it has blocked the connection is not told of a broker that is not followed any more.
fn blocked(broker: &Direction, clock: &Jiffies) -> Option<Blocked> {
    let said = broker.said.filter(|said| said.methods & (method::BLOCKED | method::UNBLOCKED) != 0)?;
    let still = said.flags & spoken::BLOCKED != 0;
    (!still || broker.followed()).then(|| Blocked { before: clock.since(said.blocked_at), still })
}

/// A text of a peer's, cleaned.
fn text(bytes: &[u8], length: u8) -> String {
    clean_bytes(bytes.get(..usize::from(length)).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use rstblame_abi::{
        conversation::{Spoken, method, protocol, spoken, stage},
        flow::FlowState,
    };

    use super::{Direction, Jiffies, conversation};
    use crate::{
        amqp::{Phase, Protocol, Side},
        model::Role,
    };

    const CLOCK: Jiffies = Jiffies { now_ns: 1_000_000_000_000, now: 5_000, length: Duration::from_millis(4) };

    fn said(methods: u16) -> Spoken {
        Spoken { began_ns: 1, methods, ..Spoken::NOTHING }
    }

    fn followed(said: Spoken) -> Direction {
        let flow = FlowState { stage: stage::FRAME, packets: 3, bytes: 100, last_payload: 4_750, ..FlowState::default() };
        Direction { flow: Some(flow), said: Some(said), channel_error: None }
    }

    fn client(methods: u16) -> Spoken {
        Spoken { protocol: protocol::AMQP_091, ..said(methods) }
    }

    #[test]
    fn both_directions_make_one_conversation() {
        let mut vhost = [0; 64];
        vhost.first_chunk_mut().map(|start| *start = *b"/prod").unwrap();
        let client = Spoken {
            heartbeat: 30,
            vhost,
            vhost_length: 5,
            heartbeat_at: 4_500,
            ..client(method::START_OK | method::TUNE_OK | method::OPEN | method::HEARTBEAT)
        };
        let broker = Spoken {
            heartbeat: 60,
            close_at: 4_900,
            close_code: 320,
            text_length: 255,
            flags: spoken::BLOCKED,
            blocked_at: 4_000,
            ..said(method::START | method::TUNE | method::OPEN_OK | method::BLOCKED | method::CLOSE)
        };
        let told = conversation(&followed(broker), &followed(client), Role::Broker, &CLOCK).unwrap();
        assert_eq!((told.protocol, told.phase), (Protocol::Amqp091, Some(Phase::Closing)));
        assert_eq!((told.heartbeat_offered, told.heartbeat, told.vhost.as_deref()), (Some(60), Some(30), Some("/prod")));
        let close = told.close.unwrap();
        assert_eq!((close.from, close.code, close.method, close.before), (Side::Local, 320, None, Duration::from_millis(400)));
        assert_eq!((told.last_heartbeat.local, told.last_heartbeat.peer), (None, Some(Duration::from_secs(2))));
        assert_eq!(told.last_payload.peer, Some(Duration::from_secs(1)));
        assert_eq!(told.blocked.map(|blocked| (blocked.still, blocked.before)), Some((true, Duration::from_secs(4))));
        assert!(told.followed_local && told.followed_peer);
    }

    #[test]
    fn of_a_direction_that_is_lost_nothing_is_told_that_goes_stale() {
        let blocked = Spoken { flags: spoken::LOST | spoken::BLOCKED, ..said(method::START | method::BLOCKED | method::HEARTBEAT) };
        let told = conversation(&followed(client(0)), &followed(blocked), Role::Client, &CLOCK).unwrap();
        assert_eq!((told.blocked, told.last_heartbeat.peer, told.followed_peer), (None, None, false));
        assert!(told.followed_local);
        // The entry of its packets had to make room, and began anew.
        let forgotten = Direction { flow: Some(FlowState::default()), said: Some(said(method::START)), channel_error: None };
        assert!(!conversation(&followed(client(0)), &forgotten, Role::Client, &CLOCK).unwrap().followed_peer);
    }

    #[test]
    fn a_phase_that_may_be_over_is_not_told() {
        let phase = |broker: Spoken, sent: u16| {
            let client = client(method::START_OK | method::TUNE_OK | method::OPEN | sent);
            conversation(&followed(client), &followed(broker), Role::Client, &CLOCK).unwrap().phase
        };
        let (started, lost) = (said(method::START), Spoken { flags: spoken::LOST, ..said(method::START) });
        assert_eq!((phase(started, 0), phase(lost, 0)), (Some(Phase::Opening), None));
        let unsaid = |flow| {
            let broker = Direction { flow, ..Direction::default() };
            let client = client(method::START_OK | method::TUNE_OK | method::OPEN);
            conversation(&followed(client), &broker, Role::Client, &CLOCK).unwrap().phase
        };
        let silent = FlowState { stage: stage::FIRST, packets: 1, ..FlowState::default() };
        // What a broker said had to make room, or it has said nothing.
        let told = [Some(FlowState { stage: stage::FRAME, ..silent }), Some(silent), None].map(unsaid);
        assert_eq!(told, [None, Some(Phase::Opening), Some(Phase::Opening)]);
        // A frame on a channel says that it is open.
        assert_eq!((phase(started, method::CHANNEL), phase(lost, method::CHANNEL)), (Some(Phase::Open), Some(Phase::Open)));
        assert_eq!(phase(lost, method::CLOSE), Some(Phase::Closing));
    }

    #[test]
    fn two_that_contradict_each_other_tell_nothing() {
        let other = Spoken { protocol: protocol::OTHER, ..said(0) };
        assert_eq!(conversation(&followed(said(method::START)), &followed(other), Role::Broker, &CLOCK), None);
        let nothing = Direction::default();
        assert_eq!(conversation(&nothing, &nothing, Role::Broker, &CLOCK), None);
        let alone = conversation(&followed(said(method::START)), &nothing, Role::Broker, &CLOCK).unwrap();
        assert_eq!((alone.phase, alone.followed_peer), (Some(Phase::Start), false));
    }
}
