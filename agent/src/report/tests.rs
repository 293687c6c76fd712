#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::PathBuf;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{page, rows::Rows};
use crate::{
    event::Event,
    reader::{Counts, event},
    story::Story,
};

/// What would run or hide something, if it were taken for markup.
const HOSTILE: [&str; 5] =
    ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- <script>", "\"\'&amp;alert(1)", "{{script}}"];

fn line(id: &str, at: &str, text: &str) -> Event {
    let end = |port: u16| json!({"address": "192.0.2.1", "port": port, "name": text});
    let line = json!({
        "event": "rst", "schema": "rstblame/1", "id": id, "timestamp": at, "severity": "error",
        "message": format!("192.0.2.1:40000 -> broker 192.0.2.1:5672 {text}"), "host": {"name": text, "boot_id": text},
        "direction": "received", "effect": "connection_reset",
        "network": {"type": "ipv4", "transport": "tcp", "community_id": text, "local": end(40_000), "peer": end(5672)},
        "origin": {"kind": "middlebox", "confidence": 0.9, "name": text, "possible": ["middlebox"]},
        "cause": {"id": "idle_timeout", "confidence": 0.9, "summary": text, "advice": text},
        "evidence": [{"signal": "ttl", "points_to": "middlebox", "strength": "strong", "detail": text}],
        "pattern": [{"id": "same_idle", "count": 3, "idle_ms": 350_000, "detail": text}],
        "process": {"pid": 7, "executable": {"name": text, "path": text}, "command_line": text, "known_from": "connect"},
    });
    event::read(line.to_string().as_bytes()).unwrap()
}

fn page_of(events: &[Event], most: usize) -> String {
    let (mut story, mut rows) = (Story::default(), Rows::new(most));
    for event in events {
        story.event(event);
        rows.event(event).unwrap();
    }
    page::of(&[PathBuf::from("<b>.jsonl")], &story, rows, &Counts::default()).unwrap()
}

/// What stands between two texts, from the first of them on.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let from = page.find(begin).unwrap() + begin.len();
    &page[from..from + page[from..].find(end).unwrap()]
}

fn data(page: &str) -> Value {
    serde_json::from_str(between(page, "<script id=\"data\" type=\"application/json\">", "</script>")).unwrap()
}

#[test]
fn what_events_say_is_never_markup() {
    let events: Vec<Event> = HOSTILE.iter().map(|text| line(text, "2026-11-30T02:00:00Z", text)).collect();
    let page = page_of(&events, 100);
    let plain = page_of(&[line("a", "2026-11-30T02:00:00Z", "a")], 100);
    for mark in ["<script", "</script", "<img", "<!--", "onerror="] {
        let of = |page: &str| page.matches(mark).count();
        // The word may stand in the story, where its brackets do not.
        let allowed = if mark == "onerror=" { usize::MAX } else { of(&plain) };
        assert!(of(&page) <= allowed, "{mark}: {} of them", of(&page));
    }
    assert!(page.contains("{{script}}"), "what an event says is not filled in");
    assert!(!between(&page, "<script id=\"data\"", "</script>").contains('\u{2028}'));
    let texts = data(&page)["texts"].clone();
    for text in HOSTILE {
        assert!(texts.as_array().unwrap().iter().any(|known| known.as_str().unwrap().contains(text)), "{text} is there as it is");
    }
}

#[test]
fn the_policy_lets_run_what_stands_in_the_page_and_nothing_else() {
    let page = page_of(&[], 100);
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let elements = [
        ("script-src", page.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0),
        ("style-src", between(&page, "<style>", "</style>")),
    ];
    for (directive, text) in elements {
        assert_eq!(between(policy, &format!("{directive} 'sha256-"), "'"), BASE64_STANDARD.encode(Sha256::digest(text)));
    }
    for attribute in [" style=", " onclick=", " src=", "http://", "https://"] {
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(attribute), "{attribute}");
    }
}

#[test]
fn columns_are_in_the_order_of_time_and_a_revision_takes_the_place_of_its_line() {
    let mut revised = line("a", "2026-11-30T02:00:05Z", "the peer knows nothing of it");
    if let Event::Rst(reset) = revised {
        revised = Event::RstRevised(reset);
    }
    let page = page_of(&[line("a", "2026-11-30T02:00:05Z", "x"), line("b", "2026-11-30T02:00:01Z", "y"), revised], 100);
    let data = data(&page);
    assert_eq!(data["columns"]["time"], json!([0, 4000]));
    let sentence = |row: usize| data["texts"][usize::try_from(data["columns"]["message"][row].as_u64().unwrap()).unwrap()].clone();
    assert_eq!((sentence(0), sentence(1)), (json!("\u{1} -> broker \u{2} y"), json!("\u{1} -> broker \u{2} the peer knows nothing of it")));
    assert_eq!(data["learnt"], json!([[350_000, 3]]));
}

#[test]
fn what_has_no_room_in_the_table_is_counted() {
    let events: Vec<Event> = (0..10).map(|number| line(&number.to_string(), "2026-11-30T02:00:00Z", "x")).collect();
    let data = data(&page_of(&events, 4));
    assert_eq!((data["columns"]["time"].as_array().unwrap().len(), data["left_out"].clone()), (4, json!(6)));
}

#[test]
fn a_whole_event_is_opened_from_its_piece() {
    use std::io::Read as _;
    let page = page_of(&[line("a", "2026-11-30T02:00:00Z", "x")], 100);
    let piece = BASE64_STANDARD.decode(between(&page, "<script id=\"detail-0\" type=\"application/gzip\">", "</script>")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(piece.as_slice()).read_to_string(&mut text).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(events[0]["id"], "a");
}
