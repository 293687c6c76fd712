//! Logs that real brokers behind a real proxy wrote, by themselves and through a real rsyslog,
//! explained by the events of the agents beside.
//!
//! `HAProxy` tells the broker the client's addresses (PROXY protocol), and those are what the log
//! has: the client's host had this connection, and the broker's host another one, of which the log
//! does not speak.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::agent::Agent,
    brokers::broker::{self, Broker},
    command::{run_command, spawn},
    hosts::{flow::Flow, net::routed},
    json,
    peers::client::{self, Leave},
    poll,
    proxies::proxy::{Kind, Place, Proxy},
    workspace,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How the broker's own syslog is told where to write, without the protocol.
const SYSLOG: &str =
    "log.syslog = true\nlog.syslog.level = info\nlog.syslog.ip = 127.0.0.1\nlog.syslog.port = 5514\nlog.syslog.transport = udp\n";

/// What rsyslog writes: its own format, that of before, and what it was sent.
const FORMATS: [&str; 3] = ["RSYSLOG_FileFormat", "RSYSLOG_TraditionalFileFormat", "RSYSLOG_SyslogProtocol23Format"];

#[test]
fn version_3_10_behind_a_proxy_that_names_in_text() -> Result<()> {
    explained(broker::Kind { newer: false, behind_proxy: true }, Kind::HaproxyNaming, "rfc3164")
}

#[test]
fn version_4_0_behind_a_proxy_that_names_in_binary() -> Result<()> {
    if !broker::has_newer() {
        println!("there is no Debian 13 (cargo xtask setup --tests): nothing was tested");
        return Ok(());
    }
    explained(broker::Kind { newer: true, behind_proxy: true }, Kind::HaproxyNamingInBinary, "rfc5424")
}

fn explained(kind: broker::Kind, proxy: Kind, protocol: &str) -> Result<()> {
    let hosts = routed()?;
    let logs = workspace::artefacts()?.join("logs");
    let syslog = Rsyslog::start(&hosts.server, &logs)?;
    let broker = Broker::start_as(&hosts.server, kind, &format!("{SYSLOG}log.syslog.protocol = {protocol}\n"))?;
    let front = hosts.router.v4();
    let place = Place { patience: Duration::from_mins(1), ..Place::new(front, hosts.server.v4()) };
    let _proxy = Proxy::start_at(proxy, &hosts.router, &place)?;
    let agents = [Agent::on(&hosts.client).start()?, Agent::on(&hosts.server).start()?];

    let left = client::pika(&hosts.client, front, Leave::Unread)?;
    let [at_client, at_broker] = agents;
    at_client.reset_of(left.flow, "sent")?;
    at_broker.wait_for("how the proxy's connection ended", |event| {
        ["rst", "connection_ended"].into_iter().any(|kind| event.pointer("/event") == Some(&json!(kind)))
    })?;
    let own = poll::until("RabbitMQ to log the end", PATIENCE, || Ok(Some(broker.log()?).filter(|log| has_reason(log, left.flow))))?;
    let mut all = vec![("the broker's own", own)];
    for format in FORMATS {
        let written =
            poll::until("rsyslog to write the end", PATIENCE, || Ok(Some(syslog.log(format)).filter(|log| has_reason(log, left.flow))))?;
        all.push((format, written));
    }
    let (at_client, at_broker) = (at_client.stop()?, at_broker.stop()?);

    for (name, log) in &all {
        let events = |names: &[(&str, &[String])]| explain(&logs, log, names, left.flow);
        let answer = events(&[("client", at_client.lines())])?;
        rstblame_lab::assert_event!(answer, {
            "log": {"reason": "client_closed_tcp", "broker": left.flow.peer.to_string()},
            "answer": "reset",
            "reset": {"direction": "sent", "origin": {"kind": "local_process"}, "cause": {"id": "close_with_unread_data"}},
        });
        // Of rsyslog's formats one has the severity.
        let level = answer.pointer("/log/level").and_then(Value::as_str).unwrap_or("warning");
        assert_eq!(level, "warning", "{name}: {answer}");
        let answer = events(&[("broker", at_broker.lines())])?;
        assert_eq!(answer.pointer("/answer"), Some(&json!("not_seen")), "{name}: {answer}");
        let detail = answer.pointer("/detail").and_then(Value::as_str).unwrap_or_default();
        assert!(detail.contains("PROXY protocol") && !detail.contains("FIN"), "{name}: {answer}");
        let answer = events(&[("broker", at_broker.lines()), ("client", at_client.lines())])?;
        assert_eq!(answer.pointer("/reset/cause/id"), Some(&json!("close_with_unread_data")), "{name}: {answer}");
    }
    Ok(())
}

