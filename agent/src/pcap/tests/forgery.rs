//! What somebody puts on the wire who does not know the connection's sequence numbers changes no
//! verdict, or makes it `unknown`.

use proptest::prelude::*;

use super::kinds::{ACK, MS, OURS, PSH, RST, SECOND, Stack, THEIRS, Tape, ours};
use crate::{
    event::ResetEvent,
    model::{CauseId, Effect, OriginKind},
};

/// Where the sequence numbers of either end begin.
const NUMBERS: (u32, u32) = (3_000_000_000, 1_500_000_000);

/// A segment that somebody made up.
#[derive(Clone, Debug)]
struct Forged {
    /// Where among the frames of the capture.
    place: prop::sample::Index,
    of_peer: bool,
    flags: u8,
    seq: u32,
    ack: u32,
    ttl: u8,
    id: u16,
    window: u16,
    dont_fragment: bool,
    timestamps: bool,
    payload: usize,
}

fn forged() -> impl Strategy<Value = Forged> {
    // SYN, SYN-ACK, RST, RST-ACK, ACK, data, FIN.
    let flags = prop::sample::select(vec![2_u8, 18, 4, 20, 16, 24, 17, 1, 0]);
    // One in five hundred is near enough by chance; who does not know the numbers has not hit them.
    let number = || any::<u32>().prop_filter("a hit", |number| ![NUMBERS.0, NUMBERS.1].iter().any(|near| near.abs_diff(*number) < 1 << 23));
    let numbers = (number(), number(), any::<u16>(), any::<u16>());
    (any::<prop::sample::Index>(), prop::bool::weighted(0.8), flags, numbers, any::<u8>(), any::<bool>(), any::<bool>(), 0_usize..100)
        .prop_map(|(place, of_peer, flags, (seq, ack, id, window), ttl, dont_fragment, timestamps, payload)| Forged {
            place,
            of_peer,
            flags,
            seq,
            ack,
            ttl,
            id,
            window,
            dont_fragment,
            timestamps,
            payload: if flags & (PSH | 8) != 0 { payload } else { 0 },
        })
}

impl Forged {
    fn frame(&self) -> Vec<u8> {
        let (from, to) = if self.of_peer { (THEIRS, OURS) } else { (OURS, THEIRS) };
        let other = Stack { at: to, seq: self.ack, ..ours() };
        let mut own = Stack {
            at: from,
            ttl: self.ttl,
            dont_fragment: self.dont_fragment,
            id: self.id,
            window: self.window,
            seq: self.seq,
            timestamps: self.timestamps,
        };
        own.segment(&other, self.flags, &vec![0; self.payload])
    }
}

/// How the connection ends, and what comes after.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The peer's program aborts.
    Abort,
    /// The peer's kernel no longer has the connection.
    Gone,
    /// A box lost it after a silence, from another distance.
    Box,
    /// Something injects a RST, and the peer goes on.
    Injected,
}

/// The capture, and the number of the RST's frame.
fn capture(end: End, exchanges: u32) -> (Tape, usize) {
    let (mut tape, mut own) = (Tape::new(), Stack { seq: NUMBERS.0, ..ours() });
    let mut peer = Stack { at: THEIRS, ttl: 61, window: 509, seq: NUMBERS.1, id: u16::MAX, ..ours() };
    tape.talk(&mut own, &mut peer, exchanges);
    tape.wait(if matches!(end, End::Box) { 350 * SECOND } else { 50 * MS });
    tape.send(&mut own, &peer, PSH | ACK, &[0; 10]);
    tape.wait(20 * MS);
    let bare = Stack { window: 0, id: u16::MAX, ..peer };
    let rst = tape.frames.len();
    match end {
        End::Abort => tape.send(&mut peer, &own, RST | ACK, &[]),
        End::Gone => tape.send(&mut { bare }, &own, RST, &[]),
        End::Box => tape.send(&mut Stack { ttl: 253, ..bare }, &own, RST, &[]),
        End::Injected => tape.send(&mut Stack { ttl: 57, id: 9_000, window: 8_192, dont_fragment: false, ..bare }, &own, RST, &[]),
    }
    if matches!(end, End::Injected) {
        tape.wait(200 * MS);
        tape.send(&mut peer, &own, PSH | ACK, &[0; 70]);
    }
    (tape, rst)
}

fn said(events: Vec<ResetEvent>, frame: usize) -> ResetEvent {
    events.into_iter().find(|event| event.packet.as_ref().and_then(|packet| packet.frame) == Some(frame as u64 + 1)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn who_does_not_know_the_numbers_changes_nothing(
        end in prop::sample::select(vec![End::Abort, End::Gone, End::Box, End::Injected]), exchanges in 0_u32..9,
        made_up in prop::collection::vec(forged(), 1..60),
    ) {
        let (tape, rst) = capture(end, exchanges);
        let alone = said(tape.events(), rst);
        let mut frames: Vec<(bool, (u64, Vec<u8>))> = tape.frames.iter().cloned().map(|frame| (false, frame)).collect();
        for forged in &made_up {
            // Not before the first: who comes first is the connection, as far as anybody can tell.
            let place = 1 + forged.place.index(frames.len());
            let at = frames.get(place - 1).unwrap().1.0 + 1000;
            frames.insert(place, (true, (at, forged.frame())));
        }
        let genuine = frames.iter().enumerate().filter(|(_, (made_up, _))| !made_up).nth(rst).unwrap().0;
        let mut with = Tape::new();
        with.frames = frames.into_iter().map(|(_, frame)| frame).collect();
        let with = said(with.events(), genuine);
        let same = (with.origin.kind, with.origin.confidence, with.cause.id) == (alone.origin.kind, alone.origin.confidence, alone.cause.id);
        prop_assert!(same || with.origin.kind == OriginKind::Unknown, "ALONE {:?} {:?} {:#?}\nWITH {:?} {:?} {:#?}", alone.origin, alone.cause, alone.evidence, with.origin, with.cause, with.evidence);
    }
}

/// The cases are what they are meant to be, so that there is something to lose.
#[test]
fn what_forgery_could_change() {
    for (end, kind, cause) in [
        (End::Abort, OriginKind::RemotePeer, CauseId::PeerAborted),
        (End::Gone, OriginKind::RemotePeer, CauseId::PeerGone),
        (End::Injected, OriginKind::Middlebox, CauseId::Injected),
    ] {
        let (tape, rst) = capture(end, 6);
        let event = said(tape.events(), rst);
        assert_eq!((event.origin.kind, event.cause.id, event.effect), (kind, cause, Effect::ConnectionReset), "{end:?}");
    }
}
