//! What belongs to normal operation, and must read so.

use std::{
    net::{SocketAddr, TcpStream},
    ops::RangeInclusive,
    time::Duration,
};

use rstblame_lab::{
    Result, Value,
    hosts::flow::Flow,
    json,
    peers::{
        peer,
        pika::{Login, Pika},
        speech,
    },
    poll,
    proxies::proxy::Proxy,
    truths::stand::{Said, Scene, View},
};

use crate::truths::closed;

/// How often something is done of which the broker ends about half with a RST.
const ROUNDS: usize = 12;

/// The ports from which `HAProxy` checks: none that the kernel gives away.
const CHECKS: RangeInclusive<u16> = 20_000..=20_009;

fn routine() -> Value {
    json!({"severity": "info", "cause": {"id": "routine_close"}})
}

/// `RabbitMQ` listens with `linger {true, 0}`: about half of all ordinary closes end in its RST.
pub fn pika_closes(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    for (round, heartbeat) in [0, 1, 60].into_iter().cycle().take(ROUNDS).enumerate() {
        let to = if round % 2 == 0 { scene.v4() } else { scene.v6() };
        let flow = pika.connect(&Login { heartbeat, ..Login::at(to) })?;
        pika.act("close")?;
        wait_gone(scene, flow)?;
        scene.told(flow, Said::Any(closed("client", heartbeat)), Said::Some(closed("broker", heartbeat)));
    }
    Ok(())
}

/// A connection without a byte, closed in order; the broker's answer to the FIN is a RST.
pub fn health_check_closes(scene: &Scene<'_>) -> Result<()> {
    let stream = connect(scene)?;
    let flow = peer::flow(&stream)?;
    rstblame_lab::command::while_nothing_starts(|| drop(stream));
    wait_gone(scene, flow)?;
    scene.told(flow, Said::Any(routine()), Said::These(vec![routine()]));
    Ok(())
}

/// A connection without a byte, ended with a RST: what load balancers do, so as not to leave
/// sockets in TIME-WAIT.
pub fn health_check_aborts(scene: &Scene<'_>) -> Result<()> {
    let stream = connect(scene)?;
    let flow = peer::flow(&stream)?;
    peer::abort(stream)?;
    scene.told(flow, Said::These(vec![routine()]), Said::These(vec![routine()]));
    Ok(())
}

/// The same from `HAProxy` itself.
pub fn haproxy_checks(scene: &Scene<'_>) -> Result<()> {
    let (own, address) = (scene.stand.client().v4(), SocketAddr::new(scene.v4(), peer::AMQP));
    let flows = CHECKS.map(|port| Flow::new(SocketAddr::new(own, port), address));
    let checks = Proxy::check(scene.stand.client(), own, CHECKS, address)?;
    scene.wait_for_any(View::Client, flows.clone())?;
    rstblame_lab::command::while_nothing_starts(|| drop(checks));
    // The client's RST comes before its first acknowledgement, so that the broker's host never had
    // a connection.
    flows.for_each(|flow| scene.told(flow, Said::Some(routine()), Said::Any(routine())));
    Ok(())
}

/// `connection.close` cut in two, at another place each time.
pub fn close_comes_in_pieces(scene: &Scene<'_>) -> Result<()> {
    let truth = |role| {
        json!({
            "severity": "info", "cause": {"id": "routine_close"},
            "amqp": {
                "version": "0-9-1", "role": role, "phase": ["closing", "closed"], "heartbeat_s": 7, "vhost": "orders",
                "close": {"from": "client", "code": 200, "text": "in pieces"},
            },
        })
    };
    let close = speech::close(200, "in pieces");
    for cut in [1, 3, 7, 9, 11, 12, 13, 14, 18, close.len() - 1] {
        let mut stream = connect(scene)?;
        let flow = peer::flow(&stream)?;
        speech::handshake(&mut stream, "orders", 7)?;
        let (first, second) = close.split_at(cut);
        speech::say(&mut stream, first)?;
        speech::say(&mut stream, second)?;
        speech::expect(&mut stream, speech::CLOSE_OK)?;
        rstblame_lab::command::while_nothing_starts(|| drop(stream));
        wait_gone(scene, flow)?;
        scene.told(flow, Said::Any(truth("client")), Said::Some(truth("broker")));
    }
    Ok(())
}

fn connect(scene: &Scene<'_>) -> Result<TcpStream> {
    scene.stand.client().connect(SocketAddr::new(scene.v4(), peer::AMQP))
}

/// Waits until the broker's host has no such connection any more. TIME-WAIT does not count: what
/// ended in it, ended in order.
pub fn wait_gone(scene: &Scene<'_>, flow: Flow) -> Result<()> {
    let filter = format!("dport = :{}", flow.local.port());
    poll::until("the broker to be rid of a connection", Duration::from_secs(15), || {
        let left = scene.stand.server().run(&[
            "ss",
            "--no-header",
            "--numeric",
            "--tcp",
            "state",
            "connected",
            "exclude",
            "time-wait",
            &filter,
        ])?;
        Ok(left.trim().is_empty().then_some(()))
    })
}
