//! The story that this project was asked to tell: heartbeats are off, a proxy ends what is idle,
//! and the client only finds out when it publishes. Each host has to tell it alone.

use std::{net::IpAddr, time::Duration};

use rstblame_lab::{
    Result,
    agent::Agent,
    endings::{Said, Truth, Watch},
    json,
    pika::Pika,
    proxied::{Chain, Halves, wait_fin},
    proxy::{Kind, Place, Proxy},
    record::Flow,
    trial::Ip,
};

/// `timeout client` and `timeout server` of `HAProxy`.
const TIMEOUT: Duration = Duration::from_secs(12);

/// How long the application is silent: longer than that.
const IDLE: Duration = Duration::from_secs(14);

/// How often it happens. From the second time on, the agents may know what to expect.
const ROUNDS: usize = 3;

/// What every host has to say: it was the silence, and a heartbeat would have prevented it.
fn idle_timeout() -> Truth {
    let severity = json!(["warning", "error"]);
    Truth::new(json!({"severity": severity, "cause": {"id": "idle_timeout"}, "amqp": {"version": "0-9-1", "heartbeat_s": 0}}))
        .mentions("/evidence", &["12 s", "12.0 s"])
        .mentions("/evidence", &["heartbeat"])
        .mentions("/cause/advice", &["heartbeat"])
}

/// The client's host and the broker's see the proxy as their peer. Whether it is one they cannot
/// know, and so accuse nobody behind that address for certain.
fn seen_from_an_end(role: &str) -> Truth {
    idle_timeout()
        .and(json!({"origin": {"kind": ["middlebox", "unknown", "remote_peer"]}, "amqp": {"role": role}}))
        .leaves_open("middlebox")
}

/// The same, told that there is a proxy at that address.
fn seen_from_an_end_that_knows(role: &str) -> Truth {
    idle_timeout().and(json!({"origin": {"kind": "middlebox", "name": "lb-1"}, "amqp": {"role": role}}))
}

/// RabbitMQ answers the FIN of the proxy with a RST, unless HAProxy's own is quicker. Its process
/// sent that RST, and still did not end the connection.
fn answered_by_the_broker() -> Truth {
    idle_timeout().and(json!({"direction": "sent", "origin": {"kind": "local_process"}, "amqp": {"role": "broker"}}))
}

/// On its own host it is a process like any other, and the two connections are one story: each
/// names the other.
fn seen_from_the_proxy(pid: u32, other: Flow) -> Truth {
    idle_timeout()
        .and(json!({
            "origin": {"kind": "local_process", "possible": ["local_process"]},
            "process": {"pid": pid, "executable": {"name": "haproxy"}},
        }))
        .tied_to(other)
}

/// RabbitMQ, HAProxy and pika, three times: connect, be silent for longer than HAProxy likes,
/// publish.
fn haproxy_ends_what_is_idle(name: &'static str, ip: Ip) -> Result<()> {
    let chain = Chain::new()?;
    let front = chain.front(ip)?;
    let proxy = Proxy::start_at(
        Kind::Haproxy,
        &chain.hosts.router,
        &Place { front, server: ip.of(&chain.hosts.server), from: None, patience: TIMEOUT },
    )?;
    // From the broker's side the proxy is the router's address on the broker's LAN.
    let back: IpAddr = match ip {
        Ip::V4 => [198, 51, 100, 1].into(),
        Ip::V6 => [0x2001, 0xdb8, 2, 0, 0, 0, 0, 1].into(),
    };
    let boxes = [front, back].map(|address| format!("{address}=lb-1"));
    let [first, second] = &boxes;
    let knowing = ["--middlebox", first, "--middlebox", second];
    let hosts = &chain.hosts;
    let watch = Watch::start(
        name,
        vec![
            ("client", Agent::on(&hosts.client)),
            ("client that knows", Agent::on(&hosts.client).args(&knowing)),
            ("proxy", Agent::on(&hosts.router)),
            ("broker", Agent::on(&hosts.server)),
            ("broker that knows", Agent::on(&hosts.server).args(&knowing)),
        ],
    )?;
    let mut pika = Pika::start(&hosts.client)?;
    for round in 1..=ROUNDS {
        let halves = chain.connect(&mut pika, front)?;
        // The application works on something else, and does not look at its connection.
        pika.act("stall")?;
        std::thread::sleep(IDLE);
        wait_fin(&hosts.client, halves.client, TIMEOUT)?;
        pika.tell(&json!({"do": "publish", "queue": "nowhere", "body": "still here"}))?;
        pika.answer()?;
        told(&watch, &format!("{name}, round {round}"), &proxy, &halves);
        watch.wait_for("client", halves.client)?;
    }
    watch.finish()
}

fn told(watch: &Watch, scenario: &str, proxy: &Proxy, halves: &Halves) {
    watch.told(scenario, "client", halves.client, Said::Reset(seen_from_an_end("client")));
    watch.told(scenario, "client that knows", halves.client, Said::Reset(seen_from_an_end_that_knows("client")));
    watch.told(scenario, "proxy", halves.front, Said::Died(seen_from_the_proxy(proxy.pid(), halves.back)));
    watch.told(scenario, "proxy", halves.back, Said::Died(seen_from_the_proxy(proxy.pid(), halves.front)));
    watch.told(scenario, "broker", halves.broker, Said::Died(seen_from_an_end("broker").or(answered_by_the_broker())));
    watch.told(
        scenario,
        "broker that knows",
        halves.broker,
        Said::Died(seen_from_an_end_that_knows("broker").or(answered_by_the_broker())),
    );
}

#[test]
fn haproxy_ends_what_is_idle_over_ipv4() -> Result<()> {
    haproxy_ends_what_is_idle("haproxy idle, IPv4", Ip::V4)
}

#[test]
fn haproxy_ends_what_is_idle_over_ipv6() -> Result<()> {
    haproxy_ends_what_is_idle("haproxy idle, IPv6", Ip::V6)
}
