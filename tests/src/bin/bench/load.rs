//! What watching costs AMQP at full speed: through a real `RabbitMQ`, and through a broker that
//! does nothing but confirm, where the watcher's share is as large as it can be.
//!
//! All watchers in turn, each round beginning with another, so that whatever else the machine does
//! hits all alike. A ratio is that to the run without any of the same round.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::status,
    brokers::broker::Broker,
    hosts::net::{TwoHosts, two_hosts},
    peers::{actor::Stage, client, pair::Pair, peer::AMQP},
};

use super::{
    bpf::Statistics,
    cost::run_time,
    figures::Figures,
    median,
    watchers::Watcher::{self, Agent, Bpftrace, Nobody, Tcpdump},
};

const ROUNDS: usize = 11;

/// So many ratios of the rounds are left out at either end for `low` and `high`. By the binomial
/// distribution the true median is between them with this probability, in percent: 1 - 2 (1 +
/// 11 + 55) / 2048.
const OUTER: usize = 2;
const PROBABILITY: u32 = 93;

/// Through `RabbitMQ`: messages, and bytes of each.
const MESSAGES: u32 = 10_000;
const BODY: usize = 1000;

/// What the agent has to leave of the throughput through `RabbitMQ`, and what it and its programs
/// may take of the machine's processor time meanwhile: what a machine without a processor to spare
/// loses, measured with less noise.
const AT_LEAST: f64 = 0.99;
const OF_MACHINE_AT_MOST: f64 = 0.01;

/// The second of those without a watcher shows how far apart two runs of the same are.
const WATCHERS: [(&str, Watcher); 6] = [
    ("nothing", Nobody),
    ("nothing, once more", Nobody),
    ("rstblame", Agent(&[])),
    ("rstblame --amqp off", Agent(&["--amqp", "off"])),
    ("tcpdump, RSTs of the port", Tcpdump),
    ("bpftrace, both tracepoints", Bpftrace),
];

/// Which of [`WATCHERS`] has the limit.
const RSTBLAME: &str = "rstblame";

/// A way to publish through the broker that only confirms.
struct Load {
    name: &'static str,
    messages: u32,
    body: usize,
    window: u32,
}

const LOADS: [Load; 2] = [
    Load { name: "a broker that only confirms: each message of 100 bytes", messages: 10_000, body: 100, window: 1 },
    Load { name: "a broker that only confirms: each 1000th of 1000 bytes", messages: 100_000, body: 1000, window: 1000 },
];

pub fn bench(figures: &mut Figures) -> Result<()> {
    let hosts = two_hosts()?;
    let broker = Broker::start(&hosts.server)?;
    // Its first messages are slower.
    through_rabbitmq(&hosts)?;
    let (ratio, share) = compare(figures, "RabbitMQ, lapin publishes and consumes 1000 bytes", &hosts, || through_rabbitmq(&hosts))?;
    figures.limit(format!("{AT_LEAST} of the throughput through RabbitMQ with rstblame"), ratio >= AT_LEAST);
    figures.limit(
        format!("{} % of the machine's processor time for rstblame meanwhile", OF_MACHINE_AT_MOST * 100.0),
        share <= OF_MACHINE_AT_MOST,
    );
    drop(broker);
    let stage = Stage::new(&super::actor()?)?;
    for load in &LOADS {
        compare(figures, load.name, &hosts, || confirmed(&hosts, &stage, load))?;
    }
    Ok(())
}

