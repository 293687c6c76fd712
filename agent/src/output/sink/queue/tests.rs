#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tokio::sync::Notify;

use super::{Fate, Overflow, Queue, Totals, WhenFull};
use crate::{event::Event, output::sink::item::Item};

fn queue(capacity: usize, overflow: Overflow) -> Queue {
    Queue::new(capacity, overflow, Arc::new(Notify::new()))
}

fn reset(number: usize) -> Arc<Item> {
    let event = serde_json::from_str(include_str!("../../../../testdata/events/rst-minimal.json")).unwrap();
    let Event::Rst(mut reset) = event else { unreachable!("the file is of a reset") };
    reset.id = number.to_string();
    Arc::new(Item::new(Event::Rst(reset)))
}

/// A line that stands for so many.
fn folded(count: u64) -> Arc<Item> {
    let event = serde_json::from_str(include_str!("../../../../testdata/events/rst_suppressed.json")).unwrap();
    let Event::RstSuppressed(mut suppressed) = event else { unreachable!("the file is of folded resets") };
    suppressed.count = count;
    Arc::new(Item::new(Event::RstSuppressed(suppressed)))
}

fn lost_line() -> Arc<Item> {
    Arc::new(Item::new(serde_json::from_str(include_str!("../../../../testdata/events/events_lost.json")).unwrap()))
}

/// What is in flight once the thread has looked.
fn in_flight(queue: &Queue) -> Vec<String> {
    let work = queue.take(Some(Duration::ZERO)).unwrap();
    work.items.iter().map(|item| if let Event::Rst(reset) = item.event() { reset.id.clone() } else { "other".to_owned() }).collect()
}

/// Takes out everything as written.
fn write_all(queue: &Queue) -> Vec<String> {
    let mut all = Vec::new();
    while !queue.is_drained() {
        let taken = in_flight(queue);
        queue.settle(&vec![Fate::Written; taken.len()]);
        all.extend(taken);
    }
    all
}

#[test]
fn the_policies_choose_who_is_lost() {
    for (when_full, kept) in [(WhenFull::DropOldest, ["2", "3"]), (WhenFull::DropNewest, ["0", "1"])] {
        let queue = queue(2, Overflow::Lose(when_full));
        (0..4).for_each(|number| queue.push(reset(number)));
        assert_eq!(queue.totals(), Totals { written: 0, lost: 2, lost_folded: 0, ..Totals::default() });
        assert_eq!(write_all(&queue), kept);
        assert_eq!(queue.totals(), Totals { written: 2, lost: 2, lost_folded: 0, ..Totals::default() });
    }
}

#[test]
fn what_is_in_flight_is_not_dropped_for_what_is_new() {
    let queue = queue(4, Overflow::Lose(WhenFull::DropOldest));
    (0..4).for_each(|number| queue.push(reset(number)));
    assert_eq!(in_flight(&queue), ["0", "1"], "half of what it holds");
    (4..7).for_each(|number| queue.push(reset(number)));
    assert_eq!(queue.totals(), Totals { written: 0, lost: 3, lost_folded: 0, ..Totals::default() });
    // Given back, one may be dropped; but not the one that was begun.
    queue.give_back(1);
    queue.push(reset(7));
    queue.settle(&[Fate::Refused]);
    assert_eq!(write_all(&queue), ["5", "6", "7"]);
    assert_eq!(queue.totals(), Totals { written: 3, lost: 5, lost_folded: 0, ..Totals::default() });
}

#[test]
fn one_that_waits_for_room_gets_it_or_is_lost_in_time() {
    let wait = Duration::from_millis(50);
    let queue = queue(1, Overflow::Lose(WhenFull::BlockUntil(wait)));
    (0..3).for_each(|number| queue.push(reset(number)));
    assert_eq!(queue.totals().lost, 1, "as many as the queue holds may wait");
    let deadline = Instant::now() + Duration::from_secs(10);
    while queue.totals().lost < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(wait / 10);
    }
    assert_eq!(write_all(&queue), ["0"]);
}

