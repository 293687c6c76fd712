//! What the agent takes of the machine: nanoseconds in the kernel, processor time, memory.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread::sleep,
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, status},
    hosts::net::{Host, lone_host, two_hosts},
    peers::{
        actor::{Actor, Stage},
        peer::AMQP,
    },
};

use super::{bpf::Statistics, figures::Figures};

/// Connections whose opening is timed, and how many of them are open at once.
const TIMED: usize = 10_000;
const AT_ONCE: usize = 1000;

/// New connections a second, for how long, and in which portions.
const RATE: u32 = 5000;
const SECONDS: u32 = 5;
const PORTIONS_A_SECOND: u32 = 20;
const PORTION: usize = (RATE / PORTIONS_A_SECOND) as usize;

/// Connections that are known at once, spread over so many pairs of processes that none needs very
/// many descriptors.
const KNOWN: usize = 100_000;
const PAIRS: u8 = 8;
const PORTION_OF_PAIR: usize = KNOWN / PAIRS as usize;

/// Processor time that the agent may take while [`RATE`] connections a second are opened and
/// closed, as a part of one processor.
const BUSY_AT_MOST: f64 = 0.05;

/// Resident memory with [`KNOWN`] connections.
const RESIDENT_AT_MOST_KIB: u64 = 64 * 1024;

pub fn bench(figures: &mut Figures) -> Result<()> {
    let statistics = Statistics::on()?;
    let (connect, accept) = (per_opening(End::Client)?, per_opening(End::Server)?);
    drop(statistics);
    figures
        .table(format!("nanoseconds in the kernel for each of {TIMED} connections, all programs, both ends pass them"), &["opening", "ns"]);
    figures.row("connect(2), the other end not watched", [connect.to_string()]);
    figures.row("accept(2), the other end not watched", [accept.to_string()]);
    busy(figures)?;
    memory(figures)
}

#[derive(Clone, Copy)]
enum End {
    Client,
    Server,
}

/// Nanoseconds in the agent's programs for opening one connection, one end of which is watched.
fn per_opening(watched: End) -> Result<u64> {
    let net = two_hosts()?;
    let stage = Stage::new(&super::actor()?)?;
    let agent = Agent::on(match watched {
        End::Client => &net.client,
        End::Server => &net.server,
    })
    .start()?;
    let address = SocketAddr::new(net.server.v4(), AMQP);
    let (mut client, mut server) = (stage.actor(&net.client)?, stage.actor(&net.server)?);
    server.ask(&format!("listen {address}"))?;
    let mut spent = 0;
    for round in 0..TIMED / AT_ONCE {
        let before = run_time(agent.pid())?;
        open(&mut client, &mut server, address, AT_ONCE)?;
        spent += run_time(agent.pid())?.saturating_sub(before);
        close(&mut client, &mut server, round * AT_ONCE, AT_ONCE)?;
    }
    agent.stop()?;
    Ok(spent / TIMED as u64)
}

/// Opens connections, both ends at once.
pub fn open(client: &mut Actor, server: &mut Actor, address: SocketAddr, count: usize) -> Result<()> {
    client.tell(&format!("connect {address} {count}"))?;
    server.tell(&format!("accept {count}"))?;
    client.answer()?;
    server.answer().map(drop)
}

/// Closes connections in order: no reset.
fn close(client: &mut Actor, server: &mut Actor, first: usize, count: usize) -> Result<()> {
    client.ask(&format!("close {first} {count}"))?;
    server.ask(&format!("close {first} {count}")).map(drop)
}

