//! The agent under test as a process: start it on one host's view, wait for what it says, stop it,
//! check its books.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::record::{Record, is_kind};
use crate::{
    LabError, Result, command,
    hosts::{flow::Flow, net::Host},
    workspace,
};

/// Seconds that an event may take from the wire to the stream before a scenario fails.
const PATIENCE: u64 = 10;

/// How long the agent may take to drain after SIGTERM.
const DRAIN: Duration = Duration::from_mins(1);

/// Where `agent_started` tells the state of the hooks without which no scenario makes sense.
const HOOKS: [&str; 2] = ["/coverage/tcp_send_reset", "/coverage/tcp_receive_reset"];

/// A running agent with one host's view.
#[derive(Debug)]
pub struct Agent {
    host: String,
    child: Child,
    heard: Arc<Heard>,
    readers: Vec<JoinHandle<()>>,
    artefacts: PathBuf,
    stopped: bool,
}

/// What an agent has written so far.
#[derive(Debug, Default)]
struct Heard {
    state: Mutex<Stream>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Stream {
    lines: Vec<String>,
    stderr: String,
    ended: bool,
}

/// How to start an [`Agent`].
#[derive(Debug)]
pub struct Options {
    host: String,
    command: Command,
    /// Absent where a configuration file says it.
    settle: Option<&'static str>,
}

impl Agent {
    /// An agent for what happens on one host, on the AMQP port, with a short settle window.
    pub fn on(host: &Host) -> Options {
        Options::new(host.name()).args(&["--netns"]).arg(host.path())
    }

    /// An agent for what happens in all network namespaces, on one port: one that no other test
    /// uses.
    pub fn everywhere(port: u16) -> Options {
        Options::new("everywhere").args(&["--netns", "all", "--port"]).arg(port.to_string())
    }

    /// A daemon by this configuration, which has to have standard output among its sinks.
    pub fn daemon(config: &Path) -> Options {
        Self::daemon_of(&workspace::agent_binary(), config)
    }

    /// A daemon that is run from another place than the agent was built in.
    pub fn daemon_of(binary: &Path, config: &Path) -> Options {
        let mut command = Command::new(binary);
        command.args(["--log-format", "human", "daemon", "--config"]).arg(config);
        Options { host: "daemon".to_owned(), command, settle: None }
    }

    /// The process id of the agent.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event, counting those that were already written.
    ///
    /// # Errors
    ///
    /// [`LabError::Agent`] when none arrives within 10 s, or the stream ends first.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.wait_from(&mut 0, what, wanted)
    }

