//! The story that this project was asked to tell: heartbeats are off, a proxy ends what is idle,
//! and the client only finds out when it publishes. Each host has to tell it alone.

use std::{net::IpAddr, time::Duration};

use rstblame_lab::{
    Result,
    agents::agent::Agent,
    hosts::side::Ip,
    json,
    peers::pika::Pika,
    proxies::{
        proxied::{Chain, Halves, wait_fin},
        proxy::{Kind, Place, Proxy},
    },
    truths::endings::{
        Said, Watch,
        through_a_proxy::{idle_answered_by_the_broker, idle_seen_from_an_end, idle_seen_from_an_end_that_knows, idle_seen_from_the_proxy},
    },
};

/// `timeout client` and `timeout server` of `HAProxy`.
const TIMEOUT: Duration = Duration::from_secs(12);

/// How long the application is silent: longer than that.
const IDLE: Duration = Duration::from_secs(14);

/// How often it happens. From the second time on, the agents may know what to expect.
const ROUNDS: usize = 3;

/// RabbitMQ, HAProxy and pika, three times: connect, be silent for longer than HAProxy likes,
/// publish.
fn haproxy_ends_what_is_idle(name: &'static str, ip: Ip) -> Result<()> {
    let chain = Chain::new()?;
    let front = chain.front(ip)?;
    let proxy =
        Proxy::start_at(Kind::Haproxy, &chain.hosts.router, &Place { patience: TIMEOUT, ..Place::new(front, ip.of(&chain.hosts.server)) })?;
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
    let seconds = TIMEOUT.as_secs();
    let (seen, knowing) = (|role| idle_seen_from_an_end(role, seconds), |role| idle_seen_from_an_end_that_knows(role, "lb-1", seconds));
    let answered = || idle_answered_by_the_broker(seconds);
    let own = |other| idle_seen_from_the_proxy(proxy.pid(), "haproxy", seconds, other);
    watch.told(scenario, "client", halves.client, Said::Reset(seen("client")));
    watch.told(scenario, "client that knows", halves.client, Said::Reset(knowing("client")));
    watch.told(scenario, "proxy", halves.front, Said::Died(own(halves.back)));
    watch.told(scenario, "proxy", halves.back, Said::Died(own(halves.front)));
    watch.told(scenario, "broker", halves.broker, Said::Died(seen("broker").or(answered())));
    watch.told(scenario, "broker that knows", halves.broker, Said::Died(knowing("broker").or(answered())));
}

#[test]
fn haproxy_ends_what_is_idle_over_ipv4() -> Result<()> {
    haproxy_ends_what_is_idle("haproxy idle, IPv4", Ip::V4)
}

#[test]
fn haproxy_ends_what_is_idle_over_ipv6() -> Result<()> {
    haproxy_ends_what_is_idle("haproxy idle, IPv6", Ip::V6)
}
