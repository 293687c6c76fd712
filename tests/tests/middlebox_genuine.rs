//! Genuine RSTs of every kind, through a router: nobody in between had a part in them, and nobody
//! may be accused.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use rstblame_lab::{
    LabError, Result,
    command::while_nothing_starts,
    hosts::{
        net::Host,
        router,
        side::{ALL, CLIENT, Ip, Side},
    },
    peers::peer::{self, AMQP, Connection},
    poll,
    truths::{
        trial::{Case, Trial},
        truth::Truth,
    },
};
use socket2::SockRef;

/// A rule that rejects what arrives for the AMQP port, or from it, as a host's own firewall does.
const REJECT: &str = "add table inet lab; \
     add chain inet lab in { type filter hook input priority 0; }; \
     add rule inet lab in tcp dport 5672 reject with tcp reset; \
     add rule inet lab in tcp sport 5672 reject with tcp reset";

/// Both ends of a case, the one that loses the connection first.
fn ends(case: &mut Case) -> Result<(std::net::TcpStream, std::net::TcpStream, std::net::TcpListener)> {
    let Connection { client, server, listener } = case.take()?;
    Ok(match case.side {
        Side::Client => (client, server, listener),
        Side::Server => (server, client, listener),
    })
}

/// Lets the peer of each case do something that ends in a RST, and asserts that nobody else is
/// accused of it.
fn genuine(name: &'static str, cases: &[(Side, Ip)], act: impl Fn(&Trial, &mut Case) -> Result<()>) -> Result<()> {
    genuine_as(&Truth::PEER, name, cases, act)
}

/// [`genuine`] with another truth.
fn genuine_as(truth: &Truth, name: &'static str, cases: &[(Side, Ip)], act: impl Fn(&Trial, &mut Case) -> Result<()>) -> Result<()> {
    let mut trial = Trial::new(name)?;
    for (side, ip) in cases {
        let mut case = trial.open(*side, *ip)?;
        act(&trial, &mut case)?;
        trial.judge(&case, truth)?;
    }
    trial.finish()
}

/// Makes the peer's host lose its socket without a word, as a reboot does, or a cable that was out
/// at the wrong moment.
fn lose_socket(host: &Host, filter: &str) -> Result<()> {
    host.nft(
        "add table inet lab; \
         add chain inet lab out { type filter hook output priority 0; }; \
         add rule inet lab out tcp flags & rst == rst drop",
    )?;
    host.destroy_sockets(filter)?;
    router::accept_all(host)
}

fn reset(victim: &std::net::TcpStream) -> Result<()> {
    match peer::wait_failure(victim)? {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(()),
        other => Err(LabError::Client(format!("the connection ended otherwise: {other}"))),
    }
}

#[test]
fn close_with_unread_data() -> Result<()> {
    genuine("close with unread data", &ALL, |_, case| {
        let (victim, peer, listener) = ends(case)?;
        peer::close_with_unread(peer, &victim, b"unread")?;
        reset(&victim)?;
        while_nothing_starts(|| drop((victim, listener)));
        Ok(())
    })
}

#[test]
fn linger_abort() -> Result<()> {
    genuine("linger abort", &ALL, |_, case| {
        let (victim, peer, listener) = ends(case)?;
        peer::abort(peer)?;
        reset(&victim)?;
        while_nothing_starts(|| drop((victim, listener)));
        Ok(())
    })
}

#[test]
fn socket_destroyed_by_an_operator() -> Result<()> {
    genuine("socket destroyed", &ALL, |trial, case| {
        trial.host(case.side.other()).destroy_sockets(&case.filter(case.side.other()))?;
        case.wait_reset()
    })
}

/// The peer's host came back without the connection; its answer to the next segment is all there
/// is.
#[test]
fn peer_rebooted() -> Result<()> {
    genuine("peer rebooted", &ALL, |trial, case| {
        lose_socket(trial.host(case.side.other()), &case.filter(case.side.other()))?;
        case.victim_speaks()?;
        case.wait_reset()
    })
}

