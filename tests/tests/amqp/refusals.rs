//! Connections that the broker does not want, or not any longer, and says why.

use std::net::SocketAddr;

use rstblame_lab::{
    LabError, Result, Value,
    brokers::broker::OUTSIDER,
    json,
    peers::{
        peer::{self, VHOST},
        pika::{Login, Pika},
        speech,
    },
    truths::stand::{Said, Scene},
};

use crate::truths::with;

fn refused(role: &str, code: u16, more: Value) -> Value {
    with(
        json!({
            "severity": "warning", "cause": {"id": "forced_close"},
            "amqp": {"version": "0-9-1", "role": role, "close": {"from": "broker", "code": code}},
        }),
        more,
    )
}

fn refuse(scene: &Scene<'_>, login: &Login<'_>, code: u16, exception: &str) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let (flow, error) = pika.fail_to_connect(login)?;
    if !error.contains(exception) {
        return Err(LabError::Client(format!("pika failed otherwise: {error}")));
    }
    scene.told(flow, Said::Any(refused("client", code, json!({}))), Said::Some(refused("broker", code, json!({}))));
    Ok(())
}

pub fn wrong_password(scene: &Scene<'_>) -> Result<()> {
    refuse(scene, &Login { user: ("guest", "not guest's"), ..Login::at(scene.v4()) }, 403, "ProbableAuthenticationError")
}

pub fn unknown_vhost(scene: &Scene<'_>) -> Result<()> {
    refuse(scene, &Login { vhost: "invoices", ..Login::at(scene.v4()) }, 530, "530")
}

/// The vhost is there, the user is right, and has no business there.
pub fn no_permission(scene: &Scene<'_>) -> Result<()> {
    refuse(scene, &Login { user: OUTSIDER, ..Login::at(scene.v6()) }, 530, "530")
}

/// A client that goes away before it has said who it is.
pub fn client_leaves_the_handshake(scene: &Scene<'_>) -> Result<()> {
    let mut stream = scene.stand.client().connect(SocketAddr::new(scene.v6(), peer::AMQP))?;
    let flow = peer::flow(&stream)?;
    speech::say(&mut stream, &speech::HEADER_0_9_1)?;
    speech::expect(&mut stream, speech::START)?;
    peer::abort(stream)?;
    let truth = |direction, role| {
        Said::These(vec![json!({
            "direction": direction, "severity": "warning", "cause": {"id": "handshake_aborted"},
            "amqp": {"version": "0-9-1", "role": role, "phase": "start", "heartbeat_s": null, "vhost": null, "close": null},
        })])
    };
    scene.told(flow, truth("sent", "client"), truth("received", "broker"));
    Ok(())
}

pub fn closed_by_an_operator(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v4()))?;
    let list = scene.stand.control(&["list_connections", "--no-table-headers", "pid", "peer_port"])?;
    let port = flow.local.port().to_string();
    let process = list
        .lines()
        .find_map(|line| line.split_once('\t').filter(|(_, peer)| *peer == port))
        .map(|(process, _)| process)
        .ok_or_else(|| LabError::Client(format!("rabbitmqctl knows no connection from port {port}:\n{list}")))?;
    scene.stand.control(&["close_connection", process, "tidying up"])?;
    pika.act("ended")?;
    let more = json!({"amqp": {"heartbeat_s": 60, "vhost": VHOST, "close": {"text": "CONNECTION_FORCED - tidying up"}}});
    scene.told(flow, Said::Any(refused("client", 320, more.clone())), Said::Some(refused("broker", 320, more)));
    Ok(())
}
