//! RSTs that something on the path made in the name of either end.

use rstblame_lab::{
    Result,
    agents::agent::Agent,
    hosts::{
        forge::{Forgery, Injector, IpId},
        net::routed,
        side::{ALL, Ip, Side},
    },
    json,
    peers::peer::{self, Connection},
    truths::{
        expect,
        trial::{Case, Trial},
        truth::Truth,
    },
};

/// When RSTs are forged, and what the peer does afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Right after an exchange.
    Busy,
    /// Out of a silence: nothing was said that a RST could answer.
    Quiet,
    /// Out of a silence, and the peer, which knows nothing of it, talks on.
    QuietAndThePeerTalksOn,
}

/// Forges RSTs in each connection, and compares what its victim says with the truth.
fn injected(name: &'static str, forgeries: &[Forgery], when: When, truth: &Truth) -> Result<()> {
    let mut trial = Trial::new(name)?;
    for (side, ip) in ALL {
        let injector = Injector::on(&trial.net.router, side.interface())?;
        let case = trial.open(side, ip)?;
        if when != When::Busy {
            case.wait_quiet(&trial)?;
        }
        let model = injector.last(case.flow)?;
        for forgery in forgeries {
            injector.inject(&model, forgery)?;
        }
        case.wait_reset()?;
        if when == When::QuietAndThePeerTalksOn {
            case.peer_talks_on()?;
        }
        trial.judge(&case, truth)?;
    }
    trial.finish()
}

/// Forges RSTs that no kernel accepts: the connection lives, and nobody says anything.
fn ignored(name: &'static str, forgery: &Forgery) -> Result<()> {
    let mut trial = Trial::new(name)?;
    for (side, ip) in ALL {
        let injector = Injector::on(&trial.net.router, side.interface())?;
        let case = trial.open(side, ip)?;
        let model = injector.last(case.flow)?;
        injector.inject(&model, forgery)?;
        // Both ends still have it, after more than one segment each way.
        case.talk()?;
        trial.nothing_happened(&case);
        drop(case);

        // A RST that is told of later proves that the agent would have told of this one.
        let case = trial.open(side, ip)?;
        injector.inject(&injector.last(case.flow)?, &VENDOR)?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::MIDDLEBOX)?;
    }
    trial.finish()
}

/// What says of itself that it was made by a device.
const VENDOR: Forgery = Forgery {
    ttl: Some(252),
    ip_id: IpId::Fixed(0x53e1),
    acknowledges: true,
    text: b"BIG-IP: [0x2409a71:704] Flow expired (sweeper)",
    ..Forgery::PASSIVE
};

/// Just what the peer's kernel would send for a connection it does not have.
const DISGUISED: Forgery = Forgery { copies_label: true, ..Forgery::PASSIVE };

/// Only that nothing had asked for it speaks against it. To rule the middlebox out is wrong.
const PERFECT_COPY: Truth = Truth::MIDDLEBOX.open("its RST differs in nothing from the peer's; only its time speaks against it");

#[test]
fn exact_sequence_and_copied_ttl() -> Result<()> {
    injected("exact, copied TTL", &[DISGUISED], When::Quiet, &PERFECT_COPY)
}

#[test]
fn exact_sequence_and_copied_ttl_but_the_peer_talks_on() -> Result<()> {
    injected("exact, copied TTL, peer talks on", &[DISGUISED], When::QuietAndThePeerTalksOn, &Truth::MIDDLEBOX)
}

