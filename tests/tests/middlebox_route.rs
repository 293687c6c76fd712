//! Ways through the network that change, differ or split, and who is to blame for a RST then.

use rstblame_lab::{
    Result,
    hosts::{
        net::routed,
        router::{self, Detour},
        side::{CLIENT, Ip, Side},
    },
    peers::peer::{self, Connection},
    truths::{
        trial::{Case, Trial},
        truth::Truth,
    },
};

/// What the server does once the way has changed.
#[derive(Clone, Copy)]
enum End {
    /// It goes on for a while, then closes with data unread.
    TalksAndAborts,
    /// It closes with data unread: the RST is the first segment that takes the new way.
    Aborts,
    /// Its socket is gone, and its kernel answers the client.
    IsGone,
}

fn end(trial: &Trial, case: &mut Case, how: End) -> Result<()> {
    match how {
        End::TalksAndAborts | End::Aborts => {
            if matches!(how, End::TalksAndAborts) {
                case.talk()?;
            }
            let Connection { client, server, listener } = case.take()?;
            peer::abort(server)?;
            peer::wait_failure(&client)?;
            rstblame_lab::command::while_nothing_starts(|| drop((client, listener)));
        }
        End::IsGone => {
            let host = &trial.net.server;
            host.nft(
                "add table inet lab; \
                 add chain inet lab out { type filter hook output priority 0; }; \
                 add rule inet lab out tcp flags & rst == rst drop",
            )?;
            host.destroy_sockets(&case.filter(case.side.other()))?;
            router::accept_all(host)?;
            case.victim_speaks()?;
            case.wait_reset()?;
        }
    }
    Ok(())
}

/// The way from the server to the client grows in the middle of a connection, and then the server
/// ends it.
fn route_change(name: &'static str, hops: u8, how: End, truth: &Truth) -> Result<()> {
    for (side, ip) in CLIENT {
        let net = routed()?;
        let detour = Detour::build(&net, hops)?;
        assert_eq!(detour.hops(), usize::from(hops));
        let mut trial = Trial::on(name, net, &[])?;
        let mut case = trial.open(side, ip)?;
        detour.take(&trial.net)?;
        end(&trial, &mut case, how)?;
        trial.judge(&case, truth)?;
        trial.finish()?;
    }
    Ok(())
}

#[test]
fn one_hop_more() -> Result<()> {
    route_change("route change by one", 1, End::TalksAndAborts, &Truth::PEER)
}

#[test]
fn three_hops_more() -> Result<()> {
    route_change("route change by three", 3, End::TalksAndAborts, &Truth::PEER)
}

#[test]
fn three_hops_more_for_the_reset_itself() -> Result<()> {
    route_change("route change by three, RST first", 3, End::Aborts, &Truth::PEER)
}

#[test]
fn one_hop_more_for_the_answer_of_a_peer_that_is_gone() -> Result<()> {
    route_change("route change by one, socket gone", 1, End::IsGone, &Truth::PEER)
}

#[test]
fn three_hops_more_for_the_answer_of_a_peer_that_is_gone() -> Result<()> {
    let truth = Truth::PEER.open("a bare answer from three hops farther away may as well be another machine's");
    route_change("route change by three, socket gone", 3, End::IsGone, &truth)
}

/// There and back were never the same way.
#[test]
fn asymmetric_return_path() -> Result<()> {
    let net = routed()?;
    let detour = Detour::build(&net, 2)?;
    detour.take(&net)?;
    let mut trial = Trial::on("asymmetric return path", net, &[])?;
    for how in [End::TalksAndAborts, End::IsGone] {
        for (side, ip) in CLIENT {
            let mut case = trial.open(side, ip)?;
            end(&trial, &mut case, how)?;
            trial.judge(&case, &Truth::PEER)?;
        }
    }
    trial.finish()
}

/// The client's way out moves to a second router, which has never seen the connection and rejects
/// it. The server's segments came from the first router, and the RST comes from the second.
fn a_second_router_rejects_over(ip: Ip) -> Result<()> {
    let net = routed()?;
    let second = router::second_router(&net)?;
    router::reject_unknown(&second, router::CLIENT_LAN)?;
    let mut trial = Trial::on("second router rejects", net, &[])?;
    let case = trial.open(Side::Client, ip)?;
    router::use_second_router(&trial.net.client)?;
    case.victim_speaks()?;
    case.wait_reset()?;
    let second: std::net::IpAddr = match ip {
        Ip::V4 => [192, 0, 2, 3].into(),
        Ip::V6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0, 3].into(),
    };
    trial.judge(&case, &Truth::MIDDLEBOX.at(second))?;
    trial.finish()
}

#[test]
fn a_second_router_rejects() -> Result<()> {
    a_second_router_rejects_over(Ip::V4)
}

#[test]
fn a_second_router_rejects_over_ipv6() -> Result<()> {
    a_second_router_rejects_over(Ip::V6)
}

/// The server's way moves to the second router, and then the server ends the connection: another
/// MAC address, and nobody in between.
#[test]
fn failover_to_a_second_router() -> Result<()> {
    for how in [End::TalksAndAborts, End::Aborts, End::IsGone] {
        for (side, ip) in CLIENT {
            let net = routed()?;
            let _second = router::second_router(&net)?;
            let mut trial = Trial::on("failover to a second router", net, &[])?;
            let mut case = trial.open(side, ip)?;
            router::use_second_router(&trial.net.server)?;
            end(&trial, &mut case, how)?;
            trial.judge(&case, &Truth::PEER)?;
            trial.finish()?;
        }
    }
    Ok(())
}
