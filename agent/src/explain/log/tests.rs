//! Reports of every version and kind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{LogReader, Reason, Report};

pub fn read(zone: TimeZone, log: &str) -> Vec<Report> {
    let mut reader = LogReader::new(zone);
    let mut reports: Vec<Report> = log.lines().flat_map(|line| reader.line(line)).collect();
    reports.extend(reader.finish());
    reports
}

fn only(log: &str) -> Report {
    let mut reports = read(TimeZone::UTC, log);
    assert_eq!(reports.len(), 1, "{log}: {reports:#?}");
    reports.remove(0)
}

const HEARTBEAT: Reason = Reason::MissedHeartbeats { interval: Duration::from_mins(1) };

#[test]
fn every_format_is_read() {
    let table = [
        // 3.8 (lager): local time, the reason on a line of its own without prefix, at times with an
        // empty line after it.
        (
            "2026-06-29 09:41:55.118 [warning] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: 'prod', user: 'app'):\nclient unexpectedly closed TCP connection\n\n",
            Reason::ClientClosedTcp,
        ),
        (
            "2026-06-29 09:41:55.118 [error] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\nmissed heartbeats from client, timeout: 60s\n",
            HEARTBEAT,
        ),
        (
            "2026-06-29 09:41:55.118 [error] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\n{handshake_timeout,frame_header}",
            Reason::HandshakeTimeout,
        ),
        (
            "2026-06-29 09:41:55.118 [info] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: '/', user: 'guest')",
            Reason::Orderly,
        ),
        // 3.9 to 3.13: an offset, and the prefix on every line.
        (
            "2026-06-29 09:41:55.118204+00:00 [warning] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672 - rabbitConnectionFactory#33a7331:0, vhost: 'prod', user: 'app'):\n2026-06-29 09:41:55.118204+00:00 [warning] <0.1234.0> client unexpectedly closed TCP connection",
            Reason::ClientClosedTcp,
        ),
        (
            "2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\n2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> {inet_error,econnreset}",
            Reason::SocketError,
        ),
        (
            "2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672)\n2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> {bad_header,<<\"GET / HT\">>}",
            Reason::Other,
        ),
        (
            "2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> Error on AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: '/', user: 'guest', state: running), channel 0:\n2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0>  operation none caused a connection exception connection_forced: \"Closed via management plugin\"",
            Reason::Forced,
        ),
        // 4.x: durations, no process in ordinary ends.
        (
            "2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672 - app (blue), duration: '2M, 10s'):\n2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> missed heartbeats from client, timeout: 60s",
            HEARTBEAT,
        ),
        (
            "2026-06-29 09:41:55.118204+00:00 [info] <0.1234.0> closing AMQP connection (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: '/', user: 'guest', duration: '12ms')",
            Reason::Orderly,
        ),
        (
            "2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> closing AMQP connection 10.0.6.42:40122 -> 10.0.4.21:5672 (duration: '3ms'):\n2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> TLS client detected on non-TLS AMQP port. Ensure the client is connecting to the correct port.",
            Reason::Other,
        ),
        // One line.
        (
            "2026-06-29 09:41:55.118 [warning] <0.1234.0> Closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: '/', user: 'guest'): CONNECTION_FORCED - Closed via management plugin",
            Reason::Forced,
        ),
        // Another separator, another zone, the console's colours.
        (
            "2026-06-29T11:41:55.118204+02:00 [warning] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\n2026-06-29T11:41:55.118204+02:00 [warning] <0.1234.0> client unexpectedly closed TCP connection",
            Reason::ClientClosedTcp,
        ),
        (
            "\x1b[38;5;214m2026-06-29 09:41:55.118204+00:00 [warning] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\x1b[0m\n\x1b[38;5;214m2026-06-29 09:41:55.118204+00:00 [warning] <0.1234.0> client unexpectedly closed TCP connection\x1b[0m",
            Reason::ClientClosedTcp,
        ),
        // The formatter for JSON.
        (
            r#"{"time":"2026-06-29 09:41:55.118204+00:00","level":"error","msg":"closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\nmissed heartbeats from client, timeout: 60s","line":614,"pid":"<0.1234.0>"}"#,
            HEARTBEAT,
        ),
        (
            r#"{"time":"2026-06-29 09:41:55.118204+00:00","level":"info","msg":"closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: '/', user: 'guest')"}"#,
            Reason::Orderly,
        ),
    ];
    for (log, reason) in table {
        let report = only(log);
        assert_eq!(report.reason, reason, "{log}");
        assert_eq!(report.time.unwrap().as_millisecond(), 1_782_726_115_118, "{log}");
        let connection = report.connection.unwrap();
        assert_eq!(
            (connection.peer.to_string().as_str(), connection.local.to_string().as_str()),
            ("10.0.6.42:40122", "10.0.4.21:5672"),
            "{log}"
        );
        assert_eq!(report.still_open, log.contains("Error on"), "{log}");
        assert!(!report.lines.concat().contains('\x1b'));
    }
}

