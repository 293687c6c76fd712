//! One report in all the forms that wrap it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Reason, Report, tests};

const TIME: &str = "2026-11-20 10:00:00.461954+00:00";
const OLD_TIME: &str = "2026-11-20 10:00:00.461";
const HEAD: &str = "closing AMQP connection <0.842.0> (192.0.2.77:40122 -> 198.51.100.9:5672, vhost: '/', user: 'app'):";
const REASON: &str = "client unexpectedly closed TCP connection";

fn read(log: &str) -> Vec<Report> {
    tests::read(TimeZone::UTC, log)
}

/// The report that every log here is of.
fn check(form: &str, log: &str) {
    let reports = read(log);
    let [report] = reports.as_slice() else { unreachable!("{form}: {reports:#?}\n{log}") };
    assert_eq!(report.reason, Reason::ClientClosedTcp, "{form}: {report:#?}\n{log}");
    let connection = report.connection.unwrap();
    assert_eq!(
        (connection.peer.to_string(), connection.local.to_string()),
        ("192.0.2.77:40122".into(), "198.51.100.9:5672".into()),
        "{form}\n{log}"
    );
    let is_it = |at: &jiff::Timestamp| at.to_string().starts_with("2026-11-20T10:00:0");
    assert!(report.time.iter().chain(&report.or).any(is_it), "{form}: {:?} {:?}\n{log}", report.time, report.or);
}

/// The lines of 3.9 and later, each with a prefix.
fn new() -> [String; 2] {
    [HEAD, REASON].map(|text| format!("{TIME} [warning] <0.842.0> {text}"))
}

/// Those of 3.7 and 3.8, of which the second has none.
fn old() -> [String; 2] {
    [format!("{OLD_TIME} [warning] <0.842.0> {HEAD}"), REASON.to_owned()]
}

/// Those of 3.6.
fn oldest() -> [String; 3] {
    ["=WARNING REPORT==== 20-Nov-2026::10:00:00 ===".to_owned(), HEAD.to_owned(), REASON.to_owned()]
}

fn wrap(lines: &[String], each: impl Fn(usize, &str) -> String) -> String {
    lines.iter().enumerate().map(|(number, line)| each(number, line) + "\n").collect()
}

#[test]
fn prefixes() {
    let prefixes = [
        ("none", ""),
        ("journalctl -o short", "Nov 20 10:00:00 node1 rabbitmq-server[968]: "),
        ("journalctl --no-hostname", "Nov 20 10:00:00 rabbitmq-server[968]: "),
        ("journalctl -o short-precise", "Nov 20 10:00:00.462001 node1 rabbitmq-server[968]: "),
        ("journalctl -o short-iso", "2026-11-20T10:00:00+0000 node1 rabbitmq-server[968]: "),
        ("journalctl -o short-full", "Fri 2026-11-20 10:00:00 UTC node1 rabbitmq-server[968]: "),
        ("journalctl -o short-unix", "1795168800.462001 node1 rabbitmq-server[968]: "),
        ("journalctl -o short-monotonic", "[ 5233.462001] node1 rabbitmq-server[968]: "),
        ("rsyslog", "2026-11-20T10:00:00.462123+00:00 node1 rabbitmq-server[968]: "),
        ("syslog without a process", "Nov 20 10:00:00 node1 rabbitmq: "),
        ("docker logs -t", "2026-11-20T10:00:00.462001234Z "),
        ("compose", "rabbitmq-1              | "),
        ("compose -t", "rabbitmq_1  | 2026-11-20T10:00:00.462001234Z "),
        ("compose with colours", "\x1b[36mrabbitmq-1  |\x1b[0m "),
        ("docker service logs", "stack_rabbit.1.x8sdf7@node1    | "),
        ("kubectl --prefix", "[pod/rabbitmq-server-0/rabbitmq] "),
        ("kubectl --prefix --timestamps", "[pod/rabbitmq-server-0/rabbitmq] 2026-11-20T10:00:00.462001234Z "),
        ("stern", "rabbitmq-0 rabbitmq "),
        ("stern -t", "rabbitmq-0 rabbitmq 2026-11-20T10:00:00.462001234Z "),
        ("CRI", "2026-11-20T10:00:00.462001234Z stdout F "),
        ("logcli", "2026-11-20T10:00:00Z {app=\"rabbitmq\", pod=\"rabbitmq-0\"} "),
        ("logcli without labels", "2026-11-20T10:00:00Z {} "),
        ("CloudWatch", "2026-11-20T10:00:00.462Z\t"),
        ("aws logs tail", "2026-11-20T10:00:00.462000+00:00 rabbitmq/rabbitmq/0123abcd "),
        ("blanks", "    "),
        ("quoted", "> "),
        ("grep", "/var/log/rabbitmq/rabbit@node1.log:"),
    ];
    for (form, prefix) in prefixes {
        for lines in [new().to_vec(), old().to_vec(), oldest().to_vec()] {
            check(form, &wrap(&lines, |_, line| format!("{prefix}{line}")));
        }
    }
}

