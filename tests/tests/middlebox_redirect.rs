//! Resets from programs of this host that answer in the peer's name: a sidecar to which connections
//! are redirected, and what stands behind a translation of addresses. The peer has done nothing.

use std::net::{IpAddr, SocketAddr, TcpStream};

use rstblame_lab::{
    LabError, Result,
    agents::agent::Agent,
    hosts::{
        flow::Flow,
        net::{Host, TwoHosts, two_hosts},
    },
    json,
    peers::{
        actor::{Actor, Part, Stage},
        peer::{self, AMQP},
    },
    proxies::proxy::{Kind, Place, Proxy},
    truths::expect,
};
use serde_json::Value;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// The port that the sidecar listens on, which nobody watches.
const INBOUND: u16 = 15_001;

/// How the sidecar ends the connection.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// `SO_LINGER` of zero.
    Aborts,
    /// With data unread.
    LeavesDataUnread,
    /// `kill -9`, with data unread.
    IsKilled,
}

/// A program, and the sidecar that gets what it sends to the broker's address.
struct Scene {
    net: TwoHosts,
    stage: Stage,
    agent: Agent,
}

/// Hands what leaves a host for a port of the broker's over to another.
fn redirect(host: &Host, port: u16, to: &str) -> Result<()> {
    host.nft("add table inet nat")?;
    host.nft("add chain inet nat output { type nat hook output priority -100 ; }")?;
    host.nft(&format!("add rule inet nat output tcp dport {port} {to}"))
}

/// Hands what leaves a host for brokers over to a port of its own as it is, addresses and all
/// (TPROXY), but for what leaves from these.
fn hand_over_untouched(host: &Host, port: u16, but_from: &[IpAddr]) -> Result<()> {
    host.nft("add table inet lab")?;
    host.nft("add chain inet lab out { type route hook output priority mangle ; }")?;
    for from in but_from {
        let family = if from.is_ipv4() { "ip" } else { "ip6" };
        host.nft(&format!("add rule inet lab out {family} saddr {from} accept"))?;
    }
    host.nft(&format!("add rule inet lab out tcp dport {AMQP} meta mark set 1"))?;
    host.nft("add chain inet lab pre { type filter hook prerouting priority mangle ; }")?;
    for (family, own) in [("ip", format!("127.0.0.1:{port}")), ("ip6", format!("[::1]:{port}"))] {
        let version = if family == "ip" { "-4" } else { "-6" };
        host.nft(&format!("add rule inet lab pre iifname lo tcp dport {AMQP} tproxy {family} to {own} meta mark set 1 accept"))?;
        host.run(&["ip", version, "rule", "add", "fwmark", "1", "lookup", "100"])?;
        host.run(&["ip", version, "route", "add", "local", "default", "dev", "lo", "table", "100"])?;
    }
    Ok(())
}

impl Scene {
    fn ended(&self, client: &mut Actor, sidecar: &mut Actor, end: End, broker: SocketAddr) -> Result<Value> {
        let local = client.connect(broker, 1)?;
        sidecar.accept(1)?;
        let flow = Flow::new(local.first().copied().unwrap_or(broker), broker);
        match end {
            End::Aborts => drop(sidecar.ask("linger 0 1")?),
            End::LeavesDataUnread => {
                client.ask("send 0 1 100")?;
                sidecar.ask("unread 0 1 100")?;
                sidecar.ask("close 0 1")?;
            }
            End::IsKilled => {
                client.ask("send 0 1 100")?;
                sidecar.ask("unread 0 1 100")?;
                sidecar.tell(&format!("kill {} KILL", sidecar.pid))?;
                sidecar.wait()?;
            }
        }
        self.agent.reset_of(flow, "received")
    }
}

/// What is said of a reset that `pid` sent, from `from`, in the name of `broker`.
fn truth(pid: u32, from: SocketAddr, broker: SocketAddr) -> Value {
    json!({
        "effect": "connection_reset",
        "origin": {"kind": "local_process", "possible": ["local_process"]},
        "cause": {"id": "peer_aborted"},
        "peer_process": {"pid": pid, "executable": {"name": "actor"}},
        "network": {
            "peer": {"address": broker.ip(), "port": broker.port()},
            "nat": {"reply": {"source": {"address": from.ip(), "port": from.port()}}},
        },
    })
}

