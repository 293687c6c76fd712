//! A port that nobody listens on is scanned, far faster than anybody reads, while real connections
//! are lost beside it.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::{
        agent::{Agent, Options},
        record::{Record, is_kind},
    },
    hosts::{
        flood::Scan,
        net::{TwoHosts, two_hosts},
    },
    json,
    peers::peer::{self, Connection},
    truths::expect,
    workspace,
};

/// The port that is scanned, beside the brokers' own.
const CLOSED: u16 = 5673;

/// SYNs a second: ten times what a second's records may be, and slow enough for a busy machine.
const RATE: u32 = 30_000;

/// SYNs a second of which every answer can be a line.
const SMALL: u32 = 1000;

/// How long a scan lasts.
const LASTS: Duration = Duration::from_secs(3);

/// How soon an ordinary reset has to be reported.
const SOON: u64 = 2;

fn target(hosts: &TwoHosts) -> SocketAddrV4 {
    let IpAddr::V4(address) = hosts.server.v4() else { unreachable!("an IPv4 address") };
    SocketAddrV4::new(address, CLOSED)
}

/// Scans for a while, and loses connections meanwhile, each of which has to be reported soon and
/// right. Returns what the agent wrote, and how many connections there were.
fn scan(hosts: &TwoHosts, sources: u32, rate: u32, agent: Options) -> Result<(Record, u64)> {
    let before = hosts.server.resets_sent()?;
    let agent = agent.args(&["--port", "5672,5673"]).start()?;
    let running = Scan { target: target(hosts), sources, rate: Some(rate) }.start(hosts)?;
    let until = Instant::now() + LASTS;
    let mut lost = 0;
    while Instant::now() < until {
        let connection = Connection::open(&hosts.client, &hosts.server, hosts.server.v4())?.speak()?;
        let flow = connection.flow()?.reversed();
        let began = Instant::now();
        peer::abort(connection.client)?;
        let event = agent.reset_of(flow, "received")?;
        let took = began.elapsed();
        assert!(took < workspace::patience(SOON), "a reset was reported after {took:?}");
        expect::check("a reset beside the flood", &event, &aborted());
        lost += 1;
    }
    let sent = running.stop()?;
    let record = agent.stop()?;
    let answered = hosts.server.resets_sent()? - before;
    println!("{sent} SYNs, {answered} RSTs, {lost} connections lost, {:?}", record.totals());
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    // The kernel's own count, to the last of them.
    assert_eq!(totals.seen, answered + lost, "{totals:?}");
    assert_eq!(totals.lost, 0, "{totals:?}");
    Ok((record, lost))
}

/// What is to be said of an ordinary reset.
fn aborted() -> Value {
    json!({"effect": "connection_reset", "origin": {"kind": "remote_peer"}})
}

fn folded(record: &Record) -> Vec<Value> {
    record.events().filter(|event| is_kind(event, "rst_suppressed")).collect()
}

fn count(event: &Value) -> u64 {
    event.get("count").and_then(Value::as_u64).unwrap_or(0)
}

#[test]
fn one_scanner_is_one_line_a_second() -> Result<()> {
    let hosts = two_hosts()?;
    let (record, lost) = scan(&hosts, 1, RATE, Agent::on(&hosts.server))?;
    let lines = folded(&record);
    let mut a_key: HashMap<_, u64> = HashMap::new();
    for line in &lines {
        expect::check(
            "what was folded",
            line,
            &json!({
                "key": {"direction": "sent", "origin": "local_host", "cause": "no_listener", "local": {"port": CLOSED},
                        "peer": {"address": "10.0.0.0"}},
                "sample": {"cause": {"id": "no_listener"}, "network": {"peer": {"address": "10.0.0.0"}}},
            }),
        );
        *a_key.entry(line.get("key").map(ToString::to_string)).or_insert(0) += 1;
    }
    // One line a second each, and one more for what had begun when the agent was told to stop.
    assert!(a_key.values().all(|lines| (1..=LASTS.as_secs() + 3).contains(lines)), "{a_key:?}");
    // Of the scanner's resets a hundred a second go out whole, the first of them first.
    let whole = record.resets().count() as u64 - lost;
    assert!((100..=700).contains(&whole), "{whole} were written one by one");
    let suppressed: u64 = lines.iter().map(count).sum();
    assert!(suppressed > u64::from(RATE), "{suppressed} were folded");
    Ok(())
}

#[test]
fn more_scanners_than_can_be_told_apart_are_counted_together() -> Result<()> {
    let hosts = two_hosts()?;
    let (record, _) = scan(&hosts, 20_000, RATE, Agent::on(&hosts.server))?;
    let (named, together): (Vec<_>, Vec<_>) = folded(&record).into_iter().partition(|line| line.pointer("/key/peer").is_some());
    let sum = |lines: &[Value]| lines.iter().map(count).sum::<u64>();
    println!("{} folded by peer in {} lines, {} together in {}", sum(&named), named.len(), sum(&together), together.len());
    assert!(sum(&named) > 0 && sum(&together) > u64::from(RATE));
    // Anybody's first is written whole while there is room to remember him.
    let peers: HashSet<_> =
        record.resets().filter_map(|event| event.pointer("/network/peer/address")?.as_str().map(ToOwned::to_owned)).collect();
    assert!(peers.len() > 3000, "{} peers", peers.len());
    // Each SYN waited for a connection that never came, until later ones needed its place.
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    let forgotten = totals.fell_out.get("handshakes").copied().unwrap_or(0);
    assert!((totals.seen.saturating_sub(20_000)..totals.seen).contains(&forgotten), "{totals:?}");
    Ok(())
}

#[test]
fn nothing_is_folded_when_that_is_turned_off() -> Result<()> {
    let hosts = two_hosts()?;
    let (record, lost) = scan(&hosts, 1, SMALL, Agent::on(&hosts.server).args(&["--ring-size", "64MiB"]).whole())?;
    let whole = record.resets().count() as u64 - lost;
    assert!(whole > u64::from(SMALL) && folded(&record).is_empty(), "{whole} were written one by one");
    Ok(())
}