#[test]
fn numbers_of_lines() {
    for lines in [new().to_vec(), old().to_vec()] {
        check("grep -n", &wrap(&lines, |number, line| format!("{}:{line}", 1_203 + number)));
        check("grep -n, several files", &wrap(&lines, |number, line| format!("rabbit@node1.log:{}:{line}", 1_203 + number)));
        check("grep -n -A1", &wrap(&lines, |number, line| format!("{}{}{line}", 1_203 + number, if number == 0 { ':' } else { '-' })));
        check("cat -n", &wrap(&lines, |number, line| format!("  {}\t{line}", 1_203 + number)));
    }
}

#[test]
fn marks_within_lines() {
    for lines in [new().to_vec(), old().to_vec()] {
        check("CRLF", &wrap(&lines, |_, line| format!("{line}\r")));
        check("a byte order mark", &format!("\u{feff}{}", wrap(&lines, |_, line| line.to_owned())));
        check("zeros", &wrap(&lines, |_, line| format!("\0\0{line}")));
        check("a fence", &format!("```\n{}```\n", wrap(&lines, |_, line| line.to_owned())));
        check("HTML", &wrap(&lines, |_, line| line.replace('<', "&lt;").replace('>', "&gt;")));
        for escape in ["\x1b", "^[", "#033", "\\u001b", ""] {
            check("colours", &wrap(&lines, |_, line| format!("{escape}[38;5;214m{line}{escape}[0m")));
        }
    }
}

#[test]
fn options_of_the_formatter() {
    for level in ["WARNING", "wrn", "WRN", "warn", "WARN"] {
        check(level, &wrap(&new(), |_, line| line.replace("warning", level)));
    }
    for time in ["2026-11-20T10:00:00.461954+00:00", "1795168800461954", "1795168800.461954", OLD_TIME, "2026-11-20 11:00:00.461954+01:00"]
    {
        check(time, &wrap(&new(), |_, line| line.replace(TIME, time)));
    }
    check("single_line", &format!("{TIME} [warning] <0.842.0> {HEAD}, {REASON}\n"));
    for format in [
        "{t} [warning] <0.842.0> - {m}",
        "[{t}] warning <0.842.0>: {m}",
        "{t} warning <0.842.0> {m}",
        "[warning] {t} <0.842.0> {m}",
        "{t} [rabbitmq.connection] [warning] {m}",
        "warning: {t} {m}",
        "{t} {m}",
        "{t} | warning | <0.842.0> | {m}",
        "{t} [warning] <0.842.0> rabbit_reader:log_connection_exception_with_severity/3:461 | {m}",
        "rabbit@node1 {t} [warning] <0.842.0> {m}",
        "level=warning time={t} pid=<0.842.0> msg={m}",
        "{t} [warning] <0.842.0>@rabbit_reader:log_connection_exception:123 {m}",
    ] {
        check(format, &[HEAD, REASON].map(|text| format.replace("{t}", TIME).replace("{m}", text)).join("\n"));
    }
}

