//! The log of a real `RabbitMQ`, explained by the events of the agent beside it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::agent::Agent,
    brokers::broker::Broker,
    command::run_command,
    hosts::{
        flow::Flow,
        net::{Host, two_hosts},
    },
    json,
    peers::{
        client::{self, Leave},
        peer::AMQP,
    },
    poll, workspace,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// `RabbitMQ` logs both ends alike, as `client unexpectedly closed TCP connection`.
#[test]
fn a_reset_and_a_fin_are_told_apart() -> Result<()> {
    let net = two_hosts()?;
    let broker = Broker::start(&net.server)?;
    let agent = Agent::on(&net.server).start()?;

    let reset = client::pika(&net.client, net.server.v4(), Leave::Unread)?.flow;
    agent.reset_of(reset.reversed(), "received")?;
    let fin = close_after_start(&net.client, SocketAddr::new(net.server.v4(), AMQP))?;
    let log = poll::until("RabbitMQ to log both ends", PATIENCE, || {
        let log = broker.log()?;
        Ok([reset, fin].iter().all(|flow| has_reason(&log, *flow)).then_some(log))
    })?;
    let record = agent.stop()?;

    let answers = explain(&log, "events.json", record.lines())?;
    let answer = answer_to(&answers, reset)?;
    rstblame_lab::assert_event!(answer, {
        "log": {"reason": "client_closed_tcp", "level": "warning"},
        "answer": "reset",
        "reset": {"direction": "received", "effect": "connection_reset", "origin": {"kind": ["remote_peer", "unknown"]}},
    });
    // The broker answers the FIN by closing, and its `linger {true, 0}` makes that a RST of its
    // own.
    let answer = answer_to(&answers, fin)?;
    rstblame_lab::assert_event!(answer, {
        "log": {"reason": "client_closed_tcp", "level": "warning"},
        "answer": "reset",
        "reset": {"direction": "sent", "origin": {"kind": "local_process"}},
    });

    // The same log against an agent that had not run.
    for answer in explain(&log, "no-events.json", &[])? {
        assert_eq!(answer.get("answer"), Some(&json!("not_seen")), "{answer}");
    }
    Ok(())
}

/// Speaks AMQP up to `connection.start`, reads that to its end, and closes: by FIN, since nothing
/// is left unread.
fn close_after_start(host: &Host, broker: SocketAddr) -> Result<Flow> {
    host.inside(|| {
        let spoken = || -> std::io::Result<Flow> {
            let mut stream = TcpStream::connect(broker)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"AMQP\x00\x00\x09\x01")?;
            let mut head = [0_u8; 7];
            stream.read_exact(&mut head)?;
            let [_, _, _, size @ ..] = head;
            let mut rest = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX).saturating_add(1)];
            stream.read_exact(&mut rest)?;
            Ok(Flow::new(stream.local_addr()?, broker))
        };
        spoken().map_err(|error| LabError::io("speak AMQP to the broker", error))
    })
}

/// Whether the broker has logged why the connection ended.
fn has_reason(log: &str, flow: Flow) -> bool {
    let name = format!("({} -> {}", flow.local, flow.peer);
    let mut lines = log.lines().skip_while(|line| !(line.contains("closing AMQP connection") && line.contains(&name)));
    lines.nth(1).is_some_and(|reason| reason.contains("client unexpectedly closed TCP connection"))
}

/// Runs `rstblame explain`; returns its answers.
fn explain(log: &str, events_name: &str, events: &[String]) -> Result<Vec<Value>> {
    let folder = workspace::artefacts()?;
    let (log_path, events_path) = (folder.join("rabbitmq.log"), folder.join(events_name));
    let write = |path: &Path, text: &str| fs::write(path, text).map_err(|error| LabError::io(format!("write {}", path.display()), error));
    write(&log_path, log)?;
    write(&events_path, &events.join("\n"))?;
    let mut command = Command::new(workspace::agent_binary());
    command.args(["explain", "--format", "json", "--rabbitmq-log"]).arg(&log_path).arg("--events").arg(&events_path);
    let answers = run_command(command, PATIENCE)?;
    answers.lines().map(|line| serde_json::from_str(line).map_err(|error| LabError::Client(format!("{error} in {line}")))).collect()
}

fn answer_to(answers: &[Value], flow: Flow) -> Result<Value> {
    let client = Value::from(flow.local.to_string());
    let found = answers.iter().find(|answer| answer.pointer("/log/client") == Some(&client));
    found.cloned().ok_or_else(|| LabError::Client(format!("{client} is not among the answers: {answers:#?}")))
}
