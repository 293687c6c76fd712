//! What `rstblame pcap` reads of real AMQP conversations, captured by tcpdump beside a real
//! `RabbitMQ`.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::record::is_kind,
    brokers::broker::Broker,
    command::{finish, spawn},
    hosts::net::{Host, two_hosts},
    json,
    peers::{
        client::{self, Leave},
        peer::AMQP,
    },
    poll, workspace,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// tcpdump on a host of the lab.
struct Tcpdump {
    child: Child,
    file: PathBuf,
}

impl Tcpdump {
    /// Starts it, and waits until it captures.
    fn start(host: &Host) -> Result<Self> {
        let file = workspace::artefacts()?.join("capture.pcap");
        let mut command = host.command("tcpdump");
        command.args(["--interface", "any", "--packet-buffered", "--relinquish-privileges", "root", "-w"]);
        command.arg(&file).args(["tcp", "port"]).arg(AMQP.to_string());
        let mut child = spawn(command.stdin(Stdio::null()).stderr(Stdio::piped()))?;
        let said = child.stderr.take().map(BufReader::new);
        let ready =
            said.into_iter().flat_map(|said| said.lines().map_while(std::result::Result::ok)).any(|line| line.contains("listening on"));
        let tcpdump = Self { child, file };
        if ready { Ok(tcpdump) } else { Err(LabError::Client("tcpdump ended before it captured".to_owned())) }
    }

    /// What `rstblame pcap` says of the RSTs of the capture, once they are `enough`.
    fn resets(&self, enough: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        poll::until("the RSTs in the capture", PATIENCE, || {
            let mut command = Command::new(workspace::agent_binary());
            command.args(["pcap", "--format", "json"]).arg(&self.file);
            // While tcpdump writes, the file may break off in a frame, which costs the exit status
            // and nothing else.
            let events = finish(command, PATIENCE)?.stdout;
            let resets = events.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|event| is_kind(event, "rst"));
            let resets: Vec<Value> = resets.collect();
            Ok(enough(&resets).then_some(resets))
        })
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        // What is captured is written, and no more is needed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_open_conversation_of_pika() -> Result<()> {
    let net = two_hosts()?;
    let _broker = Broker::start(&net.server)?;
    let tcpdump = Tcpdump::start(&net.server)?;
    let broker = net.server.v4();
    for left in [client::pika(&net.client, broker, Leave::Unread)?, client::pika(&net.client, broker, Leave::Linger)?] {
        let flow = left.flow.reversed();
        let is_its = |event: &&Value| flow.is_of(event) && event.get("direction") == Some(&json!("received"));
        let resets = tcpdump.resets(|resets| resets.iter().any(|event| is_its(&event)))?;
        rstblame_lab::assert_event!(resets.iter().find(is_its).cloned().unwrap_or_default(), {
            "amqp": {"version": "0-9-1", "role": "broker", "phase": "open", "heartbeat_s": 60, "vhost": "/", "close": null},
        });
    }
    Ok(())
}

#[test]
fn conversations_that_were_closed_in_order() -> Result<()> {
    let net = two_hosts()?;
    let _broker = Broker::start(&net.server)?;
    let tcpdump = Tcpdump::start(&net.server)?;
    let before = net.server.resets_sent()?;
    let sent = poll::until("a routine reset", Duration::from_mins(1), || {
        client::pika_cycles(&net.client, net.server.v4(), 10)?;
        let sent = net.server.resets_sent()? - before;
        Ok((sent > 0).then_some(sent))
    })?;
    let resets = tcpdump.resets(|resets| resets.len() as u64 >= sent)?;
    let routine: Vec<&Value> = resets.iter().filter(|event| event.get("direction") == Some(&json!("sent"))).collect();
    assert_eq!(routine.len() as u64, sent, "{resets:#?}");
    for reset in routine {
        rstblame_lab::assert_event!(reset, {
            "network": {"local": {"port": AMQP}},
            "amqp": {"version": "0-9-1", "role": "broker", "phase": "closed", "heartbeat_s": 60, "vhost": "/", "close": {"from": "client", "code": 200}},
        });
    }
    Ok(())
}
