//! Connections that are older than the agent: while their owners live, every one of them is named.

use rstblame_lab::{
    Result, Value,
    agents::{agent::Agent, record::is_kind},
    hosts::{flow::Flow, net::lone_host},
    peers::{actor::Stage, peer::AMQP},
};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// Connections of each client.
const CONNECTIONS: usize = 50;

/// How a client's connections end.
const ENDINGS: [(&str, Side); 4] = [("linger", Side::Client), ("linger", Side::Server), ("close", Side::Client), ("close", Side::Server)];

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

#[test]
fn connections_opened_before_the_agent_started() -> Result<()> {
    let host = lone_host()?;
    let stage = Stage::new(ACTOR)?;
    let address = std::net::SocketAddr::new(host.v4(), AMQP);
    let mut server = stage.actor(&host)?;
    server.ask(&format!("listen {address}"))?;
    let mut clients = Vec::new();
    for _ in ENDINGS {
        let mut client = stage.actor(&host)?;
        let locals = client.connect(address, CONNECTIONS)?;
        server.accept(CONNECTIONS)?;
        // What the one that closes has not read makes its close a reset.
        server.ask(&format!("send {} {CONNECTIONS} 1", clients.len() * CONNECTIONS))?;
        client.ask(&format!("send 0 {CONNECTIONS} 1"))?;
        client.ask(&format!("unread 0 {CONNECTIONS} 1"))?;
        server.ask(&format!("unread {} {CONNECTIONS} 1", clients.len() * CONNECTIONS))?;
        clients.push((client, locals));
    }

    let agent = Agent::on(&host).start()?;
    for (number, ((client, _), (how, side))) in clients.iter_mut().zip(ENDINGS).enumerate() {
        match side {
            Side::Client => client.ask(&format!("{how} 0 {CONNECTIONS}"))?,
            Side::Server => server.ask(&format!("{how} {} {CONNECTIONS}", number * CONNECTIONS))?,
        };
    }
    let mut expected = Vec::new();
    for (client, locals) in &clients {
        for local in locals {
            let flow = Flow::new(*local, address);
            expected.extend([(flow, client.pid), (flow.reversed(), server.pid)]);
        }
    }
    let all = expected.len();
    let mut seen = 0;
    let counted = std::cell::Cell::new(0);
    agent.wait_for("every reset", |event| {
        counted.set(counted.get() + usize::from(is_kind(event, "rst")));
        counted.get() == all
    })?;
    let record = agent.stop()?;
    for event in record.resets() {
        let Some((_, pid)) = expected.iter().find(|(flow, _)| flow.is_of(&event)) else { continue };
        seen += 1;
        assert_eq!(event.pointer("/process/pid").and_then(Value::as_u64), Some(u64::from(*pid)), "{event:#}");
    }
    assert_eq!(seen, all);
    Ok(())
}
