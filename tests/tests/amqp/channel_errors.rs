//! Channels that the broker closes for an error, and what becomes of their connections.

use std::net::SocketAddr;

use rstblame_lab::{
    Result, Value, json,
    peers::{
        peer,
        pika::{Login, Pika},
        speech,
    },
    truths::stand::{Said, Scene},
};

use crate::{
    ordinary::wait_gone,
    truths::{closed, received, sent, with},
};

/// What `RabbitMQ` says of an acknowledgement of what it has not delivered.
fn unknown_tag() -> Value {
    json!({"amqp": {"channel_close": {"from": "broker", "code": 406, "text": "PRECONDITION_FAILED - unknown delivery tag 99", "channel": 1}}})
}

/// The client goes on using the channel: the broker closes the connection with 504, and the 406 is
/// why.
pub fn client_goes_on(scene: &Scene<'_>) -> Result<()> {
    let mut stream = scene.stand.client().connect(SocketAddr::new(scene.v4(), peer::AMQP))?;
    let flow = peer::flow(&stream)?;
    speech::handshake(&mut stream, "orders", 60)?;
    speech::fail_a_channel(&mut stream)?;
    speech::use_the_channel(&mut stream)?;
    speech::expect(&mut stream, speech::CLOSE)?;
    speech::say(&mut stream, &speech::close_ok())?;
    let _ = peer::wait_end(&stream);
    rstblame_lab::command::while_nothing_starts(|| drop(stream));
    wait_gone(scene, flow)?;
    let truth = |role: &str| {
        let close = json!({"amqp": {"version": "0-9-1", "role": role, "close": {"from": "broker", "code": 504}}});
        with(with(json!({"severity": "warning", "cause": {"id": "forced_close"}}), close), unknown_tag())
    };
    scene.told(flow, Said::Any(truth("client")), Said::Some(truth("broker")));
    Ok(())
}

/// A client that opens no other channel, and leaves in order.
pub fn client_closes(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v6()))?;
    pika.act("mistake")?;
    pika.act("close")?;
    wait_gone(scene, flow)?;
    let truth = |role| with(closed(role, 60), unknown_tag());
    scene.told(flow, Said::Any(truth("client")), Said::Any(truth("broker")));
    Ok(())
}

/// A client that aborts after it: how is what counts, and the error of its channel stays in
/// evidence.
pub fn client_aborts(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v4()))?;
    pika.act("mistake")?;
    pika.act("linger")?;
    scene.told(
        flow,
        Said::These(vec![with(sent("linger_abort", "warning"), unknown_tag())]),
        Said::These(vec![with(received("peer_aborted", "warning"), unknown_tag())]),
    );
    Ok(())
}