/// The application chose its own TTL, and the kernel's answer for a socket that is gone has the
/// default. The client's host remembers the server's handshake, which came with the default too.
fn dead_socket(name: &'static str, ttl: u32, seen_by_server: &Truth) -> Result<()> {
    let mut trial = Trial::new(name)?;
    for (side, ip) in ALL {
        let connection = Connection::open(&trial.net.client, &trial.net.server, ip.of(&trial.net.server))?;
        let peer = SockRef::from(if side == Side::Client { &connection.server } else { &connection.client });
        let set = if ip == Ip::V4 { peer.set_ttl_v4(ttl) } else { peer.set_unicast_hops_v6(ttl) };
        set.map_err(|error| LabError::io("set the TTL", error))?;
        let case = Case::of(connection, side, ip)?;
        lose_socket(trial.host(side.other()), &case.filter(side.other()))?;
        case.victim_speaks()?;
        case.wait_reset()?;
        trial.judge(&case, if side == Side::Client { &Truth::PEER } else { seen_by_server })?;
    }
    trial.finish()
}

/// No path has as many hops as this is short of an initial TTL: it can only have been chosen.
#[test]
fn dead_socket_of_a_peer_with_a_ttl_of_its_own() -> Result<()> {
    dead_socket("IP_TTL, dead socket", 100, &Truth::PEER)
}

#[test]
fn dead_socket_of_a_peer_that_seems_farther_away() -> Result<()> {
    dead_socket("IP_TTL 50, dead socket", 50, &Truth::PEER.open("a bare answer from 13 hops nearer is as likely a router's"))
}

#[test]
fn dead_socket_of_a_peer_that_starts_at_255() -> Result<()> {
    dead_socket("IP_TTL 255, dead socket", 255, &Truth::PEER.open("a bare answer with another initial TTL is as likely a router's"))
}

/// There is no router, and the neighbour's program chose a TTL that looks like some hops.
#[test]
fn dead_socket_of_a_peer_on_the_link() -> Result<()> {
    let mut trial = Trial::new("dead socket on the link")?;
    for ttl in [64, 60] {
        for ip in [Ip::V4, Ip::V6] {
            // The router is a host like any other to its neighbours.
            let address = if ip == Ip::V4 { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into() };
            let connection = Connection::open(&trial.net.client, &trial.net.router, address)?;
            let peer = SockRef::from(&connection.server);
            let set = if ip == Ip::V4 { peer.set_ttl_v4(ttl) } else { peer.set_unicast_hops_v6(ttl) };
            set.map_err(|error| LabError::io("set the TTL", error))?;
            let case = Case::of(connection, Side::Client, ip)?;
            lose_socket(&trial.net.router, &case.filter(Side::Server))?;
            case.victim_speaks()?;
            case.wait_reset()?;
            trial.judge(&case, &Truth::PEER)?;
        }
    }
    trial.finish()
}

/// It also aborts with it: every segment has the same TTL then.
#[test]
fn abort_of_a_peer_with_a_ttl_of_its_own() -> Result<()> {
    let mut trial = Trial::new("IP_TTL, abort")?;
    for (side, ip) in ALL {
        let connection = Connection::open(&trial.net.client, &trial.net.server, ip.of(&trial.net.server))?;
        let peer = SockRef::from(if side == Side::Client { &connection.server } else { &connection.client });
        let set = if ip == Ip::V4 { peer.set_ttl_v4(100) } else { peer.set_unicast_hops_v6(100) };
        set.map_err(|error| LabError::io("set the TTL", error))?;
        let mut case = Case::of(connection, side, ip)?;
        let (victim, peer, listener) = ends(&mut case)?;
        peer::abort(peer)?;
        reset(&victim)?;
        while_nothing_starts(|| drop((victim, listener)));
        trial.judge(&case, &Truth::PEER)?;
    }
    trial.finish()
}

