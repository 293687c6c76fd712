//! A real `RabbitMQ` with real clients: who resets whom when an application leaves badly, and when
//! it leaves well.

use std::time::Duration;

use rstblame_lab::{
    Result, Value,
    agents::{kernel, record::is_kind},
    brokers::broker::Broker,
    hosts::net::{TwoHosts, two_hosts},
    json,
    peers::client::{self, Leave, Left},
    poll,
    truths::views::{Truth, Views},
};

/// What the broker's host sees of a client that reset the connection.
fn reset_by_client() -> Value {
    json!({
        "direction": "received", "effect": "connection_reset", "severity": "warning",
        "network": {"type": "ipv4", "local": {"port": 5672}},
        "origin": {"kind": ["remote_peer", "unknown"]},
        "tcp": {"state": "ESTABLISHED"},
    })
}

/// What the client's host sees of a process that left deliveries unread.
fn left_unread(left: &Left) -> Result<Value> {
    Ok(json!({
        "direction": "sent", "effect": "connection_reset", "severity": "warning",
        "network": {"peer": {"port": 5672}},
        "origin": {"kind": "local_process", "possible": ["local_process"]},
        "cause": {"id": "close_with_unread_data"},
        "tcp": {"kernel_reason": kernel::reason("TCP_ABORT_ON_CLOSE")?, "unread_bytes": left.unread},
        "process": {"pid": left.pid},
    }))
}

#[test]
fn pika_closes_with_unread_deliveries() -> Result<()> {
    let net = two_hosts()?;
    let _broker = Broker::start(&net.server)?;
    let views = Views::of(&net)?;
    let left = client::pika(&net.client, net.server.v4(), Leave::Unread)?;
    assert!(left.unread > 0, "{left:?}");
    let truth = Truth { client: vec![left_unread(&left)?], server: vec![reset_by_client()] };
    views.tell(left.flow, &truth)
}

#[test]
fn pika_aborts_with_linger_zero() -> Result<()> {
    let net = two_hosts()?;
    let _broker = Broker::start(&net.server)?;
    let views = Views::of(&net)?;
    let left = client::pika(&net.client, net.server.v4(), Leave::Linger)?;
    let truth = Truth {
        client: vec![json!({
            "direction": "sent", "effect": "connection_reset", "severity": "warning",
            "origin": {"kind": "local_process", "possible": ["local_process"]},
            "cause": {"id": "linger_abort"},
            "tcp": {"kernel_reason": kernel::reason("TCP_STATE")?, "linger_zero": true},
            "process": {"pid": left.pid},
        })],
        server: vec![reset_by_client()],
    };
    views.tell(left.flow, &truth)
}

#[test]
fn lapin_goes_away_with_unread_deliveries() -> Result<()> {
    let net = two_hosts()?;
    let _broker = Broker::start(&net.server)?;
    let views = Views::of(&net)?;
    let left = client::lapin_unread(&net.client, net.server.v4())?;
    let truth = Truth { client: vec![left_unread(&left)?], server: vec![reset_by_client()] };
    views.tell(left.flow, &truth)
}

/// `RabbitMQ` listens with `linger {true, 0}`, so about half of all ordinary closes end in its RST.
/// That belongs to normal operation and must read so.
#[test]
fn broker_resets_an_ordinary_connection() -> Result<()> {
    let net = two_hosts()?;
    let broker = Broker::start(&net.server)?;
    let views = Views::of(&net)?;
    close_in_order_until_reset(&net)?;

    let reset =
        views.server.wait_for("a routine reset", |event| is_kind(event, "rst") && event.pointer("/direction") == Some(&json!("sent")))?;
    rstblame_lab::assert_event!(reset, {
        "direction": "sent", "severity": "info",
        "network": {"local": {"port": 5672}},
        "origin": {"kind": "local_process", "possible": ["local_process"]},
        "cause": {"id": "routine_close"},
        "tcp": {"linger_zero": true},
        "process": {"pid": broker.pid()},
    });

    // Who comes first is a race: the broker's RST finds the client's connection open, or closing,
    // or gone; and now and then the client closes before it has read the broker's last frame, and
    // is the one to send a RST.
    let client = views.client.stop()?;
    for event in client.resets() {
        let origin = match event.pointer("/direction") {
            Some(direction) if direction == "sent" => vec!["local_process"],
            _ => vec!["remote_peer", "unknown"],
        };
        rstblame_lab::assert_event!(event, {
            "origin": {"kind": origin}, "network": {"peer": {"port": 5672}},
        });
    }
    views.server.stop().map(drop)
}

/// Opens and closes connections in order, with both clients in turn, until the broker's kernel has
/// sent a RST.
fn close_in_order_until_reset(net: &TwoHosts) -> Result<()> {
    let address = net.server.v4();
    let before = net.server.resets_sent()?;
    let mut rounds = 0;
    poll::until("a routine reset in 200 ordinary closes", Duration::from_mins(1), || {
        rounds += 1;
        assert!(rounds <= 20, "no RST in {} ordinary closes", 10 * (rounds - 1));
        for _ in 0..5 {
            client::lapin_cycle(&net.client, address)?;
        }
        client::pika_cycles(&net.client, address, 5)?;
        Ok((net.server.resets_sent()? > before).then_some(()))
    })
}
