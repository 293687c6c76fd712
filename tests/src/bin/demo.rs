//! Real resets on three throw-away hosts, and what the agent on either end says about each.
//!
//! Ends by itself; exit status 1 when a reset was not reported as what it was.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agent::Agent,
    command, kernel,
    net::{Host, Routed, routed},
    peer::{self, AMQP, Connection},
    record::Flow,
    workspace,
};
use rustix::process::{Pid, Signal, kill_process};

/// How long an agent may take to show a line.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("demo: a reset was not reported as what it was (see MISSING above)");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<bool> {
    let net = routed()?;
    println!("Three hosts in network namespaces:");
    println!("  client {}, broker {}, and a router between them.", net.client.v4(), net.server.v4());
    println!("An agent runs on the client and one on the broker; neither knows about the other.");
    let mut stage = Stage {
        client: Watch::start("client", &net.client)?,
        broker: Watch::start("broker", &net.server)?,
        number: 0,
        all_reported: true,
        kept: Vec::new(),
        net,
    };
    for scene in SCENES {
        scene(&mut stage)?;
    }
    let Stage { client, broker, all_reported, .. } = stage;
    client.stop()?;
    broker.stop()?;
    Ok(all_reported)
}

/// What can happen to a connection, the quick ones first.
const SCENES: [fn(&mut Stage) -> Result<()>; 7] = [refused, unread, linger, destroyed, stale, firewall, keepalive];

fn refused(stage: &mut Stage) -> Result<()> {
    stage.announce("The client connects to a port where nothing listens.");
    let flow = peer::refused(&stage.net.client, stage.address())?;
    stage.expect(flow, &[("refused", "received")], &socketless("no_listener")?)
}

