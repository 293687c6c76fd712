#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Count, Fold, Folded, Key, Place, WINDOW_NS};
use crate::model::{CauseId, Direction, OriginKind, Role};

const MS: u64 = 1_000_000;

fn key(peer: u8) -> Key {
    let place = Place { netns: None, peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, peer)), role: Role::Broker, port: 5672 };
    Key {
        kind: super::Kind::Reset,
        direction: Some(Direction::Sent),
        origin: OriginKind::LocalHost,
        cause: CauseId::NoListener,
        place: Some(place),
    }
}

fn at(ns: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_nanos(ns.try_into().unwrap())
}

/// Takes in a reset that is named by its time.
fn see(fold: &mut Fold<u64>, key: Key, now_ns: u64) -> bool {
    fold.see(key, at(now_ns), now_ns, now_ns).is_some()
}

#[test]
fn the_first_of_a_key_go_out_whole_and_the_others_are_one_line() {
    let mut fold = Fold::new(3, 10, 10);
    let whole: Vec<bool> = (0..6).map(|number| see(&mut fold, key(1), number * 100 * MS)).collect();
    assert_eq!(whole, [true, true, true, false, false, false]);
    // Another is none of its business.
    assert!(see(&mut fold, key(2), 500 * MS));
    assert_eq!(fold.pop_due(WINDOW_NS - 1), None);
    let count = Count { resets: 3, first: at(300 * MS), last: at(500 * MS) };
    assert_eq!(fold.pop_due(WINDOW_NS), Some(Folded { key: key(1), count, sample: Some(300 * MS) }));
    assert_eq!(fold.pop(), None);
}

#[test]
fn when_it_is_over_the_next_goes_out_whole_and_nothing_is_kept() {
    let mut fold = Fold::new(1, 10, 10);
    assert!(see(&mut fold, key(1), 0));
    assert!(!see(&mut fold, key(1), 1));
    assert!(fold.pop_due(WINDOW_NS).is_some());
    assert!(see(&mut fold, key(1), WINDOW_NS));
    assert_eq!(fold.pop_due(3 * WINDOW_NS), None);
    assert!(fold.windows.is_empty() && fold.ends.is_empty() && fold.next_due_ns().is_none());
}

#[test]
fn what_was_counted_elsewhere_is_part_of_the_same_line() {
    let mut fold = Fold::new(1, 10, 10);
    assert!(see(&mut fold, key(1), 5));
    let counted = Count { resets: 100_000, first: at(2), last: at(700) };
    fold.add(key(1), counted, 10, Some(7));
    assert!(!see(&mut fold, key(1), 20));
    let line = fold.pop().unwrap();
    assert_eq!((line.count, line.sample), (Count { resets: 100_001, ..counted }, Some(7)));
}

#[test]
fn keys_beyond_the_capacity_are_summed_up_by_cause() {
    let mut fold = Fold::new(1, 2, 10);
    assert!(see(&mut fold, key(1), 0) && see(&mut fold, key(2), 0));
    // The summary is a key like others: its first goes out whole.
    assert_eq!([3, 4, 5].map(|peer| see(&mut fold, key(peer), 1)), [true, false, false]);
    assert!(!see(&mut fold, key(1), 2), "a key that has room keeps it");
    let lines: Vec<_> = std::iter::from_fn(|| fold.pop()).map(|line| (line.key, line.count.resets)).collect();
    assert_eq!(lines, [(key(1), 1), (key(3).summary(), 2)]);
}

#[test]
fn lines_beyond_the_limit_are_one() {
    let mut fold = Fold::new(1, 10, 2);
    for peer in [1, 2, 3, 4, 1, 2, 3, 4, 3] {
        see(&mut fold, key(peer), 0);
    }
    let lines: Vec<_> = std::iter::from_fn(|| fold.pop()).map(|line| (line.key, line.count.resets)).collect();
    assert_eq!(lines, [(key(1), 1), (key(2), 1), (key(3).summary(), 3)]);
}

#[test]
fn nothing_is_folded_when_it_is_off() {
    let mut fold = Fold::new(0, 1, 1);
    assert!((0..1000).all(|number| see(&mut fold, key(1), number)));
    assert_eq!(fold.next_due_ns(), None);
}

proptest! {
    #[test]
    fn every_reset_is_counted_once_and_each_key_has_one_line_a_second(
        stream in prop::collection::vec((0_u64..400 * MS, 0_u8..12, prop::option::of(1_u64..1000)), 1..400),
        above in 0_u32..5,
        capacity in 0_usize..8,
        lines in 0_usize..8,
    ) {
        let mut fold = Fold::new(above, capacity, lines);
        let (mut now, mut seen, mut whole, mut folded) = (0, 0, 0, 0);
        let mut last_line: HashMap<Key, u64> = HashMap::new();
        let mut book = |fold: &mut Fold<u64>, now: u64, end: bool| -> Result<(), TestCaseError> {
            while let Some(line) = if end { fold.pop() } else { fold.pop_due(now) } {
                folded += line.count.resets;
                prop_assert!(line.count.resets > 0 && line.sample.is_some());
                prop_assert!(line.count.first <= line.count.last);
                let before = last_line.insert(line.key, now);
                prop_assert!(end || before.is_none_or(|before| now - before >= WINDOW_NS), "{:?} again", line.key);
            }
            Ok(())
        };
        for (pause, peer, counted) in stream {
            now += pause;
            book(&mut fold, now, false)?;
            if let Some(resets) = counted {
                seen += resets;
                fold.add(key(peer), Count { resets, first: at(now), last: at(now) }, now, Some(now));
            } else {
                seen += 1;
                whole += u64::from(see(&mut fold, key(peer), now));
            }
            // Beside the keys there is one cause, and so one summary.
            prop_assert!(fold.windows.len() <= capacity + 1);
            let folding = fold.windows.iter().filter(|(key, window)| key.place.is_some() && window.folded.is_some()).count();
            prop_assert_eq!(folding, fold.folding);
            prop_assert!(folding <= lines);
            prop_assert_eq!(fold.windows.len(), fold.ends.len());
        }
        book(&mut fold, now, true)?;
        prop_assert_eq!(seen, whole + folded);
    }
}
