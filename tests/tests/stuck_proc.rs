//! Programs that let whoever looks at them in `/proc` wait for good: they are named by less, and
//! hold nobody else up.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, site::Site},
    command::{spawn, wait},
    hosts::{
        flow::Flow,
        net::{Host, two_hosts},
    },
    json,
    peers::peer::{self, AMQP},
    truths::expect,
    workspace,
};
use serde_json::Value;

/// How long a reset of somebody else may take to become a line, its settle window included.
const IN_TIME: Duration = Duration::from_secs(2);

/// How long the agent may take to end.
const END: Duration = Duration::from_secs(10);

/// How long a stuck program takes to end at most: it ends by itself before that.
const PATIENCE: Duration = Duration::from_mins(1);

/// More than the agent looks at, of one user, at once.
const MANY: usize = 20;

/// A program whose command line nobody can read (tes../src/peers/clients/stuck.py). It must not be
/// killed: only itself can end what its threads wait for.
struct Stuck {
    child: Child,
    talk: Option<BufReader<UnixStream>>,
}

impl Stuck {
    fn start(host: &Host, directory: &Path, to: SocketAddr) -> Result<Self> {
        let io = |error| LabError::io("talk to a stuck program", error);
        std::fs::create_dir_all(directory).map_err(io)?;
        let (talk, other) = UnixStream::pair().map_err(io)?;
        talk.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        let stdout = OwnedFd::from(other.try_clone().map_err(io)?);
        let mut command = host.command(workspace::python());
        command.args(["-c", include_str!("../src/peers/clients/stuck.py")]).arg(directory);
        command.args([to.ip().to_string(), to.port().to_string(), "1".to_owned()]);
        let child = spawn(command.stdin(OwnedFd::from(other)).stdout(stdout))?;
        Ok(Self { child, talk: Some(BufReader::new(talk)) })
    }

    /// The port of its connection, once its command line cannot be read any more.
    fn port(&mut self) -> Result<u16> {
        let line = self.line()?;
        line.trim().parse().map_err(|_| LabError::Client(format!("a stuck program said {line:?}")))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(talk) = &mut self.talk {
            talk.read_line(&mut line).map_err(|error| LabError::io("hear a stuck program", error))?;
        }
        Ok(line)
    }

    /// Has it reset its connection.
    fn reset(&mut self) -> Result<()> {
        if let Some(talk) = &mut self.talk {
            talk.get_mut().write_all(b"r").map_err(|error| LabError::io("tell a stuck program", error))?;
        }
        self.line().map(drop)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // It ends when nobody talks to it any more.
        self.talk = None;
        let _ended = wait(&mut self.child, "a stuck program", PATIENCE);
    }
}

/// Somebody else's reset, and how long its line takes.
fn reset(agent: &Agent, host: &Host, listener: &TcpListener, to: SocketAddr) -> Result<Duration> {
    let client = host.connect(to)?;
    let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
    let flow = peer::flow(&client)?;
    let began = Instant::now();
    peer::abort(client)?;
    agent.reset_of(flow, "sent")?;
    drop(server);
    Ok(began.elapsed())
}

#[test]
fn programs_that_cannot_be_looked_at_hold_nobody_up() -> Result<()> {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        println!("lab: not tried: /dev/fuse: {error}");
        return Ok(());
    }
    let (site, net) = (Site::new("stuck")?, two_hosts()?);
    let to = SocketAddr::new(net.server.v4(), AMQP);
    let listener = net.server.listen(to)?;
    let mut all = Vec::new();
    for number in 0..MANY {
        all.push(Stuck::start(&net.client, &site.path(&number.to_string()), to)?);
    }
    let mut held = Vec::new();
    for _ in 0..MANY {
        held.push(listener.accept().map_err(|error| LabError::io("accept", error))?);
    }
    let mut flows = Vec::new();
    for stuck in &mut all {
        flows.push(Flow::new(SocketAddr::new(net.client.v4(), stuck.port()?), to));
    }
    // It has not seen them before, and finds them when it looks who holds what there is.
    let agent = Agent::on(&net.client).start()?;
    for stuck in &mut all {
        stuck.reset()?;
        let took = reset(&agent, &net.client, &listener, to)?;
        assert!(took < IN_TIME, "somebody else's reset took {took:?}");
    }
    for flow in &flows {
        let event = agent.reset_of(*flow, "sent")?;
        expect::check("its own reset", &event, &json!({"origin": {"kind": "local_process"}, "process": {"command_line": null}}));
    }
    let began = Instant::now();
    let record = agent.stop()?;
    assert!(began.elapsed() < END, "the agent took {:?} to end", began.elapsed());
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    assert_eq!((totals.seen, totals.emitted, totals.lost), (2 * MANY as u64, 2 * MANY as u64, 0));
    let stopped = record.events().find(|event| event.get("event").and_then(Value::as_str) == Some("agent_stopped"));
    let missed = stopped.and_then(|event| event.pointer("/fell_out/lookups")?.as_u64());
    assert!(missed.is_some_and(|missed| missed > 0), "{missed:?} lookups were not answered");
    Ok(())
}