/// Opens and closes connections at a rate: the processor time that the agent takes meanwhile.
fn busy(figures: &mut Figures) -> Result<()> {
    let host = lone_host()?;
    let stage = Stage::new(&super::actor()?)?;
    let agent = Agent::on(&host).start()?;
    let (mut client, mut server) = (stage.actor(&host)?, stage.actor(&host)?);
    server.ask(&format!("listen {}", SocketAddr::from(([0, 0, 0, 0], AMQP))))?;
    let before = status::processor_time(agent.pid())?;
    let began = Instant::now();
    let mut due = Duration::ZERO;
    for round in 0..(PORTIONS_A_SECOND * SECONDS) as usize {
        // Addresses in turn, so that no port is needed twice while its last connection is in
        // TIME_WAIT.
        let address = loopback(u8::try_from(round % 100).unwrap_or(0));
        open(&mut client, &mut server, address, PORTION)?;
        close(&mut client, &mut server, round * PORTION, PORTION)?;
        due += Duration::from_secs(1) / PORTIONS_A_SECOND;
        // What sets the rate, and nothing waits for.
        sleep(due.saturating_sub(began.elapsed()));
    }
    let took = began.elapsed().as_secs_f64();
    let share = (status::processor_time(agent.pid())?.saturating_sub(before)).as_secs_f64() / took;
    agent.stop()?;
    let rate = f64::from(RATE * SECONDS) / took;
    figures.table(
        "processor time in user space while connections are opened and closed, both ends watched",
        &["new connections a second", "%"],
    );
    figures.row(format!("{rate:.0}"), [format!("{:.2}", share * 100.0)]);
    figures.limit(format!("{} % of one processor", BUSY_AT_MOST * 100.0), share <= BUSY_AT_MOST);
    Ok(())
}

/// The memory that the agent takes while it knows very many connections.
fn memory(figures: &mut Figures) -> Result<()> {
    let host = lone_host()?;
    let stage = Stage::new(&super::actor()?)?;
    let known = (2 * KNOWN).to_string();
    let agent = Agent::on(&host).args(&["--max-connections", &known]).start()?;
    let (resident, maps) = (status::number(agent.pid(), "VmRSS:")?, maps_kib(agent.pid())?);
    let _actors = fill(&stage, &host, KNOWN)?;
    let (resident_then, maps_then) = (status::number(agent.pid(), "VmRSS:")?, maps_kib(agent.pid())?);
    figures.table(format!("KiB of memory, before and with {KNOWN} connections of which both ends are known"), &["of", "before", "with"]);
    figures.row("resident (VmRSS)", [resident, resident_then].map(|kib| kib.to_string()));
    figures.row("maps in the kernel (memlock)", [maps, maps_then].map(|kib| kib.to_string()));
    figures.limit(format!("{RESIDENT_AT_MOST_KIB} KiB resident"), resident_then <= RESIDENT_AT_MOST_KIB);
    agent.stop()?;
    Ok(())
}

/// Opens so many connections; they live as long as what is returned.
pub fn fill(stage: &Stage, host: &Host, connections: usize) -> Result<Vec<Actor>> {
    let mut actors = Vec::new();
    for (number, first) in (0..PAIRS).zip((0..connections).step_by(PORTION_OF_PAIR)) {
        let address = loopback(number);
        let (mut client, mut server) = (stage.actor(host)?, stage.actor(host)?);
        server.ask(&format!("listen {address}"))?;
        open(&mut client, &mut server, address, PORTION_OF_PAIR.min(connections - first))?;
        actors.extend([client, server]);
    }
    Ok(actors)
}

/// The AMQP port at an address of this host, one for each number.
pub fn loopback(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, number + 1)), AMQP)
}

/// Nanoseconds that all programs of a process have run.
pub fn run_time(pid: u32) -> Result<u64> {
    fd_sum(pid, "prog_id:", "run_time_ns:")
}

/// Memory of the maps of a process, in KiB.
pub fn maps_kib(pid: u32) -> Result<u64> {
    Ok(fd_sum(pid, "map_id:", "memlock:")? / 1024)
}

/// Sums up a number over a process's descriptors of one kind, each object once however many
/// descriptors lead to it.
fn fd_sum(pid: u32, id: &str, number: &str) -> Result<u64> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).map_err(|error| LabError::io(format!("list {directory}"), error))?;
    let mut found: Vec<(u64, u64)> = Vec::new();
    for entry in entries.flatten() {
        // A descriptor that was closed meanwhile is none of them.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(number)) = (value(id), value(number)) {
            found.push((id, number));
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(id, _)| *id);
    if found.is_empty() {
        return Err(LabError::Client(format!("no {number} with {id} in {directory}")));
    }
    Ok(found.iter().map(|(_, number)| number).sum())
}
