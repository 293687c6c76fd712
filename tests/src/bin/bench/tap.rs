//! What the packet tap costs each packet, by the kernel's own statistics (bpf(2),
//! `BPF_ENABLE_STATS`).
//!
//! The accounting reads the clock twice, which takes longer than a small program. An empty filter
//! on sockets like those of the tap pays the same for the same packets: the difference is what the
//! tap costs. A filter that does nothing but load the headers tells how much of that is the price
//! of looking at all.

use std::net::SocketAddr;

use rstblame_lab::{
    LabError, Result,
    agents::agent::{Agent, Options},
    hosts::net::{Host, lone_host, two_hosts},
    peers::{actor::Stage, pair::Pair, peer::AMQP},
};

use super::{
    bpf::{Count, Filter, Statistics, programs_of},
    figures::Figures,
    median,
};

/// Rounds of each load, in turn. The one of least cost counts: what else happens on a machine, and
/// on those that share its processors, only adds.
const ROUNDS: usize = 40;

/// Messages of a round, each confirmed before the next, and the bytes of each.
const MESSAGES: u32 = 2_000;
const BODY: usize = 100;

/// A port that the agent does not watch.
const OTHER: u16 = 8080;

/// Nanoseconds over the empty filter.
const NOT_OURS_AT_MOST: f64 = 30.0;
const OURS_AT_MOST: f64 = 120.0;

pub fn bench(figures: &mut Figures) -> Result<()> {
    let _statistics = Statistics::on()?;
    figures.table(
        format!(
            "nanoseconds a packet, least of {ROUNDS} rounds, by bpf_stats; `empty` is a filter that returns 0 beside the other, `reading` one that \
             loads 52 bytes"
        ),
        &["load", "program", "runs", "empty", "own", "over", "median", "limit"],
    );
    let host = lone_host()?;
    floor(figures, "loopback, IPv4", &host, &host)?;
    wire(figures, "loopback, IPv4", Agent::on(&host), &host, &host, SocketAddr::new(host.v4(), 0))?;
    wire(figures, "loopback, IPv6", Agent::on(&host), &host, &host, SocketAddr::new(host.v6(), 0))?;
    wire(figures, "loopback, --amqp off", Agent::on(&host).args(&["--amqp", "off"]), &host, &host, SocketAddr::new(host.v4(), 0))?;
    // Packets of other namespaces are among the runs, if there are any.
    wire(figures, "loopback, all namespaces", Agent::everywhere(AMQP), &host, &host, SocketAddr::new(host.v4(), 0))?;
    let net = two_hosts()?;
    floor(figures, "veth, IPv4", &net.client, &net.server)?;
    wire(figures, "veth, IPv4", Agent::on(&net.server), &net.client, &net.server, SocketAddr::new(net.server.v4(), 0))?;
    wire(figures, "veth, IPv6", Agent::on(&net.server), &net.client, &net.server, SocketAddr::new(net.server.v6(), 0))?;
    wire(
        figures,
        "veth, --amqp off",
        Agent::on(&net.server).args(&["--amqp", "off"]),
        &net.client,
        &net.server,
        SocketAddr::new(net.server.v4(), 0),
    )?;
    Ok(())
}

/// What it takes to load the headers of packets between two hosts, without the agent.
fn floor(figures: &mut Figures, name: &str, client: &Host, server: &Host) -> Result<()> {
    let (empty, reading) = (Filter::empty(server)?, Filter::reading(server)?);
    let stage = Stage::new(&super::actor()?)?;
    let mut load = Load::new("any", None, Pair::open(&stage, client, server, SocketAddr::new(server.v4(), OTHER))?);
    for _ in 0..ROUNDS {
        load.round(&empty, || Ok(vec![reading.count()?]))?;
    }
    load.report(figures, name);
    Ok(())
}