    /// Waits for an event among the lines after the first `seen` of them, and goes on to behind it:
    /// for whoever waits again and again, since a stream of hours takes long to read.
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn wait_from(&self, seen: &mut usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let patience = workspace::patience(PATIENCE);
        let deadline = Instant::now() + patience;
        let mut stream = self.heard.lock();
        loop {
            for line in stream.lines.iter().skip(*seen) {
                *seen += 1;
                if let Ok(event) = serde_json::from_str(line)
                    && wanted(&event)
                {
                    return Ok(event);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if stream.ended || left.is_zero() {
                let problem = format!(
                    "{} before it wrote {what}; it wrote {seen} lines, the last of them:\n{}",
                    if stream.ended { "it ended".to_owned() } else { format!("{} s passed", patience.as_secs()) },
                    tail(&stream.lines)
                );
                drop(stream);
                return Err(self.failure(problem));
            }
            stream = self.heard.arrived.wait_timeout(stream, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the reset of one connection, in one direction (`sent` or `received`).
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn reset_of(&self, flow: Flow, direction: &str) -> Result<Value> {
        let what = format!("a {direction} reset of {} -> {}", flow.local, flow.peer);
        self.wait_for(&what, |event| {
            is_kind(event, "rst") && flow.is_of(event) && event.get("direction").and_then(Value::as_str) == Some(direction)
        })
    }

    /// Waits until the agent has written `count` resets of one connection.
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn wait_for_resets(&self, flow: Flow, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let what = format!("{count} resets of {} -> {}", flow.local, flow.peer);
        let found = Cell::new(0);
        self.wait_for(&what, |event| {
            if is_kind(event, "rst") && flow.is_of(event) {
                found.set(found.get() + 1);
            }
            found.get() == count
        })
        .map(drop)
    }

    /// Waits until the agent has written `count` events of a kind.
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn wait_for_count(&self, kind: &str, count: u64) -> Result<()> {
        let found = Cell::new(0);
        self.wait_for(&format!("{count} {kind}"), |event| {
            found.set(found.get() + u64::from(is_kind(event, kind)));
            found.get() == count
        })
        .map(drop)
    }

    /// Waits until the agent has logged a line with `text` in it, and returns that line.
    ///
    /// # Errors
    ///
    /// [`LabError::Agent`] when it does not within 10 s.
    pub fn wait_for_log(&self, text: &str) -> Result<String> {
        let patience = workspace::patience(PATIENCE);
        let deadline = Instant::now() + patience;
        let mut stream = self.heard.lock();
        loop {
            if let Some(line) = stream.stderr.lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(stream);
                return Err(self.failure(format!("it did not log {text:?} within {} s", patience.as_secs())));
            }
            stream = self.heard.arrived.wait_timeout(stream, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the agent has written this many lines, of whatever kind: cheap where there are
    /// very many.
    ///
    /// # Errors
    ///
    /// [`LabError::Agent`] when that takes longer than a minute, or the stream ends first.
    pub fn wait_for_lines(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + DRAIN;
        let mut stream = self.heard.lock();
        while stream.lines.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if stream.ended || left.is_zero() {
                let problem = format!("it wrote {} lines and not {count}, the last of them:\n{}", stream.lines.len(), tail(&stream.lines));
                drop(stream);
                return Err(self.failure(problem));
            }
            stream = self.heard.arrived.wait_timeout(stream, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Sends the agent a signal.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        command::signal(self.pid(), signal)
    }

    /// Asks the agent to end, as systemd does, and checks that it ends well: exit status 0, the
    /// stream whole, and its totals in agreement with themselves and with the lines it wrote.
    ///
    /// # Errors
    ///
    /// [`LabError::Agent`] with every promise it broke.
    pub fn stop(mut self) -> Result<Record> {
        self.signal(Signal::TERM)?;
        self.ended()
    }

    /// Waits for the agent to end by itself, and checks that it ends well. See [`Agent::stop`].
    ///
    /// # Errors
    ///
    /// As [`Agent::stop`].
    pub fn finish(mut self) -> Result<Record> {
        self.ended()
    }

    fn ended(&mut self) -> Result<Record> {
        let status: ExitStatus = command::wait(&mut self.child, "rstblame capture", DRAIN)?;
        for reader in self.readers.drain(..) {
            // A reader only ends; what it read is in `heard`.
            let _ = reader.join();
        }
        let record = {
            let mut heard = self.heard.lock();
            // Not copied: a soak writes gigabytes.
            Record::new(std::mem::take(&mut heard.lines)).with_log(heard.stderr.clone())
        };
        let mut problems = record.violations();
        if !status.success() {
            problems.push(format!("{status}"));
        }
        if self.heard.lock().stderr.contains("panicked") {
            problems.push("it panicked".to_owned());
        }
        if problems.is_empty() {
            self.stopped = true;
            return Ok(record);
        }
        // To be kept with what else is known of the failure.
        self.heard.lock().lines = record.into_lines();
        Err(self.failure(problems.join("\n")))
    }

    fn failure(&self, problem: String) -> LabError {
        LabError::Agent { host: self.host.clone(), problem, stderr: self.heard.lock().stderr.clone() }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.stopped && !std::thread::panicking() {
            return;
        }
        // Already ended, perhaps; either way nothing is left to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let stream = self.heard.lock();
        for (name, text) in [("jsonl", stream.lines.join("\n")), ("stderr", stream.stderr.clone())] {
            let path = self.artefacts.join(format!("{}.{name}", self.host));
            match fs::write(&path, text) {
                Ok(()) => eprintln!("lab: kept {}", path.display()),
                Err(error) => eprintln!("lab: cannot keep {}: {error}", path.display()),
            }
        }
    }
}

impl Options {
    fn new(view: &str) -> Self {
        let mut command = Command::new(workspace::agent_binary());
        command.args(["--log-format", "human", "capture", "--format", "json"]);
        Self { host: view.to_owned(), command, settle: Some("100ms") }
    }

    fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Has every reset written one by one, however many there are: for scenarios that look for each
    /// of them.
    #[must_use]
    pub fn whole(self) -> Self {
        self.args(&["--fold-above", "0", "--kernel-budget", "0"])
    }

    /// Sets a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Waits so long for what happens after a reset (`--settle`), where a scenario takes longer
    /// than 100 ms for that.
    #[must_use]
    pub const fn settle(mut self, settle: &'static str) -> Self {
        self.settle = Some(settle);
        self
    }

    /// Has the agent started by another program, which executes it in its own place: `nsenter`,
    /// `setpriv` and the like, with their arguments.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        let mut words = words.iter();
        let mut command = Command::new(words.next().copied().unwrap_or_default());
        command.args(words).arg(self.command.get_program()).args(self.command.get_args());
        self.command = command;
        self
    }

    /// Starts the agent as `nobody` with these capabilities (as setpriv(1) names them) and no
    /// other: in the ambient set, as systemd gives them.
    #[must_use]
    pub fn as_nobody(self, capabilities: &[&str]) -> Self {
        let set = capabilities.iter().fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
        let sets = ["bounding-set", "inh-caps", "ambient-caps"].map(|kind| format!("--{kind}={set}"));
        let [bounding, inheritable, ambient] = &sets;
        self.through(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", bounding, inheritable, ambient])
    }

    /// Runs what is not meant to get as far as [`Options::start`] wants it, to its end.
    ///
    /// # Errors
    ///
    /// As [`command::finish`].
    pub fn run(self) -> Result<command::Finished> {
        command::finish(self.command, DRAIN)
    }

    /// Starts the agent and waits until every hook is armed (`agent_started`).
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the binary cannot be started, [`LabError::Agent`] when it is not armed
    /// within 10 s or says that it does not see resets.
    pub fn start(mut self) -> Result<Agent> {
        if let Some(settle) = self.settle {
            self.command.args(["--settle", settle]);
        }
        let mut child = command::spawn(self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let heard = Arc::new(Heard::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            let heard = Arc::clone(&heard);
            readers.push(std::thread::spawn(move || heard.read_lines(pipe)));
        }
        if let Some(pipe) = child.stderr.take() {
            let heard = Arc::clone(&heard);
            readers.push(std::thread::spawn(move || heard.read_log(pipe)));
        }
        let agent = Agent { host: self.host, child, heard, readers, artefacts: workspace::artefacts()?, stopped: false };
        let started = agent.wait_for("agent_started", |event| is_kind(event, "agent_started"))?;
        for hook in HOOKS {
            let coverage = started.pointer(hook).unwrap_or(&Value::Null);
            if !coverage.get("state").is_some_and(|state| state == "active" || state == "degraded") {
                return Err(agent.failure(format!("{hook} is not armed: {coverage}")));
            }
        }
        Ok(agent)
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        // A reader that panicked leaves whole lines behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_lines(&self, pipe: impl Read) {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            self.lock().lines.push(line);
            self.arrived.notify_all();
        }
        self.lock().ended = true;
        self.arrived.notify_all();
    }

    fn read_log(&self, pipe: impl Read) {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut stream = self.lock();
            stream.stderr.push_str(&line);
            stream.stderr.push('\n');
            drop(stream);
            self.arrived.notify_all();
        }
    }
}

/// The last lines, to show in a failure.
fn tail(lines: &[String]) -> String {
    let from = lines.len().saturating_sub(3);
    lines.iter().skip(from).map(String::as_str).collect::<Vec<_>>().join("\n")
}