#[test]
fn syslog_of_its_own() {
    let rfc5424 = "<28>1 2026-11-20T10:00:00.461954Z node1 rabbit 1234 <0.842.0>";
    check("RFC 5424", &format!("{rfc5424} - {HEAD}\n{rfc5424} - {REASON}\n"));
    check("RFC 5424 with a mark", &format!("{rfc5424} - \u{feff}{HEAD}\n{rfc5424} - \u{feff}{REASON}\n"));
    check("RFC 5424 in one line", &format!("{rfc5424} - {HEAD}#012{REASON}\n"));
    check(
        "RFC 5424 with data",
        &format!("{rfc5424} [meta sequenceId=\"1\" x=\"]\\\"\"] {HEAD}\n{rfc5424} [meta sequenceId=\"2\"] {REASON}\n"),
    );
    check("RFC 3164", &format!("<28>Nov 20 10:00:00 node1 rabbit[1234] <0.842.0> - {HEAD}#012{REASON}\n"));
}

#[test]
fn json() {
    let lines = |lines: &[String], each: &dyn Fn(&str) -> Value| wrap(lines, |_, line| each(line).to_string());
    for text in [new(), old()] {
        let now = "2026-11-20T10:00:00.462Z";
        check("json-file", &lines(&text, &|line| json!({"log": format!("{line}\n"), "stream": "stdout", "time": now})));
        check("journald", &lines(&text, &|line| json!({"__REALTIME_TIMESTAMP": "1795168800461954", "MESSAGE": line})));
        check(
            "journald, bytes",
            &lines(&text, &|line| json!({"__REALTIME_TIMESTAMP": "1795168800461954", "MESSAGE": format!("\x1b[1m{line}").as_bytes()})),
        );
        check("Fluent Bit", &lines(&text, &|line| json!({"date": 1_795_168_800.462, "log": line, "kubernetes": {"pod_name": "r-0"}})));
        check("Vector", &lines(&text, &|line| json!({"message": line, "timestamp": now, "file": "/var/log/rabbitmq/x.log"})));
        check(
            "Filebeat",
            &lines(&text, &|line| json!({"@timestamp": now, "log": {"offset": 1, "file": {"path": "/x.log"}}, "message": line})),
        );
        check("OpenTelemetry", &lines(&text, &|line| json!({"timeUnixNano": "1795168800461954000", "body": {"stringValue": line}})));
        check("logcli", &lines(&text, &|line| json!({"labels": {"app": "r"}, "line": line, "timestamp": now})));
        let values: Vec<Value> = text.iter().map(|line| json!(["1795168800461954000", line])).collect();
        let loki = json!({"data": {"result": [{"stream": {"pod": "r-0"}, "values": values}]}});
        let events: Vec<Value> = text.iter().map(|line| json!({"timestamp": 1_795_168_800_462_i64, "message": line})).collect();
        let hits: Vec<Value> = text.iter().map(|line| json!({"_source": {"@timestamp": now, "message": line}})).collect();
        for document in [loki, json!({"events": events}), json!({"hits": {"hits": hits}}), json!(events)] {
            check("a document", &document.to_string());
            check("a document over several lines", &serde_json::to_string_pretty(&document).unwrap());
        }
        check("a table", &format!("time,line\n{}", wrap(&text, |_, line| format!("1795168800462,\"{line}\",x"))));
    }
    let own = |time: &str, level: &str, text: &str| {
        json!({time: TIME, level: "warning", text: format!("{HEAD}\n{REASON}"), "pid": "<0.842.0>"}).to_string()
    };
    let records = [own("time", "level", "msg"), own("ts", "lvl", "message"), own("when", "how", "what")];
    for record in &records {
        for prefix in [
            "",
            "rabbit-1  | ",
            "2026-11-20T10:00:00.462001234Z stdout F ",
            "Nov 20 10:00:00 node1 rabbitmq[1]: ",
            "2026-11-20T10:00:00Z\ttag\t",
        ] {
            check("the formatter for JSON", &format!("{prefix}{record}\n"));
        }
        check("JSON in JSON", &json!({"log": format!("{record}\n"), "stream": "stdout"}).to_string());
    }
    check("single_line", &json!({"time": 1_795_168_800_451_830_i64, "level": "warn", "msg": format!("{HEAD}, {REASON}")}).to_string());
    check("logfmt", &format!("time=\"{TIME}\" level=warning msg=\"{HEAD}\\n{REASON}\"\n"));
}