/// Just what the peer's own socket would send. It is laid to the peer, until that speaks long after
/// the line has gone out: then it is taken back.
#[test]
fn what_was_laid_to_the_peer_is_taken_back() -> Result<()> {
    let net = routed()?;
    for host in [&net.client, &net.server] {
        host.run(&["sysctl", "--quiet", "--write", "net.ipv4.tcp_timestamps=0"])?;
    }
    let injector = Injector::on(&net.router, Side::Client.interface())?;
    let agent = Agent::on(&net.client).start()?;
    let abort = Forgery { ip_id: IpId::Next, acknowledges: true, window: 501, copies_label: true, ..Forgery::PASSIVE };
    for ip in [Ip::V4, Ip::V6] {
        let connection = Connection::open(&net.client, &net.server, ip.of(&net.server))?.speak()?;
        for _ in 0..4 {
            peer::send(&mut &connection.server, b"an answer")?;
        }
        peer::wait_unread(&connection.client, 36)?;
        let flow = connection.flow()?;
        injector.inject(&injector.last(flow)?, &abort)?;
        peer::wait_failure(&connection.client)?;
        let laid = agent.reset_of(flow, "received")?;
        expect::check("the client's host", &laid, &json!({"origin": {"kind": "remote_peer"}}));
        peer::send(&mut &connection.server, b"still here")?;
        let id = laid.get("id").cloned().unwrap_or_default();
        let revised = agent.wait_for("a reset taken back", |event| {
            event.get("event").is_some_and(|kind| kind == "rst_revised") && event.get("id") == Some(&id)
        })?;
        // A copy as good as this one leaves the rest open.
        expect::check("the client's host", &revised, &json!({"origin": {"kind": ["middlebox", "unknown"]}, "direction": "received"}));
    }
    let record = agent.stop()?;
    assert_eq!(record.violations(), Vec::<String>::new());
    Ok(())
}

/// It has passed no router at all (RFC 5082), and the peer's segments have.
#[test]
fn ttl_255() -> Result<()> {
    injected("TTL 255", &[Forgery { ttl: Some(255), ..Forgery::PASSIVE }], When::Busy, &Truth::MIDDLEBOX)
}

/// An answer as the router's own kernel would make it: all is right but that it has passed no
/// router.
#[test]
fn ttl_64_from_the_link() -> Result<()> {
    injected("TTL 64 on the link", &[Forgery { ttl: Some(64), ..DISGUISED }], When::Busy, &Truth::MIDDLEBOX)
}

/// Both ends are told, each in the other's name.
#[test]
fn both_directions() -> Result<()> {
    let mut trial = Trial::new("both directions")?;
    let forgery = Forgery { ip_id: IpId::Fixed(0x21f3), dont_fragment: false, window: 4128, ..Forgery::PASSIVE };
    for ip in [Ip::V4, Ip::V6] {
        let to_client = Injector::on(&trial.net.router, Side::Client.interface())?;
        let to_server = Injector::on(&trial.net.router, Side::Server.interface())?;
        let case = trial.open(Side::Client, ip)?;
        let back = case.flow.reversed();
        let (client, server) = (to_client.last(case.flow)?, to_server.last(back)?);
        to_client.inject(&client, &forgery)?;
        to_server.inject(&server, &forgery)?;
        case.wait_reset()?;
        trial.judge(&case, &Truth::MIDDLEBOX)?;
        trial.judge_flow(Side::Server, ip, back, &Truth::MIDDLEBOX)?;
    }
    trial.finish()
}

/// Fragmentation allowed, a window, an identification out of nowhere: no end's kernel sends that.
#[test]
fn window_8192_without_dont_fragment() -> Result<()> {
    let forgery = Forgery { ip_id: IpId::Fixed(0xb1a3), dont_fragment: false, window: 8192, ..Forgery::PASSIVE };
    injected("window 8192, DF clear", &[forgery], When::Busy, &Truth::MIDDLEBOX)
}

#[test]
fn acknowledging_with_a_window_but_without_timestamps() -> Result<()> {
    let forgery = Forgery { ip_id: IpId::Fixed(0x7d04), window: 502, acknowledges: true, ..Forgery::PASSIVE };
    injected("RST|ACK, window, no timestamps", &[forgery], When::Busy, &Truth::MIDDLEBOX)
}

/// An abort of the peer's in all but the timestamp.
#[test]
fn acknowledging_with_the_next_identification_but_without_timestamps() -> Result<()> {
    let forgery = Forgery { ip_id: IpId::Next, window: 502, acknowledges: true, ..DISGUISED };
    let truth =
        Truth::MIDDLEBOX.open("a RST may go without a timestamp (RFC 7323, section 3.2), and all else is as the peer would have it");
    injected("RST|ACK, next IP-ID, no timestamps", &[forgery], When::Busy, &truth)
}

