//! Ends that stop to answer, and what the other end makes of their silence.

use rstblame_lab::{
    LabError, Result, json,
    peers::pika::{Login, Pika},
    truths::{
        expect,
        stand::{Said, Scene},
    },
};
use rustix::process::Signal;

use crate::truths::{received, sent, with};

/// The broker waits for two to three heartbeats, and aborts.
pub fn client_is_paused(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login { heartbeat: 1, ..Login::at(scene.v4()) })?;
    pika.signal(Signal::STOP)?;
    let amqp = |role| json!({"amqp": {"version": "0-9-1", "role": role, "phase": expect::open(), "heartbeat_s": 1, "vhost": "orders", "close": null}});
    scene.told(
        flow,
        Said::These(vec![with(received("heartbeat_timeout", "warning"), amqp("client"))]),
        Said::These(vec![with(sent("heartbeat_timeout", "warning"), amqp("broker"))]),
    );
    pika.signal(Signal::CONT)?;
    pika.act("ended").map(drop)
}

/// pika waits for two rounds of six seconds at this heartbeat, and gives the broker up. Its
/// application has set `SO_LINGER`, so that it aborts.
pub fn broker_is_paused(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login { heartbeat: 1, ..Login::at(scene.v4()) })?;
    pika.act("hasten")?;
    scene.stand.broker.signal(Signal::STOP)?;
    let ended = pika.act("ended");
    scene.stand.broker.signal(Signal::CONT)?;
    if !ended?.to_string().contains("AMQPHeartbeatTimeout") {
        return Err(LabError::Client("pika did not miss the broker's heartbeats".to_owned()));
    }
    let amqp = |role| json!({"amqp": {"version": "0-9-1", "role": role, "phase": expect::open(), "heartbeat_s": 1, "vhost": "orders", "close": null}});
    scene.told(
        flow,
        Said::These(vec![with(sent("heartbeat_timeout", "warning"), amqp("client"))]),
        Said::These(vec![with(received("heartbeat_timeout", "warning"), amqp("broker"))]),
    );
    Ok(())
}
