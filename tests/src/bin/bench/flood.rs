//! A scan of a closed port at full speed: what the kernel answers with the agent and without, and
//! what becomes of everything else meanwhile.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    thread::sleep,
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, status},
    hosts::{
        flood::Scan,
        net::{TwoHosts, two_hosts},
    },
    peers::{
        actor::Stage,
        pair::Pair,
        peer::{self, AMQP, Connection},
    },
};

use super::figures::Figures;

/// The port that is scanned.
const CLOSED: u16 = 5673;

/// How long the machine shows what it can, and how long a flood lasts.
const WARM_UP: Duration = Duration::from_secs(3);
const LASTS: Duration = Duration::from_secs(30);

/// Resets a second that make a flood, if the machine can.
const FLOOD: f64 = 100_000.0;

/// SYNs a second, somewhat more than that.
const RATE: u32 = 110_000;

/// Messages published at a time, each confirmed.
const MESSAGES: u32 = 2000;

/// At most so much of one processor, of memory, and of time until an ordinary reset is reported.
const PROCESSOR_AT_MOST: f64 = 1.0;
const RESIDENT_AT_MOST_KIB: u64 = 65_536;
const REPORTED_AT_MOST: Duration = Duration::from_secs(2);

/// What was measured beside one flood.
struct Outcome {
    resets_a_second: f64,
    messages_a_second: f64,
    /// Longest time from a connection's abort to the agent's line.
    slowest: Duration,
    connections: u64,
}

pub fn bench(figures: &mut Figures) -> Result<()> {
    let hosts = two_hosts()?;
    let stage = Stage::new(&super::actor()?)?;
    figures.table(format!("a scan of port {CLOSED}, of which the bare kernel answers every segment"), &["at most", "RSTs/s"]);
    let bare = answered(&hosts, None, 1, WARM_UP)?;
    figures.row("this machine, and the scanner on it", [format!("{bare:.0}")]);
    let rate = (bare > f64::from(RATE)).then_some(RATE);
    for sources in [1, 1 << 20] {
        figures.table(format!("the scan from {sources} addresses, for {} s", LASTS.as_secs()), &["what", "figure"]);
        let alone = beside(&hosts, &stage, rate, sources, None)?;
        let without = format!("{:.0} RSTs/s, {:.0} AMQP messages/s", alone.resets_a_second, alone.messages_a_second);
        figures.row("without the agent", [without]);
        watched(figures, &hosts, &stage, rate, sources, &alone)?;
    }
    Ok(())
}

/// Floods with the agent at work, and checks its books.
fn watched(figures: &mut Figures, hosts: &TwoHosts, stage: &Stage, rate: Option<u32>, sources: u32, alone: &Outcome) -> Result<()> {
    let mut row = |what: &str, figure: String| figures.row(what, [figure]);
    let agent = Agent::on(&hosts.server).args(&["--port", &format!("{AMQP},{CLOSED}")]).settle("1s").start()?;
    let pid = agent.pid();
    let (before, resident) = (status::processor_time(pid)?, status::number(pid, "VmRSS:")?);
    let (started, counted) = (Instant::now(), hosts.server.resets_sent()?);
    let with = beside(hosts, stage, rate, sources, Some(&agent))?;
    let share = status::processor_time(pid)?.saturating_sub(before).as_secs_f64() / started.elapsed().as_secs_f64();
    let peak = status::number(pid, "VmHWM:")?;
    let record = agent.stop()?;
    let answered = hosts.server.resets_sent()? - counted;
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    let exact = totals.seen == answered + with.connections && totals.lost == 0;
    let ratio = with.messages_a_second / alone.messages_a_second;
    row("with it", format!("{:.0} RSTs/s, {:.0} AMQP messages/s ({ratio:.3})", with.resets_a_second, with.messages_a_second));
    row("the kernel's own count, and connections", format!("{answered} + {}", with.connections));
    row("seen = whole + folded + lost", format!("{} = {} + {} + {}", totals.seen, totals.emitted, totals.suppressed, totals.lost));
    row("lines written", record.lines().len().to_string());
    row("processor time of the agent", format!("{:.1} %", share * 100.0));
    row("resident before, and peak", format!("{resident} -> {peak} KiB"));
    row("slowest report of a lost connection", format!("{} ms", with.slowest.as_millis()));
    let enough = with.resets_a_second >= FLOOD || rate.is_none();
    let kept = exact && enough && share < PROCESSOR_AT_MOST && peak <= RESIDENT_AT_MOST_KIB && with.slowest <= REPORTED_AT_MOST;
    figures.limit("exact, below one processor, 64 MiB and 2 s", kept);
    Ok(())
}

/// Resets a second that the server answers a scan with.
fn answered(hosts: &TwoHosts, rate: Option<u32>, sources: u32, time: Duration) -> Result<f64> {
    let (before, started) = (hosts.server.resets_sent()?, Instant::now());
    let running = scan(hosts, rate, sources)?.start(hosts)?;
    // What sets the length, and nothing waits for.
    sleep(time);
    running.stop()?;
    Ok(per_second(hosts.server.resets_sent()? - before, started.elapsed()))
}

/// Publishes, and loses connections, while a scan goes on.
fn beside(hosts: &TwoHosts, stage: &Stage, rate: Option<u32>, sources: u32, agent: Option<&Agent>) -> Result<Outcome> {
    let address = SocketAddr::new(hosts.server.v4(), AMQP);
    let mut pair = Pair::open(stage, &hosts.client, &hosts.server, address)?;
    let (before, started) = (hosts.server.resets_sent()?, Instant::now());
    let running = scan(hosts, rate, sources)?.start(hosts)?;
    let (mut took, mut messages) = (Duration::ZERO, 0);
    let mut outcome = Outcome { resets_a_second: 0.0, messages_a_second: 0.0, slowest: Duration::ZERO, connections: 0 };
    while started.elapsed() < LASTS {
        took += pair.publish(MESSAGES, 100, 1)?;
        messages += u64::from(MESSAGES);
        if let Some(agent) = agent {
            // Beside the broker, which has the port on this address.
            let connection = Connection::open(&hosts.client, &hosts.server, hosts.server.v6())?.speak()?;
            let flow = connection.flow()?.reversed();
            let aborted = Instant::now();
            peer::abort(connection.client)?;
            agent.reset_of(flow, "received")?;
            outcome.slowest = outcome.slowest.max(aborted.elapsed());
            outcome.connections += 1;
        }
    }
    let lasted = started.elapsed();
    running.stop()?;
    outcome.resets_a_second = per_second(hosts.server.resets_sent()? - before, lasted);
    outcome.messages_a_second = per_second(messages, took);
    Ok(outcome)
}

fn scan(hosts: &TwoHosts, rate: Option<u32>, sources: u32) -> Result<Scan> {
    match hosts.server.v4() {
        IpAddr::V4(address) => Ok(Scan { target: SocketAddrV4::new(address, CLOSED), sources, rate }),
        IpAddr::V6(_) => Err(LabError::Client("the server's IPv4 address is none".to_owned())),
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
