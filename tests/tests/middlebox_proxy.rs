//! Proxies, which are the peer as far as TCP goes, and a middlebox to those who know them.

use rstblame_lab::{
    Result, command,
    hosts::{
        net::routed,
        side::{CLIENT, Ip},
    },
    peers::peer::{self, Connection},
    proxies::proxy::{Kind, Proxy},
    truths::{
        trial::{Case, Trial},
        truth::Truth,
    },
};

/// The addresses of the router on both LANs, where the proxy runs.
const KNOWN: [&str; 8] = [
    "--middlebox",
    "192.0.2.1=lb-1",
    "--middlebox",
    "2001:db8:1::1=lb-1",
    "--middlebox",
    "198.51.100.0/30=lb-1",
    "--middlebox",
    "2001:db8:2::1/128=lb-1",
];

/// What happens to the proxy.
#[derive(Clone, Copy)]
enum Fate {
    /// It gives the connection up after a second of silence.
    TimesOut,
    /// It is killed.
    Killed,
}

fn proxied(name: &'static str, kind: Kind, fate: Fate, arguments: &[&str], truth: &Truth) -> Result<()> {
    let mut trial = Trial::on(name, routed()?, arguments)?;
    for (side, ip) in CLIENT {
        // The proxy is on the router, and the client talks to the router's address on its own LAN.
        let front = match ip {
            Ip::V4 => [192, 0, 2, 1].into(),
            Ip::V6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into(),
        };
        let address = std::net::SocketAddr::new(ip.of(&trial.net.server), peer::AMQP);
        let listener = trial.net.server.listen(address)?;
        let mut proxy = Proxy::start(kind, &trial.net.router, front, address.ip())?;
        let client = trial.net.client.connect(std::net::SocketAddr::new(front, peer::AMQP))?;
        let (server, _) = listener.accept().map_err(|error| rstblame_lab::LabError::io("accept", error))?;
        let case = Case::of(Connection { client, server, listener }, side, ip)?;
        match fate {
            Fate::TimesOut => {}
            Fate::Killed => proxy.kill()?,
        }
        // The proxy's kernel closes with a FIN, unless told otherwise, and answers the next segment
        // by a RST.
        if kind != Kind::HaproxyAborting {
            peer::wait_end(case.victim()?)?;
            case.victim_speaks()?;
        }
        case.wait_reset()?;
        trial.judge(&case, truth)?;
        command::while_nothing_starts(|| drop(proxy));
    }
    trial.finish()
}

#[test]
fn haproxy_aborts_after_its_timeout() -> Result<()> {
    proxied("HAProxy aborts", Kind::HaproxyAborting, Fate::TimesOut, &[], &Truth::PEER)
}

#[test]
fn known_haproxy_aborts_after_its_timeout() -> Result<()> {
    proxied("known HAProxy aborts", Kind::HaproxyAborting, Fate::TimesOut, &KNOWN, &Truth::known("lb-1"))
}

#[test]
fn haproxy_closes_after_its_timeout() -> Result<()> {
    proxied("HAProxy closes", Kind::Haproxy, Fate::TimesOut, &[], &Truth::PEER)
}

#[test]
fn known_haproxy_closes_after_its_timeout() -> Result<()> {
    proxied("known HAProxy closes", Kind::Haproxy, Fate::TimesOut, &KNOWN, &Truth::known("lb-1"))
}

#[test]
fn haproxy_is_killed() -> Result<()> {
    proxied("HAProxy killed", Kind::Haproxy, Fate::Killed, &[], &Truth::PEER)
}

#[test]
fn nginx_closes_after_its_timeout() -> Result<()> {
    proxied("nginx closes", Kind::Nginx, Fate::TimesOut, &[], &Truth::PEER)
}

#[test]
fn known_nginx_is_killed() -> Result<()> {
    proxied("known nginx killed", Kind::Nginx, Fate::Killed, &KNOWN, &Truth::known("lb-1"))
}
