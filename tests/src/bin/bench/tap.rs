//! What the packet tap costs each packet, by the kernel's own statistics (bpf(2), `BPF_ENABLE_STATS`).
//!
//! The accounting reads the clock twice, which takes longer than a small program. An empty filter on sockets like those of the tap pays
//! the same for the same packets: the difference is what the tap costs.

use std::net::SocketAddr;

use rstblame_lab::{
    LabError, Result,
    actor::Stage,
    agent::{Agent, Options},
    net::{Host, lone_host, two_hosts},
    pair::Pair,
    peer::AMQP,
};

use super::{
    bpf::{Count, EmptyFilter, Statistics, programs_of},
    figures::Figures,
    median,
};

/// Rounds of each load, in turn, so that noise hits all alike. The median counts.
const ROUNDS: usize = 9;

/// Messages of a round, each confirmed before the next, and the bytes of each.
const MESSAGES: u32 = 10_000;
const BODY: usize = 100;

/// A port that the agent does not watch.
const OTHER: u16 = 8080;

/// Nanoseconds over the empty filter.
const NOT_OURS_AT_MOST: f64 = 30.0;
const OURS_AT_MOST: f64 = 120.0;

pub fn bench(figures: &mut Figures) -> Result<()> {
    let _statistics = Statistics::on()?;
    figures.table(
        format!("nanoseconds a packet, median of {ROUNDS} rounds, by bpf_stats; `empty` is a filter that returns 0, beside the tap"),
        &["load", "program", "runs", "empty", "own", "over", "limit"],
    );
    let host = lone_host()?;
    wire(figures, "loopback, IPv4", Agent::on(&host), &host, &host, SocketAddr::new(host.v4(), 0))?;
    wire(figures, "loopback, IPv6", Agent::on(&host), &host, &host, SocketAddr::new(host.v6(), 0))?;
    wire(figures, "loopback, --amqp off", Agent::on(&host).args(&["--amqp", "off"]), &host, &host, SocketAddr::new(host.v4(), 0))?;
    // Packets of other namespaces are among the runs, if there are any.
    wire(figures, "loopback, all namespaces", Agent::everywhere(AMQP), &host, &host, SocketAddr::new(host.v4(), 0))?;
    let net = two_hosts()?;
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

/// Lets a publisher on one host talk to a broker on another, where the agent is, by a port that is not watched and by one that is.
fn wire(figures: &mut Figures, name: &str, agent: Options, client: &Host, server: &Host, address: SocketAddr) -> Result<()> {
    let agent = agent.start()?;
    let empty = EmptyFilter::on(server)?;
    let stage = Stage::new(&super::actor()?)?;
    let mut loads = [
        Load::new("not ours", NOT_OURS_AT_MOST, Pair::open(&stage, client, server, SocketAddr::new(address.ip(), OTHER))?),
        Load::new("ours", OURS_AT_MOST, Pair::open(&stage, client, server, SocketAddr::new(address.ip(), AMQP))?),
    ];
    for _ in 0..ROUNDS {
        for load in &mut loads {
            let before = (empty.count()?, programs_of(agent.pid())?);
            load.pair.publish(MESSAGES, BODY, 1)?;
            let after = (empty.count()?, programs_of(agent.pid())?);
            load.take(&before.0, &after.0, &before.1, &after.1);
        }
    }
    for load in &loads {
        load.report(figures, name)?;
    }
    drop(loads);
    agent.stop()?;
    Ok(())
}

/// What packets of one kind cost.
struct Load {
    name: &'static str,
    limit: f64,
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
    const fn new(name: &'static str, limit: f64, pair: Pair) -> Self {
        Self { name, limit, pair, programs: Vec::new() }
    }

    /// Takes in one round: programs that did not run then do not appear.
    fn take(&mut self, empty_before: &Count, empty_after: &Count, before: &[Count], after: &[Count]) {
        let Some((_, empty)) = per_run(empty_before, empty_after) else { return };
        for count in after {
            let earlier = before.iter().find(|earlier| earlier.id == count.id);
            let Some((runs, ns)) = earlier.and_then(|earlier| per_run(earlier, count)) else { continue };
            // Tracepoints of a process or two that came or went meanwhile are no part of a packet's way.
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

    fn report(&self, figures: &mut Figures, wire: &str) -> Result<()> {
        let load = format!("{wire}, {}", self.name);
        let mut of_tap = None;
        for Program { name, runs, rounds } in &self.programs {
            let empty = median(rounds.iter().map(|(empty, _)| *empty));
            let own = median(rounds.iter().map(|(_, own)| *own));
            let over = median(rounds.iter().map(|(empty, own)| own - empty));
            let is_tap = name.starts_with("tap_");
            let limit = if is_tap { format!("{:.0}", self.limit) } else { "-".to_owned() };
            let [empty, own] = [empty, own].map(|ns| format!("{ns:.1}"));
            figures.row(load.as_str(), [name.clone(), runs.to_string(), empty, own, format!("{over:+.1}"), limit]);
            if is_tap {
                of_tap = Some(over);
            }
        }
        let over = of_tap.ok_or_else(|| LabError::Client(format!("the tap saw no packets of {load}")))?;
        figures.limit(format!("{:.0} ns in the tap, {load}", self.limit), over <= self.limit);
        Ok(())
    }
}

/// Runs between two counts, and nanoseconds of each.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_run(before: &Count, after: &Count) -> Option<(u64, f64)> {
    let runs = after.runs.checked_sub(before.runs).filter(|runs| *runs > 0)?;
    Some((runs, after.ns.saturating_sub(before.ns) as f64 / runs as f64))
}
