//! What a captured connection spoke. It is followed from its SYN or SYN-ACK on, and its follower is
//! dropped once it turns out to be neither AMQP 0-9-1 nor TLS. Where the capture begins in
//! mid-conversation, each direction is followed from its first segment on that is AMQP beyond
//! doubt.

use crate::{
    amqp::{Chunk, Conversation, Follower, Protocol},
    flow::wire::{End, Segment},
    model::Role,
};

/// What is known of the payload of a connection.
#[derive(Debug, Default)]
pub enum Spoken {
    /// Its beginning was not captured, or not yet.
    #[default]
    Unseen,
    Followed {
        /// Who sent the SYN.
        client: End,
        follower: Box<Follower>,
    },
    /// Neither AMQP 0-9-1 nor TLS: nothing but what it is, and what answered it, if that is known.
    Other { client: End, seen: Option<(Protocol, Option<Protocol>)> },
}

impl Spoken {
    /// Takes in one segment that is no RST. `serves`: the end that has the service's port, where no
    /// handshake tells.
    pub fn observe(&mut self, segment: &Segment, from: End, serves: End, captured: &[u8]) {
        if segment.flags.syn() {
            self.open(segment, from);
        }
        if segment.payload > 0 && self.resume(segment, from, serves, captured) {
            return;
        }
        let Self::Followed { client, follower } = self else {
            return;
        };
        if segment.payload == 0 {
            return;
        }
        let seq = segment.seq.wrapping_add(u32::from(segment.flags.syn()));
        let chunk = Chunk { seq, captured, length: segment.payload, time_ns: segment.time_ns };
        follower.segment(role(from, *client), &chunk);
        if follower.is_done() {
            let seen = follower.conversation(segment.time_ns, Role::Client).map(|seen| (seen.protocol, seen.answer));
            *self = Self::Other { client: *client, seen };
        }
    }

    /// Who opened the connection, if that was captured.
    pub const fn client(&self) -> Option<End> {
        match self {
            Self::Unseen => None,
            Self::Followed { client, .. } | Self::Other { client, .. } => Some(*client),
        }
    }

    /// What is known at this time, ns.
    pub fn conversation(&self, at_ns: u64, local: End) -> Option<Box<Conversation>> {
        match self {
            Self::Unseen => None,
            Self::Followed { client, follower } => follower.conversation(at_ns, role(local, *client)).map(Box::new),
            Self::Other { seen, .. } => seen.map(|(protocol, answer)| Box::new(Conversation { answer, ..Conversation::of(protocol) })),
        }
    }

    /// Takes the conversation up in its midst, if this segment allows for it.
    fn resume(&mut self, segment: &Segment, from: End, serves: End, captured: &[u8]) -> bool {
        let chunk = Chunk { seq: segment.seq, captured, length: segment.payload, time_ns: segment.time_ns };
        match self {
            Self::Unseen => {
                let mut follower = Box::<Follower>::default();
                let client = serves.other();
                if !follower.resume(role(from, client), &chunk) {
                    return false;
                }
                follower.segment(role(from, client), &chunk);
                *self = Self::Followed { client, follower };
                true
            }
            Self::Followed { client, follower } if follower.protocol() == Some(Protocol::Amqp091) => {
                let role = role(from, *client);
                let resumed = follower.resume(role, &chunk);
                if resumed {
                    follower.segment(role, &chunk);
                }
                resumed
            }
            Self::Followed { .. } | Self::Other { .. } => false,
        }
    }

    fn open(&mut self, segment: &Segment, from: End) {
        let opens = segment.flags.opens();
        let opener = if opens { from } else { from.other() };
        if let Self::Followed { client, follower } = self
            && *client == opener
        {
            follower.open(role(from, opener), segment.seq);
        } else if opens || matches!(self, Self::Unseen) {
            let mut follower = Box::<Follower>::default();
            follower.open(role(from, opener), segment.seq);
            if !opens && segment.flags.ack() {
                // The SYN was not captured: what this acknowledges is the sequence number after it.
                follower.open(Role::Client, segment.ack.wrapping_sub(1));
            }
            *self = Self::Followed { client: opener, follower };
        }
    }
}

fn role(end: End, client: End) -> Role {
    if end == client { Role::Client } else { Role::Broker }
}
