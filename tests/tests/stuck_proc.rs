//! Programs that let whoever looks at them in `/proc` wait for good: they are named by less, and
//! hold nobody else up.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::agent::Agent,
    command::{run, spawn, wait},
    hosts::{
        flow::Flow,
        net::{Host, two_hosts},
    },
    json,
    peers::{
        actor::{Actor, Stage},
        peer::AMQP,
    },
    poll,
    truths::expect,
    workspace,
};
use serde_json::Value;

/// How long a reset may take to become a line, its settle window included.
const IN_TIME: Duration = Duration::from_secs(2);

/// How long the agent may take to end.
const END: Duration = Duration::from_secs(5);

/// How long a stuck program takes to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than the agent looks at, of one user, at once; and more than it looks at, of all users.
const MANY: usize = 20;

/// Programs that reset after them.
const OTHERS: usize = 5;

/// The first of the users without privileges, whom the machine has no name for.
const USER: usize = 61_000;

/// A program whose command line nobody can read (`tests/src/peers/clients/stuck.py`). It must not
/// be killed: only the end of its file system ends what its threads wait for.
struct Stuck {
    child: Child,
    talk: Option<BufReader<UnixStream>>,
    /// The number of its file system, once its command line cannot be read any more.
    file_system: Option<u32>,
}

impl Stuck {
    fn start(host: &Host, user: usize, to: SocketAddr) -> Result<Self> {
        let io = |error| LabError::io("talk to a stuck program", error);
        let (talk, other) = UnixStream::pair().map_err(io)?;
        talk.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        let stdout = OwnedFd::from(other.try_clone().map_err(io)?);
        let mut command = host.command(workspace::python());
        command.args(["-c", include_str!("../src/peers/clients/stuck.py")]);
        command.args([user.to_string(), to.ip().to_string(), to.port().to_string(), "1".to_owned()]);
        let child = spawn(command.stdin(OwnedFd::from(other)).stdout(stdout))?;
        Ok(Self { child, talk: Some(BufReader::new(talk)), file_system: None })
    }