/// Another stack's RST: the TTL begins at 128, and the identification counts.
#[test]
fn the_rst_of_another_operating_system() -> Result<()> {
    let forgery = Forgery { ttl: Some(127), ip_id: IpId::Fixed(12_524), acknowledges: true, ..Forgery::PASSIVE };
    injected("RST|ACK, TTL 127", &[forgery], When::Busy, &Truth::MIDDLEBOX)
}

/// Three at once with one identification and sequence numbers that run ahead, in case the first is
/// late.
#[test]
fn a_volley_with_rising_sequence_numbers() -> Result<()> {
    let one = Forgery { ttl: Some(90), ip_id: IpId::Fixed(0x4b1d), window: 1503, acknowledges: true, ..Forgery::PASSIVE };
    let volley = [one, Forgery { seq: 1460, ttl: Some(91), ..one }, Forgery { seq: 4380, ttl: Some(92), ..one }];
    injected("volley of three", &volley, When::Busy, &Truth::MIDDLEBOX)
}

#[test]
fn text_of_a_vendor() -> Result<()> {
    injected("vendor text", &[VENDOR], When::Busy, &Truth::MIDDLEBOX)
}

#[test]
fn stale_sequence() -> Result<()> {
    ignored("stale sequence", &Forgery { seq: -24, ..Forgery::PASSIVE })
}

/// In the window but not exact: the kernel answers with a challenge ACK (RFC 5961, section 3.2),
/// and the peer lives.
#[test]
fn inexact_sequence() -> Result<()> {
    ignored("inexact sequence", &Forgery { seq: 100, ..Forgery::PASSIVE })
}

/// The RST is the peer's in every field, and what the peer went on to say came with it.
const RACE: Truth = Truth::MIDDLEBOX.open("payload so soon after a perfect answer may have been overtaken by it");

/// The injector sees a segment and forges at once, while the peer's next ones are already on their
/// way. Those come within microseconds: an answer of the peer's, or of its firewall, could have
/// overtaken them.
#[test]
fn a_race_with_the_peers_data() -> Result<()> {
    let mut trial = Trial::new("race with data")?;
    for (side, ip) in ALL {
        let injector = Injector::on(&trial.net.router, side.interface())?;
        let case = trial.open(side, ip)?;
        // The first is too late, and leaves the connection be.
        case.peer_speaks()?;
        let model = injector.last(case.flow)?;
        injector.inject(&model, &Forgery { seq: -8, ..DISGUISED })?;
        case.peer_speaks()?;
        rstblame_lab::poll::until("an injected RST to be in time", std::time::Duration::from_secs(10), || {
            // Those that come too late are behind the sequence numbers, and do nothing.
            if let Ok(model) = injector.last(case.flow) {
                injector.inject(&model, &DISGUISED)?;
            }
            // Ends with an error once its own kernel has been told: then the victim is gone.
            let going_on = case.peer_speaks();
            Ok(case.victim()?.take_error().ok().flatten().map(|_| ()).or(going_on.err().map(|_| ())))
        })?;
        trial.judge(&case, &RACE)?;
    }
    trial.finish()
}

/// RSTs without effect that come right before the end, when none of them has been held for its
/// time.
#[test]
fn what_had_no_effect_is_told_of_to_the_last() -> Result<()> {
    const RSTS: usize = 5;
    let net = routed()?;
    let agent = Agent::on(&net.client).args(&["--ignored"]).settle("30s").start()?;
    let injector = Injector::on(&net.router, Side::Client.interface())?;
    let mut flows = Vec::new();
    for _ in 0..RSTS {
        let case = Case::of(Connection::open(&net.client, &net.server, net.server.v4())?, Side::Client, Ip::V4)?;
        injector.inject(&injector.last(case.flow)?, &Forgery { seq: -24, ..Forgery::PASSIVE })?;
        // It has come when what was said after it has.
        case.talk()?;
        flows.push(case.flow);
    }
    let record = agent.stop()?;
    for flow in flows {
        assert_eq!(record.resets_of(flow).len(), 1, "{}", flow.local);
    }
    assert_eq!(record.totals().map(|totals| (totals.seen, totals.lost)), Some((RSTS as u64, 0)));
    Ok(())
}