/// Lets a publisher on one host talk to a broker on another, where the agent is, by a port that is
/// not watched and by one that is.
fn wire(figures: &mut Figures, name: &str, agent: Options, client: &Host, server: &Host, address: SocketAddr) -> Result<()> {
    let agent = agent.start()?;
    let empty = Filter::empty(server)?;
    let stage = Stage::new(&super::actor()?)?;
    let mut loads = [
        Load::new("not ours", Some(NOT_OURS_AT_MOST), Pair::open(&stage, client, server, SocketAddr::new(address.ip(), OTHER))?),
        Load::new("ours", Some(OURS_AT_MOST), Pair::open(&stage, client, server, SocketAddr::new(address.ip(), AMQP))?),
    ];
    for _ in 0..ROUNDS {
        for load in &mut loads {
            load.round(&empty, || programs_of(agent.pid()))?;
        }
    }
    for load in &loads {
        let over = load.report(figures, name).into_iter().find(|(program, _)| program.starts_with("tap_"));
        let (limit, load) = (load.limit, format!("{name}, {}", load.name));
        let (_, over) = over.ok_or_else(|| LabError::Client(format!("the tap saw no packets of {load}")))?;
        if let Some(limit) = limit {
            figures.limit(format!("{limit:.0} ns in the tap, {load}"), over <= limit);
        }
    }
    drop(loads);
    agent.stop()?;
    Ok(())
}

/// What packets of one kind cost.
struct Load {
    name: &'static str,
    /// What the tap may take over the empty filter, nanoseconds.
    limit: Option<f64>,
    pair: Pair,
    programs: Vec<Program>,
}

/// What one program took of them.
struct Program {
    name: String,
    runs: u64,
    /// Nanoseconds of the empty filter and of the program, by round.
    rounds: Vec<(f64, f64)>,
}

impl Load {
    const fn new(name: &'static str, limit: Option<f64>, pair: Pair) -> Self {
        Self { name, limit, pair, programs: Vec::new() }
    }

    /// One round, with the empty filter and others beside it.
    fn round(&mut self, empty: &Filter, others: impl Fn() -> Result<Vec<Count>>) -> Result<()> {
        let before = (empty.count()?, others()?);
        self.pair.publish(MESSAGES, BODY, 1)?;
        let after = (empty.count()?, others()?);
        self.take(&before.0, &after.0, &before.1, &after.1);
        Ok(())
    }

    /// Takes in one round: programs that did not run then do not appear.
    fn take(&mut self, empty_before: &Count, empty_after: &Count, before: &[Count], after: &[Count]) {
        let Some((_, empty)) = per_run(empty_before, empty_after) else { return };
        for count in after {
            let earlier = before.iter().find(|earlier| earlier.id == count.id);
            let Some((runs, ns)) = earlier.and_then(|earlier| per_run(earlier, count)) else { continue };
            // Tracepoints of a process or two that came or went meanwhile are no part of a packet's
            // way.
            if runs < u64::from(MESSAGES) / 2 {
                continue;
            }
            if let Some(program) = self.programs.iter_mut().find(|program| program.name == count.name) {
                program.runs += runs;
                program.rounds.push((empty, ns));
            } else {
                self.programs.push(Program { name: count.name.clone(), runs, rounds: vec![(empty, ns)] });
            }
        }
    }

    /// Writes a row for each program; the programs, and what each takes over the empty one.
    fn report(&self, figures: &mut Figures, wire: &str) -> Vec<(&str, f64)> {
        let load = format!("{wire}, {}", self.name);
        let mut costs = Vec::new();
        for Program { name, runs, rounds } in &self.programs {
            let least = |of: fn(&(f64, f64)) -> f64| rounds.iter().map(of).fold(f64::INFINITY, f64::min);
            let (empty, own) = (least(|round| round.0), least(|round| round.1));
            let over = own - empty;
            let usual = median(rounds.iter().map(|(empty, own)| own - empty));
            let limit = self.limit.filter(|_| name.starts_with("tap_")).map_or_else(|| "-".to_owned(), |limit| format!("{limit:.0}"));
            let [empty, own] = [empty, own].map(|ns| format!("{ns:.1}"));
            let [shown, usual] = [over, usual].map(|ns| format!("{ns:+.1}"));
            figures.row(load.as_str(), [name.clone(), runs.to_string(), empty, own, shown, usual, limit]);
            costs.push((name.as_str(), over));
        }
        costs
    }
}

/// Runs between two counts, and nanoseconds of each.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_run(before: &Count, after: &Count) -> Option<(u64, f64)> {
    let runs = after.runs.checked_sub(before.runs).filter(|runs| *runs > 0)?;
    Some((runs, after.ns.saturating_sub(before.ns) as f64 / runs as f64))
}
