//! `rstblame explain` on a log that is being written.

use std::{
    error::Error,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

/// A running `explain`, its log, its events and its answers.
struct Live {
    child: Child,
    log: Option<ChildStdin>,
    events: File,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Drop for Live {
    fn drop(&mut self) {
        // It has ended, or is not needed any more.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Live {
    fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("events.json");
        let mut events = File::create(&path)?;
        let started = json!({
            "event": "agent_started", "schema": "rstblame/1", "timestamp": Timestamp::now() - SignedDuration::from_mins(10), "version": "0",
            "host": {"name": "broker-1"}, "kernel": {"release": "6", "machine": "x"}, "filter": {"ports": ["5672"], "netns": ["all"]},
            "coverage": {},
        });
        writeln!(events, "{started}")?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_rstblame"))
            .args(["explain", "--format", "json", "--rabbitmq-log", "-", "--events"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (log, answers) = (child.stdin.take(), child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, log, events, answers: BufReader::new(answers), _folder: folder })
    }

    /// Logs the end of a connection, now.
    fn end(&mut self, client_port: u16) -> Outcome {
        let now = Timestamp::now();
        let prefix = format!("{}+00:00 [warning] <0.7.0>", now.strftime("%F %T%.6f"));
        let log = self.log.as_mut().ok_or("the log has ended")?;
        writeln!(log, "{prefix} closing AMQP connection <0.7.0> (192.0.2.2:{client_port} -> 192.0.2.1:5672):")?;
        writeln!(log, "{prefix} client unexpectedly closed TCP connection")?;
        Ok(())
    }

    fn reset(&mut self, client_port: u16) -> Outcome {
        let reset = json!({
            "event": "rst", "schema": "rstblame/1", "id": format!("of-{client_port}"), "timestamp": Timestamp::now(), "severity": "warning",
            "message": "", "direction": "received", "effect": "connection_reset",
            "network": {"type": "ipv4", "transport": "tcp", "community_id": "", "local": {"address": "192.0.2.1", "port": 5672},
                        "peer": {"address": "192.0.2.2", "port": client_port}},
            "origin": {"kind": "remote_peer", "confidence": 0.9, "possible": ["remote_peer"]},
            "cause": {"id": "peer_aborted", "confidence": 0.9, "summary": "it did"}, "evidence": [],
        });
        writeln!(self.events, "{reset}")?;
        Ok(())
    }

    fn answer(&mut self) -> Result<Value, Box<dyn Error>> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn id(answer: &Value) -> Option<&str> {
    answer.pointer("/reset/id")?.as_str()
}

#[test]
fn a_reset_that_is_written_before_or_after_the_line_is_found() -> Outcome {
    let mut live = Live::start()?;
    live.end(40_001)?;
    live.reset(40_001)?;
    assert_eq!(id(&live.answer()?), Some("of-40001"));
    live.reset(40_002)?;
    live.end(40_002)?;
    assert_eq!(id(&live.answer()?), Some("of-40002"));
    Ok(())
}

#[test]
fn a_line_without_a_reset_is_answered_in_time() -> Outcome {
    let mut live = Live::start()?;
    live.end(40_001)?;
    let answer = live.answer()?;
    assert_eq!(answer.get("answer"), Some(&json!("no_reset")), "{answer}");
    Ok(())
}

#[test]
fn what_is_left_at_the_end_of_the_log_is_answered() -> Outcome {
    let mut live = Live::start()?;
    let mut log = live.log.take().ok_or("no pipe")?;
    write!(log, "2020-01-01 00:00:00+00:00 [error] <0.7.0> closing AMQP connection <0.7.0> (192.0.2.2:1 -> 192.0.2.1:5672):")?;
    drop(log);
    let answer = live.answer()?;
    assert_eq!(answer.get("answer"), Some(&json!("not_seen")), "{answer}");
    assert!(live.child.wait()?.success());
    Ok(())
}
