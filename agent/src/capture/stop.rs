//! What ends a capture.

use std::{io, process::Stdio, thread, time::Duration};

use rustix::process::{Pid, Signal as Number, kill_process_group, test_kill_process_group};
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

/// How long what the command started may take to end once it is told to.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// The command of `--cmd` and whatever it started, unless that has left its process group.
struct Running {
    shell: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    /// Ends the shell and its children, which run with the rights of whoever runs the capture.
    fn drop(&mut self) {
        // One that was waited for has ended by itself: its number may be another's by now, and
        // what it left behind it meant to.
        let Some(group) = self.group.filter(|_| self.shell.id().is_some()) else { return };
        let _gone = kill_process_group(group, Number::TERM);
        for _ in 0..LAST_CHANCE.as_millis() / LOOK.as_millis() {
            // Waited for here, or the shell would stay a zombie of its group.
            let _still_there = self.shell.try_wait();
            if test_kill_process_group(group).is_err() {
                return;
            }
            thread::sleep(LOOK);
        }
        let _gone = kill_process_group(group, Number::KILL);
    }
}

/// Everything that can end a capture from outside.
pub struct Stops {
    interrupt: Signal,
    terminate: Signal,
    /// A daemon listens to it; a capture ends by it, as programs do.
    hangup: Option<Signal>,
    deadline: Option<Instant>,
    command: Option<Running>,
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

    /// Starts a shell command in a process group of its own, whose end will stop the capture.
    /// Standard output belongs to the events, so the command writes to standard error.
    pub fn run(&mut self, command: &str) -> io::Result<()> {
        let stderr = Stdio::from(io::stderr());
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(stderr).process_group(0);
        let shell = shell.spawn()?;
        let group = shell.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        self.command = Some(Running { shell, group });
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

async fn ended(command: &mut Option<Running>) -> io::Result<std::process::ExitStatus> {
    match command {
        Some(command) => command.shell.wait().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        fs,
        time::{Duration, Instant},
    };

    use super::Stops;

    /// Whether a process is there and no zombie.
    fn lives(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next()).is_some_and(|state| state != 'Z')
    }

    #[tokio::test]
    async fn the_command_takes_its_children_along() {
        let directory = tempfile::tempdir().unwrap();
        // The second does not hear SIGTERM.
        for (name, inner) in [("plain", "sleep 60"), ("deaf", "trap '' TERM; sleep 60")] {
            let path = directory.path().join(name);
            let mut stops = Stops::new(None, false).unwrap();
            stops.run(&format!("({inner}) & echo $! > {0}.new; mv {0}.new {0}; wait", path.display())).unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            while !path.exists() {
                assert!(Instant::now() < deadline);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let child = fs::read_to_string(&path).unwrap();
            assert!(lives(&child), "{name}");
            drop(stops);
            let deadline = Instant::now() + Duration::from_secs(10);
            while lives(&child) {
                assert!(Instant::now() < deadline, "{name} runs on");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
