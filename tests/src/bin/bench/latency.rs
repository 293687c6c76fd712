//! How soon the agent is armed, and how soon a reset is a line: measured from outside, as an
//! operator would notice it.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::record::is_kind,
    command::spawn,
    hosts::net::{Host, lone_host},
    peers::peer::{self, AMQP},
    workspace,
};

use super::figures::Figures;

/// How often the agent is started.
const STARTS: usize = 20;

/// How many resets are timed.
const RESETS: usize = 2000;

/// From exec to `agent_started`, the slowest start.
const ARMED_WITHIN: Duration = Duration::from_millis(300);

/// From close(2) to the line, for 99 of 100 resets, with `--settle 0`.
const REPORTED_WITHIN: Duration = Duration::from_millis(10);

/// How long a line may take before the agent counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn bench(figures: &mut Figures) -> Result<()> {
    let host = lone_host()?;
    let mut starts = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        starts.push(Timed::start(&host)?.armed_after);
    }
    figures.table("milliseconds from outside", &["from and to", "runs", "median", "99 of 100", "most"]);
    report(figures, "exec to agent_started", &mut starts, 100, ARMED_WITHIN);
    report(figures, "close(2) to the line", &mut latencies(&host)?, 99, REPORTED_WITHIN);
    Ok(())
}

/// Aborts connections one after the other; the time from the close of each to its line.
fn latencies(host: &Host) -> Result<Vec<Duration>> {
    let agent = Timed::start(host)?;
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    host.inside(move || (0..RESETS).map(|_| agent.time_abort(&listener, address)).collect())
}

/// The median, the percentile that has a limit, and the worst.
fn report(figures: &mut Figures, what: &str, samples: &mut [Duration], percentile: usize, limit: Duration) {
    samples.sort_unstable();
    let at = |percent: usize| {
        let index = (samples.len() * percent).div_ceil(100).saturating_sub(1);
        samples.get(index).copied().unwrap_or(Duration::MAX)
    };
    let times = [50, 99, 100].map(|percent| format!("{:.2}", at(percent).as_secs_f64() * 1e3));
    figures.row(what, std::iter::once(samples.len().to_string()).chain(times));
    figures.limit(format!("{} ms for {percentile} of 100, {what}", limit.as_millis()), at(percentile) <= limit);
}

/// An agent whose lines carry the time they arrived.
pub struct Timed {
    child: Child,
    lines: Receiver<(Instant, String)>,
    /// From exec to `agent_started`.
    pub armed_after: Duration,
}

impl Timed {
    pub fn start(host: &Host) -> Result<Self> {
        let mut command = Command::new(workspace::agent_binary());
        command
            .args(["capture", "--format", "json", "--settle", "0", "--fold-above", "0", "--kernel-budget", "0", "--netns"])
            .arg(host.path());
        let exec = Instant::now();
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()))?;
        let (sender, lines) = channel();
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || stamp(pipe, &sender));
        }
        let mut agent = Self { child, lines, armed_after: Duration::MAX };
        agent.armed_after = agent.line(|event| is_kind(event, "agent_started"))?.duration_since(exec);
        Ok(agent)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens a connection, aborts it, and waits for the line of the RST that was sent.
    fn time_abort(&self, listener: &TcpListener, address: SocketAddr) -> Result<Duration> {
        let client = TcpStream::connect(address).map_err(|error| LabError::io("connect", error))?;
        let (_server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
        let flow = peer::flow(&client)?;
        let closed = Instant::now();
        peer::abort(client)?;
        let arrived = self.line(|event| flow.is_of(event) && event.pointer("/direction").is_some_and(|one| one == "sent"))?;
        Ok(arrived.duration_since(closed))
    }

    /// When the next line arrived that holds such an event.
    fn line(&self, wanted: impl Fn(&Value) -> bool) -> Result<Instant> {
        loop {
            let (arrived, line) = self
                .lines
                .recv_timeout(PATIENCE)
                .map_err(|_| LabError::Timeout { what: "a line from the agent".to_owned(), seconds: PATIENCE.as_secs() })?;
            if serde_json::from_str(&line).is_ok_and(|event| wanted(&event)) {
                return Ok(arrived);
            }
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        // It has done its work; only its end matters.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes lines on with the time they were read, until either end is gone.
fn stamp(pipe: impl Read, lines: &Sender<(Instant, String)>) {
    for line in BufReader::new(pipe).lines().map_while(std::io::Result::ok) {
        if lines.send((Instant::now(), line)).is_err() {
            return;
        }
    }
}
