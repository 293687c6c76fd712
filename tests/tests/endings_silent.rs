//! Connections that die without a RST. RabbitMQ and its clients log the same words for them, and a
//! line `connection_ended` has to say what it was: once, and on the host that can know.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::agent::Agent,
    hosts::{
        flow::Flow,
        net::{Host, Routed, routed},
        router::{self, CLIENT_LAN, SERVER_LAN},
        side::{Ip, Side},
    },
    json,
    peers::{
        actor::{Actor, Stage},
        peer::AMQP,
        pika::Pika,
    },
    proxies::{
        proxied::{Chain, wait_fin},
        proxy::{Kind, Place, Proxy},
    },
    truths::{
        endings::{
            After, Case, Pairs, Said, Truth, Watch, Wire,
            through_a_proxy::{idle_answered_by_the_broker, idle_seen_from_an_end, idle_seen_from_the_proxy},
        },
        expect,
    },
};
use socket2::{Domain, Socket, Type};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// How long `HAProxy` waits for the client.
const PATIENCE: Duration = Duration::from_secs(11);

/// What the kernel of the client's host is told, so that giving up takes seconds and not minutes.
const IMPATIENT: [&str; 2] = ["net.ipv4.tcp_retries2=3", "net.ipv4.tcp_syn_retries=1"];

/// How long a client waits for an acknowledgement (`TCP_USER_TIMEOUT`), in milliseconds.
const USER_TIMEOUT: u32 = 1500;

/// Two hosts with a router between them, an agent on either host, and processes.
struct Silence {
    watch: Watch,
    stage: Stage,
    hosts: Routed,
}

/// A client that has published something which never arrives.
struct Unheard {
    scenario: String,
    client: Actor,
    server: Actor,
    flow: Flow,
}

impl Silence {
    fn new(name: &'static str) -> Result<Self> {
        let hosts = routed()?;
        for setting in IMPATIENT {
            hosts.client.run(&["sysctl", "--quiet", "--write", setting])?;
        }
        let watch = Watch::start(name, vec![("client", Agent::on(&hosts.client)), ("broker", Agent::on(&hosts.server))])?;
        Ok(Self { watch, stage: Stage::new(ACTOR)?, hosts })
    }

    fn address(&self, ip: Ip) -> SocketAddr {
        SocketAddr::new(ip.of(&self.hosts.server), AMQP)
    }

    /// Two processes with AMQP open between them.
    fn open(&self, ip: Ip, scenario: &str) -> Result<Unheard> {
        let address = self.address(ip);
        let (mut client, mut server) = (self.stage.actor(&self.hosts.client)?, self.stage.actor(&self.hosts.server)?);
        server.ask(&format!("listen {address}"))?;
        let local = client.connect(address, 1)?;
        server.accept(1)?;
        server.ask("stop_listening")?;
        server.tell("welcome 0 1")?;
        client.ask("open 0 1")?;
        server.answer()?;
        let flow = Flow::new(local.first().copied().unwrap_or(address), address);
        Ok(Unheard { scenario: format!("{scenario}, {ip:?}"), client, server, flow })
    }

    /// Each client publishes, and its kernel gives up in the end. The broker's host hears nothing,
    /// and has lost nothing that it could know of.
    fn publish_in_vain(&self, clients: &mut [Unheard]) -> Result<()> {
        clients.iter_mut().try_for_each(|one| one.client.ask("publish_one 0 1").map(drop))?;
        for one in clients {
            one.client.ask("failed 0 1")?;
            let truth = unanswered("timed_out", one.client.pid)
                .and(json!({"amqp": {"version": "0-9-1", "role": "client", "phase": expect::open(), "close": null}}))
                .mentions("/cause/summary", &["retransmission", "not acknowledged"]);
            self.watch.told(&one.scenario, "client", one.flow, Said::Ended(truth));
            self.watch.told(&one.scenario, "broker", one.flow.reversed(), Said::Nothing);
        }
        Ok(())
    }

    fn finish(self, clients: Vec<Unheard>) -> Result<()> {
        let Self { watch, stage, hosts } = self;
        watch.finish()?;
        let ends: Vec<(Actor, Actor)> = clients.into_iter().map(|one| (one.client, one.server)).collect();
        drop((ends, stage, hosts));
        Ok(())
    }
}

