//! AMQP: however a conversation is cut into segments, it says the same; sent again, nothing more;
//! and what was not captured takes away, and adds nothing.

use rstblame::{
    amqp::{Chunk, Conversation, Follower, Protocol},
    model::Role,
};

use super::input::Input;

const ISN: (u32, u32) = (u32::MAX - 20, 7);

/// Turns: who speaks, and what.
fn turns<'a>(input: &mut Input<'a>) -> Vec<(Role, &'a [u8])> {
    let mut turns = Vec::new();
    while !input.is_empty() && turns.len() < 32 {
        let role = if input.byte() & 1 == 0 { Role::Client } else { Role::Broker };
        let length = usize::from(input.word() & 0xfff);
        turns.push((role, input.take(length)));
    }
    turns
}

/// Feeds turns in pieces of these lengths, over and over, and says what is known in the end.
fn feed(turns: &[(Role, &[u8])], lengths: &[usize], again: bool, captured: usize) -> Option<Conversation> {
    let mut follower = Follower::default();
    follower.open(Role::Client, ISN.0);
    follower.open(Role::Broker, ISN.1);
    let mut lengths = lengths.iter().copied().cycle();
    let mut sent = [0_u32; 2];
    for (role, bytes) in turns {
        let (sent, isn) = if *role == Role::Client { (&mut sent[0], ISN.0) } else { (&mut sent[1], ISN.1) };
        let mut rest = *bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(lengths.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
            let chunk = Chunk {
                seq: isn.wrapping_add(1).wrapping_add(*sent),
                captured: &piece[..piece.len().min(captured)],
                length: piece.len() as u32,
                time_ns: 0,
            };
            follower.segment(*role, &chunk);
            if again {
                follower.segment(*role, &chunk);
            }
            *sent += piece.len() as u32;
            rest = after;
        }
    }
    follower.conversation(0, Role::Broker)
}

pub fn holds(data: &[u8]) {
    let mut input = Input::new(data);
    let lengths: Vec<usize> = (0..4).map(|_| usize::from(input.byte()) + 1).collect();
    let captured = usize::from(input.byte());
    let turns = turns(&mut input);
    let whole = feed(&turns, &[], false, usize::MAX);
    for (what, lengths) in [("by byte", &[1][..]), ("cut", lengths.as_slice())] {
        let cut = feed(&turns, lengths, false, usize::MAX);
        // A frame with a wrong last octet is taken if it was complete before that octet came, as it
        // never is in one piece (rule 3).
        if whole.as_ref().is_some_and(|whole| whole.followed_local && whole.followed_peer) {
            assert_eq!(cut, whole, "{what}");
            within(feed(&turns, lengths, false, captured).as_ref(), cut.as_ref(), "captured short");
        } else if whole.as_ref().map(|whole| whole.protocol) == cut.as_ref().map(|cut| cut.protocol) {
            // That octet may also be what tells whether the broker's first frame decides on the
            // protocol.
            within(whole.as_ref(), cut.as_ref(), what);
        }
        assert_eq!(feed(&turns, lengths, true, usize::MAX), cut, "{what}, each piece twice");
    }
}

/// Whether all that `told` says is said by `known`.
fn within(told: Option<&Conversation>, known: Option<&Conversation>, what: &str) {
    let Some(told) = told else { return };
    let known = known.unwrap_or_else(|| panic!("{what}: {told:?} out of nothing"));
    // Too few bytes were there to tell which.
    let other = told.protocol == Protocol::Other && !known.protocol.is_followed();
    let less = (told.protocol == known.protocol || other)
        && said(told.answer.as_ref(), known.answer.as_ref())
        && (told.channel_close.is_none() || known.channel_close.is_some())
        && told.phase <= known.phase
        && said(told.heartbeat_offered.as_ref(), known.heartbeat_offered.as_ref())
        && said(told.heartbeat.as_ref(), known.heartbeat.as_ref())
        && said(told.vhost.as_ref(), known.vhost.as_ref())
        && said(told.close.as_ref(), known.close.as_ref());
    assert!(less, "{what}: {told:?}, and not {known:?}");
}

fn said<T: PartialEq>(told: Option<&T>, known: Option<&T>) -> bool {
    told.is_none() || told == known
}
