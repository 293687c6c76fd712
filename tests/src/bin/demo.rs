//! Seven real resets on three throw-away hosts, and what the agents on the two ends say of each.
//!
//! Ends by itself; exit status 1 when a verdict is not the truth. The truth is how each reset was
//! made, and stands beside it.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Instant,
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::{agent::Agent, kernel, record::is_kind},
    hosts::{
        flow::Flow,
        net::{Routed, routed},
    },
    peers::peer::{self, AMQP, Connection},
};

/// No line is longer.
const COLUMNS: usize = 100;

/// Segments that go each way before the router interferes: the connection was in use, as those are
/// that people miss.
const EXCHANGES: usize = 5;

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("demo: a verdict is not the truth (see WRONG above)");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<bool> {
    let began = Instant::now();
    let net = routed()?;
    let (client, router, broker) = (net.client.v4(), net.router.v4(), net.server.v4());
    println!("Three hosts in network namespaces of this machine, and an agent on the first and on the last:");
    println!("  client {client}  ---  router {router}  ---  broker {broker}:{AMQP}");
    println!("For each reset: what was done, then what each host's agent says. Neither agent knows of the other.");
    let mut stage = Stage {
        client: Watch { name: "client", agent: Agent::on(&net.client).start()? },
        broker: Watch { name: "broker", agent: Agent::on(&net.server).start()? },
        number: 0,
        all_true: true,
        silent: Vec::new(),
        kept: Vec::new(),
        net,
    };
    for scene in SCENES {
        scene(&mut stage)?;
    }
    let Stage { client, broker, mut all_true, silent, .. } = stage;
    client.agent.stop()?;
    let record = broker.agent.stop()?;
    if let Some(event) = record.events().find(|event| is_kind(event, "rst") && silent.iter().any(|flow| flow.is_of(event))) {
        println!("  WRONG: the broker had nothing to say of one of them, and said\n{}", Verdict(&event).lines("broker"));
        all_true = false;
    }
    println!("\n{} scenes in {:.1} s.", SCENES.len(), began.elapsed().as_secs_f64());
    Ok(all_true)
}

/// What can happen to a connection, the quick ones first.
const SCENES: [fn(&mut Stage) -> Result<()>; 7] = [refused, unread, linger, destroyed, stale, firewall, keepalive];

fn refused(stage: &mut Stage) -> Result<()> {
    stage.announce("The client connects to a port where nothing listens.");
    let flow = peer::refused(&stage.net.client, stage.address())?;
    stage.expect_client(flow, &Truth::received(&["remote_peer"], &["refused"]))?;
    if kernel::traces_resets_without_socket()? {
        return stage.expect_broker(flow, &Truth::sent("local_host", "no_listener"));
    }
    println!("   broker  this kernel does not trace resets without a socket; Linux 6.10 and later do");
    Ok(())
}

