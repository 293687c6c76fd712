//! What ends a capture.

use std::{io, process::Stdio, time::Duration};

use tokio::{
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

/// Why a capture stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT or SIGTERM.
    Asked,
    /// `--duration`, or the settle time after the command, has passed.
    TimeIsUp,
    /// The command of `--cmd` has ended.
    CommandEnded,
    /// `--count` is reached.
    CountReached,
    /// SIGHUP, in a daemon: nothing stops, the configuration is read again.
    Reload,
}

/// Everything that can end a capture from outside.
pub struct Stops {
    interrupt: Signal,
    terminate: Signal,
    /// A daemon listens to it; a capture ends by it, as programs do.
    hangup: Option<Signal>,
    deadline: Option<Instant>,
    command: Option<Child>,
}

impl Stops {
    /// Listens for signals, with `reload` also for SIGHUP, and for the end of `duration`.
    pub fn new(duration: Option<Duration>, reload: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: reload.then(|| signal(SignalKind::hangup())).transpose()?,
            deadline: duration.map(|duration| Instant::now() + duration),
            command: None,
        })
    }

    /// Starts a shell command, whose end will stop the capture. Standard output belongs to the events, so the command writes to standard
    /// error.
    pub fn run(&mut self, command: &str) -> io::Result<()> {
        let stderr = Stdio::from(io::stderr());
        self.command = Some(Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(stderr).kill_on_drop(true).spawn()?);
        Ok(())
    }

    /// Leaves time for the last resets, now that the command has ended.
    pub fn settle(&mut self, window: Duration) {
        // Longer than the window by what a reset needs to come through.
        let end = Instant::now() + window + Duration::from_millis(50);
        self.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
    }

    /// Waits for the first of them. Safe to drop and call again.
    pub async fn next(&mut self) -> Stop {
        let deadline = self.deadline;
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Asked,
            _ = self.terminate.recv() => Stop::Asked,
            () = received(&mut self.hangup) => Stop::Reload,
            () = passed(deadline) => Stop::TimeIsUp,
            status = ended(&mut self.command) => {
                self.command = None;
                match status {
                    Ok(status) if status.success() => {}
                    Ok(status) => tracing::warn!("the command ended with {status}"),
                    Err(error) => tracing::warn!("the command cannot be waited for: {error}"),
                }
                Stop::CommandEnded
            }
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    let told = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn ended(command: &mut Option<Child>) -> io::Result<std::process::ExitStatus> {
    match command {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}