/// Whether a log has the end of the connection and why.
fn has_reason(log: &str, flow: Flow) -> bool {
    let name = format!("({} -> {}", flow.local, flow.peer);
    let mut lines = log.lines().skip_while(|line| !(line.contains("closing AMQP connection") && line.contains(&name)));
    // rsyslog has both in one line.
    lines.by_ref().take(6).any(|line| line.contains("client unexpectedly closed TCP connection"))
}

/// Runs `rstblame explain` with the events of these agents; the one answer to the connection.
fn explain(folder: &Path, log: &str, events: &[(&str, &[String])], flow: Flow) -> Result<Value> {
    let write = |path: &Path, text: &str| fs::write(path, text).map_err(|error| LabError::io(format!("write {}", path.display()), error));
    let path = folder.join("explained.log");
    write(&path, log)?;
    let mut command = Command::new(workspace::agent_binary());
    command.args(["explain", "--format", "json", "--rabbitmq-log"]).arg(&path);
    for (name, lines) in events {
        let path = folder.join(format!("{name}.jsonl"));
        write(&path, &lines.join("\n"))?;
        command.arg("--events").arg(&path);
    }
    let text = run_command(command, PATIENCE)?;
    let answers: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let client = json!(flow.local.to_string());
    let mut own = answers.iter().filter(|answer| answer.pointer("/log/client") == Some(&client));
    match (own.next(), own.next()) {
        (Some(answer), None) => Ok(answer.clone()),
        _ => Err(LabError::Client(format!("not one answer to {client}: {text}\nin {log}"))),
    }
}

/// rsyslog on UDP port 5514 of a host.
struct Rsyslog {
    child: Child,
    folder: PathBuf,
}

impl Rsyslog {
    fn start(host: &rstblame_lab::hosts::net::Host, folder: &Path) -> Result<Self> {
        let io = |error| LabError::io("prepare rsyslog", error);
        fs::create_dir_all(folder).map_err(io)?;
        let mut text = vec!["module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"5514\")\n".to_owned()];
        for format in FORMATS {
            let file = folder.join(format);
            fs::write(&file, "").map_err(io)?;
            text.push(format!("*.* action(type=\"omfile\" file=\"{}\" template=\"{format}\")\n", file.display()));
        }
        let config = folder.join("rsyslog.conf");
        fs::write(&config, text.concat()).map_err(io)?;
        let mut command = host.command("rsyslogd");
        command
            .arg("-n")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(folder.join("pid"))
            .arg("-M")
            .arg(workspace::library("rsyslog", "imudp.so")?);
        let child = spawn(command.stdin(Stdio::null()))?;
        let mut syslog = Self { child, folder: folder.to_owned() };
        poll::until("rsyslog to listen", PATIENCE, || {
            if let Some(status) = syslog.child.try_wait().map_err(LabError::during("look after rsyslog"))? {
                return Err(LabError::Client(format!("rsyslog ended at once: {status}")));
            }
            let listening = host.run(&["ss", "--no-header", "--listening", "--udp", "--numeric", "sport = :5514"])?;
            Ok((!listening.trim().is_empty()).then_some(()))
        })?;
        Ok(syslog)
    }

    /// What it has written so far in a format.
    fn log(&self, format: &str) -> String {
        fs::read(self.folder.join(format)).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // Already ended, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