fn sidecar(end: End) -> Result<()> {
    let net = two_hosts()?;
    redirect(&net.client, AMQP, &format!("redirect to :{INBOUND}"))?;
    let agent = Agent::on(&net.client).start()?;
    let scene = Scene { stage: Stage::new(ACTOR)?, agent, net };
    let loopback: [(IpAddr, IpAddr); 2] =
        [(scene.net.server.v4(), [127, 0, 0, 1].into()), (scene.net.server.v6(), std::net::Ipv6Addr::LOCALHOST.into())];
    for (broker, own) in loopback {
        let mut client = scene.stage.actor(&scene.net.client)?;
        let mut sidecar = scene.stage.actor(&scene.net.client)?;
        sidecar.ask(&format!("listen {}", SocketAddr::new(own, INBOUND)))?;
        let (pid, broker) = (sidecar.pid, SocketAddr::new(broker, AMQP));
        let event = scene.ended(&mut client, &mut sidecar, end, broker)?;
        expect::check("the program's host", &event, &truth(pid, SocketAddr::new(own, INBOUND), broker));
        expect::check("the program's host", &event, &json!({"process": {"pid": client.pid}}));
    }
    scene.agent.stop().map(drop)
}

#[test]
fn a_sidecar_aborts() -> Result<()> {
    sidecar(End::Aborts)
}

#[test]
fn a_sidecar_leaves_data_unread() -> Result<()> {
    sidecar(End::LeavesDataUnread)
}

#[test]
fn a_sidecar_is_killed() -> Result<()> {
    sidecar(End::IsKilled)
}

/// It gets what goes to the broker by TPROXY: its sockets have the broker's own address.
#[test]
fn a_transparent_sidecar_aborts() -> Result<()> {
    let net = two_hosts()?;
    hand_over_untouched(&net.client, INBOUND, &[])?;
    let scene = Scene { stage: Stage::new(ACTOR)?, agent: Agent::on(&net.client).start()?, net };
    let loopback: [(IpAddr, IpAddr); 2] =
        [(scene.net.server.v4(), [127, 0, 0, 1].into()), (scene.net.server.v6(), std::net::Ipv6Addr::LOCALHOST.into())];
    for (broker, own) in loopback {
        for end in [End::Aborts, End::LeavesDataUnread, End::IsKilled] {
            let mut client = scene.stage.actor(&scene.net.client)?;
            let mut sidecar = scene.stage.actor(&scene.net.client)?;
            sidecar.ask("transparent")?;
            sidecar.ask(&format!("listen {}", SocketAddr::new(own, INBOUND)))?;
            let (pid, broker) = (sidecar.pid, SocketAddr::new(broker, AMQP));
            let event = scene.ended(&mut client, &mut sidecar, end, broker)?;
            let truth = json!({
                "effect": "connection_reset",
                "origin": {"kind": "local_process", "possible": ["local_process"]},
                "peer_process": {"pid": pid, "executable": {"name": "actor"}},
                "process": {"pid": client.pid},
            });
            expect::check("the program's host", &event, &truth);
        }
    }
    scene.agent.stop().map(drop)
}

/// How a program's connections come to its sidecar.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Redirect,
    Tproxy,
}

/// A real proxy as a sidecar of the client's host.
struct Sidecar {
    net: TwoHosts,
    /// The addresses that it connects from.
    own: [IpAddr; 2],
    way: Way,
}

