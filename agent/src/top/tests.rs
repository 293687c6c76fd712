#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;

use super::{
    draw,
    state::{Action, Key, Mode, Sort, State},
};
use crate::{event::Event, model::Severity, reader::event};

/// A lost connection of this peer, at this second.
fn line(id: &str, second: u8, peer: &str, severity: &str) -> String {
    let cause = if severity == "info" { "routine_close" } else { "idle_timeout" };
    json!({
        "event": "rst", "schema": "rstblame/1", "id": id, "timestamp": format!("2026-11-30T02:00:{second:02}Z"), "severity": severity,
        "message": format!("192.0.2.1:40000 -> broker {peer}:5672 was reset"), "direction": "received", "effect": "connection_reset",
        "network": {"type": "ipv4", "transport": "tcp", "community_id": "1:x", "local": {"address": "192.0.2.1", "port": 40_000},
                    "peer": {"address": peer, "port": 5672}},
        "origin": {"kind": "middlebox", "confidence": 0.97, "address": "198.51.100.1", "possible": ["middlebox"]},
        "cause": {"id": cause, "confidence": 0.9, "summary": "cut after 350 s of silence", "advice": "set heartbeat=30"},
        "evidence": [{"signal": "ttl", "points_to": "middlebox", "strength": "strong", "detail": "TTL 63 against 61"}],
        "process": {"pid": 7, "executable": {"name": "orders-svc"}, "known_from": "connect"},
    })
    .to_string()
}

fn feed(state: &mut State, line: String) {
    let event = event::read(line.as_bytes()).unwrap();
    state.event(event, line);
}

/// Ten of one peer, one of another, one that is routine.
fn busy() -> State {
    let mut state = State::default();
    for number in 0..10 {
        feed(&mut state, line(&format!("a{number}"), number, "10.0.0.7", "warning"));
    }
    feed(&mut state, line("b", 11, "10.0.0.8", "error"));
    feed(&mut state, line("c", 12, "10.0.0.9", "info"));
    state
}

fn screen(state: &State, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw::draw(frame, state, "events.json")).unwrap();
    terminal.backend().to_string()
}

fn press(state: &mut State, keys: &str) {
    for letter in keys.chars() {
        assert_eq!(state.key(Key::Char(letter)), Action::Nothing);
    }
}

fn ids(state: &State) -> Vec<String> {
    let id = |event: &Event| match event {
        Event::Rst(reset) => reset.id.clone(),
        _ => String::new(),
    };
    state.listed().iter().map(|(_, entry)| id(&entry.event)).collect()
}

#[test]
fn a_small_terminal_shows_totals_the_rate_the_list_and_the_latest_in_full() {
    let screen = screen(&busy(), 80, 24);
    for text in [
        "events.json  12 events, 11 lost",
        "who",
        "why",
        "11 idle_timeout",
        "events in 1 s",
        "11 events, latest first",
        "TTL 63 against 61",
        "q quit",
    ] {
        assert!(screen.contains(text), "{text}:\n{screen}");
    }
    assert!(!screen.contains("10.0.0.9"), "a routine one is counted:\n{screen}");
    assert_eq!(screen.lines().count(), 24);
}

#[test]
fn a_large_one_has_room_for_peers_and_processes_and_a_tiny_one_for_the_list() {
    let state = busy();
    let large = screen(&state, 200, 60);
    assert!(large.contains("peers") && large.contains("10 10.0.0.7") && large.contains("11 orders-svc"), "{large}");
    let tiny = screen(&state, 30, 6);
    assert!(tiny.contains("11 events"), "{tiny}");
    for (columns, rows) in [(1, 1), (2, 3), (20, 20), (500, 2)] {
        let _no_panic = screen(&state, columns, rows);
    }
}

#[test]
fn the_list_is_filtered_sorted_and_stands_still_when_asked() {
    let mut state = busy();
    assert_eq!(ids(&state).first().map(String::as_str), Some("b"));
    press(&mut state, "/peer = 10.0.0.8");
    assert_eq!((state.mode, ids(&state)), (Mode::Question, vec!["b".to_owned()]));
    assert_eq!(state.key(Key::Enter), Action::Nothing);
    assert_eq!((state.mode, state.wrong.clone()), (Mode::List, None));
    state.key(Key::Escape);
    press(&mut state, "a");
    assert_eq!(ids(&state).first().map(String::as_str), Some("c"));
    press(&mut state, "s");
    assert_eq!((state.sort, ids(&state).first().map(String::as_str)), (Sort::Severity, Some("b")));
    press(&mut state, "sp");
    feed(&mut state, line("d", 13, "10.0.0.8", "error"));
    assert_eq!((ids(&state).first().map(String::as_str), state.lost), (Some("c"), 12), "totals go on");
    press(&mut state, "p");
    assert_eq!(ids(&state).first().map(String::as_str), Some("d"));
}

#[test]
fn half_a_question_leaves_the_one_before_and_says_what_is_missing() {
    let mut state = busy();
    press(&mut state, "/peer = 10.0.0.8");
    press(&mut state, " and");
    assert_eq!(ids(&state), ["b"]);
    assert!(state.wrong.is_some() && screen(&state, 100, 24).contains("filter: peer = 10.0.0.8 and_"));
}

#[test]
fn the_selected_event_stays_selected_while_others_come() {
    let mut state = busy();
    state.key(Key::Down);
    state.key(Key::Down);
    let selected = |state: &State| {
        let listed = state.listed();
        ids(state).get(state.position(&listed)).cloned()
    };
    let before = selected(&state);
    feed(&mut state, line("e", 14, "10.0.0.8", "error"));
    assert_eq!((selected(&state), before.as_deref()), (before.clone(), Some("a8")));
    state.key(Key::Enter);
    assert!(screen(&state, 80, 24).contains("10.0.0.7"));
    state.key(Key::Escape);
    state.key(Key::Home);
    assert_eq!(selected(&state).as_deref(), Some("e"));
    assert_eq!(state.key(Key::Char('q')), Action::Quit);
}

#[test]
fn memory_is_bounded_and_the_totals_are_not() {
    let mut state = State::default();
    for number in 0_u32..6000 {
        feed(&mut state, line(&number.to_string(), 1, &format!("10.1.{}.{}", number / 256, number % 256), "warning"));
    }
    assert_eq!((state.listed().len(), state.seen, state.lost), (5000, 6000, 6000));
    let counted: u64 = state.peers.most(usize::MAX).iter().map(|(_, count)| count).sum();
    assert_eq!((state.peers.most(usize::MAX).len(), counted), (1001, 6000));
    assert_eq!(state.listed().first().map(|(_, entry)| entry.severity), Some(Severity::Warning));
}

#[test]
fn what_terminals_obey_is_shown_and_not_obeyed() {
    let mut state = State::default();
    feed(&mut state, line("x", 1, "10.0.0.7", "error").replace("orders-svc", "\\u001b[2Jcleared\\u202e"));
    let screen = screen(&state, 200, 40);
    assert!(screen.contains("cleared") && !screen.contains('\u{1b}'), "{screen}");
}
