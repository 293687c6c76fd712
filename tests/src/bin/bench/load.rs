//! What watching costs AMQP at full speed: through a real `RabbitMQ`, and through a broker that does nothing but confirm, where the watcher's share is
//! as large as it can be.
//!
//! All watchers in turn, each round beginning with another, so that whatever else the machine does hits all alike. A ratio is that to the run
//! without any of the same round.

use std::net::SocketAddr;

use rstblame_lab::{
    Result,
    actor::Stage,
    broker::Broker,
    client,
    net::{TwoHosts, two_hosts},
    pair::Pair,
    peer::AMQP,
};

use super::{
    figures::Figures,
    median,
    watchers::Watcher::{self, Agent, Bpftrace, Nobody, Tcpdump},
};

const ROUNDS: usize = 7;

/// Through `RabbitMQ`: messages, and bytes of each.
const MESSAGES: u32 = 15_000;
const BODY: usize = 1000;

/// What the agent has to leave of the throughput through `RabbitMQ`.
const AT_LEAST: f64 = 0.99;

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
    let ratio = compare(figures, "RabbitMQ, lapin publishes and consumes 1000 bytes", &hosts, || through_rabbitmq(&hosts))?;
    figures.limit(format!("{AT_LEAST} of the throughput through RabbitMQ with rstblame"), ratio >= AT_LEAST);
    drop(broker);
    let stage = Stage::new(&super::actor()?)?;
    for load in &LOADS {
        compare(figures, load.name, &hosts, || confirmed(&hosts, &stage, load))?;
    }
    Ok(())
}

/// Measures one load beside each watcher, and returns the ratio of [`RSTBLAME`].
fn compare(figures: &mut Figures, load: &str, hosts: &TwoHosts, run: impl Fn() -> Result<f64>) -> Result<f64> {
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
        &["with", "messages/s", "slowest", "fastest", "ratio", "ratio from", "ratio to"],
    );
    let alone = rates.first().cloned().unwrap_or_default();
    let mut of_agent = f64::NAN;
    for (((name, _), rates), refused) in WATCHERS.iter().zip(&rates).zip(&refused) {
        if let Some(why) = refused {
            figures.note(format!("{name}: does not work here: {why}"));
            continue;
        }
        let ratios: Vec<f64> = rates.iter().zip(&alone).map(|(rate, alone)| rate / alone).collect();
        let ratio = median(ratios.iter().copied());
        let ((slowest, fastest), (from, to)) = (extremes(rates), extremes(&ratios));
        let rate = median(rates.iter().copied());
        let counts = [rate, slowest, fastest].map(|rate| format!("{rate:.0}"));
        figures.row(*name, counts.into_iter().chain([ratio, from, to].map(|ratio| format!("{ratio:.3}"))));
        if *name == RSTBLAME {
            of_agent = ratio;
        }
    }
    Ok(of_agent)
}

fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// Messages a second of an application's publisher and consumer, whose connections are opened while the watcher is at work.
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
