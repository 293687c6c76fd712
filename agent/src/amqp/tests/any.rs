//! Any conversation in any segments: the same as in whole ones, or less, and never anything else.

use proptest::{prelude::*, sample::Index};

use super::{
    holds_password,
    script::{Script, script},
};
use crate::{
    amqp::{Chunk, Conversation, Follower, direction::CARRY},
    model::Role,
};

/// How the bytes of a conversation are cut up.
#[derive(Clone, Debug)]
struct Cuts {
    isn: (u32, u32),
    /// Lengths of segments, over and over; 0 merges with what comes next.
    lengths: Vec<u16>,
    /// After how many segments an old stretch is sent again, which one, and how long; it may run on
    /// into new bytes.
    again: Vec<(Index, u16)>,
}

fn cuts() -> impl Strategy<Value = Cuts> {
    let lengths = proptest::collection::vec(prop_oneof![4 => 1_u16..30, 1 => 30..400_u16], 1..20);
    (any::<(u32, u32)>(), lengths, proptest::collection::vec((any::<Index>(), 1_u16..400), 0..12)).prop_map(|(isn, lengths, again)| Cuts {
        isn,
        lengths,
        again,
    })
}

/// One segment: from whom, at which place in its direction, and the bytes.
type Piece = (Role, usize, Vec<u8>);

/// The segments, in an order in which they can have been sent.
fn pieces(script: &Script, cuts: &Cuts) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut streams: [(Role, Vec<u8>); 2] = [(Role::Client, Vec::new()), (Role::Broker, Vec::new())];
    let mut lengths = cuts.lengths.iter().copied().map(usize::from).cycle();
    let mut again = cuts.again.iter();
    // Each turn ends with a segment of its own: the other end answers to what it has.
    for turn in script.messages.chunk_by(|(a, _), (b, _)| a == b) {
        let Some((from, _)) = turn.first() else { continue };
        let bytes: Vec<u8> = turn.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let [(_, client), (_, broker)] = &mut streams;
        let stream = if *from == Role::Client { client } else { broker };
        let start = stream.len();
        stream.extend(&bytes);
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let length = lengths.next().unwrap_or(1).min(rest.len());
            pieces.push((*from, start + sent, rest.get(..length).unwrap_or_default().to_vec()));
            sent += length;
            if let Some((at, length)) = again.next() {
                let from_byte = at.index(start + sent);
                let old = stream.get(from_byte..).unwrap_or_default();
                let old = old.get(..usize::from(*length)).unwrap_or(old).to_vec();
                // What runs on is not sent once more.
                sent = sent.max((from_byte + old.len()).saturating_sub(start));
                pieces.push((*from, from_byte, old));
            }
        }
    }
    pieces
}

fn opened(cuts: &Cuts) -> Follower {
    let mut follower = Follower::default();
    follower.open(Role::Client, cuts.isn.0);
    follower.open(Role::Broker, cuts.isn.1);
    follower
}

fn feed(follower: &mut Follower, cuts: &Cuts, (from, at, bytes): &Piece) {
    let isn = if *from == Role::Client { cuts.isn.0 } else { cuts.isn.1 };
    let seq = isn.wrapping_add(1).wrapping_add(u32::try_from(*at).unwrap_or(0));
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    follower.segment(*from, &Chunk { seq, captured: bytes, length, time_ns: 0 });
}

/// Whether everything in `told` that an operator would act on is so in `truth`.
fn is_no_lie(told: Option<&Conversation>, truth: &Conversation) -> bool {
    let Some(told) = told else { return true };
    told.protocol == truth.protocol
        && told.phase <= truth.phase
        && (told.heartbeat_offered.is_none() || told.heartbeat_offered == truth.heartbeat_offered)
        && (told.heartbeat.is_none() || told.heartbeat == truth.heartbeat)
        && (told.vhost.is_none() || told.vhost == truth.vhost)
        && (told.close.is_none() || told.close == truth.close)
}

