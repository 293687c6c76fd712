//! Brokers that end, and with them their connections.

use std::net::SocketAddr;

use rstblame_lab::{
    Result, Value,
    agents::kernel,
    json,
    peers::{
        peer,
        pika::{Login, Pika},
    },
    scenarios,
    truths::stand::{Said, Scene, Stand, View},
};
use rustix::process::Signal;

use crate::truths::{open, received, sent, with};

fn stopping(role: &str) -> Value {
    json!({
        "severity": "warning", "cause": {"id": "broker_shutdown"},
        "amqp": {"version": "0-9-1", "role": role, "vhost": "orders", "heartbeat_s": 60, "close": {"from": "broker", "code": 320}},
    })
}

pub fn stop_app(scene: &Scene<'_>) -> Result<()> {
    let mut clients = Vec::new();
    for to in [scene.v4(), scene.v6()] {
        let mut pika = Pika::start(scene.stand.client())?;
        let flow = pika.connect(&Login::at(to))?;
        clients.push((pika, flow));
    }
    scene.stand.control(&["stop_app"])?;
    for (pika, flow) in &mut clients {
        pika.act("ended")?;
        scene.told(*flow, Said::Any(stopping("client")), Said::Some(stopping("broker")));
    }
    Ok(())
}

/// Nobody listens: the broker's application is stopped.
pub fn refused(scene: &Scene<'_>) -> Result<()> {
    for to in [scene.v4(), scene.v6()] {
        let flow = peer::refused(scene.stand.client(), SocketAddr::new(to, peer::AMQP))?;
        let client = json!({"direction": "received", "effect": "connection_refused", "cause": {"id": "refused"}, "amqp": null});
        scene.told_by(View::Client, flow, Said::These(vec![client]));
        if kernel::traces_resets_without_socket()? {
            let broker = json!({"direction": "sent", "cause": {"id": "no_listener"}, "origin": {"kind": "local_host"}, "amqp": null});
            scene.told_by(View::Broker, flow.reversed(), Said::These(vec![broker]));
        }
    }
    Ok(())
}

/// The broker has data in its sockets that it has not read, and is killed: its kernel resets.
pub fn killed(stand: &mut Stand) -> Result<()> {
    if stand.play(&scenarios![kill]) { stand.broker.wait() } else { Ok(()) }
}

fn kill(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v4()))?;
    // What arrives while it is stopped stays unread.
    scene.stand.broker.signal(Signal::STOP)?;
    pika.publish("nowhere", "unread")?;
    scene.stand.broker.signal(Signal::KILL)?;
    let exit = json!({"signal": "SIGKILL", "sent_by": {"pid": std::process::id()}});
    let broker = json!({"process": {"pid": scene.stand.broker.pid(), "exit": exit}});
    scene.told(
        flow,
        Said::These(vec![with(received("peer_aborted", "warning"), open("client"))]),
        Said::These(vec![with(with(sent("process_killed", "error"), open("broker")), broker)]),
    );
    Ok(())
}

/// What systemd does to stop a broker.
pub fn terminated(stand: &mut Stand) -> Result<()> {
    if stand.play(&scenarios![terminate]) { stand.broker.wait() } else { Ok(()) }
}

fn terminate(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v4()))?;
    scene.stand.broker.signal(Signal::TERM)?;
    pika.act("ended")?;
    scene.told(flow, Said::Any(stopping("client")), Said::Some(stopping("broker")));
    Ok(())
}
