use std::{net::IpAddr, time::Duration};

use proptest::prelude::*;

use super::{Destination, Learnt, PEERS, Pattern, PatternId, Patterns, Sighting, TIMES};

const MS: i128 = 1_000_000;
const SECOND: i128 = 1_000 * MS;
const HOUR: i128 = 3_600 * SECOND;

fn lost(time_ns: i128, last: u8) -> Sighting {
    let peer = Destination { address: IpAddr::from([192, 0, 2, last]), port: 5672 };
    Sighting { time_ns, peer, unopened: false, middlebox: None, idle: None, learnt: None }
}

fn ids(patterns: &[Pattern]) -> Vec<PatternId> {
    patterns.iter().map(|pattern| pattern.id).collect()
}

#[test]
fn five_connections_of_one_peer_within_a_second_are_a_burst() {
    let mut patterns = Patterns::default();
    for at in 0..4 {
        assert!(patterns.see(&lost(at * 200 * MS, 1)).is_empty(), "{at}");
        assert!(patterns.see(&lost(at * 200 * MS, 2)).is_empty(), "another peer");
    }
    let found = patterns.see(&lost(800 * MS, 1));
    assert!(matches!(found.as_slice(), [Pattern { id: PatternId::Burst, count: 5, window_ms: Some(800), .. }]), "{found:?}");
    assert!(patterns.see(&lost(3 * SECOND, 1)).is_empty(), "that was over");
}

#[test]
fn one_by_one_is_no_burst() {
    let mut patterns = Patterns::default();
    assert!((0..100).all(|at| patterns.see(&lost(at * 300 * MS, 1)).is_empty()));
}

#[test]
fn failing_to_connect_again_and_again_is_a_loop() {
    let mut patterns = Patterns::default();
    let fails = |seconds: i128| Sighting { unopened: true, ..lost(seconds * SECOND, 1) };
    for at in [0, 1, 3, 7] {
        assert!(patterns.see(&fails(at)).is_empty(), "{at}");
    }
    // A connection that is lost while open is another matter.
    assert!(patterns.see(&lost(8 * SECOND, 1)).is_empty());
    let found = patterns.see(&fails(15));
    assert!(matches!(found.as_slice(), [Pattern { id: PatternId::ReconnectLoop, count: 5, window_ms: Some(15_000), .. }]), "{found:?}");
    assert!(patterns.see(&fails(1_000)).is_empty());
}

#[test]
fn one_middlebox_is_one_only_if_it_is_alone() {
    let by = |at: i128, address: Option<[u8; 4]>| Sighting { middlebox: Some(address.map(IpAddr::from)), ..lost(at * SECOND, 1) };
    let (box_1, box_2) = (Some([10, 0, 5, 1]), Some([10, 0, 5, 2]));
    let mut patterns = Patterns::default();
    assert!(patterns.see(&by(0, box_1)).is_empty() && patterns.see(&by(5, box_1)).is_empty());
    assert!(patterns.see(&lost(6 * SECOND, 9)).is_empty(), "no middlebox");
    let found = patterns.see(&by(9, box_1));
    assert!(matches!(found.as_slice(), [Pattern { id: PatternId::OneMiddlebox, count: 3, window_ms: Some(9_000), .. }]), "{found:?}");
    assert!(patterns.see(&by(12, box_2)).is_empty(), "another");
    assert!(patterns.see(&by(15, box_1)).is_empty(), "no longer alone");
    let mut patterns = Patterns::default();
    assert!((0..9).all(|at| patterns.see(&by(at, None)).is_empty()), "without an address nothing is the same");
}

#[test]
fn what_was_learnt_of_an_idle_timeout_is_said() {
    let learnt = Learnt { timeout: Duration::from_secs(350), repeats: 4, spread: Duration::from_millis(300), on_next_segment: true };
    let found = Patterns::default().see(&Sighting { learnt: Some(learnt), ..lost(0, 1) });
    assert!(matches!(found.as_slice(), [Pattern { id: PatternId::SameIdle, count: 4, idle_ms: Some(350_000), .. }]), "{found:?}");
}

/// Resets after ten minutes of silence, at these hours; whether the last was part of quiet hours.
fn quiet(hours: impl IntoIterator<Item = i128>, idle: u64) -> bool {
    let mut patterns = Patterns::default();
    let seen = |hour: i128| Sighting { idle: Some(Duration::from_secs(idle)), ..lost(hour * HOUR + 7 * SECOND, 1) };
    let mut last = Vec::new();
    for hour in hours {
        last = patterns.see(&seen(hour));
    }
    ids(&last) == [PatternId::QuietHours]
}

#[test]
fn resets_after_silence_at_night_are_quiet_hours() {
    let nights = |days: i128| (0..days).flat_map(|day| [22, 23, 25, 28].map(|hour| day * 24 + hour));
    assert!(quiet(nights(3), 600));
    assert!(!quiet(nights(2), 600), "too few");
    assert!(!quiet(nights(3), 20), "no silence to speak of");
    assert!(!quiet((0..12).map(|_| 23), 600), "one night says nothing about the next");
    assert!(!quiet((0..60).map(|number| number * 5), 600), "all around the clock");
    assert!(!quiet(nights(3).chain([3 * 24 + 40]), 600), "this one is not part of it");
}

#[test]
fn the_memory_is_bounded() {
    let mut patterns = Patterns::default();
    for number in 0..u32::try_from(PEERS).unwrap_or(u32::MAX) + 10 {
        let peer = Destination { address: IpAddr::from(number.to_be_bytes()), port: 5672 };
        patterns.see(&Sighting { peer, ..lost(0, 1) });
    }
    assert_eq!((patterns.peers.len(), patterns.by_use.len(), patterns.evicted()), (PEERS, PEERS, 10));
    let mut patterns = Patterns::default();
    let counts: Vec<u64> =
        (0..2_000).flat_map(|_| patterns.see(&Sighting { middlebox: Some(None), ..lost(0, 1) })).map(|pattern| pattern.count).collect();
    assert_eq!(counts.iter().max().copied(), u64::try_from(TIMES).ok());
    assert!(patterns.middleboxes.len() <= TIMES);
}

proptest! {
    #[test]
    fn any_times_are_taken(times in proptest::collection::vec((any::<i64>(), any::<u8>(), any::<bool>(), any::<Option<u32>>()), 0..400)) {
        let mut patterns = Patterns::default();
        for (time, peer, unopened, idle) in times {
            let idle = idle.map(|idle| Duration::from_secs(idle.into()));
            for pattern in patterns.see(&Sighting { unopened, idle, middlebox: Some(None), ..lost(time.into(), peer) }) {
                prop_assert!(pattern.count >= 3 && !pattern.detail.is_empty());
            }
        }
    }
}