fn unread(stage: &mut Stage) -> Result<()> {
    stage.announce("The client's program closes its socket while a delivery is still unread.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    peer::close_with_unread(connection.client, &connection.server, b"a delivery")?;
    stage.expect_client(flow, &Truth::sent("local_process", "close_with_unread_data"))?;
    stage.expect_broker(flow, &Truth::aborted())
}

fn linger(stage: &mut Stage) -> Result<()> {
    stage.announce("The broker's process closes with SO_LINGER 0: no FIN, a RST.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    peer::abort(connection.server)?;
    stage.expect_client(flow, &Truth::aborted())?;
    stage.expect_broker(flow, &Truth::sent("local_process", "linger_abort"))
}

fn destroyed(stage: &mut Stage) -> Result<()> {
    stage.announce("On the broker's host, an operator runs `ss -K`.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    stage.destroy_on_broker(flow)?;
    stage.expect_client(flow, &Truth::aborted())?;
    stage.expect_broker(flow, &Truth::sent("local_host", "socket_destroyed"))
}

fn stale(stage: &mut Stage) -> Result<()> {
    stage.announce("The broker's host loses a connection without a word; then the client sends on it.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    stage.net.server.nft(
        "add table inet lab; \
         add chain inet lab out { type filter hook output priority 0; }; \
         add rule inet lab out tcp flags & rst == rst drop",
    )?;
    stage.destroy_on_broker(flow)?;
    stage.net.server.nft("delete table inet lab")?;
    peer::send(&mut &connection.client, b"anybody there?")?;
    stage.expect_client(flow, &Truth::received(&["remote_peer", "unknown"], &["peer_gone", "unknown"]))?;
    stage.expect_broker(flow, &Truth::sent("local_host", "stale_connection"))
}

fn firewall(stage: &mut Stage) -> Result<()> {
    stage.announce("A firewall on the router rejects the client's next segment, in the broker's name.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    for _ in 0..EXCHANGES {
        // In this order: no acknowledgement of the client's is left to be sent when the rule is
        // there.
        exchange(&connection.server, &connection.client)?;
        exchange(&connection.client, &connection.server)?;
    }
    stage.net.router.nft(
        "add table inet lab; \
         add chain inet lab forward { type filter hook forward priority 0; }; \
         add rule inet lab forward tcp dport 5672 reject with tcp reset",
    )?;
    peer::send(&mut &connection.client, b"blocked")?;
    peer::wait_failure(&connection.client)?;
    let router = stage.net.router.v4();
    let truth = Truth { address: Some(router), ..Truth::received(&["middlebox"], &["firewall_reject", "state_lost", "injected"]) };
    stage.expect_client(flow, &truth)?;
    println!("   broker  says nothing: it sent no RST and got none, and its connection is still open");
    stage.silent.push(flow.reversed());
    stage.keep(connection);
    stage.net.router.nft("delete table inet lab")
}

fn keepalive(stage: &mut Stage) -> Result<()> {
    stage.announce("The client's host falls silent; the broker's keepalive gives it up after 3 s.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    stage.net.client.nft(
        "add table inet lab; \
         add chain inet lab in { type filter hook input priority 0; }; \
         add rule inet lab in meta l4proto tcp drop",
    )?;
    peer::keepalive(&connection.server)?;
    peer::wait_failure(&connection.server)?;
    stage.expect_broker(flow, &Truth::sent("local_host", "keepalive_timeout"))?;
    stage.keep(connection);
    Ok(())
}

/// One segment, sent and read.
fn exchange(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    let mut segment = *b"a segment";
    peer::send(&mut from, &segment)?;
    to.read_exact(&mut segment).map_err(|error| LabError::io("read from a socket", error))
}

/// What is true of a reset, as one host can know it: the kinds of origin and the causes that the
/// wire cannot tell apart.
struct Truth {
    direction: &'static str,
    origins: &'static [&'static str],
    causes: Vec<&'static str>,
    /// Of the box that made it.
    address: Option<IpAddr>,
}

impl Truth {
    /// This host knows what it does itself.
    fn sent(origin: &'static str, cause: &'static str) -> Self {
        let origins: &[_] = if origin == "local_process" { &["local_process"] } else { &["local_host"] };
        Self { direction: "sent", origins, causes: vec![cause], address: None }
    }

    fn received(origins: &'static [&'static str], causes: &[&'static str]) -> Self {
        Self { direction: "received", origins, causes: causes.to_vec(), address: None }
    }

    /// From a living socket of the peer, or from a box as far away.
    fn aborted() -> Self {
        Self::received(&["remote_peer", "unknown"], &["peer_aborted", "unknown"])
    }

    fn is_told_by(&self, event: &Value) -> bool {
        let is_one = |pointer: &str, wanted: &[&str]| event.pointer(pointer).is_some_and(|told| wanted.iter().any(|one| told == one));
        let address = self.address.map(|address| address.to_string());
        is_one("/origin/kind", self.origins)
            && is_one("/cause/id", &self.causes)
            && address.is_none_or(|address| event.pointer("/origin/address").is_some_and(|told| told == &address))
    }
}

/// An agent, and whose it is.
struct Watch {
    name: &'static str,
    agent: Agent,
}

/// The hosts, and an agent on either end.
struct Stage {
    client: Watch,
    broker: Watch,
    number: u32,
    all_true: bool,
    /// Of which the broker's host saw no reset.
    silent: Vec<Flow>,
    kept: Vec<(TcpStream, TcpStream)>,
    net: Routed,
}

impl Stage {
    fn announce(&mut self, what: &str) {
        self.number += 1;
        println!("\n{}. {what}", self.number);
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.net.server.v4(), AMQP)
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(&self.net.client, &self.net.server, self.address().ip())
    }

    fn destroy_on_broker(&self, flow: Flow) -> Result<()> {
        let port = flow.local.port();
        self.net.server.destroy_sockets(&format!("sport = :{AMQP} and dport = :{port}"))
    }

    /// Leaves a connection open of which only one end has gone: closing the other would be one more
    /// reset, and another story.
    fn keep(&mut self, connection: Connection) {
        self.kept.push((connection.client, connection.server));
    }

    fn expect_client(&mut self, flow: Flow, truth: &Truth) -> Result<()> {
        self.all_true &= self.client.tells(flow, truth)?;
        Ok(())
    }

    fn expect_broker(&mut self, flow: Flow, truth: &Truth) -> Result<()> {
        self.all_true &= self.broker.tells(flow.reversed(), truth)?;
        Ok(())
    }
}

impl Watch {
    /// Shows what the agent says of a reset, and whether that is the truth. The broker of scene 5
    /// says two things of one connection; only the one that is asked for is waited for.
    fn tells(&self, flow: Flow, truth: &Truth) -> Result<bool> {
        let is_it = |event: &Value| {
            is_kind(event, "rst") && flow.is_of(event) && event.pointer("/direction").is_some_and(|one| one == truth.direction)
        };
        let wanted = self.agent.wait_for("the truth", |event| is_it(event) && truth.is_told_by(event));
        if let Ok(event) = wanted {
            print!("{}", Verdict(&event).lines(self.name));
            return Ok(true);
        }
        // Whatever it says instead, or the error that it says nothing.
        let event = self.agent.wait_for("a reset of this connection", is_it)?;
        print!("{}", Verdict(&event).lines(self.name));
        println!("   WRONG: it should be {} and {}; all it says of it:", truth.origins.join(" or "), truth.causes.join(" or "));
        println!("{event:#}");
        Ok(false)
    }
}

/// One event, for people.
struct Verdict<'a>(&'a Value);