#[test]
fn times_without_an_offset_are_local() {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let log = "2026-06-29 11:41:55.118 [info] <0.1.0> closing AMQP connection <0.1.0> ([2001:db8::2]:40122 -> [2001:db8::1]:5672, vhost: '/', user: 'guest')";
    let reports = read(zone, log);
    let [report] = reports.as_slice() else { unreachable!("{reports:?}") };
    assert_eq!(report.time.unwrap().as_millisecond(), 1_782_726_115_118);
    assert_eq!(report.connection.unwrap().peer.to_string(), "[2001:db8::2]:40122");
}

#[test]
fn a_report_without_addresses_is_one_all_the_same() {
    let socket = only("2026-06-29 09:41:55.118 [error] <0.9.0> Error on AMQP connection <0.9.0>: econnreset (connection reset by peer)");
    assert_eq!((socket.connection, socket.reason, socket.still_open), (None, Reason::SocketError, false));
    let names =
        only("2026-06-29 09:41:55.118 [info] <0.9.0> closing AMQP connection <0.9.0> (client.example:40122 -> broker.example:5672)");
    assert_eq!((names.connection, names.reason), (None, Reason::Orderly));
}

#[test]
fn other_lines_are_none() {
    for line in [
        "",
        "2026-06-29 09:41:55.118 [info] <0.9.0> accepting AMQP connection <0.9.0> (10.0.6.42:40122 -> 10.0.4.21:5672)",
        "2026-06-29 09:41:55.118 [error] <0.9.0> Channel error on connection <0.9.0> (10.0.6.42:40122 -> 10.0.4.21:5672, vhost: '/', user: 'guest'), channel 1:",
        "client unexpectedly closed TCP connection",
        "{\"time\":\"never\",\"level\":\"info\",\"msg\":\"closing AMQP connection\"}",
        "2026-06-29 09:41:55.118 [info] <0.9.0> closing AMQP connection <0.8.0> (10.0.6.42:40122 -> 10.0.4.21:5672)",
    ] {
        assert_eq!(read(TimeZone::UTC, line), [], "{line}");
    }
}

#[test]
fn reports_that_follow_each_other_stay_apart() {
    let log = "2026-06-29 09:41:55.118 [error] <0.1.0> closing AMQP connection <0.1.0> (10.0.6.42:1 -> 10.0.4.21:5672):\n\
               2026-06-29 09:41:55.118 [error] <0.2.0> closing AMQP connection <0.2.0> (10.0.6.42:2 -> 10.0.4.21:5672):\n\
               2026-06-29 09:41:55.118 [error] <0.2.0> {inet_error,etimedout}\n\
               2026-06-29 09:41:55.118 [error] <0.2.0>  and more\n\
               2026-06-29 09:41:56.000 [info] <0.3.0> closing AMQP connection <0.3.0> (10.0.6.42:3 -> 10.0.4.21:5672)";
    let reasons: Vec<Reason> = read(TimeZone::UTC, log).into_iter().map(|report| report.reason).collect();
    assert_eq!(reasons, [Reason::Other, Reason::SocketError, Reason::Orderly]);
}

proptest! {
    #[test]
    fn no_log_makes_it_panic(lines in proptest::collection::vec("\\PC{0,60}|.{0,60}", 0..10)) {
        let _ = read(TimeZone::UTC, &lines.join("\n"));
    }

    #[test]
    fn no_changed_character_makes_it_panic(at in 0_usize..200, to in any::<char>()) {
        let log = "2026-06-29 09:41:55.118204+00:00 [error] <0.1234.0> closing AMQP connection <0.1234.0> (10.0.6.42:40122 -> 10.0.4.21:5672):\nmissed heartbeats from client, timeout: 60s";
        let changed: String = log.chars().enumerate().map(|(index, c)| if index == at { to } else { c }).collect();
        prop_assert!(read(TimeZone::UTC, &changed).len() <= 1);
    }
}