    /// The port of its connection, once its command line cannot be read any more.
    fn port(&mut self) -> Result<u16> {
        let line = self.line()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = match words.as_slice() {
            [by, file_system, port] => {
                if *by != "user" {
                    println!("lab: users may mount no FUSE here, {by} did it for them");
                }
                file_system.parse().ok().zip(port.parse().ok())
            }
            _ => None,
        };
        let (file_system, port) = said.ok_or_else(|| LabError::Client(format!("a stuck program said {line:?}")))?;
        self.file_system = Some(file_system);
        Ok(port)
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

    fn ended(&mut self) -> bool {
        let end = || self.child.try_wait().map_err(|error| LabError::io("wait for a stuck program", error));
        poll::until("a stuck program to end", PATIENCE, end).is_ok()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // It ends when nobody talks to it any more.
        self.talk = None;
        if self.ended() {
            return;
        }
        if let Some(number) = self.file_system {
            let connections = "/sys/fs/fuse/connections";
            let abort = format!("mount -t fusectl none {connections} && echo 1 > {connections}/{number}/abort");
            if let Err(error) = run(&["unshare", "--mount", "sh", "-c", &abort]) {
                eprintln!("lab: file system {number} of FUSE is left without answers: {error}");
            }
        }
        let _ended = wait(&mut self.child, "a stuck program", PATIENCE);
    }
}

/// Whoever reads the command lines of these does wait.
fn readers_wait(all: &[Stuck]) -> Result<()> {
    let io = |error| LabError::io("wait for a reader", error);
    let mut readers = Vec::new();
    for stuck in all {
        let path = format!("/proc/{}/cmdline", stuck.child.id());
        readers.push(spawn(Command::new("cat").arg(path).stdin(Stdio::null()).stdout(Stdio::null()))?);
    }
    thread::sleep(Duration::from_millis(500));
    let mut read = 0;
    for mut reader in readers {
        read += usize::from(reader.try_wait().map_err(io)?.is_some());
        reader.kill().map_err(io)?;
        reader.wait().map_err(io)?;
    }
    assert_eq!(read, 0, "of {} command lines can be read", all.len());
    Ok(())
}

/// What an actor's reset is said of it, and how long that takes.
fn reset(agent: &Agent, actor: &mut Actor, listener: &TcpListener, to: SocketAddr) -> Result<(Value, Duration)> {
    let locals = actor.connect(to, 1)?;
    let local = locals.first().ok_or_else(|| LabError::Client("an actor connected nothing".to_owned()))?;
    let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
    let began = Instant::now();
    actor.ask("linger 0 1")?;
    let event = agent.reset_of(Flow::new(*local, to), "sent")?;
    drop(server);
    Ok((event, began.elapsed()))
}

/// Has programs of these users let the agent wait, and resets of others follow theirs; `whole` if
/// the others' command lines have to be told, too.
fn play(users: impl Fn(usize) -> usize, whole: bool) -> Result<()> {
    // The kernel may have it as a module, which this brings in.
    let _absent = fs::File::open("/dev/fuse");
    let kernel = fs::read_to_string("/proc/filesystems").map_err(|error| LabError::io("read /proc/filesystems", error))?;
    if !kernel.lines().any(|line| line == "nodev\tfuse") {
        println!("lab: not tried, the kernel has no FUSE");
        return Ok(());
    }
    let (stage, net) = (Stage::new(env!("CARGO_BIN_EXE_actor"))?, two_hosts()?);
    let to = SocketAddr::new(net.server.v4(), AMQP);
    let listener = net.server.listen(to)?;
    let mut all = Vec::new();
    for number in 0..MANY {
        all.push(Stuck::start(&net.client, users(number), to)?);
    }
    let mut held = Vec::new();
    let mut flows = Vec::new();
    for stuck in &mut all {
        flows.push(Flow::new(SocketAddr::new(net.client.v4(), stuck.port()?), to));
        held.push(listener.accept().map_err(|error| LabError::io("accept", error))?);
    }
    readers_wait(&all)?;
    // It has not seen them before, and finds them when it looks who holds what there is.
    let agent = Agent::on(&net.client).start()?;
    let began = Instant::now();
    for stuck in &mut all {
        stuck.reset()?;
    }
    // Each is another process, which the agent has to look at now.
    for _ in 0..OTHERS {
        let mut actor = stage.actor(&net.client)?;
        let (event, took) = reset(&agent, &mut actor, &listener, to)?;
        println!("somebody else's reset took {took:?}");
        assert!(took < IN_TIME, "somebody else's reset took {took:?}");
        let truth = json!({
            "origin": {"kind": "local_process"},
            "process": {"pid": actor.pid, "executable": {"name": "actor"}, "owner": {"uid": 0, "name": "root"}},
        });
        expect::check("somebody else's reset", &event, &truth);
        let path = event.pointer("/process/executable/path").and_then(Value::as_str);
        assert_eq!(path, Some(env!("CARGO_BIN_EXE_actor")));
        assert!(!whole || event.pointer("/process/command_line").is_some(), "somebody else's command line is absent");
    }
    for (number, (flow, stuck)) in flows.iter().zip(&all).enumerate() {
        let event = agent.reset_of(*flow, "sent")?;
        let truth = json!({
            "origin": {"kind": "local_process"},
            "process": {"pid": stuck.child.id(), "command_line": null, "owner": {"uid": users(number)}},
        });
        expect::check("its own reset", &event, &truth);
    }
    println!("all were out after {:?}", began.elapsed());
    let began = Instant::now();
    let record = agent.stop()?;
    println!("the agent took {:?} to end", began.elapsed());
    assert!(began.elapsed() < END, "the agent took {:?} to end", began.elapsed());
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    let resets = (MANY + OTHERS) as u64;
    assert_eq!((totals.seen, totals.emitted, totals.lost), (resets, resets, 0));
    let missed = totals.fell_out.get("lookups").copied();
    println!("{missed:?} lookups were not answered");
    assert!(missed.is_some_and(|missed| missed > 0), "{missed:?} lookups were not answered");
    Ok(())
}

#[test]
fn programs_of_one_user_that_cannot_be_looked_at_hold_nobody_up() -> Result<()> {
    play(|_| USER, true)
}

/// As one user can be who has a range of numbers for namespaces (subuid(5)): together they hold all
/// threads up that read command lines.
#[test]
fn programs_of_many_users_that_cannot_be_looked_at_hold_nobody_up() -> Result<()> {
    play(|number| USER + number, false)
}
