//! Routers that lost what they knew of a connection, as the ends see them.

use std::{io::ErrorKind, net::SocketAddr};

use rstblame_lab::{
    LabError, Result,
    hosts::{
        router,
        side::{ALL, CLIENT, Ip, Side},
    },
    peers::peer::{self, AMQP, Connection},
    truths::{trial::Trial, truth::Truth},
};

/// The router answers the next segment with a RST, and both ends wait: nothing but one hop tells
/// its RST from one of the peer's kernel.
#[test]
fn a_router_that_forgot_rejects() -> Result<()> {
    let mut trial = Trial::new("router rejects")?;
    for (side, ip) in ALL {
        router::reject_unknown(&trial.net.router, side.interface())?;
        let case = trial.open(side, ip)?;
        router::forget(&trial.net.router)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::MIDDLEBOX)?;
        router::accept_all(&trial.net.router)?;
    }
    trial.finish()
}

/// The same, but the peer has something to say afterwards: it was not the one that gave up.
#[test]
fn a_router_that_forgot_rejects_and_the_peer_talks_on() -> Result<()> {
    let mut trial = Trial::new("router rejects, peer talks on")?;
    for (side, ip) in ALL {
        router::reject_unknown(&trial.net.router, side.interface())?;
        let case = trial.open(side, ip)?;
        router::forget(&trial.net.router)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        case.peer_talks_on()?;
        trial.judge(&case, &Truth::MIDDLEBOX)?;
        router::accept_all(&trial.net.router)?;
    }
    trial.finish()
}

/// The router's firewall refuses new connections in the name of the server. There is nothing to
/// compare its RST with.
#[test]
fn a_router_refuses() -> Result<()> {
    let mut trial = Trial::new("router refuses")?;
    trial.net.router.nft(
        "add table inet lab; \
         add chain inet lab forward { type filter hook forward priority 0; }; \
         add rule inet lab forward tcp dport 5672 reject with tcp reset",
    )?;
    let truth =
        Truth::MIDDLEBOX.open("without an earlier packet of the peer, a network whose routers take nothing off the TTL looks the same");
    for (side, ip) in CLIENT {
        let flow = peer::refused(&trial.net.client, SocketAddr::new(ip.of(&trial.net.server), AMQP))?;
        trial.judge_flow(side, ip, flow, &truth)?;
    }
    trial.finish()
}

/// The router forgets by itself, after a second of silence.
#[test]
fn a_router_whose_entry_expired_rejects() -> Result<()> {
    let mut trial = Trial::new("router entry expired")?;
    for (side, ip) in ALL {
        router::reject_unknown(&trial.net.router, side.interface())?;
        router::forget_after_a_second(&trial.net.router)?;
        let silent = trial.open(side, ip)?;
        router::wait_forgotten(&trial.net.router)?;
        silent.victim_speaks()?;
        silent.wait_reset()?;
        trial.judge(&silent, &Truth::MIDDLEBOX)?;
        drop(silent);

        let talking = trial.open(side, ip)?;
        router::wait_forgotten(&trial.net.router)?;
        talking.victim_speaks()?;
        talking.wait_reset()?;
        talking.peer_talks_on()?;
        trial.judge(&talking, &Truth::MIDDLEBOX)?;
        router::accept_all(&trial.net.router)?;
    }
    trial.finish()
}

/// A router that translates addresses loses its table. The server's next segment is for an address
/// of the router's own, and the router's kernel answers it.
#[test]
fn a_translating_router_lost_its_table() -> Result<()> {
    let mut trial = Trial::new("NAT lost its table")?;
    router::masquerade(&trial.net.router)?;
    for ip in [Ip::V4, Ip::V6] {
        let case = trial.open(Side::Server, ip)?;
        router::forget(&trial.net.router)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::TRANSLATOR)?;
    }
    trial.finish()
}

/// The same with the client told of the router: it translates for the client's LAN.
#[test]
fn a_known_translating_router_lost_its_table() -> Result<()> {
    let net = rstblame_lab::hosts::net::routed()?;
    let mut trial =
        Trial::on("known NAT lost its table", net, &["--middlebox", "198.51.100.1=nat-1", "--middlebox", "2001:db8:2::1=nat-1"])?;
    router::masquerade(&trial.net.router)?;
    for ip in [Ip::V4, Ip::V6] {
        let case = trial.open(Side::Server, ip)?;
        router::forget(&trial.net.router)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::known("nat-1"))?;
    }
    trial.finish()
}

/// The translation is lost in the middle of the flow, and the client speaks next: it gets another
/// port, to which the server has no connection. The RST is the server's, translated back.
#[test]
fn a_flow_that_got_another_port_is_refused_by_the_server() -> Result<()> {
    let mut trial = Trial::new("NAT chose another port")?;
    router::masquerade(&trial.net.router)?;
    for (side, ip) in CLIENT {
        let case = trial.open(side, ip)?;
        // A translation that was taken by somebody else meanwhile, in short.
        let family = if ip == Ip::V4 { "ipv4" } else { "ipv6" };
        trial.net.router.nft(&format!(
            "flush chain inet nat post; \
             add rule inet nat post meta nfproto {family} oifname {} meta l4proto tcp masquerade to :40000-40010",
            router::SERVER_LAN
        ))?;
        router::forget(&trial.net.router)?;
        case.victim_speaks()?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::PEER)?;
        trial.net.router.nft("delete table inet nat")?;
        router::masquerade(&trial.net.router)?;
    }
    trial.finish()
}

/// The server's NAT box forgot, and the server's own host answered what came from the client: a
/// genuine RST, behind a router that translates.
#[test]
fn a_dead_socket_behind_a_translating_router() -> Result<()> {
    let mut trial = Trial::new("dead socket behind NAT")?;
    router::masquerade(&trial.net.router)?;
    for (side, ip) in CLIENT {
        let mut case = trial.open(side, ip)?;
        let Connection { client, server, listener } = case.take()?;
        peer::close_with_unread(server, &client, b"unread")?;
        if peer::wait_failure(&client)? != ErrorKind::ConnectionReset {
            return Err(LabError::Client("the server's abort did not arrive".to_owned()));
        }
        trial.judge(&case, &Truth::PEER)?;
        rstblame_lab::command::while_nothing_starts(|| drop((client, listener)));
    }
    trial.finish()
}