#[test]
fn the_journal_member_by_member() {
    let [first, second] = new();
    let entry = |message: &str| {
        format!("Fri 2026-11-20 10:00:00.461954 UTC [s=ab;i=12;b=1;m=2;t=3;x=4]\n    PRIORITY=4\n    MESSAGE={message}\n    _PID=968\n")
    };
    check("verbose", &(entry(&first) + &entry(&second)));
    check("verbose, one message", &entry(&format!("{HEAD}\n            {REASON}")));
    let entry = |message: &str| format!("__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795168800461954\nMESSAGE={message}\n_PID=1\n\n");
    check("export", &(entry(&first) + &entry(&second)));
    check("export, one message", &format!("__REALTIME_TIMESTAMP=1795168800461954\nMESSAGE\n\u{1}\0\0\0\0\0\0\0{HEAD}\n{REASON}\n_PID=1\n"));
}

#[test]
fn pieces() {
    let [first, second] = new();
    let (start, rest) = first.split_at(90);
    check(
        "CRI",
        &format!(
            "2026-11-20T10:00:00.4Z stdout P {start}\n2026-11-20T10:00:00.4Z stdout F {rest}\n2026-11-20T10:00:00.4Z stdout F {second}\n"
        ),
    );
    for width in [76, 80, 100, 132] {
        let wrapped: Vec<String> = [&first, &second]
            .into_iter()
            .flat_map(|line| line.as_bytes().chunks(width))
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        check("a terminal", &wrapped.join("\n"));
    }
}

#[test]
fn the_latest_first() {
    let [first, second] = new();
    check("3.9", &format!("{second}\n{first}\n"));
    let [first, second] = old();
    let later = "2026-11-20 10:00:19.461 [info] <0.9.0> accepting AMQP connection <0.9.0> (192.0.2.78:1 -> 198.51.100.9:5672)";
    check("3.8", &format!("{later}\n{second}\n{first}\n"));
}

#[test]
fn sources_that_are_mixed() {
    for lines in [new().to_vec(), old().to_vec()] {
        let mixed = |other: &str| {
            let noise = format!("{other}{OLD_TIME} [info] <0.9.0> accepting AMQP connection <0.9.0> (192.0.2.80:1 -> 192.0.2.81:5672)");
            format!("left-0 rabbit {}\n{noise}\nleft-0 rabbit {}\n", lines.first().unwrap(), lines.last().unwrap())
        };
        check("stern", &mixed("right-0 rabbit "));
    }
}

#[test]
fn the_zone_of_a_collector_is_believed() {
    let log =
        format!("2026-11-20T10:00:00.462001Z 2026-11-20 19:00:00.461 [warning] <0.842.0> {HEAD}\n2026-11-20T10:00:00.462002Z {REASON}\n");
    let reports = read(&log);
    assert_eq!(reports.first().and_then(|report| report.time).unwrap().to_string(), "2026-11-20T10:00:00.461Z");
}

#[test]
fn what_a_client_chose_makes_no_report() {
    let name = format!("{TIME} [info] <0.842.0> connection <0.842.0> (192.0.2.77:40122 -> 198.51.100.9:5672) has a client-provided name: ");
    let forged = "closing AMQP connection <0.842.0> (192.0.2.99:1 -> 198.51.100.9:5672):";
    for log in [
        format!("{name}{forged} {REASON}"),
        format!("{name}[warning] <0.842.0> {forged} {REASON}"),
        // A name of several lines has the prefix on each of them.
        format!("{name}x\n{TIME} [info] <0.842.0> {forged}\n{TIME} [info] <0.842.0> {REASON}"),
        format!("{name}{}", json!({"time": TIME, "level": "warning", "msg": format!("{forged}\n{REASON}")})),
        format!("{TIME} [info] <0.842.0> closing AMQP connection <0.9.0> (192.0.2.99:1 -> 198.51.100.9:5672): {REASON}"),
    ] {
        assert_eq!(read(&log), [], "{log}");
    }
}
