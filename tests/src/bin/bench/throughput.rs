//! What a watched connection loses in throughput: without anything, with the agent, and with tcpdump looking for RSTs on the same port.
//!
//! One after the other in turn, so that whatever else the machine does hits all alike.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Stdio},
};

use rstblame_lab::{
    LabError, Result,
    actor::Stage,
    agent::Agent,
    command::spawn,
    net::{Host, lone_host},
    pair::Pair,
    peer::AMQP,
};

use super::median;

const ROUNDS: usize = 9;

/// What somebody would run to catch RSTs by hand.
const RSTS: &str = "tcp port 5672 and tcp[tcpflags] & tcp-rst != 0";

/// A way to publish.
struct Load {
    name: &'static str,
    messages: u32,
    body: usize,
    window: u32,
}

const LOADS: [Load; 2] = [
    Load { name: "each message confirmed, 100 bytes", messages: 20_000, body: 100, window: 1 },
    Load { name: "1000 messages to a confirmation, 1000 bytes", messages: 200_000, body: 1000, window: 1000 },
];

const WATCHERS: [&str; 3] = ["nothing", "rstblame", "tcpdump"];

/// Prints the figures. There is no limit: the ratios say what there is to say.
pub fn bench() -> Result<bool> {
    let host = lone_host()?;
    let stage = Stage::new(&super::actor()?)?;
    println!("throughput of one AMQP connection over loopback, median of {ROUNDS} rounds in turn:");
    println!("  {:<44} {:<10} {:>12} {:>12} {:>12} {:>8}", "load", "with", "messages/s", "slowest", "fastest", "ratio");
    for load in &LOADS {
        let mut rates: [Vec<f64>; WATCHERS.len()] = Default::default();
        for _ in 0..ROUNDS {
            for (watcher, rates) in WATCHERS.iter().zip(&mut rates) {
                rates.push(run(&host, &stage, watcher, load)?);
            }
        }
        let alone = median(rates.iter().flat_map(|rates| rates.iter().copied()).take(ROUNDS));
        for (watcher, rates) in WATCHERS.iter().zip(&rates) {
            let rate = median(rates.iter().copied());
            let (slowest, fastest) = rates.iter().fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
            println!("  {:<44} {watcher:<10} {rate:>12.0} {slowest:>12.0} {fastest:>12.0} {:>8.3}", load.name, rate / alone);
        }
    }
    Ok(true)
}

/// Messages a second over a connection that is opened after the watcher is at work.
fn run(host: &Host, stage: &Stage, watcher: &str, load: &Load) -> Result<f64> {
    let agent = if watcher == "rstblame" { Some(Agent::on(host).start()?) } else { None };
    let tcpdump = if watcher == "tcpdump" { Some(Tcpdump::on(host)?) } else { None };
    let mut pair = Pair::open(stage, host, host, SocketAddr::new(host.v4(), AMQP))?;
    let took = pair.publish(load.messages, load.body, load.window)?;
    drop((pair, tcpdump));
    if let Some(agent) = agent {
        agent.stop()?;
    }
    Ok(f64::from(load.messages) / took.as_secs_f64())
}

struct Tcpdump(Child);

impl Tcpdump {
    /// Starts it, and waits until it says that it listens.
    fn on(host: &Host) -> Result<Self> {
        let mut command = host.command("tcpdump");
        command.args(["-i", "lo", "-w", "/dev/null", RSTS]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Self(spawn(&mut command)?);
        let said = child.0.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(std::io::Result::ok);
        let mut last = String::new();
        for line in said {
            if line.contains("listening on") {
                return Ok(child);
            }
            last = line;
        }
        Err(LabError::Client(format!("tcpdump does not listen: {last}")))
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        // It has done its work; only its end matters.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
