#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use super::{Books, Exposition, Limits, Metrics, Observer, Ring, Snapshot, Store};
use crate::{
    event::{Host, Lost, ResetEvent, build},
    kernel::liveness::HookState,
    model::{Coverage, CoverageState, Direction, OriginKind, Severity},
    output::{
        pretty::token,
        sink::{LiveSink, SinkStatus},
    },
    testing,
};

/// What is documented: a table of name, type, labels and help for each metric.
const DOCUMENTED: &str = include_str!("../../../docs/metrics.md");

fn event(origin: OriginKind, name: Option<&str>, address: Option<&str>, peer: &str) -> ResetEvent {
    let reset = testing::reset();
    let mut event = build::event(&reset, crate::attribution::attribute(&reset), &Host { name: "h".to_owned() });
    event.origin.kind = origin;
    event.origin.name = name.map(ToOwned::to_owned);
    event.origin.address = address.map(|address| address.parse().unwrap());
    event.network.peer.address = peer.parse().unwrap();
    event
}

/// Metrics of which every one has a value.
fn all() -> (Metrics, Observer) {
    let (metrics, mut observer) = Metrics::new(Limits { peers: 2, middleboxes: 2 });
    observer.turned();
    observer.read(Duration::from_millis(2));
    for (peer, name) in [("192.0.2.1", Some("lb \"1\"\n")), ("192.0.2.2", None), ("2001:db8::1", None)] {
        let address = name.is_none().then_some("198.51.100.7");
        observer.handed_over(&event(OriginKind::Middlebox, name, address, peer), Duration::from_millis(1200));
        observer.ended(&event(OriginKind::Middlebox, name, address, peer));
    }
    observer.handed_over(&event(OriginKind::LocalProcess, None, None, "192.0.2.1"), Duration::from_millis(1200));
    metrics.set_latest(Some(Arc::new(Snapshot {
        books: Books {
            firings: 9,
            seen: 7,
            emitted: 4,
            suppressed: 1,
            lost: Lost { ring_full: 2, ..Lost::default() },
            unread: 1,
            held: 1,
            folding: 3,
        },
        forgotten: vec![("peers", 1)],
        stores: vec![Store { name: "processes", entries: 3, limit: 4096 }],
        ring: Ring { size: 4096, unread: Some(24) },
        hooks: vec![("tcp_send_reset", HookState::Attached), ("mark_victim", HookState::Detached), ("old", HookState::Unverifiable)],
        coverage: BTreeMap::from([("amqp".to_owned(), Coverage { state: CoverageState::Active, reason: None })]),
        namespaces: 2,
        sinks: vec![
            SinkStatus {
                name: "file".to_owned(),
                written: 3,
                lost: 1,
                live: Some(LiveSink { waiting: 5, capacity: 4096, failing: true, ended: false }),
            },
            SinkStatus { name: "gone".to_owned(), written: 2, lost: 0, live: None },
        ],
    })));
    metrics.request("/metrics", "200");
    metrics.dropped("slow");
    (metrics, observer)
}

#[test]
fn values_come_out_under_their_labels() {
    let (metrics, observer) = all();
    observer.reloaded(false);
    let text = metrics.encode(Exposition::Prometheus).unwrap();
    for line in [
        "rstblame_peer_resets_total{peer=\"192.0.2.1\"} 2",
        "rstblame_peer_resets_total{peer=\"192.0.2.2\"} 1",
        "rstblame_peer_resets_total{peer=\"other\"} 1",
        "rstblame_middlebox_resets_total{middlebox=\"lb \\\"1\\\"\\n\"} 1",
        "rstblame_middlebox_resets_total{middlebox=\"198.51.100.7\"} 2",
        "rstblame_reset_read_delay_seconds_bucket{le=\"0.001\"} 0",
        "rstblame_reset_read_delay_seconds_bucket{le=\"0.005\"} 1",
        "rstblame_reset_report_delay_seconds_count 4",
        "rstblame_resets_seen_total 7",
        "rstblame_resets_lost_total{place=\"ring\"} 2",
        "rstblame_resets_lost_total{place=\"decode\"} 0",
        "rstblame_resets_pending{place=\"held\"} 1",
        "rstblame_hook_attached{hook=\"tcp_send_reset\"} 1",
        "rstblame_hook_attached{hook=\"mark_victim\"} 0",
        "rstblame_sink_up{sink=\"file\"} 0",
        "rstblame_sink_written_total{sink=\"gone\"} 2",
        "rstblame_config_reloads_total{result=\"failure\"} 1",
        "rstblame_config_reloads_total{result=\"success\"} 0",
        "rstblame_config_last_reload_successful 0",
        "rstblame_session_turns_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    for absent in ["hook=\"old\"", "sink_up{sink=\"gone\"}"] {
        assert!(!text.contains(absent), "{absent} cannot be known");
    }
    let resets: u64 =
        text.lines().filter_map(|line| line.strip_prefix("rstblame_resets_total{")?.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(resets, 4);
}

#[test]
fn a_session_that_does_not_answer_leaves_no_old_values() {
    let (metrics, _observer) = all();
    metrics.set_latest(None);
    let text = metrics.encode(Exposition::Prometheus).unwrap();
    assert!(!text.contains("rstblame_resets_seen_total") && !text.contains("rstblame_sink_"), "{text}");
    assert!(text.contains("rstblame_resets_total{"), "what was counted stays");
}

#[test]
fn labels_are_the_words_of_the_contract() {
    for direction in [Direction::Sent, Direction::Received] {
        assert_eq!(direction.token(), token(direction));
    }
    for origin in [OriginKind::LocalProcess, OriginKind::LocalHost, OriginKind::RemotePeer, OriginKind::Middlebox, OriginKind::Unknown] {
        assert_eq!(origin.token(), token(origin));
    }
    for severity in [Severity::Info, Severity::Warning, Severity::Error] {
        assert_eq!(severity.token(), token(severity));
    }
}

/// One row of the document for each metric that there is: its name, its type, its labels, what it
/// says of itself.
fn table() -> String {
    let text = all().0.encode(Exposition::Prometheus).unwrap();
    let mut rows = String::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().1.trim_end_matches('.');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let labels = labels(&text, name);
            writeln!(rows, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
        }
    }
    rows
}

fn labels(text: &str, name: &str) -> String {
    let series = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once('}').map(|(labels, _)| labels));
    let names = series.unwrap_or_default().split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| format!("`{name}`"));
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let table = table();
    assert!(DOCUMENTED.contains(&table), "docs/metrics.md does not have exactly this table:\n{table}");
    let documented = DOCUMENTED.lines().filter(|line| line.starts_with("| `rstblame_") || line.starts_with("| `process_")).count();
    assert_eq!(documented, table.lines().count(), "docs/metrics.md has rows for what there is not");
}
