//! Two hundred processes that lose thousands of connections in every way there is, and what the
//! agent says of each.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command},
};

use serde_json::Value;

use crate::{
    LabError, Result,
    agents::{
        agent::Agent,
        record::Record,
        tracing::{Score, Trace},
    },
    command::spawn,
    hosts::{
        cgroup::Cgroup,
        flow::Flow,
        net::{Host, lone_host},
    },
    peers::actor::{Actor, Part, Stage, addresses},
};

/// Pairs of a client and a server.
const PAIRS: u8 = 100;

/// Those of them that are in the first namespace and in no control group of their own; the others
/// are in `OTHERS`.
const PLAIN: u8 = 50;

/// Namespaces, and control groups, that the other half is spread over.
const OTHERS: u8 = 5;

/// Processes that have nothing to do with it and want the processors for themselves.
const BUSY: usize = 4;

/// How connections end ([`TIMER`] to [`GONE`]), in the order in which a pair opens them.
const WAYS: [Way; 5] = [
    Way { count: 10, ends: Ends::Client, small: false },
    Way { count: 30, ends: Ends::Both, small: false },
    Way { count: 30, ends: Ends::Both, small: false },
    Way { count: 20, ends: Ends::Both, small: false },
    Way { count: 10, ends: Ends::Both, small: true },
];

/// Two keepalive probes without an answer.
const TIMER: usize = 0;

/// The client closes with `SO_LINGER` 0.
const LINGER: usize = 1;

/// The server closes with unread data.
const UNREAD: usize = 2;

/// The client exits with unread data.
const EXIT: usize = 3;

/// Data for a client that has exited while its FIN waits for room in the server's window.
const GONE: usize = 4;

struct Way {
    /// Connections of each pair.
    count: usize,
    /// Which ends have a reset to report.
    ends: Ends,
    /// Small buffers, so that the client's soon are full.
    small: bool,
}

#[derive(PartialEq)]
enum Ends {
    Client,
    Both,
}

/// The outcome of one run.
#[derive(Debug)]
pub struct Outcome {
    /// Connections that were opened.
    pub connections: usize,
    /// What the agent said.
    pub agent: Score,
    /// What `current` was when the tracepoints fired; absent where the kernel's trace cannot be
    /// had.
    pub current: Option<Score>,
    /// Events of the agent with a wrong owner, to show.
    pub wrong: Vec<Value>,
}

struct Pair {
    client: Actor,
    server: Actor,
    address: SocketAddr,
    /// Ends that will report a reset, and their owners.
    truth: Vec<(Flow, u32)>,
}

/// Lets 200 processes open and lose 10,000 connections under the eyes of an agent. `program` is the
/// actor, `port` one that no other test uses.
///
/// # Errors
///
/// When the scenario cannot be staged, or the agent breaks its contract or loses events.
pub fn run(program: &str, port: u16) -> Result<Outcome> {
    let groups = (0..OTHERS).map(|number| Cgroup::named(&format!("crowd-{number}.service"))).collect::<Result<Vec<_>>>()?;
    let hosts = (0..=OTHERS).map(|_| lone_host()).collect::<Result<Vec<_>>>()?;
    let stage = Stage::new(program)?;
    let mut pairs = (0..PAIRS).map(|number| cast(&stage, &hosts, &groups, number, port)).collect::<Result<Vec<_>>>()?;
    let busy = Busy::start()?;
    let agent = Agent::everywhere(port).args(&["--ring-size", "64MiB"]).whole().start()?;
    let trace = Trace::start(port);

    // All of them first: a port that is free again could be given to another connection of the
    // pair.
    for way in 0..WAYS.len() {
        open(&mut pairs, way)?;
    }
    timer(&mut pairs, &hosts)?;
    let (linger, unread, exit, gone) = (slots(LINGER), slots(UNREAD), slots(EXIT), slots(GONE));
    all(&mut pairs, &[(End::Client, format!("linger {linger}"))])?;
    all(&mut pairs, &[(End::Client, format!("send {unread} 1")), (End::Server, format!("unread {unread} 1"))])?;
    all(&mut pairs, &[(End::Server, format!("close {unread}"))])?;
    all(&mut pairs, &[(End::Server, format!("send {exit} 1")), (End::Client, format!("unread {exit} 1"))])?;
    all(&mut pairs, &[(End::Client, format!("fill {gone}"))])?;
    for pair in &mut pairs {
        pair.client.tell("exit 0")?;
    }
    for pair in &mut pairs {
        pair.client.wait()?;
    }
    all(&mut pairs, &[(End::Server, format!("send {gone} 1"))])?;

    let truth: HashMap<Flow, u32> = pairs.iter().flat_map(|pair| pair.truth.iter().copied()).collect();
    // The servers live until all is said: every end, after `agent_started`.
    agent.wait_for_lines(truth.len() + 1)?;
    drop(busy);
    let record = agent.stop()?;
    if record.totals().is_none_or(|totals| totals.lost > 0) {
        return Err(LabError::Client(format!("the agent lost events: {:?}", record.totals())));
    }
    let (agent, wrong) = score(&record, &truth);
    let current = trace.ok().map(|trace| trace.score(&truth)).transpose()?;
    Ok(Outcome { connections: pairs.len() * WAYS.iter().map(|way| way.count).sum::<usize>(), agent, current, wrong })
}

