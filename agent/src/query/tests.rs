//! Questions, their answers, and what is said of those that cannot be read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::{Query, members, prefilter::Prefilter};

const RST: &str = include_str!("../../testdata/events/rst.json");

fn line() -> Vec<u8> {
    serde_json::to_vec(&serde_json::from_str::<serde_json::Value>(RST).unwrap()).unwrap()
}

fn holds(question: &str) -> bool {
    let query = Query::parse(question).unwrap_or_else(|error| unreachable!("{error}\n{}", error.pointer(question)));
    let by_line = query.matches_line(&line());
    assert_eq!(by_line, query.matches(&serde_json::from_str(RST).unwrap()), "{question}");
    by_line
}

fn wrong(question: &str) -> (usize, String) {
    let error = Query::parse(question).unwrap_err();
    (error.at, error.what)
}

#[test]
fn questions_have_answers() {
    for question in [
        "cause = close_with_unread_data",
        "cause.id = close_with_unread_data and origin = local_process",
        "cause in (idle_timeout, close_with_unread_data)",
        "peer in 127.0.0.0/8 and peer in (10.0.0.0/8, 127.0.0.1)",
        "peer not in 10.0.0.0/8",
        "peer_port = 5672 and local_port > 40000",
        "idle < 1s and tcp.idle_ms >= 200 and tcp.idle_ms <= 0.2e3",
        "severity = warning or severity = error",
        "not cause = idle_timeout",
        "not (cause = idle_timeout or peer in 10.0.0.0/8)",
        "process contains python",
        "evidence.signal = kernel_reason and evidence.strength = proof",
        "timestamp > 2026-11-21T08:49:55Z and timestamp < 2026-11-21T08:49:55.7Z",
        "tcp.linger_zero = false",
        "process and not container.id = 'x'",
        "event == rst",
        "cause = \"a word of a later version\" or cause = 'close_with_unread_data'",
    ] {
        assert!(holds(question), "{question}");
    }
    for question in [
        "cause = idle_timeout",
        "cause != close_with_unread_data",
        "peer in 10.0.0.0/8",
        "peer not in 127.0.0.1",
        // What a line does not have satisfies nothing.
        "origin.hops > 200",
        "packet.frame != 7",
        "process contains Python",
        "idle > 1h",
    ] {
        assert!(!holds(question), "{question}");
    }
}

#[test]
fn errors_point_at_what_is_wrong_and_name_the_nearest() {
    for (question, at, what) in [
        ("cuase = idle_timeout", 0, "no member is called \"cuase\"; the nearest is \"cause\""),
        ("cause = idle_timout", 8, "cause.id is never \"idle_timout\"; the nearest is \"idle_timeout\""),
        ("cause =", 7, "a value is missing here"),
        ("(cause = refused", 16, "a \")\" is missing here"),
        ("cause = refused peer in 10.0.0.1", 16, "a question ends before this; join two by \"and\" or \"or\""),
        ("peer in 10.0.0.0/99", 8, "\"10.0.0.0/99\" is no address and no network; give one such as 10.0.6.0/24"),
        ("tcp.idle_ms > long", 14, "tcp.idle_ms is a length of time; give it as 350s, 5m or a number in its own unit"),
        ("pid = x", 6, "process.pid is a number, not \"x\""),
        ("tcp.linger_zero = yes", 18, "tcp.linger_zero is true or false, not \"yes\""),
        ("timestamp > noon", 12, "timestamp is a time; give it as 2026-06-29T02:10:00Z"),
        ("cause = 'x", 8, "this quote is not closed; add a ' at its end"),
        ("cause & x", 6, "'&' is no part of a question; put values that hold it in quotes"),
        ("", 0, "a member is missing here, such as cause or peer"),
        ("= x", 0, "a member is missing before this, such as cause or peer"),
    ] {
        assert_eq!(wrong(question), (at, what.to_owned()), "{question}");
    }
    let error = Query::parse("ä and cuase = x").unwrap_err();
    assert_eq!(error.pointer("ä and cuase = x"), "ä and cuase = x\n^");
    assert!(Query::parse(&"(".repeat(100_000)).is_err() && Query::parse(&"not ".repeat(100_000)).is_err());
}

#[test]
fn members_are_those_of_the_contract() {
    for name in [
        "first_act.silence_ms",
        "network.nat.original.source.address",
        "key.peer.address",
        "coverage",
        "amqp.close.code",
        "lost_by.ring_full",
    ] {
        assert!(members::find(name).is_some(), "{name}");
    }
    assert!(members::names().all(|name| members::find(name).is_some()));
}

/// A line with letters escaped that need not be is parsed all the same.
#[test]
fn the_prefilter_passes_no_answer_over() {
    let escaped = String::from_utf8(line()).unwrap().replace("close_with_unread_data", "close\\u005fwith_unread_data");
    let query = Query::parse("cause = close_with_unread_data").unwrap();
    assert!(query.matches_line(escaped.as_bytes()));
    assert!(!query.matches_line(b"{\"cause\":{\"id\":\"refused\"}}"));
    assert!(!query.prefilter.may_match(b"{\"cause\":{\"id\":\"refused\"}}"));
}

fn question() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("cause = close_with_unread_data".to_owned()),
        Just("cause = refused".to_owned()),
        Just("peer in (127.0.0.0/8, 10.0.0.0/24)".to_owned()),
        Just("peer not in 127.0.0.1".to_owned()),
        Just("process contains python".to_owned()),
        Just("packet".to_owned()),
        Just("container".to_owned()),
        (0_u32..400).prop_map(|ms| format!("idle > {ms}")),
        "(message|host|severity|event|evidence\\.detail) (=|!=|contains) '[a-z ]{0,6}'",
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("not ({one})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one} and {other})")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("({one}) or {other}")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        if let Err(error) = Query::parse(&text) {
            prop_assert!(error.at <= text.chars().count());
        }
    }

    /// Whether a line is passed over, or parsed, the answer is the same.
    #[test]
    fn the_prefilter_changes_no_answer(question in question()) {
        let query = Query::parse(&question).unwrap();
        let slow = Query { prefilter: Prefilter::Pass, ..query.clone() };
        for text in [RST, include_str!("../../testdata/events/rst-minimal.json"), include_str!("../../testdata/events/agent_started.json")] {
            let line = serde_json::to_vec(&serde_json::from_str::<serde_json::Value>(text).unwrap()).unwrap();
            prop_assert_eq!(query.matches_line(&line), slow.matches_line(&line), "{}", question);
        }
    }
}