/// Nothing answered any more. That this kernel gave up is certain; who swallowed the packets is
/// not, and so the peer is not accused.
fn unanswered(effect: &str, pid: u32) -> Truth {
    Truth::new(json!({
        "effect": effect, "severity": ["warning", "error"], "cause": {"id": "timed_out"},
        "origin": {"kind": ["local_host", "unknown", "middlebox"]}, "process": {"pid": pid},
    }))
}

/// Nothing gets through from now on, from either side.
fn drop_all(silence: &Silence) -> Result<()> {
    [CLIENT_LAN, SERVER_LAN].iter().try_for_each(|interface| router::drop_from(&silence.hosts.router, interface))
}

/// A security group or a load balancer that drops without a word: with TCP_USER_TIMEOUT, and
/// without, when all retransmissions are used up.
#[test]
fn path_drops_what_the_client_publishes() -> Result<()> {
    let silence = Silence::new("the path drops")?;
    let mut clients = Vec::new();
    for ip in [Ip::V4, Ip::V6] {
        let mut with = silence.open(ip, "TCP_USER_TIMEOUT")?;
        with.client.ask(&format!("user_timeout 0 1 {USER_TIMEOUT}"))?;
        clients.extend([with, silence.open(ip, "retransmissions used up")?]);
    }
    drop_all(&silence)?;
    silence.publish_in_vain(&mut clients)?;
    silence.finish(clients)
}

/// What the client sends is dropped, and what the broker sends arrives: a broken way back. The
/// client's kernel gives up, and answers what the broker repeats after that by a RST, which nobody
/// hears either.
#[test]
fn path_drops_one_way() -> Result<()> {
    let silence = Silence::new("the path drops one way")?;
    let mut clients = vec![silence.open(Ip::V4, "one way")?, silence.open(Ip::V6, "one way")?];
    router::drop_from(&silence.hosts.router, CLIENT_LAN)?;
    for one in &mut clients {
        one.client.ask(&format!("user_timeout 0 1 {USER_TIMEOUT}"))?;
        one.server.ask("deliver 0 1")?;
        one.client.ask("publish_one 0 1")?;
    }
    for one in &mut clients {
        one.client.ask("failed 0 1")?;
        let truth = Truth::new(json!({
            "severity": ["warning", "error"], "cause": {"id": "timed_out"}, "process": {"pid": one.client.pid},
            "origin": {"kind": ["local_host", "unknown", "middlebox"]}, "amqp": {"role": "client", "phase": expect::open(), "close": null},
        }));
        silence.watch.told(&one.scenario, "client", one.flow, Said::Reset(truth));
        silence.watch.told(&one.scenario, "broker", one.flow.reversed(), Said::Nothing);
        silence.watch.wait_for_reset("client", one.flow)?;
    }
    silence.finish(clients)
}

/// The router goes down: nobody answers for it on the LAN, and the kernel says that the host is
/// unreachable.
#[test]
fn router_goes_down() -> Result<()> {
    let silence = Silence::new("the router goes down")?;
    let mut clients = vec![silence.open(Ip::V4, "router down")?, silence.open(Ip::V6, "router down")?];
    silence.hosts.router.run(&["ip", "link", "set", CLIENT_LAN, "down"])?;
    silence.publish_in_vain(&mut clients)?;
    silence.finish(clients)
}

/// Connects from a port that is known before, and tells it and how that failed.
fn connect_in_vain(host: &Host, address: SocketAddr) -> Result<(Flow, ErrorKind)> {
    host.inside(|| {
        let io = |error| LabError::io("connect in vain", error);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(io)?;
        let any = SocketAddr::new(if address.is_ipv4() { host.v4() } else { host.v6() }, 0);
        socket.bind(&any.into()).map_err(io)?;
        let socket: TcpStream = socket.into();
        let flow = Flow::new(socket.local_addr().map_err(io)?, address);
        match socket2::SockRef::from(&socket).connect(&address.into()) {
            Ok(()) => Err(LabError::Client(format!("{address} answered"))),
            Err(error) => Ok((flow, error.kind())),
        }
    })
}

