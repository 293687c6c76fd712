//! A broker that is short of memory.

use rstblame_lab::{
    Result, json,
    peers::pika::{Login, Pika},
    truths::stand::{Said, Scene},
};

use crate::truths::{received, sent, with};

/// The broker stops to read from a publisher, and the publisher goes away.
pub fn publisher_gives_up(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v4()))?;
    scene.stand.control(&["set_vm_memory_high_watermark", "absolute", "1MB"])?;
    pika.act("blocked")?;
    pika.act("linger")?;
    let amqp = |role| json!({"amqp": {"version": "0-9-1", "role": role, "phase": "open", "blocked": true, "vhost": "orders"}});
    scene.told(
        flow,
        Said::These(vec![with(sent("broker_resource_alarm", "warning"), amqp("client"))]),
        Said::These(vec![with(received("broker_resource_alarm", "warning"), amqp("broker"))]),
    );
    scene.stand.control(&["set_vm_memory_high_watermark", "0.6"]).map(drop)
}