fn unread(stage: &mut Stage) -> Result<()> {
    stage.announce("The client closes its socket while a delivery is still unread.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    peer::close_with_unread(connection.client, &connection.server, b"a delivery")?;
    stage.expect(flow, &[("close_with_unread_data", "sent")], &[("peer_aborted|unknown", "received")])
}

fn linger(stage: &mut Stage) -> Result<()> {
    stage.announce("The broker's process closes with SO_LINGER 0: no FIN, a RST.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    peer::abort(connection.server)?;
    stage.expect(flow, &[("peer_aborted|unknown", "received")], &[("linger_abort", "sent")])
}

fn destroyed(stage: &mut Stage) -> Result<()> {
    stage.announce("On the broker's host, an operator runs `ss -K`.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    stage.destroy_on_broker(flow)?;
    stage.expect(flow, &[("peer_aborted|unknown", "received")], &[("socket_destroyed", "sent")])
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
    stage.expect(flow, &[("peer_gone|unknown", "received")], &[("socket_destroyed", "sent"), ("stale_connection", "sent")])
}

fn firewall(stage: &mut Stage) -> Result<()> {
    stage.announce("A firewall on the router rejects the client's next segment. The broker's kernel never knows, and its agent is silent.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    stage.net.router.nft(
        "add table inet lab; \
         add chain inet lab forward { type filter hook forward priority 0; }; \
         add rule inet lab forward tcp dport 5672 reject with tcp reset",
    )?;
    peer::send(&mut &connection.client, b"blocked")?;
    peer::wait_failure(&connection.client)?;
    stage.expect(flow, &[("peer_gone|state_lost|unknown", "received")], &[])?;
    stage.keep(connection);
    stage.net.router.nft("delete table inet lab")
}

fn keepalive(stage: &mut Stage) -> Result<()> {
    stage.announce("The client falls silent; the broker's keepalive gives it up after 3 s.");
    let connection = stage.connect()?;
    let flow = connection.flow()?;
    stage.net.client.nft(
        "add table inet lab; \
         add chain inet lab in { type filter hook input priority 0; }; \
         add rule inet lab in meta l4proto tcp drop",
    )?;
    peer::keepalive(&connection.server)?;
    peer::wait_failure(&connection.server)?;
    stage.expect(flow, &[], &[("keepalive_timeout", "sent")])?;
    stage.keep(connection);
    Ok(())
}

/// A reset that answers a segment without a socket, where this kernel traces those.
fn socketless(cause: &'static str) -> Result<Vec<(&'static str, &'static str)>> {
    if kernel::traces_resets_without_socket()? {
        return Ok(vec![(cause, "sent")]);
    }
    println!("  (This kernel does not trace resets without a socket; Linux 6.10 and later do.)");
    Ok(Vec::new())
}

/// The hosts, and an agent on either end.
struct Stage {
    client: Watch,
    broker: Watch,
    number: u32,
    all_reported: bool,
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

    /// Leaves a connection open of which only one end has gone: closing the other would be one more reset, and another story.
    fn keep(&mut self, connection: Connection) {
        self.kept.push((connection.client, connection.server));
    }

    /// Shows what both agents say about a connection and compares it with the truth: cause (or causes that the wire cannot tell apart) and
    /// direction.
    fn expect(&mut self, flow: Flow, client: &[(&str, &str)], broker: &[(&str, &str)]) -> Result<()> {
        let needle = format!(":{}", flow.local.port());
        for (watch, flow, truths) in [(&self.client, flow, client), (&self.broker, flow.reversed(), broker)] {
            for (cause, direction) in truths {
                let reported = watch.checked.wait_for(cause, |event| {
                    flow.is_of(event)
                        && event.pointer("/cause/id").is_some_and(|id| cause.split('|').any(|one| id == one))
                        && event.pointer("/direction").is_some_and(|one| one == direction)
                });
                match reported {
                    Ok(_) => println!("  {}: {}", watch.name, watch.shown.line_with(&needle)?),
                    Err(error) => {
                        println!("  MISSING on the {}: {direction}, {cause}\n{error}", watch.name);
                        self.all_reported = false;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Two agents on one host: one for the eyes, and one whose JSON is compared with the truth.
struct Watch {
    name: &'static str,
    checked: Agent,
    shown: Shown,
}

/// The agent for the eyes.
struct Shown {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(name: &'static str, host: &Host) -> Result<Self> {
        let watch = Self { name, shown: Shown::start(host)?, checked: Agent::on(host).start()? };
        // The heading: the agent is armed.
        println!("  {name}: {}", watch.shown.line_with("")?);
        Ok(watch)
    }

    /// Ends both agents and shows the summary of the one.
    fn stop(self) -> Result<()> {
        println!("\n{}:", self.name);
        self.shown.stop()?;
        self.checked.stop().map(drop)
    }
}

impl Shown {
    fn start(host: &Host) -> Result<Self> {
        let mut command = Command::new(workspace::agent_binary());
        command.args(["capture", "--format", "pretty", "--settle", "100ms", "--netns"]).arg(host.path());
        let mut child = command::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()))?;
        let (sender, lines) = channel();
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || forward(pipe, &sender));
        }
        Ok(Self { child, lines })
    }

    /// The next line that has `needle` in it.
    fn line_with(&self, needle: &str) -> Result<String> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    LabError::Timeout { what: format!("a line with {needle:?} from the agent"), seconds: PATIENCE.as_secs() }
                }
                RecvTimeoutError::Disconnected => LabError::Client("the agent ended".to_owned()),
            })?;
            if line.contains(needle) {
                return Ok(line);
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| kill_process(pid, Signal::TERM))
            .map_err(|error| LabError::io("stop the agent", error))?;
        for line in &self.lines {
            println!("  {line}");
        }
        let status = command::wait(&mut self.child, "rstblame capture", PATIENCE)?;
        if status.success() {
            return Ok(());
        }
        Err(LabError::Command { command: "rstblame capture".to_owned(), status: status.to_string(), output: String::new() })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // After `stop` it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes lines on until either end is gone.
fn forward(pipe: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(pipe).lines().map_while(std::io::Result::ok) {
        if lines.send(line).is_err() {
            return;
        }
    }
}
