//! Numbers add up, whatever the lines and their order; sentences say what was.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Paragraph, Part, Story};
use crate::{event::Event, model::Severity};

fn at(seconds: i64) -> Timestamp {
    "2026-06-29T02:10:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn of(mut value: Value, change: impl FnOnce(&mut Value)) -> Event {
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

/// A connection of orders-svc that a firewall cut.
fn cut(id: &str, seconds: i64, change: impl FnOnce(&mut Value)) -> Event {
    let event = json!({
        "event": "rst", "schema": "rstblame/1", "id": id, "timestamp": at(seconds), "severity": "warning",
        "message": "10.0.6.42:40122 -> broker 10.0.4.21:5672 was reset by a middlebox", "host": {"name": "app-1"},
        "direction": "received", "effect": "connection_reset",
        "network": {"type": "ipv4", "transport": "tcp", "community_id": "1:x", "local": {"address": "10.0.6.42", "port": 40122},
                    "peer": {"address": "10.0.4.21", "port": 5672}},
        "origin": {"kind": "middlebox", "confidence": 0.98, "address": "10.0.5.1", "hops": 1, "possible": ["middlebox"]},
        "cause": {"id": "idle_timeout", "confidence": 0.97, "summary": "cut", "advice": "set heartbeat=30 in orders-svc"},
        "evidence": [], "tcp": {"idle_ms": 350_000},
        "process": {"pid": 4312, "executable": {"name": "orders-svc"}, "known_from": "connect"},
        "amqp": {"version": "0-9-1", "role": "client", "heartbeat_s": 0},
    });
    of(event, change)
}

fn routine(id: &str, seconds: i64) -> Event {
    cut(id, seconds, |event| {
        event["severity"] = json!("info");
        event["origin"] = json!({"kind": "local_process", "confidence": 0.9, "possible": ["local_process"]});
        event["cause"] = json!({"id": "routine_close", "summary": "closed"});
    })
}

fn folded(seconds: i64, count: u64, cause: &str) -> Event {
    let event = json!({
        "event": "rst_suppressed", "schema": "rstblame/1", "timestamp": at(seconds + 1), "host": {"name": "app-1"}, "message": "",
        "key": {"origin": "local_host", "cause": cause, "peer": {"address": "10.0.6.43"}}, "count": count, "first": at(seconds),
        "last": at(seconds),
    });
    of(event, |_| {})
}

fn started(seconds: i64) -> Event {
    let event = json!({
        "event": "agent_started", "schema": "rstblame/1", "timestamp": at(seconds), "version": "0", "host": {"name": "app-1"},
        "kernel": {"release": "6", "machine": "x"}, "filter": {"ports": ["5672"], "netns": ["all"]},
        "coverage": {"tcp_receive_reset": {"state": "active"}, "packet_headers": {"state": "unavailable", "reason": "no CAP_NET_RAW"}},
    });
    of(event, |_| {})
}

fn stopped(seconds: i64, lost: u64) -> Event {
    let event = json!({
        "event": "agent_stopped", "schema": "rstblame/1", "timestamp": at(seconds), "host": {"name": "app-1"}, "uptime_s": 1.0,
        "seen": lost, "emitted": 0, "suppressed": 0, "lost": lost, "lost_by": {}, "by_origin": {}, "by_cause": {},
    });
    of(event, |_| {})
}

fn tell<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Paragraph> {
    let mut story = Story::default();
    events.into_iter().for_each(|event| story.event(event));
    story.paragraphs()
}

fn texts(paragraphs: &[Paragraph]) -> Vec<&str> {
    paragraphs.iter().map(|paragraph| paragraph.text.as_str()).collect()
}

#[test]
fn one_cause_is_one_sentence() {
    let mut events = vec![started(-60), stopped(20_000, 0)];
    events.extend((0..41).map(|number| cut(&number.to_string(), number * 300, |_| {})));
    events.extend((0..7).map(|number| routine(&format!("r{number}"), number)));
    let story = tell(&events);
    assert_eq!(
        texts(&story),
        [
            "41 connections were lost on app-1, 2026-06-29 02:09:00 to 07:43:20 UTC.",
            "41 connections of orders-svc to 10.0.4.21 were lost from 02:10:00 to 05:30:00: the middlebox 10.0.5.1 (1 hop away) cut them by an \
             idle timeout, after 350 s of silence (98% sure who). Heartbeats were off on all of them.",
            "Besides, as in normal operation: 7 routine_close.",
            "Not seen: packet_headers (no CAP_NET_RAW).",
        ]
    );
    assert_eq!(story[1].advice.as_deref(), Some("set heartbeat=30 in orders-svc"));
}

#[test]
fn a_quiet_time_says_what_it_is_worth() {
    let quiet = tell(&[started(0), stopped(600, 0)]);
    assert_eq!(
        quiet[0].text,
        "No connection was lost on app-1, 2026-06-29 02:10:00 to 02:20:00 UTC. A RST of a connection with port 5672, sent or received, would \
         have been seen, but for what is named below."
    );
    let blind = tell(&[of(serde_json::to_value(started(0)).unwrap(), |event| {
        event["coverage"]["tcp_receive_reset"] = json!({"state": "unavailable", "reason": "no BTF"});
    })]);
    assert!(blind[0].text.contains("could not all be seen") && blind[1].text.contains("tcp_receive_reset (no BTF)"), "{blind:?}");
    let headless = tell(&[routine("a", 0)]);
    assert!(headless[0].text.contains("is not known") && texts(&headless).iter().any(|text| text.contains("their beginning is missing")));
    assert_eq!(texts(&tell([])), ["There are no events."]);
}

#[test]
fn harm_comes_first_and_what_to_do_before_it() {
    let killed = |event: &mut Value| {
        event["severity"] = json!("error");
        event["origin"] = json!({"kind": "local_process", "confidence": 0.99, "possible": ["local_process"]});
        event["cause"] = json!({"id": "process_killed", "summary": "killed", "advice": "raise its memory limit"});
        event["process"]["exit"] = json!({"signal": "SIGKILL", "oom": true});
    };
    let refused = |event: &mut Value| {
        event["effect"] = json!("connection_refused");
        event["cause"] = json!({"id": "no_listener", "summary": "refused"});
    };
    let mut events = vec![started(-1), cut("k", 3, killed), cut("c1", 1, |_| {}), cut("c2", 2, |_| {})];
    events.extend((0..9).map(|number| cut(&format!("f{number}"), 5, refused)));
    let story = tell(&events);
    assert_eq!(
        story.iter().map(|paragraph| (paragraph.part, paragraph.connections)).take(5).collect::<Vec<_>>(),
        [(Part::Opening, 12), (Part::First, 0), (Part::Incident, 1), (Part::Incident, 2), (Part::Incident, 9)]
    );
    assert_eq!((story[0].severity, story[1].text.as_str()), (Severity::Error, "First: raise its memory limit."));
    assert!(story[0].text.starts_with("3 connections were lost, 9 connections were refused on app-1"), "{}", story[0].text);
    assert!(story[2].text.contains("orders-svc was killed (SIGKILL by the out-of-memory killer)"), "{}", story[2].text);
}

#[test]
fn a_connection_that_several_lines_tell_of_is_one() {
    let lines = |events: &[Event]| tell(events)[0].connections;
    // Read twice; both its ends on this host; its end, and the RST that came after it.
    assert_eq!(lines(&[cut("a", 0, |_| {}), cut("a", 0, |_| {})]), 1);
    let pair = |id: &str, other: &str| cut(id, 0, |event| event["related"] = json!({"pair": other}));
    assert_eq!(lines(&[pair("a", "b"), pair("b", "a")]), 1);
    let ending = cut("e", 0, |event| event["event"] = json!("connection_ended"));
    assert_eq!(lines(&[cut("a", 1, |event| event["related"] = json!({"ending": "e"})), ending]), 1);
    // What a revision says holds, whichever line comes first.
    let revised = cut("a", 0, |event| {
        event["event"] = json!("rst_revised");
        event["origin"] = json!({"kind": "remote_peer", "confidence": 0.9, "possible": ["remote_peer"]});
    });
    for events in [[cut("a", 0, |_| {}), revised.clone()], [revised, cut("a", 0, |_| {})]] {
        let story = tell(&events);
        assert_eq!(story[0].connections, 1);
        assert!(story[1].text.contains("the broker 10.0.4.21 cut it"), "{:?}", texts(&story));
    }
}

#[test]
fn losses_and_gaps_are_told() {
    let lost = |seconds: i64, total: u64| {
        of(
            json!({"event": "events_lost", "schema": "rstblame/1", "timestamp": at(seconds), "host": {"name": "app-1"}, "lost": {"ring_full": total}}),
            |_| {},
        )
    };
    // Totals are those of a run: 5 in the first, 7 in the second, which was killed.
    let events = [started(0), lost(10, 3), lost(20, 5), stopped(30, 5), started(90), lost(100, 7), started(200)];
    let story = tell(&events);
    let all = texts(&story).join("\n");
    assert!(all.contains("12 events were lost, and are not in these numbers."), "{all}");
    assert!(all.contains("it was stopped and started again once, for 60 s at most; it ended without a last line once"), "{all}");
}

fn any() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        (0_u8..30, 0_i64..3000, 0_u8..4).prop_map(|(id, seconds, process)| cut(&format!("c{id}"), seconds, |event| {
            event["process"]["executable"]["name"] = json!(format!("svc-{process}"));
            event["tcp"]["idle_ms"] = json!(seconds * 100);
        })),
        (0_u8..30, 0_i64..3000).prop_map(|(id, seconds)| routine(&format!("r{id}"), seconds)),
        (0_i64..3000, 1_u64..1_000_000, 0_usize..3).prop_map(|(seconds, count, cause)| folded(
            seconds,
            count,
            ["no_listener", "routine_close", "solar_flare"].get(cause).filter(|it| **it != "solar_flare").unwrap_or(&"unknown")
        )),
        (0_i64..3000).prop_map(started),
        (0_i64..3000, 0_u64..9).prop_map(|(seconds, lost)| stopped(seconds, lost)),
    ];
    proptest::collection::vec(one, 0..40)
}

proptest! {
    /// Every connection is told once: in one incident, or as routine.
    #[test]
    fn numbers_add_up(events in any()) {
        let story = tell(&events);
        let sum = |part: Part| story.iter().filter(|paragraph| paragraph.part == part).map(|paragraph| paragraph.connections).sum::<u64>();
        prop_assert_eq!(sum(Part::Opening), sum(Part::Incident) + sum(Part::Others));
        let mut names = std::collections::BTreeMap::new();
        for event in &events {
            match event {
                Event::Rst(reset) => _ = names.insert(reset.id.clone(), 1),
                Event::RstSuppressed(folded) => _ = names.insert(format!("{:?}", (folded.first, folded.count, folded.key.cause)), folded.count),
                _ => {}
            }
        }
        prop_assert_eq!(sum(Part::Opening) + sum(Part::Routine), names.values().sum::<u64>());
    }

    #[test]
    fn the_order_of_lines_does_not_matter((events, shuffled) in any().prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()))) {
        prop_assert_eq!(tell(&events), tell(&shuffled));
        let twice = events.iter().chain(&shuffled);
        prop_assert_eq!(tell(&events), tell(twice));
    }
}