#[test]
fn other_lines_find_room_and_the_newest_of_a_kind_speaks_for_all() {
    let queue = queue(1, Overflow::Lose(WhenFull::DropNewest));
    queue.push(reset(0));
    (0..5).for_each(|_| queue.push(lost_line()));
    assert_eq!(write_all(&queue), ["0", "other"]);
    assert_eq!(queue.totals(), Totals { written: 1, lost: 0, lost_folded: 0, ..Totals::default() });
}

#[test]
fn what_is_not_written_by_the_deadline_is_lost() {
    let queue = queue(8, Overflow::Lose(WhenFull::DropOldest));
    (0..5).for_each(|number| queue.push(reset(number)));
    assert_eq!(in_flight(&queue).len(), 4);
    queue.settle(&[Fate::Written]);
    queue.hurry(Instant::now());
    assert_eq!(queue.totals(), Totals { written: 1, lost: 4, lost_folded: 0, ..Totals::default() });
    // A thread that comes back from a slow write finds nothing left to book.
    queue.settle(&[Fate::Written]);
    assert_eq!(queue.totals(), Totals { written: 1, lost: 4, lost_folded: 0, ..Totals::default() });
    assert!(queue.take(None).is_none());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Folded(u64),
    Line,
    Take,
    Settle(usize),
    GiveBack(usize),
    Limit(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(
        prop_oneof![
            8 => Just(Step::Push),
            2 => (1_u64..1000).prop_map(Step::Folded),
            1 => Just(Step::Line),
            2 => Just(Step::Take),
            3 => (0_usize..6).prop_map(Step::Settle),
            1 => (0_usize..3).prop_map(Step::GiveBack),
            1 => (1_usize..9).prop_map(Step::Limit),
        ],
        0..200,
    )
}

proptest! {
    #[test]
    fn the_books_balance_whatever_happens(steps in steps(), policy in 0_u8..3) {
        let when_full = match policy {
            0 => WhenFull::DropOldest,
            1 => WhenFull::DropNewest,
            _ => WhenFull::BlockUntil(Duration::ZERO),
        };
        let queue = queue(4, Overflow::Lose(when_full));
        let (mut pushed, mut resets) = (0, 0);
        for step in steps {
            match step {
                Step::Push => {
                    queue.push(reset(pushed));
                    pushed += 1;
                    resets += 1;
                }
                Step::Folded(count) => {
                    queue.push(folded(count));
                    resets += count;
                }
                Step::Line => queue.push(lost_line()),
                Step::Take => drop(queue.take(Some(Duration::ZERO))),
                Step::Settle(count) => queue.settle(&vec![if count % 2 == 0 { Fate::Written } else { Fate::Refused }; count]),
                Step::GiveBack(keep) => queue.give_back(keep),
                Step::Limit(capacity) => queue.set_limits(capacity, when_full),
            }
            let totals = queue.totals();
            let state = queue.lock();
            let inside = || state.in_flight.iter().chain(state.waiting.iter().map(|waiting| &waiting.item));
            prop_assert_eq!(inside().filter(|item| item.is_bounded()).count(), state.lines);
            prop_assert_eq!(resets, totals.written + totals.lost + inside().map(|item| item.resets()).sum::<u64>());
        }
        queue.give_up();
        let totals = queue.totals();
        prop_assert_eq!(resets, totals.written + totals.lost);
    }
}

#[test]
fn one_that_gets_nothing_done_is_failing_after_a_while() {
    let queue = queue(8, Overflow::Lose(WhenFull::DropOldest));
    let later = |by: Duration| queue.lock().moved -= by;
    later(super::STALLED);
    assert!(!queue.standing().failing, "there was nothing to do");
    queue.push(reset(1));
    assert!(!queue.standing().failing, "it has only come");
    queue.take(None).unwrap();
    later(super::STALLED);
    assert!(queue.standing().failing && queue.standing().stalled.is_some());
    queue.push(reset(2));
    assert!(queue.standing().failing, "more of it is no progress");
    queue.settle(&[Fate::Refused]);
    assert!(!queue.standing().failing);
    later(super::STALLED);
    queue.give_up();
    assert!(queue.standing().stalled.is_none(), "it is over");
}
