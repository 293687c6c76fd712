//! Lines for people, at every width, of whatever is in an event.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::{Value, json};

use super::{Style, columns::width, item, render, routine};
use crate::{event::Event, testing::UNSAFE_TEXTS, text::clean};

fn of(change: impl FnOnce(&mut Value)) -> Event {
    let mut event = json!({
        "event": "rst", "schema": "rstblame/1", "id": "7f3a9c-1", "timestamp": "2026-06-29T09:41:55.118Z", "severity": "warning",
        "message": "10.0.6.42:40122 -> broker 10.0.4.21:5672 was reset by a middlebox: cut", "host": {"name": "app-1"},
        "direction": "received", "effect": "connection_reset",
        "network": {"type": "ipv4", "transport": "tcp", "community_id": "1:x", "local": {"address": "10.0.6.42", "port": 40122},
                    "peer": {"address": "10.0.4.21", "port": 5672}},
        "origin": {"kind": "middlebox", "confidence": 0.98, "address": "10.0.5.1", "hops": 1, "possible": ["middlebox"]},
        "cause": {"id": "idle_timeout", "confidence": 0.97, "summary": "a middlebox cut the connection after 350.0 s of silence",
                  "advice": "set heartbeat=30 in the client, and on the broker; or raise the idle timeout of the device at 10.0.5.1 beyond that"},
        "evidence": [{"signal": "ttl", "points_to": "middlebox", "strength": "strong", "detail": "TTL 63, and 62 before"}],
        "tcp": {"idle_ms": 350_020, "state": "ESTABLISHED"},
        "packet": {"seq": 1, "ack": 0, "flags": "R", "window": 0, "ttl": 63, "options": [], "baseline": {"ttl": 62, "packets": 41}},
        "process": {"pid": 4312, "executable": {"name": "orders-svc"}, "known_from": "connect"},
        "amqp": {"version": "0-9-1", "role": "client", "heartbeat_s": 0},
    });
    change(&mut event);
    serde_json::from_value(event).unwrap()
}

fn wide(columns: usize) -> Style {
    Style { columns, ..Style::PLAIN }
}

#[test]
fn two_lines_tell_who_why_and_what_to_do() {
    assert_eq!(
        render(&of(|_| {}), wide(100)),
        "09:41:55  LOST      orders-svc (4312) -> 10.0.4.21:5672  middlebox 10.0.5.1, 1 hop 98%\n\
         \x20         idle timeout after 350 s, heartbeats off: set heartbeat=30 in the client …\n"
    );
    assert_eq!(
        render(&of(|_| {}), wide(140)),
        "09:41:55  LOST      orders-svc (4312) -> 10.0.4.21:5672  middlebox 10.0.5.1, 1 hop 98%: idle timeout after 350 s, heartbeats off\n\
         \x20         set heartbeat=30 in the client, and on the broker; or raise the idle timeout of the device at 10.0.5.1 beyond that\n"
    );
}

#[test]
fn nothing_is_wider_than_the_terminal_and_what_decides_is_there() {
    let long = |event: &mut Value| {
        event["severity"] = json!("error");
        event["network"]["local"]["address"] = json!("2001:db8:1234:5678:9abc:def0:1234:5678");
        event["network"]["peer"]["address"] = json!("2001:db8:ffff:5678:9abc:def0:1234:8765");
        event["origin"]["address"] = json!("2001:db8:1111:2222:3333:4444:5555:6666");
        event["process"]["executable"]["name"] = json!("a-process-with-a-very-long-name-indeed-日本語-and-more-of-it");
    };
    for columns in [20, 40, 60, 79, 80, 100, 132, 250] {
        for event in [of(|_| {}), of(long)] {
            for detail in 0..=2 {
                let text = render(&event, Style { detail, ..wide(columns) });
                assert!(text.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
                let words = text.split_whitespace().collect::<String>();
                assert!(
                    ["LOST", "middlebox", "idletimeoutafter350s", "setheartbeat=30"].iter().all(|word| words.contains(word)),
                    "{columns}:\n{text}"
                );
                assert!(columns < 100 || detail > 0 || text.lines().count() == 2, "{columns}:\n{text}");
            }
        }
    }
    let text = render(&of(long), wide(100));
    assert!(text.contains(":5672") && text.starts_with("09:41:55 !LOST") && text.contains('…'), "{text}");
}

#[test]
fn evidence_and_packet_are_there_for_who_asks() {
    let text = |detail| render(&of(|_| {}), Style { detail, ..wide(100) });
    assert!(!text(0).contains("TTL 63"));
    assert!(text(1).contains("strong ttl for middlebox: TTL 63, and 62 before") && !text(1).contains("seq 1"), "{}", text(1));
    assert!(text(1).contains("rstblame explain 7f3a9c-1 --events FILE"));
    assert!(text(2).contains("ttl 63 (usually 62, of 41 packets)") && text(2).contains("ESTABLISHED"), "{}", text(2));
}

#[test]
fn colour_says_nothing_that_a_word_does_not() {
    let coloured = render(&of(|_| {}), Style { colour: true, ..wide(100) });
    assert!(coloured.contains("\x1b[1;33m"));
    let mut plain = coloured;
    for code in ["\x1b[1;33m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, render(&of(|_| {}), wide(100)));
}

#[test]
fn routine_resets_are_counted() {
    let ordinary = of(|event| event["severity"] = json!("info"));
    let counted = Style { all: false, ..wide(100) };
    assert_eq!(item(&ordinary, 3, &[], counted), "");
    assert!(item(&of(|_| {}), 3, &[], counted).starts_with("          3 routine resets not listed (--all lists them)\n09:41:55  LOST"));
    assert!(item(&ordinary, 3, &[], Style { all: true, ..counted }).starts_with("09:41:55  routine   "));
    // On a terminal the count stands in one line that changes.
    let live = Style { live: true, ..counted };
    assert_eq!(item(&ordinary, 3, &[], live), format!("\r\x1b[K{}", routine(3, live)));
    assert!(item(&of(|_| {}), 3, &[], live).starts_with("\n09:41:55"));
}

#[test]
fn hostile_names_stay_in_their_place() {
    for text in UNSAFE_TEXTS {
        let event = of(|event| event["process"]["executable"]["name"] = json!(clean(text)));
        let line = render(&event, Style { detail: 2, ..wide(100) });
        assert!(line.lines().all(|line| width(line) <= 100), "{line:?}");
    }
}