fn cast(stage: &Stage, hosts: &[Host], groups: &[Cgroup], number: u8, port: u16) -> Result<Pair> {
    let elsewhere = (number >= PLAIN).then(|| usize::from(number % OTHERS));
    let host = hosts.get(elsewhere.map_or(0, |other| other + 1));
    let cgroup = elsewhere.and_then(|other| groups.get(other));
    let part = Part { host, cgroup, ..Part::default() };
    let (mut server, client) = (stage.cast(&part)?, stage.cast(&part)?);
    // An address of its own, so that no two connections of the host's namespaces look alike.
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 20, number, 1)), port);
    server.ask("small")?;
    server.ask(&format!("listen {address}"))?;
    Ok(Pair { client, server, address, truth: Vec::new() })
}

#[derive(Clone, Copy)]
enum End {
    Client,
    Server,
}

/// Gives every pair each of these commands in turn, all pairs at once.
fn all(pairs: &mut [Pair], commands: &[(End, String)]) -> Result<()> {
    for (end, command) in commands {
        for pair in pairs.iter_mut() {
            pair.end(*end).tell(command)?;
        }
        for pair in pairs.iter_mut() {
            pair.end(*end).answer()?;
        }
    }
    Ok(())
}

impl Pair {
    fn end(&mut self, end: End) -> &mut Actor {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }
}

/// Opens the connections of one way in all pairs at once, and notes whose they are.
fn open(pairs: &mut [Pair], way: usize) -> Result<()> {
    let Some(Way { count, ends, small }) = WAYS.get(way) else { return Ok(()) };
    if *small {
        all(pairs, &[(End::Client, "small".to_owned())])?;
    }
    for pair in pairs.iter_mut() {
        let address = pair.address;
        pair.client.tell(&format!("connect {address} {count}"))?;
        pair.server.tell(&format!("accept {count}"))?;
    }
    for pair in pairs.iter_mut() {
        let locals = addresses(&pair.client.answer()?)?;
        pair.server.answer()?;
        for local in locals {
            let flow = Flow::new(local, pair.address);
            pair.truth.push((flow, pair.client.pid));
            if *ends == Ends::Both {
                pair.truth.push((flow.reversed(), pair.server.pid));
            }
        }
    }
    Ok(())
}

/// The numbers of the sockets of one way at either end, as commands take them: the first, and how
/// many.
fn slots(way: usize) -> String {
    let before: usize = WAYS.iter().take(way).map(|way| way.count).sum();
    format!("{before} {}", WAYS.get(way).map_or(0, |way| way.count))
}

/// Connections whose other end falls silent, until the clients' keepalive gives them up.
fn timer(pairs: &mut [Pair], hosts: &[Host]) -> Result<()> {
    let slots = slots(TIMER);
    all(pairs, &[(End::Client, format!("keepalive {slots}"))])?;
    for host in hosts {
        host.nft(
            "add table inet lab; \
             add chain inet lab in { type filter hook input priority 0; }; \
             add rule inet lab in meta l4proto tcp drop",
        )?;
    }
    all(pairs, &[(End::Client, format!("failed {slots}"))])?;
    for host in hosts {
        host.nft("delete table inet lab")?;
    }
    Ok(())
}

/// Compares the owners in a record with the truth. An end counts once, however often it was
/// reported.
fn score(record: &Record, truth: &HashMap<Flow, u32>) -> (Score, Vec<Value>) {
    let mut right = HashSet::new();
    let mut wrong = Vec::new();
    for event in record.resets() {
        let Some(pid) = event.pointer("/process/pid").and_then(Value::as_u64) else { continue };
        match Flow::of(&event).and_then(|flow| Some((flow, truth.get(&flow)?))) {
            Some((flow, owner)) if pid == u64::from(*owner) => drop(right.insert(flow)),
            _ => wrong.push(event),
        }
    }
    (Score { ends: truth.len(), right: right.len(), wrong: wrong.len() }, wrong)
}

/// Load by processes that own no socket.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Result<Self> {
        let mut busy = Self(Vec::new());
        for _ in 0..BUSY {
            busy.0.push(spawn(Command::new("sh").args(["-c", "while :; do :; done"]))?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It has kept the processors busy; only its end matters.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
