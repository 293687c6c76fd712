//! What stands between client and broker, loses patience, and ends a connection that both ends
//! still want.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result, Value,
    hosts::{flow::Flow, net::Host, router},
    json,
    peers::{
        peer,
        pika::{Login, Pika},
    },
    poll,
    proxies::proxy::{Kind, Place, Proxy},
    truths::stand::{Said, Scene, View},
};

use crate::truths::{open, received, sent, with};

/// How long the proxies and the router wait: longer than a pause that means nothing.
const PATIENCE: Duration = Duration::from_secs(11);

/// How long after a RST the other end goes on: no synchronisation, but a part of the scenario.
const OWN_TIME: Duration = Duration::from_millis(20);

/// The proxies' addresses, by the last octet, on the clients' LAN and on the broker's. The agents
/// know the first one.
const KNOWN: u8 = 9;
const UNKNOWN: u8 = 10;
const NGINX: u8 = 11;
const CLOSING: u8 = 12;

/// What the agents are told of them.
pub const ARGUMENTS: [&str; 4] = ["--middlebox", "192.0.2.9=lb-1", "--middlebox", "198.51.100.9=lb-1"];

/// A proxy, a connection through it without heartbeats, and its two halves as the clients' host and
/// the broker's see them.
struct Proxied {
    pika: Pika,
    /// Kept for as long as the connection.
    _proxy: Proxy,
    client: Flow,
    broker: Flow,
}

impl Proxied {
    fn new(scene: &Scene<'_>, kind: Kind, number: u8) -> Result<Self> {
        let routed = scene.stand.routed().ok_or_else(|| LabError::Client("this stand has no router".to_owned()))?;
        let (front, from) = (IpAddr::from([192, 0, 2, number]), IpAddr::from([198, 51, 100, number]));
        for (address, interface) in [(front, router::CLIENT_LAN), (from, router::SERVER_LAN)] {
            routed.router.run(&["ip", "address", "add", &format!("{address}/24"), "dev", interface])?;
        }
        let place = Place { from: Some(from), patience: PATIENCE, ..Place::new(front, scene.v4()) };
        let proxy = Proxy::start_at(kind, &routed.router, &place)?;
        let mut pika = Pika::start(scene.stand.client())?;
        let client = pika.connect(&Login { to: SocketAddr::new(front, peer::AMQP), heartbeat: 0, ..Login::at(front) })?;
        let filter = format!("sport = :{} and dst {from}", peer::AMQP);
        let text = scene.stand.server().run(&["ss", "--no-header", "--numeric", "--tcp", "state", "established", &filter])?;
        let other = text
            .split_ascii_whitespace()
            .nth(3)
            .and_then(|address| address.trim_start_matches("[::ffff:").replace(']', "").parse::<SocketAddr>().ok())
            .ok_or_else(|| LabError::Client(format!("the broker has no connection from {from}: {text}")))?;
        Ok(Self { pika, _proxy: proxy, client, broker: Flow::new(SocketAddr::new(scene.v4(), peer::AMQP), other) })
    }

    fn told(&self, scene: &Scene<'_>, client: Said, broker: Said) {
        scene.told_by(View::Client, self.client, client);
        scene.told_by(View::Broker, self.broker, broker);
    }
}

/// `amqp` of these connections.
fn silent(role: &str) -> Value {
    with(open(role), json!({"amqp": {"heartbeat_s": 0}}))
}

/// A proxy that is known to be one, and aborts both halves: the client's with a FIN just before.
/// The client does not look.
pub fn known_haproxy_loses_patience(scene: &Scene<'_>) -> Result<()> {
    let mut proxied = Proxied::new(scene, Kind::HaproxyAborting, KNOWN)?;
    proxied.pika.act("stall")?;
    wait_cut(scene.stand.client(), proxied.client)?;
    let truth = |role| {
        let by = json!({
            "direction": "received", "severity": "warning", "cause": {"id": "idle_timeout"},
            "origin": {"kind": "middlebox", "name": "lb-1"},
        });
        Said::These(vec![with(by, silent(role))])
    };
    proxied.told(scene, truth("client"), truth("broker"));
    Ok(())
}

/// Nobody said that it is a proxy: it is the peer, as far as TCP goes. Its patience gives it away.
pub fn unknown_haproxy_loses_patience(scene: &Scene<'_>) -> Result<()> {
    let mut proxied = Proxied::new(scene, Kind::HaproxyAborting, UNKNOWN)?;
    proxied.pika.act("stall")?;
    wait_cut(scene.stand.client(), proxied.client)?;
    let truth = |role| {
        let by = json!({
            "direction": "received", "severity": "warning", "cause": {"id": "idle_timeout"},
            "origin": {"kind": ["middlebox", "unknown"]},
        });
        Said::These(vec![with(by, silent(role))])
    };
    proxied.told(scene, truth("client"), truth("broker"));
    Ok(())
}

