//! Envoy, Traefik, HAProxy and nginx between pika and `RabbitMQ`: each loses patience, is told to
//! read its configuration again, is killed, or loses its broker; and each of the three hosts has to
//! tell, alone, what became of its half.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rstblame_lab::{
    Result,
    agents::agent::Agent,
    hosts::side::{Ip, Side},
    json,
    peers::pika::Pika,
    proxies::{
        proxied::{Chain, Halves, wait_fin, wait_gone},
        proxy::{Kind, Place, Proxy},
    },
    truths::endings::{
        Said, Scenario, Truth, Watch, by_process,
        through_a_proxy::{
            idle_answered_by_the_broker, idle_seen_from_an_end, idle_seen_from_the_proxy, other_half_of_idle, peer_left,
            peer_left_and_broker_answered, proxy_closed, proxy_killed,
        },
    },
};
use rustix::process::Signal;

/// How long proxies wait that are to lose patience: longer than a pause that means nothing.
const PATIENCE: Duration = Duration::from_secs(11);

/// How long the others wait: longer than anything takes here.
const LONG: Duration = Duration::from_mins(10);

/// How long the application is silent.
const IDLE: Duration = Duration::from_millis(12_500);

/// How often a proxy loses patience: from the third time on an agent can know what to expect.
const ROUNDS: usize = 4;

/// How long the second half may outlive the first.
const SOON: Duration = Duration::from_secs(20);

/// Three hosts, an agent on each, and whatever must live until the agents have ended.
struct Stage {
    ip: Ip,
    chain: Chain,
    watch: Watch,
    kept: Mutex<Vec<Client>>,
    waiting: Mutex<Vec<Client>>,
}

/// A proxy, and a connection through it.
struct Client {
    name: String,
    pika: Pika,
    proxy: Proxy,
    place: Place,
    halves: Halves,
}

impl Stage {
    fn new(name: &'static str, ip: Ip) -> Result<Self> {
        let chain = Chain::new()?;
        let hosts = &chain.hosts;
        let views = vec![("client", Agent::on(&hosts.client)), ("proxy", Agent::on(&hosts.router)), ("broker", Agent::on(&hosts.server))];
        let watch = Watch::start(name, views)?;
        Ok(Self { ip, chain, watch, kept: Mutex::default(), waiting: Mutex::default() })
    }

    /// Starts a proxy, and connects through it without heartbeats.
    fn client(&self, kind: Kind, patience: Duration, only: Option<Side>) -> Result<Client> {
        let (hosts, ip) = (&self.chain.hosts, self.ip);
        let place = Place { patience, only, ..Place::new(self.chain.front(ip)?, ip.of(&hosts.server)) };
        let proxy = Proxy::start_at(kind, &hosts.router, &place)?;
        let mut pika = Pika::start(&hosts.client)?;
        let halves = self.chain.connect(&mut pika, place.front)?;
        let of = only.map_or_else(String::new, |side| format!(" {side:?}"));
        Ok(Client { name: format!("{kind:?}{of}, {ip:?}"), pika, proxy, place, halves })
    }

    /// The client's end and the broker's, where the proxy has left for another reason than a
    /// silence.
    fn ends_are_left(&self, scenario: &str, halves: &Halves) {
        self.watch.told(scenario, "client", halves.client, Said::Died(peer_left("client")));
        self.watch.told(scenario, "broker", halves.broker, Said::Died(peer_left("broker").or(peer_left_and_broker_answered())));
    }

    /// The same on the proxy's own host.
    fn proxy_says(&self, scenario: &str, halves: &Halves, truth: &Truth) {
        for half in [halves.front, halves.back] {
            self.watch.told(scenario, "proxy", half, Said::Died(truth.clone()));
        }
    }

    /// Waits until the client knows, and the broker's host too: what ends the broker later must not
    /// end this. Keeps everything else as it is until the agents have ended.
    fn over(&self, mut client: Client) -> Result<()> {
        client.pika.act("ended")?;
        wait_gone(&self.chain.hosts.server, client.halves.broker, SOON)?;
        lock(&self.kept).push(client);
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let Self { chain, watch, kept, waiting, .. } = self;
        watch.finish()?;
        drop((kept, waiting, chain));
        Ok(())
    }
}

/// The application looks away, the proxy loses patience, and the application publishes: four times.
fn loses_patience(stage: &Stage, kind: Kind, only: Option<Side>, program: &str) -> Result<()> {
    let mut client = stage.client(kind, PATIENCE, only)?;
    let (pid, seconds, hosts) = (client.proxy.owner()?, PATIENCE.as_secs(), &stage.chain.hosts);
    for round in 1..=ROUNDS {
        if round > 1 {
            client.halves = stage.chain.connect(&mut client.pika, client.place.front)?;
        }
        let Halves { client: at_client, front, back, broker } = client.halves;
        client.pika.act("stall")?;
        std::thread::sleep(IDLE);
        wait_fin(&hosts.client, at_client, PATIENCE)?;
        client.pika.tell(&json!({"do": "publish", "queue": "nowhere", "body": "still here"}))?;
        client.pika.answer()?;
        let scenario = format!("idle, {}, round {round}", client.name);
        stage.watch.told(&scenario, "client", at_client, Said::Died(idle_seen_from_an_end("client", seconds)));
        stage.watch.told(&scenario, "proxy", front, Said::Died(idle_seen_from_the_proxy(pid, program, seconds, back)));
        // Tired of the broker, HAProxy closes the client's half, passes on what the client
        // publishes nevertheless, and closes the other half then.
        let (own, at_broker) = if only == Some(Side::Server) {
            (other_half_of_idle(pid, front), peer_left("broker").or(peer_left_and_broker_answered()))
        } else {
            let at_broker = idle_seen_from_an_end("broker", seconds).or(idle_answered_by_the_broker(seconds));
            (idle_seen_from_the_proxy(pid, program, seconds, front), at_broker)
        };
        stage.watch.told(&scenario, "proxy", back, Said::Died(own));
        stage.watch.told(&scenario, "broker", broker, Said::Died(at_broker));
        stage.watch.wait_for("client", at_client)?;
    }
    lock(&stage.kept).push(client);
    Ok(())
}