impl Sidecar {
    fn new(way: Way) -> Result<Self> {
        let net = two_hosts()?;
        let own: [IpAddr; 2] = [[192, 0, 2, 11].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 11].into()];
        let [own4, own6] = own;
        net.client.run(&["ip", "address", "add", &format!("{own4}/24"), "dev", "eth0"])?;
        // Nobody else is to have it for a source.
        net.client.run(&["ip", "address", "add", &format!("{own6}/64"), "dev", "eth0", "nodad", "preferred_lft", "0"])?;
        match way {
            Way::Redirect => {
                redirect(&net.client, AMQP, &format!("ip saddr != {own4} redirect to :{AMQP}"))?;
                net.client.nft(&format!("add rule inet nat output tcp dport {AMQP} ip6 saddr != {own6} redirect to :{AMQP}"))?;
            }
            Way::Tproxy => hand_over_untouched(&net.client, AMQP, &own)?,
        }
        Ok(Self { net, own, way })
    }

    /// Where it stands, for IPv4 and for IPv6.
    fn places(&self) -> [Place; 2] {
        let [own4, own6] = self.own;
        let server = &self.net.server;
        let place =
            |front: IpAddr, server, from| Place { from: Some(from), transparent: self.way == Way::Tproxy, ..Place::new(front, server) };
        [place([127, 0, 0, 1].into(), server.v4(), own4), place(std::net::Ipv6Addr::LOCALHOST.into(), server.v6(), own6)]
    }

    /// A program connects by way of it, and says something. Its connection, that of the sidecar at
    /// the broker, and the sidecar's to the broker.
    fn open(&self, place: &Place) -> Result<(TcpStream, TcpStream, Flow)> {
        let broker = SocketAddr::new(place.server, AMQP);
        let listener = self.net.server.listen(broker)?;
        let stream = self.net.client.connect(broker)?;
        peer::send(&mut &stream, b"no AMQP\n")?;
        let (accepted, upstream) = listener.accept().map_err(|error| LabError::io("accept", error))?;
        peer::wait_unread(&accepted, 8)?;
        Ok((stream, accepted, Flow::new(upstream, broker)))
    }
}

/// HAProxy itself as a sidecar: it loses patience with a silent program, and aborts towards both.
/// What the program's host says of either half, and the broker's.
fn haproxy_loses_patience(way: Way) -> Result<()> {
    let sidecar = Sidecar::new(way)?;
    let (agent, beside) = (Agent::on(&sidecar.net.client).start()?, Agent::on(&sidecar.net.server).start()?);
    for place in sidecar.places() {
        let proxy = Proxy::start_at(Kind::HaproxyAborting, &sidecar.net.client, &place)?;
        let (stream, _accepted, upstream) = sidecar.open(&place)?;
        let flow = peer::flow(&stream)?;
        peer::wait_failure(&stream)?;
        let program = agent.reset_of(flow, "received")?;
        let truth = json!({
            "origin": {"kind": "local_process", "possible": ["local_process"]},
            "peer_process": {"pid": proxy.owner()?, "executable": {"name": "haproxy"}},
        });
        expect::check("the program's host, of the program", &program, &truth);
        let truth = json!({"origin": {"kind": "local_process"}, "process": {"pid": proxy.owner()?}});
        expect::check("the program's host, of the sidecar", &agent.reset_of(upstream, "sent")?, &truth);
        let broker = beside.reset_of(upstream.reversed(), "received")?;
        expect::check("the broker's host", &broker, &json!({"origin": {"kind": "remote_peer"}, "network": {"nat": null}}));
    }
    agent.stop()?;
    beside.stop().map(drop)
}

#[test]
fn haproxy_as_a_sidecar_loses_patience() -> Result<()> {
    haproxy_loses_patience(Way::Redirect)
}

#[test]
fn haproxy_as_a_transparent_sidecar_loses_patience() -> Result<()> {
    haproxy_loses_patience(Way::Tproxy)
}

/// Envoy as a sidecar closes in order when it has lost patience; what the program sends then, the
/// kernel of its own host answers.
#[test]
fn envoy_as_a_sidecar_loses_patience() -> Result<()> {
    let sidecar = Sidecar::new(Way::Redirect)?;
    let agent = Agent::on(&sidecar.net.client).start()?;
    for place in sidecar.places() {
        let _proxy = Proxy::start_at(Kind::Envoy, &sidecar.net.client, &place)?;
        let (stream, _accepted, _) = sidecar.open(&place)?;
        let flow = peer::flow(&stream)?;
        peer::wait_end(&stream)?;
        peer::send(&mut &stream, b"more")?;
        peer::wait_failure(&stream)?;
        let program = agent.reset_of(flow, "received")?;
        expect::check("the program's host", &program, &json!({"origin": {"kind": "local_host", "possible": ["local_host"]}}));
    }
    agent.stop().map(drop)
}