proptest! {
    #[test]
    fn segments_do_not_matter(script in script(), cuts in cuts()) {
        let mut follower = opened(&cuts);
        for piece in pieces(&script, &cuts) {
            feed(&mut follower, &cuts, &piece);
            prop_assert!(!holds_password(&follower));
        }
        prop_assert_eq!(follower.conversation(0, Role::Broker), Some(script.truth));
    }

    #[test]
    fn holes_take_away_and_never_add(script in script(), cuts in cuts(), missing in proptest::collection::vec(any::<Index>(), 1..4)) {
        let mut pieces = pieces(&script, &cuts);
        for index in missing {
            if !pieces.is_empty() {
                pieces.remove(index.index(pieces.len()));
            }
        }
        let mut follower = opened(&cuts);
        for piece in &pieces {
            feed(&mut follower, &cuts, piece);
            let told = follower.conversation(0, Role::Broker);
            prop_assert!(is_no_lie(told.as_ref(), &script.truth), "{:?}", told);
        }
    }

    #[test]
    fn any_order_takes_away_and_never_adds(script in script(), cuts in cuts(), swaps in proptest::collection::vec(any::<(Index, Index)>(), 1..6)) {
        let mut pieces = pieces(&script, &cuts);
        for (a, b) in swaps {
            let (a, b) = (a.index(pieces.len()), b.index(pieces.len()));
            pieces.swap(a, b);
        }
        let mut follower = opened(&cuts);
        for piece in &pieces {
            feed(&mut follower, &cuts, piece);
            let told = follower.conversation(0, Role::Broker);
            prop_assert!(is_no_lie(told.as_ref(), &script.truth), "{:?}", told);
        }
    }

    /// From some byte on, one end's bytes are noise, without the octet that ends a frame: that it
    /// stands in the right place by chance is one case in 256, which no follower can tell.
    #[test]
    fn noise_is_not_believed(script in script(), cuts in cuts(), from in any::<Index>(), noise in proptest::collection::vec(0_u8..0xce, 64..600)) {
        let mut pieces = pieces(&script, &cuts);
        let whole = from.index(pieces.len());
        // The header may be noise too, and then it is another protocol.
        prop_assume!(whole > 0);
        let end = pieces.get(whole).map_or(Role::Client, |(end, _, _)| *end);
        let mut noise = noise.iter().copied().cycle();
        for (_, _, bytes) in pieces.iter_mut().skip(whole).filter(|(from, _, _)| *from == end) {
            bytes.fill_with(|| noise.next().unwrap_or(0));
        }
        let mut follower = opened(&cuts);
        for piece in &pieces {
            feed(&mut follower, &cuts, piece);
            let told = follower.conversation(0, Role::Broker).filter(|told| told.protocol == script.truth.protocol);
            prop_assert!(is_no_lie(told.as_ref(), &script.truth), "{:?}", told);
        }
    }

    #[test]
    fn no_segment_makes_it_panic_or_grow(
        begin in any::<bool>(),
        segments in proptest::collection::vec((any::<bool>(), any::<(u8, u32)>(), proptest::collection::vec(any::<u8>(), 0..300), any::<u16>()), 0..40),
    ) {
        let mut follower = Follower::default();
        follower.open(Role::Client, 0);
        follower.open(Role::Broker, 0);
        if begin {
            follower.segment(Role::Client, &Chunk { seq: 1, captured: super::HEADER, length: 8, time_ns: 0 });
        }
        for (client, (near, far), bytes, length) in segments {
            let seq = if near < 200 { u32::from(near) } else { far };
            let from = if client { Role::Client } else { Role::Broker };
            follower.segment(from, &Chunk { seq, captured: &bytes, length: u32::from(length), time_ns: 0 });
            prop_assert!(follower.carried() <= CARRY * 2);
        }
        let _ = follower.conversation(0, Role::Client);
    }
}