/// Told to read its configuration again, or to end, it ends what it had open after a second.
fn reloads(stage: &Stage, kind: Kind) -> Result<()> {
    let mut client = stage.client(kind, LONG, None)?;
    let pid = client.proxy.owner()?;
    client.proxy.reload(&stage.chain.hosts.router, &client.place)?;
    let scenario = format!("reload, {}", client.name);
    stage.ends_are_left(&scenario, &client.halves);
    stage.proxy_says(&scenario, &client.halves, &proxy_closed(pid));
    stage.over(client)
}

fn is_killed(stage: &Stage, kind: Kind) -> Result<()> {
    let mut client = stage.client(kind, LONG, None)?;
    let pid = client.proxy.owner()?;
    client.proxy.kill()?;
    let scenario = format!("kill, {}", client.name);
    stage.ends_are_left(&scenario, &client.halves);
    stage.proxy_says(&scenario, &client.halves, &proxy_killed(pid));
    stage.over(client)
}

/// Connects, and waits for the end of the broker ([`broker_is_killed`]).
fn waits_for_the_end(stage: &Stage, kind: Kind) -> Result<()> {
    let client = stage.client(kind, LONG, None)?;
    lock(&stage.waiting).push(client);
    Ok(())
}

/// The broker is killed behind all of them. Each proxy ends the client's half because of that.
fn broker_is_killed(stage: &Stage) -> Result<()> {
    let clients: Vec<Client> = lock(&stage.waiting).drain(..).collect();
    stage.chain.broker.signal(Signal::KILL)?;
    for client in clients {
        let scenario = format!("broker killed, {}", client.name);
        let halves = client.halves;
        let pid = client.proxy.owner()?;
        let killer = json!({"signal": "SIGKILL", "sent_by": {"pid": std::process::id()}});
        let killed = json!({"severity": "error", "process": {"exit": killer}, "amqp": {"role": "broker"}});
        let at_broker = by_process("process_killed", stage.chain.broker.pid()).and(killed);
        stage.watch.told(&scenario, "broker", halves.broker, Said::Died(at_broker));
        stage.watch.told(&scenario, "proxy", halves.back, Said::Died(peer_left("client")));
        // Why it closed is the other half: any cause but a silence, as long as it names that.
        stage.watch.told(&scenario, "proxy", halves.front, Said::Died(proxy_closed(pid).or(peer_gone_behind(pid)).tied_to(halves.back)));
        stage.watch.told(&scenario, "client", halves.client, Said::Died(peer_left("client")));
        stage.over(client)?;
    }
    Ok(())
}

/// A process that closed one half because the other was gone.
fn peer_gone_behind(pid: u32) -> Truth {
    by_process("peer_gone", pid)
}

/// Traefik does not end what is silent.
const IDLE_ENDS: [Scenario<Stage>; 4] = [
    ("HAProxy loses patience with the client", |stage| loses_patience(stage, Kind::Haproxy, Some(Side::Client), "haproxy")),
    ("HAProxy loses patience with the broker", |stage| loses_patience(stage, Kind::Haproxy, Some(Side::Server), "haproxy")),
    ("nginx loses patience", |stage| loses_patience(stage, Kind::Nginx, None, "nginx")),
    ("Envoy loses patience", |stage| loses_patience(stage, Kind::Envoy, None, "envoy")),
];

const OTHER_ENDS: [Scenario<Stage>; 8] = [
    ("HAProxy reloads", |stage| reloads(stage, Kind::Haproxy)),
    ("nginx reloads", |stage| reloads(stage, Kind::Nginx)),
    ("Envoy restarts hot", |stage| reloads(stage, Kind::Envoy)),
    ("Traefik drains", |stage| reloads(stage, Kind::Traefik)),
    ("HAProxy is killed", |stage| is_killed(stage, Kind::Haproxy)),
    ("nginx is killed", |stage| is_killed(stage, Kind::Nginx)),
    ("Envoy is killed", |stage| is_killed(stage, Kind::Envoy)),
    ("Traefik is killed", |stage| is_killed(stage, Kind::Traefik)),
];

fn idle(name: &'static str, ip: Ip) -> Result<()> {
    let stage = Stage::new(name, ip)?;
    stage.watch.play(&stage, &IDLE_ENDS);
    stage.finish()
}

fn ends(name: &'static str, ip: Ip) -> Result<()> {
    let stage = Stage::new(name, ip)?;
    // Not in threads of their own: Envoy ends with the thread that started it.
    for kind in [Kind::Haproxy, Kind::Nginx, Kind::Envoy, Kind::Traefik] {
        waits_for_the_end(&stage, kind)?;
    }
    stage.watch.play(&stage, &OTHER_ENDS);
    broker_is_killed(&stage)?;
    stage.finish()
}

#[test]
fn proxies_lose_patience_over_ipv4() -> Result<()> {
    idle("proxies lose patience, IPv4", Ip::V4)
}

#[test]
fn proxies_lose_patience_over_ipv6() -> Result<()> {
    idle("proxies lose patience, IPv6", Ip::V6)
}

#[test]
fn proxies_end_over_ipv4() -> Result<()> {
    ends("proxies end, IPv4", Ip::V4)
}

#[test]
fn proxies_end_over_ipv6() -> Result<()> {
    ends("proxies end, IPv6", Ip::V6)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
