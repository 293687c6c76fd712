//! What is no AMQP 0-9-1, said to a broker that speaks nothing else there.

use std::net::SocketAddr;

use rstblame_lab::{
    Result, Value, json,
    peers::{
        peer::{self, AMQPS},
        speech,
    },
    truths::stand::{Said, Scene},
};

use crate::{ordinary::wait_gone, truths::with};

/// The beginning of a hello of TLS 1.2, whose record goes on.
const CLIENT_HELLO: [u8; 16] = [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 7, 7, 7, 7, 7];

/// Says this first, waits for the end, and has this protocol named on both hosts.
fn wrong(scene: &Scene<'_>, port: u16, first: &[u8], protocol: &Value) -> Result<()> {
    let mut stream = scene.stand.client().connect(SocketAddr::new(scene.v4(), port))?;
    let flow = peer::flow(&stream)?;
    speech::say(&mut stream, first)?;
    // The broker answers, and closes; by then the client may have been reset.
    let _ = peer::wait_end(&stream);
    rstblame_lab::command::while_nothing_starts(|| drop(stream));
    wait_gone(scene, flow)?;
    let truth = json!({"severity": "warning", "cause": {"id": "wrong_protocol"}, "network": {"protocol": protocol}});
    scene.told(flow, Said::Any(truth.clone()), Said::Some(truth));
    Ok(())
}

pub fn tls_to_the_plain_port(scene: &Scene<'_>) -> Result<()> {
    wrong(scene, peer::AMQP, &CLIENT_HELLO, &json!({"name": "tls", "version": null}))
}

pub fn http(scene: &Scene<'_>) -> Result<()> {
    wrong(scene, peer::AMQP, b"GET /healthz HTTP/1.1\r\nHost: broker\r\n\r\n", &json!({"name": "http"}))
}

pub fn proxy_1(scene: &Scene<'_>) -> Result<()> {
    let mut first = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 5672\r\n".to_vec();
    first.extend(speech::HEADER_0_9_1);
    wrong(scene, peer::AMQP, &first, &json!({"name": "proxy", "version": "1"}))
}

pub fn proxy_2(scene: &Scene<'_>) -> Result<()> {
    let mut first = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x9c\x40\x16\x28".to_vec();
    first.extend(speech::HEADER_0_9_1);
    wrong(scene, peer::AMQP, &first, &json!({"name": "proxy", "version": "2"}))
}

pub fn mqtt(scene: &Scene<'_>) -> Result<()> {
    wrong(scene, peer::AMQP, b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04lab1", &json!({"name": "mqtt"}))
}

pub fn stomp(scene: &Scene<'_>) -> Result<()> {
    wrong(scene, peer::AMQP, b"CONNECT\naccept-version:1.2\nhost:/\n\n\0", &json!({"name": "stomp"}))
}

/// `RabbitMQ` 3 has it in a plugin, which is off.
pub fn amqp_1_0(scene: &Scene<'_>) -> Result<()> {
    wrong(scene, peer::AMQP, &speech::HEADER_1_0, &json!({"name": "amqp", "version": "1.0"}))?;
    wrong(scene, peer::AMQP, b"AMQP\x03\x01\0\0", &json!({"name": "amqp", "version": "1.0"}))
}

pub fn plain_amqp_to_the_port_of_tls(scene: &Scene<'_>) -> Result<()> {
    wrong(scene, AMQPS, &speech::HEADER_0_9_1, &json!({"name": "amqp", "version": "0-9-1"}))
}

/// Bytes of nothing that is known, in pieces.
pub fn noise(scene: &Scene<'_>) -> Result<()> {
    let mut stream = scene.stand.client().connect(SocketAddr::new(scene.v6(), peer::AMQP))?;
    let flow = peer::flow(&stream)?;
    speech::say(&mut stream, b"hel")?;
    speech::say(&mut stream, b"lo, broker\r\n")?;
    let _ = peer::wait_end(&stream);
    rstblame_lab::command::while_nothing_starts(|| drop(stream));
    wait_gone(scene, flow)?;
    let truth = json!({"severity": "warning", "cause": {"id": "wrong_protocol"}});
    let unnamed = with(truth, json!({"network": {"protocol": null}, "amqp": null, "tls": null}));
    scene.told(flow, Said::Any(unnamed.clone()), Said::Some(unnamed));
    Ok(())
}