/// As proxies come: a FIN to either side, which the broker answers with a RST, unless `HAProxy` is
/// quicker. pika closes.
fn closes(scene: &Scene<'_>, kind: Kind, number: u8) -> Result<()> {
    let mut proxied = Proxied::new(scene, kind, number)?;
    proxied.pika.act("ended")?;
    let truth = |role| with(json!({"severity": "warning", "cause": {"id": "idle_timeout"}, "tcp": {"fin_received": true}}), silent(role));
    proxied.told(scene, Said::Any(truth("client")), Said::Some(truth("broker")));
    Ok(())
}

pub fn haproxy_closes(scene: &Scene<'_>) -> Result<()> {
    closes(scene, Kind::Haproxy, CLOSING)
}

pub fn nginx_closes(scene: &Scene<'_>) -> Result<()> {
    closes(scene, Kind::Nginx, NGINX)
}

/// Waits until a host has lost its end of a connection, and for as long as segments need to
/// overtake one another.
fn wait_cut(host: &Host, flow: Flow) -> Result<()> {
    let filter = format!("sport = :{} and dport = :{}", flow.local.port(), flow.peer.port());
    poll::until("a host to lose a connection", PATIENCE * 2, || {
        let left = host.run(&["ss", "--no-header", "--numeric", "--tcp", &filter])?;
        Ok(left.trim().is_empty().then_some(()))
    })?;
    std::thread::sleep(OWN_TIME);
    Ok(())
}

/// A stateful firewall forgets a silent connection, and answers what one end sends next with a RST.
/// The other end, which knows nothing of it, goes on talking.
pub fn firewall_forgets(scene: &Scene<'_>) -> Result<()> {
    let routed = scene.stand.routed().ok_or_else(|| LabError::Client("this stand has no router".to_owned()))?;
    let (filter, client) = (&routed.router, scene.stand.client());
    let login = Login { heartbeat: 0, ..Login::at(scene.v4()) };
    let (mut first, mut second, mut publisher) = (Pika::start(client)?, Pika::start(client)?, Pika::start(client)?);
    // The rules are what makes the router look at connections at all.
    router::reject_unknown(filter, router::CLIENT_LAN)?;
    router::forget_after(filter, u32::try_from(PATIENCE.as_secs()).unwrap_or(u32::MAX))?;
    let flows = [first.connect(&login)?, second.connect(&Login { to: SocketAddr::new(scene.v6(), peer::AMQP), ..login })?];
    first.ask(&json!({"do": "subscribe", "queue": "first"}))?;
    second.ask(&json!({"do": "subscribe", "queue": "second"}))?;
    for flow in flows {
        router::wait_forgotten_from(filter, flow.local.port())?;
    }
    let publishing = publisher.connect(&Login::at(scene.v4()))?;
    let [of_first, of_second] = flows;
    let cut = |role| {
        let by = json!({
            "direction": "received", "severity": "warning", "cause": {"id": "idle_timeout"}, "origin": {"kind": "middlebox"},
        });
        with(by, silent(role))
    };
    let gone = |role| with(received("peer_gone", "warning"), silent(role));
    let stale = json!({"direction": "sent", "severity": "info", "cause": {"id": "stale_connection"}, "origin": {"kind": "local_host"}});

    // The client speaks first, and its host is told that the broker has hung up. The broker has a
    // delivery for it.
    let speak = json!({"do": "publish", "queue": "nowhere", "body": "still here"});
    first.tell(&speak)?;
    wait_cut(client, of_first)?;
    publisher.publish("first", "so am I")?;
    scene.told(of_first, Said::These(vec![cut("client"), stale.clone()]), Said::These(vec![gone("broker")]));

    // The broker speaks first.
    router::accept_all(filter)?;
    router::reject_unknown(filter, router::SERVER_LAN)?;
    publisher.publish("second", "still here")?;
    wait_cut(scene.stand.server(), of_second.reversed())?;
    second.tell(&speak)?;
    scene.told(of_second, Said::These(vec![gone("client")]), Said::These(vec![cut("broker"), stale]));
    router::accept_all(filter)?;

    publisher.act("linger")?;
    let client = with(sent("linger_abort", "warning"), open("client"));
    scene.told(publishing, Said::These(vec![client]), Said::These(vec![with(received("peer_aborted", "warning"), open("broker"))]));
    Ok(())
}