impl Verdict<'_> {
    /// Two lines: who sent it and how sure that is; why.
    fn lines(&self, host: &str) -> String {
        let text = |pointer: &str| self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let act = if text("/direction") == "sent" { "sent a RST" } else { "got a RST" };
        let who = match text("/origin/kind") {
            "local_process" => "a process of this host".to_owned(),
            "local_host" => "this host's kernel".to_owned(),
            "remote_peer" => "the host at the other end".to_owned(),
            "middlebox" => {
                format!("a MIDDLEBOX at {}", self.0.pointer("/origin/address").and_then(Value::as_str).unwrap_or("no known address"))
            }
            other => other.to_owned(),
        };
        let sure = self.0.pointer("/origin/confidence").and_then(Value::as_f64);
        let sure = sure.map_or_else(String::new, |sure| format!(" ({:.0} %)", sure * 100.0));
        let head = format!("   {host}  {act}, made by {who}{sure}: {}", text("/cause/id"));
        format!("{}\n{}\n", fitted(&head), fitted(&format!("           {}", text("/cause/summary"))))
    }
}

/// A line of [`COLUMNS`] at most, cut at a blank.
fn fitted(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    let short: String = line.chars().take(COLUMNS - 2).collect();
    let end = short.rfind(' ').unwrap_or(short.len());
    format!("{} …", short.get(..end).unwrap_or(&short))
}