/// The process is killed with deliveries unread: its kernel aborts.
#[test]
fn peer_killed() -> Result<()> {
    let mut trial = Trial::new("peer killed")?;
    let stage = rstblame_lab::peers::actor::Stage::new(env!("CARGO_BIN_EXE_actor"))?;
    for (side, ip) in CLIENT {
        let mut server = stage.actor(&trial.net.server)?;
        let address = SocketAddr::new(ip.of(&trial.net.server), AMQP);
        server.ask(&format!("listen {address}"))?;
        let client = trial.net.client.connect(address)?;
        server.accept(1)?;
        let flow = peer::flow(&client)?;
        peer::send(&mut &client, b"unread")?;
        poll::until("bytes in the server's receive queue", Duration::from_secs(15), || {
            let filter = format!("sport = :{AMQP} and dport = :{}", flow.local.port());
            let queued = trial.net.server.run(&["ss", "--no-header", "--numeric", "--tcp", &filter])?;
            Ok(queued.split_ascii_whitespace().nth(1).is_some_and(|unread| unread != "0").then_some(()))
        })?;
        // Its drop is SIGKILL.
        drop(server);
        reset(&client)?;
        trial.judge_flow(side, ip, flow, &Truth::PEER)?;
    }
    trial.finish()
}

/// The peer has closed, and its kernel keeps only a TIME_WAIT entry, which answers data with a RST.
#[test]
fn time_wait() -> Result<()> {
    genuine("TIME_WAIT", &ALL, |_, case| {
        let (victim, peer, listener) = ends(case)?;
        // The victim keeps its half open, and the peer's kernel keeps no socket for FIN-WAIT-2
        // without an owner, but an entry such as for TIME-WAIT (`tcp_time_wait()`).
        while_nothing_starts(|| drop(peer));
        peer::wait_end(&victim)?;
        peer::send(&mut &victim, b"still there?")?;
        reset(&victim)?;
        while_nothing_starts(|| drop((victim, listener)));
        Ok(())
    })
}

#[test]
fn data_after_shutdown() -> Result<()> {
    genuine("data after shutdown", &ALL, |_, case| {
        peer::shut_down(case.peer()?)?;
        peer::wait_end(case.victim()?)?;
        case.victim_speaks()?;
        case.wait_reset()
    })
}

/// The peer's keepalive probes went unanswered for a while; when its kernel gives up, the way is
/// free again for its RST.
#[test]
fn keepalive_of_the_peer() -> Result<()> {
    let mut trial = Trial::new("keepalive of the peer")?;
    for (side, ip) in ALL {
        let case = trial.open(side, ip)?;
        // Only what answers them is lost.
        router::drop_from(&trial.net.router, side.interface())?;
        peer::keepalive(case.peer()?)?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::PEER)?;
        router::accept_all(&trial.net.router)?;
    }
    trial.finish()
}

#[test]
fn refused() -> Result<()> {
    let mut trial = Trial::new("refused")?;
    for (side, ip) in CLIENT {
        let flow = peer::refused(&trial.net.client, SocketAddr::new(ip.of(&trial.net.server), AMQP))?;
        trial.judge_flow(side, ip, flow, &Truth::PEER)?;
    }
    trial.finish()
}

/// The peer's own firewall is part of the peer's host, though neither its process nor its kernel's
/// TCP knows of the RST.
#[test]
fn firewall_of_the_peers_host() -> Result<()> {
    genuine("peer's firewall", &ALL, |trial, case| {
        let host = trial.host(case.side.other());
        host.nft(REJECT)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        router::accept_all(host)
    })
}

/// The same, and the process there, which knows nothing of it, talks on: what looks like proof of a
/// third party is the peer's host still.
#[test]
fn firewall_of_the_peers_host_while_its_process_talks_on() -> Result<()> {
    let truth = Truth::PEER.open("a box that copies the TTL of the peer's packets and drops what it answers looks the same");
    genuine_as(&truth, "peer's firewall, peer talks on", &ALL, |trial, case| {
        let host = trial.host(case.side.other());
        host.nft(REJECT)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        case.peer_talks_on()?;
        router::accept_all(host)
    })
}