/// A firewall that drops SYNs. There is no AMQP to lose yet, and still the client logs an error
/// that somebody has to explain.
#[test]
fn nobody_answers_the_syn() -> Result<()> {
    let silence = Silence::new("no answer to the SYN")?;
    drop_all(&silence)?;
    for ip in [Ip::V4, Ip::V6] {
        let (flow, error) = connect_in_vain(&silence.hosts.client, silence.address(ip))?;
        assert_eq!(error, ErrorKind::TimedOut);
        let scenario = format!("SYN unanswered, {ip:?}");
        let truth = unanswered("connect_timed_out", std::process::id()).and(json!({"amqp": null}));
        silence.watch.told(&scenario, "client", flow, Said::Ended(truth));
        silence.watch.told(&scenario, "broker", flow.reversed(), Said::Nothing);
    }
    silence.finish(Vec::new())
}

/// HAProxy loses patience with its client, which does not look and does not speak: a FIN, and
/// nothing after it.
fn haproxy_closes_and_nobody_speaks(name: &'static str, ip: Ip) -> Result<()> {
    let chain = Chain::new()?;
    let hosts = &chain.hosts;
    let place = Place { patience: PATIENCE, only: Some(Side::Client), ..Place::new(chain.front(ip)?, ip.of(&hosts.server)) };
    let proxy = Proxy::start_at(Kind::Haproxy, &hosts.router, &place)?;
    let views = vec![("client", Agent::on(&hosts.client)), ("proxy", Agent::on(&hosts.router)), ("broker", Agent::on(&hosts.server))];
    let watch = Watch::start(name, views)?;
    let mut pika = Pika::start(&hosts.client)?;
    let halves = chain.connect(&mut pika, place.front)?;
    pika.act("stall")?;
    wait_fin(&hosts.client, halves.client, PATIENCE * 2)?;
    let seconds = PATIENCE.as_secs();
    let own = |other| Said::Died(idle_seen_from_the_proxy(proxy.pid(), "haproxy", seconds, other));
    let at_broker = idle_seen_from_an_end("broker", seconds).or(idle_answered_by_the_broker(seconds));
    let ended = idle_seen_from_an_end("client", seconds).and(json!({"effect": "closed_without_amqp_close"}));
    watch.told(name, "client", halves.client, Said::Ended(ended));
    watch.told(name, "proxy", halves.front, own(halves.back));
    watch.told(name, "proxy", halves.back, own(halves.front));
    watch.told(name, "broker", halves.broker, Said::Died(at_broker));
    watch.finish()?;
    drop((pika, proxy));
    Ok(())
}

#[test]
fn haproxy_closes_and_nobody_speaks_over_ipv4() -> Result<()> {
    haproxy_closes_and_nobody_speaks("HAProxy closes and nobody speaks, IPv4", Ip::V4)
}

#[test]
fn haproxy_closes_and_nobody_speaks_over_ipv6() -> Result<()> {
    haproxy_closes_and_nobody_speaks("HAProxy closes and nobody speaks, IPv6", Ip::V6)
}

/// `ss -K`: there is a RST, and its socket still has an owner. Who acted is the operator's program.
fn socket_is_destroyed(name: &'static str, dies: Side) -> Result<()> {
    let mut pairs = Pairs::new(name, ACTOR, dies)?;
    for (ip, unread) in [(Ip::V4, false), (Ip::V6, false), (Ip::V4, true), (Ip::V6, true)] {
        let pair = pairs.open(Case { dies, ip, unread, after: After::Silence })?;
        let filter = format!("sport = :{} and dport = :{}", pair.flow.local.port(), pair.flow.peer.port());
        pairs.host_of(dies).destroy_sockets(&filter)?;
        let truth = Truth::new(json!({
            "direction": "sent", "severity": ["warning", "error"], "cause": {"id": "socket_destroyed"},
            "origin": {"kind": ["local_host", "local_process"]}, "process": {"executable": {"name": "ss"}},
            "amqp": {"version": "0-9-1", "phase": expect::open(), "close": null},
        }));
        pairs.ended_by("ss -K", pair, Wire::Rst, truth)?;
    }
    pairs.finish()
}

#[test]
fn sockets_of_clients_are_destroyed() -> Result<()> {
    socket_is_destroyed("ss -K of clients", Side::Client)
}

#[test]
fn sockets_of_brokers_are_destroyed() -> Result<()> {
    socket_is_destroyed("ss -K of brokers", Side::Server)
}
