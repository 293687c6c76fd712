//! Logs and events put together.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Cursor;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Explainer;
use crate::{
    attribution,
    cli::ExplainFormat,
    event::{Event, LocalEnd, PeerEnd, build},
    flow::Reset,
    model::{Direction, Effect, Role, Tuple},
    testing,
};

const LOG: &str = "2026-06-29 09:41:55.118 [warning] <0.1.0> closing AMQP connection <0.1.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: 'prod', user: 'app'):\nclient unexpectedly closed TCP connection\n";
const HEARTBEAT: &str = "2026-06-29 09:41:55.118 [error] <0.1.0> closing AMQP connection <0.1.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\nmissed heartbeats from client, timeout: 60s\n";

/// Milliseconds after the report of the logs above.
fn at(offset_ms: i64) -> Timestamp {
    "2026-06-29T09:41:55.118Z".parse::<Timestamp>().unwrap() + SignedDuration::from_millis(offset_ms)
}

fn line(event: &Event) -> String {
    serde_json::to_string(event).unwrap()
}

/// A RST of the logged connection.
fn rst(id: &str, offset_ms: i64, seen_by: Role, effect: Effect) -> String {
    let broker = Tuple::new("10.0.4.21:5672".parse().unwrap(), "10.0.6.42:40122".parse().unwrap());
    let tuple = if seen_by == Role::Broker { broker } else { broker.reversed() };
    let reset =
        Reset { id: id.to_owned(), timestamp: at(offset_ms), direction: Direction::Received, tuple, role: seen_by, ..testing::reset() };
    let verdict = attribution::attribute(&reset);
    let mut event = build::captured_event(&reset, verdict);
    event.effect = effect;
    line(&Event::Rst(Box::new(event)))
}

fn started(offset_ms: i64, port: &str) -> String {
    json!({
        "event": "agent_started", "schema": "rstblame/1", "timestamp": at(offset_ms), "version": "0", "host": {"name": "broker-1"},
        "kernel": {"release": "6", "machine": "x"}, "filter": {"ports": [port], "netns": ["all"]},
        "coverage": {"tcp_receive_reset": {"state": "active"}, "tcp_send_reset": {"state": "active"}},
    })
    .to_string()
}

fn stopped(offset_ms: i64, lost: u64) -> String {
    json!({
        "event": "agent_stopped", "schema": "rstblame/1", "timestamp": at(offset_ms), "host": {"name": "broker-1"}, "uptime_s": 1.0,
        "seen": lost, "emitted": 0, "suppressed": 0, "lost": lost, "lost_by": {}, "by_origin": {}, "by_cause": {},
    })
    .to_string()
}

fn explain(log: &[u8], events: &[u8], format: ExplainFormat) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, events).unwrap();
    let mut explainer = Explainer::new(Vec::new(), format, TimeZone::UTC, vec![file.path().to_owned()]);
    explainer.read_events().unwrap();
    // A log of nothing that is known is an error, and no panic.
    let _unknown = explainer.file(Cursor::new(log.to_owned()), "test.log");
    String::from_utf8(explainer.out).unwrap()
}