/// It closes in order, and this host's kernel answers what comes after it.
#[test]
fn a_sidecar_closes_and_its_kernel_answers() -> Result<()> {
    let net = two_hosts()?;
    redirect(&net.client, AMQP, &format!("redirect to :{INBOUND}"))?;
    let agent = Agent::on(&net.client).start()?;
    let stage = Stage::new(ACTOR)?;
    for (broker, own) in [(net.server.v4(), IpAddr::from([127, 0, 0, 1])), (net.server.v6(), std::net::Ipv6Addr::LOCALHOST.into())] {
        let mut client = stage.actor(&net.client)?;
        let mut sidecar = stage.actor(&net.client)?;
        sidecar.ask(&format!("listen {}", SocketAddr::new(own, INBOUND)))?;
        let broker = SocketAddr::new(broker, AMQP);
        let local = client.connect(broker, 1)?;
        sidecar.accept(1)?;
        sidecar.ask("close 0 1")?;
        client.ask("send 0 1 100")?;
        let event = agent.reset_of(Flow::new(local.first().copied().unwrap_or(broker), broker), "received")?;
        let expected = json!({"origin": {"kind": "local_host", "possible": ["local_host"]}, "cause": {"id": "peer_gone"}});
        expect::check("the program's host", &event, &expected);
    }
    agent.stop().map(drop)
}

/// What a program sends to a virtual address is handed to another namespace of this host, as Docker
/// and kube-proxy do.
#[test]
fn what_a_virtual_address_stands_for_is_on_this_host() -> Result<()> {
    const PORT: u16 = 20_031;
    let net = two_hosts()?;
    let agent = Agent::everywhere(PORT).start()?;
    let scene = Scene { stage: Stage::new(ACTOR)?, agent, net };
    let own = SocketAddr::new(scene.net.server.v4(), INBOUND);
    let broker = SocketAddr::new([192, 0, 2, 77].into(), PORT);
    redirect(&scene.net.client, PORT, &format!("ip daddr {} dnat ip to {own}", broker.ip()))?;
    let mut client = scene.stage.cast(&Part { host: Some(&scene.net.client), ..Part::default() })?;
    let mut server = scene.stage.cast(&Part { host: Some(&scene.net.server), ..Part::default() })?;
    server.ask(&format!("listen {own}"))?;
    let pid = server.pid;
    let event = scene.ended(&mut client, &mut server, End::Aborts, broker)?;
    expect::check("this host", &event, &truth(pid, own, broker));
    scene.agent.stop().map(drop)
}

/// A program of this host resets other connections all the while, of the same broker too: the
/// peer's own reset stays the peer's, at either end.
#[test]
fn resets_of_others_do_not_exonerate_the_peer() -> Result<()> {
    let net = two_hosts()?;
    let (agent, beside) = (Agent::on(&net.client).start()?, Agent::on(&net.server).start()?);
    let stage = Stage::new(ACTOR)?;
    let (mut client, mut other) = (stage.actor(&net.client)?, stage.actor(&net.client)?);
    let (mut server, mut elsewhere) = (stage.actor(&net.server)?, stage.actor(&net.server)?);
    for (ip, count) in [(net.server.v4(), 20), (net.server.v6(), 20)] {
        let (broker, unwatched) = (SocketAddr::new(ip, AMQP), SocketAddr::new(ip, INBOUND));
        server.ask(&format!("listen {broker}"))?;
        elsewhere.ask(&format!("listen {unwatched}"))?;
        let locals = client.connect(broker, count)?;
        server.accept(count)?;
        other.connect(unwatched, count)?;
        elsewhere.accept(count)?;
        other.ask(&format!("linger 0 {count}"))?;
        server.ask(&format!("linger 0 {count}"))?;
        for local in locals {
            let event = agent.reset_of(Flow::new(local, broker), "received")?;
            expect::check("the program's host", &event, &json!({"origin": {"kind": "remote_peer"}, "network": {"nat": null}}));
        }
        // Now the programs, all at once: whichever it is, it is not one of the broker's host.
        let locals = client.connect(broker, count)?;
        server.accept(count)?;
        client.ask(&format!("linger {count} {count}"))?;
        for local in locals {
            let event = beside.reset_of(Flow::new(broker, local), "received")?;
            expect::check("the broker's host", &event, &json!({"origin": {"kind": ["remote_peer", "unknown"]}, "network": {"nat": null}}));
        }
        (client, other) = (stage.actor(&net.client)?, stage.actor(&net.client)?);
        (server, elsewhere) = (stage.actor(&net.server)?, stage.actor(&net.server)?);
    }
    agent.stop()?;
    beside.stop().map(drop)
}
