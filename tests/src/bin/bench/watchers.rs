//! Who may watch a host's connections: the agent, and what somebody would run by hand to catch
//! RSTs.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use rstblame_lab::{LabError, Result, agents::agent::Agent, command::spawn, hosts::net::Host};

/// What tcpdump is to look for.
const RSTS: &str = "tcp port 5672 and tcp[tcpflags] & tcp-rst != 0";

/// The two tracepoints. What is attached says nothing by itself, so that the first tick has to: by
/// then all of it is attached.
const PROGRAM: &str = r#"
tracepoint:tcp:tcp_send_reset { printf("sent by %s %d\n", comm, pid); }
tracepoint:tcp:tcp_receive_reset { printf("received %d -> %d\n", args->sport, args->dport); }
interval:ms:100 /!@said/ { @said = 1; printf("watching\n"); }
"#;

/// One way to watch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    Nobody,
    /// The agent, with these options besides its defaults.
    Agent(&'static [&'static str]),
    Tcpdump,
    Bpftrace,
}

/// A watcher at work; it ends when dropped.
pub enum Watching {
    Nobody,
    Agent(Agent),
    Other(Other),
}

/// A child that is killed when dropped.
pub struct Other(Child);

impl Watcher {
    /// Starts watching a host, and waits until every hook is at work.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] with its last words when it ends instead, [`LabError::Io`] when it is
    /// not installed.
    pub fn on(self, host: &Host) -> Result<Watching> {
        match self {
            Self::Nobody => Ok(Watching::Nobody),
            Self::Agent(options) => Agent::on(host).settle("1s").args(options).start().map(Watching::Agent),
            Self::Tcpdump => {
                let mut command = host.command("tcpdump");
                command.args(["-i", "any", "-n", "-l", RSTS]).stdout(Stdio::null()).stderr(Stdio::piped());
                let mut child = start(&mut command)?;
                let said = child.0.stderr.take();
                heard("tcpdump", "listening on", said)?;
                Ok(Watching::Other(child))
            }
            Self::Bpftrace => {
                // Where tracefs is, bpftrace finds it; in a mount namespace of its own nobody else
                // does.
                let script = "mount -t tracefs tracefs /sys/kernel/tracing && exec bpftrace -B line -e \"$0\" 2>&1";
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", script, PROGRAM]).stdout(Stdio::piped()).stderr(Stdio::null());
                let mut child = start(&mut command)?;
                let said = child.0.stdout.take();
                heard("bpftrace", "watching", said)?;
                Ok(Watching::Other(child))
            }
        }
    }
}

impl Watching {
    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Nobody => None,
            Self::Agent(agent) => Some(agent.pid()),
            Self::Other(Other(child)) => Some(child.id()),
        }
    }

    /// Has it end, the agent in order.
    ///
    /// # Errors
    ///
    /// As [`Agent::stop`].
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Agent(agent) => agent.stop().map(drop),
            Self::Nobody | Self::Other(_) => Ok(()),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It has done its work; only its end matters.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Result<Other> {
    spawn(command.stdin(Stdio::null())).map(Other)
}

/// Waits for a line with these words, and lets a thread read what comes after it.
fn heard(name: &str, words: &str, pipe: Option<impl std::io::Read + Send + 'static>) -> Result<()> {
    let mut lines = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(std::io::Result::ok);
    let mut last = "nothing".to_owned();
    for line in lines.by_ref() {
        if line.contains(words) {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(());
        }
        last = line;
    }
    Err(LabError::Client(format!("{name} does not watch; its last words: {last}")))
}