fn answers(log: &str, events: &[String]) -> Vec<Value> {
    explain(log.as_bytes(), events.join("\n").as_bytes(), ExplainFormat::Json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn answer(log: &str, events: &[String]) -> Value {
    let mut answers = answers(log, events);
    assert_eq!(answers.len(), 1, "{answers:#?}");
    answers.remove(0)
}

#[test]
fn a_reset_is_found_whichever_end_saw_it() {
    for seen_by in [Role::Broker, Role::Client] {
        let found = answer(LOG, &[started(-60_000, "5672"), rst("a", -3, seen_by, Effect::ConnectionReset)]);
        assert_eq!((&found["answer"], &found["reset"]["id"], &found["before_ms"]), (&json!("reset"), &json!("a"), &json!(3)), "{found}");
        assert_eq!(found["log"]["reason"], "client_closed_tcp");
        assert_eq!((&found["log"]["client"], &found["log"]["broker"]), (&json!("10.0.6.42:40122"), &json!("10.0.4.21:5672")));
        assert_eq!(found["log"]["lines"].as_array().map(Vec::len), Some(2));
    }
}

/// Whether it is known before the report or after it.
#[test]
fn a_reset_that_was_taken_back_is_told_anew() {
    let revised = || {
        let mut event: Value = serde_json::from_str(&rst("a", -3, Role::Broker, Effect::ConnectionReset)).unwrap();
        event["event"] = json!("rst_revised");
        event["origin"] = json!({"kind": "middlebox", "confidence": 0.9, "possible": ["middlebox"]});
        event.to_string()
    };
    let events = [started(-60_000, "5672"), rst("a", -3, Role::Broker, Effect::ConnectionReset), revised()];
    let found = answer(LOG, &events);
    assert_eq!((&found["reset"]["id"], &found["reset"]["origin"]["kind"]), (&json!("a"), &json!("middlebox")), "{found}");

    let mut joiner = super::Joiner::passing();
    let mut reader = super::LogReader::new(TimeZone::UTC);
    let reports: Vec<_> = LOG.lines().flat_map(|line| reader.line(line)).collect();
    reports.into_iter().chain(reader.finish()).for_each(|report| joiner.report(report));
    for line in events {
        joiner.event(crate::reader::record::read(line.as_bytes()).unwrap());
    }
    let super::join::Answer::Found { best, .. } = joiner.answer().unwrap().1 else { unreachable!("it is known") };
    assert_eq!(best.origin["kind"], "middlebox");
}

#[test]
fn a_time_without_a_fraction_is_a_whole_second() {
    let log = LOG.replace("55.118", "55");
    let events = [
        started(-60_000, "5672"),
        rst("next", 4_000, Role::Broker, Effect::ConnectionReset),
        rst("it", 600, Role::Broker, Effect::ConnectionReset),
    ];
    let found = answer(&log, &events);
    assert_eq!((&found["reset"]["id"], found.get("before_ms")), (&json!("it"), None), "{found}");
    assert!(found["detail"].as_str().unwrap().starts_with("RST received at 2026-06-29T09:41:55Z"), "{found}");
    // An agent that started, or stopped, within that second.
    for events in
        [[started(300, "5672"), stopped(9_000, 0)], [started(-9_000, "5672"), stopped(400, 0)], [started(300, "5672"), stopped(500, 0)]]
    {
        assert_eq!(answer(&log, &events)["answer"], "no_reset");
    }
    assert_eq!(answer(LOG, &[started(700, "5672"), stopped(9_000, 0)])["answer"], "not_seen");
    let other = seen(|event| {
        event["timestamp"] = json!(at(800));
        event["network"]["local"]["address"] = json!("10.9.9.9");
        event["network"]["peer"] = json!({"address": "10.9.9.1", "port": 51_000});
    });
    let found = answer(&log, &[started(700, "5672"), other, stopped(9_000, 0)]);
    assert!(found["detail"].as_str().unwrap().contains("PROXY protocol"), "{found}");
}

#[test]
fn the_nearest_that_ended_the_connection_is_taken() {
    let found = answer(
        LOG,
        &[
            started(-60_000, "5672"),
            rst("earlier connection", -30_000, Role::Broker, Effect::ConnectionReset),
            rst("it", -20, Role::Broker, Effect::ConnectionReset),
            rst("late answer", -1, Role::Broker, Effect::Answered),
            rst("next connection", 4_000, Role::Broker, Effect::ConnectionReset),
        ],
    );
    assert_eq!(found["reset"]["id"], "it", "{found}");
}

#[test]
fn a_reset_may_be_among_those_that_were_folded() {
    let folded = |peer: &str, port: u16, first_ms: i64, last_ms: i64| {
        let example: Event = serde_json::from_str(include_str!("../../testdata/events/rst_suppressed.json")).unwrap();
        let Event::RstSuppressed(mut suppressed) = example else { unreachable!("the file is of folded resets") };
        (suppressed.first, suppressed.last) = (at(first_ms), at(last_ms));
        suppressed.key.peer = Some(PeerEnd { address: peer.parse().unwrap(), port: None });
        suppressed.key.local = Some(LocalEnd { port });
        line(&Event::RstSuppressed(suppressed))
    };
    let start = started(-600_000, "5672");
    let found = answer(LOG, &[start.clone(), folded("10.0.6.42", 5672, -900, 90)]);
    assert_eq!(found["answer"], "not_seen", "{found}");
    assert!(found["detail"].as_str().unwrap().contains("48211 more resets between 10.0.6.42"), "{found}");
    // One that was written is the answer, whatever was folded; and others are no concern of this
    // connection.
    let written = answer(LOG, &[start.clone(), folded("10.0.6.42", 5672, -900, 90), rst("it", -20, Role::Broker, Effect::ConnectionReset)]);
    assert_eq!(written["reset"]["id"], "it", "{written}");
    for other in [folded("10.0.6.43", 5672, -900, 90), folded("10.0.6.42", 5671, -900, 90), folded("10.0.6.42", 5672, -90_000, -80_000)] {
        assert_eq!(answer(LOG, &[start.clone(), other.clone(), stopped(600_000, 0)])["answer"], "no_reset", "{other}");
    }
}

#[test]
fn how_near_depends_on_the_reason() {
    let far = [started(-600_000, "5672"), rst("a", -170_000, Role::Client, Effect::ConnectionReset), stopped(600_000, 0)];
    assert_eq!(answer(LOG, &far)["answer"], "no_reset");
    assert_eq!(answer(HEARTBEAT, &far)["reset"]["id"], "a");
    let after = [started(-600_000, "5672"), rst("a", 6_000, Role::Broker, Effect::ConnectionReset), stopped(600_000, 0)];
    assert_eq!(answer(HEARTBEAT, &after)["answer"], "no_reset");
}

#[test]
fn without_a_reset_it_says_what_that_is_worth() {
    let other = rst("other", 90_000, Role::Broker, Effect::ConnectionReset);
    let unknown = "nothing in the events shows that broker-1 has either address";
    let fin = "no RST was seen on broker-1, an end of this connection, so that the client's end may have come as a FIN";
    let table: [(&[String], &str, &str); 10] = [
        (&[started(-90_000, "5672"), stopped(9_000, 0)], "no_reset", &format!("no RST was seen, but {unknown}")),
        (&[started(-90_000, "5671-5672"), other.clone()], "no_reset", fin),
        (
            &[started(-90_000, "5672"), stopped(9_000, 7)],
            "no_reset",
            &format!("no RST was seen, but 7 resets were lost in that run; {unknown}"),
        ),
        (
            &[started(-9_000, "5672"), stopped(9_000, 0)],
            "no_reset",
            &format!("no RST was seen, but the agent had started only at 2026-06-29T09:41:46Z; {unknown}"),
        ),
        (
            &[started(-90_000, "5672")],
            "no_reset",
            &format!(
                "no RST was seen, but the agent wrote its last line at 2026-06-29T09:40:25Z and did not say that it stopped: it ran then, or was killed before; {unknown}"
            ),
        ),
        (&[started(9_000, "5672")], "not_seen", "not known: the agent was not running then: the events begin at 2026-06-29T09:42:04Z"),
        (
            &[started(-90_000, "5672"), stopped(-9_000, 0), started(9_000, "5672")],
            "not_seen",
            "not known: the agent was not running then: it stopped at 2026-06-29T09:41:46Z and started again at 2026-06-29T09:42:04Z",
        ),
        (&[started(-90_000, "5671"), stopped(9_000, 0)], "not_seen", "not known: the agent did not watch port 5672"),
        (&[], "not_seen", "not known: there are no events"),
        (
            &[other],
            "not_seen",
            "not known: the events, from 2026-06-29T09:43:25Z to 2026-06-29T09:43:25Z, do not say when an agent ran: they are not those of a capture, or their beginning is missing",
        ),
    ];
    for (events, expected, detail) in table {
        let found = answer(LOG, events);
        assert_eq!((found["answer"].as_str(), found["detail"].as_str()), (Some(expected), Some(detail)));
    }
}

#[test]
fn a_hook_that_did_not_work_is_named() {
    let mut start: Value = serde_json::from_str(&started(-90_000, "5672")).unwrap();
    start["coverage"]["tcp_receive_reset"] = json!({"state": "unavailable", "reason": "no BTF"});
    let found = answer(LOG, &[start.to_string(), stopped(9_000, 0)]);
    let detail =
        "no RST was seen, but tcp_receive_reset was not available (no BTF); nothing in the events shows that broker-1 has either address";
    assert_eq!(found["detail"], detail);
}

#[test]
fn a_report_without_addresses_is_not_guessed_at() {
    let log = "2026-06-29 09:41:55.118 [error] <0.9.0> Error on AMQP connection <0.9.0>: econnreset (connection reset by peer)\n";
    let found = answer(log, &[started(-90_000, "5672"), rst("a", 0, Role::Broker, Effect::ConnectionReset), stopped(9_000, 0)]);
    assert_eq!(found["answer"], "not_seen");
}

#[test]
fn for_people_the_log_stays_as_it_is() {
    let events = [started(-90_000, "5672"), rst("a", -3, Role::Broker, Effect::ConnectionReset), stopped(9_000, 0)].join("\n");
    let text = explain(LOG.as_bytes(), events.as_bytes(), ExplainFormat::Pretty);
    assert!(text.starts_with(LOG), "{text}");
    let answer: Vec<&str> = text.strip_prefix(LOG).unwrap().lines().collect();
    assert!(answer.len() <= 2 && answer.iter().all(|line| line.starts_with("    ")), "{text}");
    assert!(answer.first().unwrap().starts_with("    RST received 3 ms before: "), "{text}");
}

/// A line of events as another agent may write it: with members, causes and kinds of a later
/// version.
fn seen(change: impl Fn(&mut Value)) -> String {
    let mut event: Value = serde_json::from_str(&rst("it", -20, Role::Broker, Effect::ConnectionReset)).unwrap();
    event["host"] = json!({"name": "broker-1"});
    change(&mut event);
    event.to_string()
}

#[test]
fn a_connection_of_other_hosts_is_none_of_the_agents() {
    let other = seen(|event| {
        event["network"]["local"]["address"] = json!("10.9.9.9");
        event["network"]["peer"] = json!({"address": "10.9.9.1", "port": 51_000});
    });
    let found = answer(LOG, &[started(-90_000, "5672"), other, stopped(9_000, 0)]);
    let detail = found["detail"].as_str().unwrap();
    assert_eq!(found["answer"], "not_seen", "{found}");
    assert!(detail.contains("PROXY protocol") && !detail.contains("FIN"), "{detail}");
}

#[test]
fn an_end_without_a_reset_is_an_answer() {
    let ended = seen(|event| {
        event["event"] = json!("connection_ended");
        event["effect"] = json!("closed_without_amqp_close");
        event["cause"] = json!({"id": "of_a_later_version", "confidence": 0.5, "summary": "it did"});
        event["origin"]["kind"] = json!("somebody_new");
        event["news"] = json!([1, {"a": null}]);
    });
    let unknown = json!({"event": "weather", "schema": "rstblame/1", "timestamp": at(0), "host": {"name": "broker-1"}}).to_string();
    let found = answer(LOG, &[started(-90_000, "5672"), unknown, ended.clone(), stopped(9_000, 0)]);
    assert_eq!((&found["answer"], &found["ending"]["id"], found.get("reset")), (&json!("ending"), &json!("it"), None), "{found}");
    assert!(
        found["detail"].as_str().unwrap().starts_with("closed by FIN without an AMQP close, without a RST, seen by broker-1 20 ms before"),
        "{found}"
    );
    // A reset of the same connection goes before it, one that the kernel did not act on does not.
    let found = answer(LOG, &[started(-90_000, "5672"), ended.clone(), rst("reset", -5_000, Role::Broker, Effect::ConnectionReset)]);
    assert_eq!(found["reset"]["id"], "reset", "{found}");
    let found = answer(LOG, &[started(-90_000, "5672"), ended, rst("late", 10, Role::Broker, Effect::Answered)]);
    assert_eq!(found["ending"]["id"], "it", "{found}");
}

#[test]
fn translated_addresses_are_the_same_connection() {
    let nats = [
        json!({"original": {"source": {"address": "10.0.6.42", "port": 40_122}, "destination": {"address": "10.0.4.21", "port": 5672}}}),
        json!({"reply": {"local": {"address": "10.0.4.21", "port": 5672}, "peer": {"address": "10.0.6.42", "port": 40_122}}}),
        json!({"original": {"source_address": "10.0.6.42", "source_port": 40_122, "destination_address": "10.0.4.21", "destination_port": 5672}}),
    ];
    for nat in nats {
        let translated = seen(|event| {
            event["network"]["peer"] = json!({"address": "172.17.0.1", "port": 60_001});
            event["network"]["local"]["address"] = json!("172.17.0.2");
            event["network"]["nat"] = nat.clone();
        });
        let found = answer(LOG, &[started(-90_000, "5672"), translated]);
        assert_eq!(found["reset"]["id"], "it", "{nat}: {found}");
        assert!(found["detail"].as_str().unwrap().contains("behind NAT"), "{found}");
    }
}

#[test]
fn views_of_two_hosts_are_joined_by_sequence_numbers() {
    let isn = |event: &mut Value| event["tcp"] = json!({"isn_client": 7, "isn_server": 9});
    let broker = seen(|event| {
        isn(event);
        event["effect"] = json!("ignored");
        event["id"] = json!("broker's");
    });
    let client = seen(|event| {
        isn(event);
        event["id"] = json!("client's");
        event["host"]["name"] = json!("client-1");
        event["network"]["local"] = json!({"address": "192.168.1.5", "port": 33_333});
        event["network"]["peer"] = json!({"address": "10.0.4.21", "port": 5672});
    });
    let found = answer(LOG, &[started(-90_000, "5672"), broker.clone(), client.clone()]);
    assert_eq!((&found["reset"]["id"], &found["others"][0]["id"]), (&json!("client's"), &json!("broker's")), "{found}");
    let broker = broker.replace("ignored", "connection_reset");
    let found = answer(LOG, &[started(-90_000, "5672"), broker, client]);
    assert_eq!((&found["reset"]["id"], &found["others"][0]["id"]), (&json!("broker's"), &json!("client's")), "{found}");
}

#[test]
fn host_names_are_joined_by_ports_that_say_enough() {
    let names = LOG.replace("10.0.6.42:", "app.example:").replace("10.0.4.21:", "broker.example:");
    let found = answer(&names, &[started(-90_000, "5672"), rst("it", -20, Role::Broker, Effect::ConnectionReset)]);
    assert_eq!(found["reset"]["id"], "it", "{found}");
    // Another connection with the same ports that ended otherwise: nobody can tell.
    let other = seen(|event| {
        event["id"] = json!("other");
        event["network"]["peer"]["address"] = json!("10.0.6.43");
        event["cause"]["id"] = json!("process_killed");
    });
    let found = answer(&names, &[started(-90_000, "5672"), rst("it", -20, Role::Broker, Effect::ConnectionReset), other]);
    assert_eq!(found["answer"], "not_seen", "{found}");
}

#[test]
fn a_table_has_a_row_a_report() {
    let log = LOG.replace("user: 'app'", "user: '\"a, b'");
    let events = [started(-90_000, "5672"), rst("a", -3, Role::Broker, Effect::ConnectionReset)].join("\n");
    let table = explain(log.as_bytes(), events.as_bytes(), ExplainFormat::Csv);
    let rows: Vec<&str> = table.split_terminator("\r\n").collect();
    let [row] = rows.as_slice() else { unreachable!("{table}") };
    assert!(row.starts_with("2026-06-29T09:41:55.118Z,warning,amqp,client_closed_tcp,10.0.6.42:40122,10.0.4.21:5672,,reset,3,"), "{row}");
}

#[test]
fn a_log_of_something_else_is_said_to_be() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |log: &str| {
        let mut explainer = Explainer::new(Vec::new(), ExplainFormat::Json, TimeZone::UTC, vec![file.path().to_owned()]);
        explainer.file(Cursor::new(log.to_owned()), "other.log").map_err(|error| error.to_string())
    };
    let error = read("\n127.0.0.1 - - [20/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5\nmore\n").unwrap_err();
    assert!(error.contains("other.log") && error.contains("127.0.0.1 - -") && error.contains("give the lines"), "{error}");
    let error = read("dear team, why does it say closing AMQP connection (x)?\n").unwrap_err();
    assert!(error.contains("1 ends of AMQP connections"), "{error}");
    assert_eq!(read("2026-06-29 09:41:55.118 [info] <0.9.0> accepting AMQP connection <0.9.0> (10.0.6.42:1 -> 10.0.4.21:5672)\n"), Ok(()));
    assert_eq!(read(""), Ok(()));
}

#[test]
fn many_reports_keep_their_order() {
    let log: String = (0..30_000).map(|port| LOG.replace("40122", &(port + 12_000).to_string())).collect();
    let found = answers(&log, &[started(-90_000, "5672"), rst("a", -3, Role::Broker, Effect::ConnectionReset), stopped(9_000, 0)]);
    assert_eq!(found.len(), 30_000);
    let resets: Vec<usize> = found.iter().enumerate().filter(|(_, found)| found["answer"] == "reset").map(|(index, _)| index).collect();
    assert_eq!(resets, [40_122 - 12_000]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(log in proptest::collection::vec(any::<u8>(), 0..200), events in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = explain(&log, &events, ExplainFormat::Pretty);
        let _ = explain(&[LOG.as_bytes(), &log].concat(), &[rst("a", 0, Role::Broker, Effect::Ignored).as_bytes(), &events].concat(), ExplainFormat::Json);
    }

    #[test]
    fn no_changed_byte_makes_it_panic(at in 0_usize..4_000, to in any::<u8>()) {
        let mut log = [LOG, HEARTBEAT].concat().into_bytes();
        let mut events = [started(-9_000, "5672"), rst("a", -1, Role::Broker, Effect::ConnectionReset), stopped(9, 1)].join("\n").into_bytes();
        for bytes in [&mut log, &mut events] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
        }
        let _ = explain(&log, &events, ExplainFormat::Json);
    }
}