/// Measures one load beside each watcher; the ratio of [`RSTBLAME`], and its share of the machine.
fn compare(figures: &mut Figures, load: &str, hosts: &TwoHosts, run: impl Fn() -> Result<f64>) -> Result<(f64, f64)> {
    // By round; nothing where the watcher does not work here, and why.
    let mut rates = [const { Vec::new() }; WATCHERS.len()];
    let mut refused = [const { None }; WATCHERS.len()];
    for round in 0..ROUNDS {
        for position in 0..WATCHERS.len() {
            let at = (round + position) % WATCHERS.len();
            let (Some((_, watcher)), Some(rates), Some(refused)) = (WATCHERS.get(at), rates.get_mut(at), refused.get_mut(at)) else {
                continue;
            };
            match watcher.on(&hosts.server) {
                Ok(watching) => {
                    rates.push(run()?);
                    watching.stop()?;
                }
                Err(error) if *watcher == Bpftrace => *refused = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
    }
    figures.table(
        format!("messages a second with a watcher on the broker's host, median of {ROUNDS} rounds; {load}"),
        &["with", "messages/s", "slowest", "fastest", "ratio", "low", "high", "of machine %"],
    );
    let alone = rates.first().cloned().unwrap_or_default();
    let mut of_agent = (f64::NAN, f64::NAN);
    for (((name, watcher), rates), refused) in WATCHERS.iter().zip(&rates).zip(&refused) {
        if let Some(why) = refused {
            figures.note(format!("{name}: does not work here: {why}"));
            continue;
        }
        let mut ratios: Vec<f64> = rates.iter().zip(&alone).map(|(rate, alone)| rate / alone).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let at = |rank: usize| ratios.get(rank).copied().unwrap_or(f64::NAN);
        let (ratio, low, high) = (at(ROUNDS / 2), at(OUTER), at(ROUNDS - 1 - OUTER));
        let (slowest, fastest) = extremes(rates);
        let share = share(*watcher, hosts, &run)?;
        let counts = [median(rates.iter().copied()), slowest, fastest].map(|rate| format!("{rate:.0}"));
        let ratios = [ratio, low, high].map(|ratio| format!("{ratio:.3}"));
        let of_machine = share.map_or_else(|| "-".to_owned(), |share| format!("{:.2}", share * 100.0));
        figures.row(*name, counts.into_iter().chain(ratios).chain([of_machine]));
        if *name == RSTBLAME {
            of_agent = (ratio, share.unwrap_or(f64::NAN));
        }
    }
    figures.note(format!("low and high: between them the median of many more rounds is found with a probability of {PROBABILITY} %"));
    figures.note(
        "of machine: processor time of the watcher and of its eBPF programs, of that of all processors, in one more run with bpf_stats on",
    );
    Ok(of_agent)
}

/// What a watcher takes of the machine's processor time while a load runs; nothing where the kernel
/// keeps no account of it.
fn share(watcher: Watcher, hosts: &TwoHosts, run: impl Fn() -> Result<f64>) -> Result<Option<f64>> {
    if matches!(watcher, Nobody | Tcpdump) {
        return Ok(None);
    }
    let _statistics = Statistics::on()?;
    let watching = watcher.on(&hosts.server)?;
    let Some(pid) = watching.pid() else { return Ok(None) };
    let spent = || Ok::<_, LabError>(status::processor_time(pid)? + Duration::from_nanos(run_time(pid)?));
    let (began, before) = (Instant::now(), spent()?);
    run()?;
    let (took, spent) = (began.elapsed().as_secs_f64(), spent()?.saturating_sub(before).as_secs_f64());
    watching.stop()?;
    let processors = std::thread::available_parallelism().map_err(|error| LabError::io("count the processors", error))?;
    Ok(Some(spent / took / f64::from(u32::try_from(processors.get()).unwrap_or(u32::MAX))))
}

fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// Messages a second of an application's publisher and consumer, whose connections are opened while
/// the watcher is at work.
fn through_rabbitmq(hosts: &TwoHosts) -> Result<f64> {
    let took = client::lapin_through(&hosts.client, hosts.server.v4(), MESSAGES, BODY)?;
    Ok(f64::from(MESSAGES) / took.as_secs_f64())
}

/// The same of a publisher whose broker only confirms.
fn confirmed(hosts: &TwoHosts, stage: &Stage, load: &Load) -> Result<f64> {
    let mut pair = Pair::open(stage, &hosts.client, &hosts.server, SocketAddr::new(hosts.server.v4(), AMQP))?;
    let took = pair.publish(load.messages, load.body, load.window)?;
    Ok(f64::from(load.messages) / took.as_secs_f64())
}
