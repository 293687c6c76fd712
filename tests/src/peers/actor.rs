//! Processes that do what they are told with their sockets ([`super::act`]), each with a process id
//! that the kernel vouches for.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::{
    event::{self, PollFd, PollFlags, Timespec},
    net::sockopt::socket_peercred,
};

use crate::{
    LabError, Result,
    command::{self, spawn},
    hosts::{cgroup::Cgroup, net::Host},
    poll,
};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait for a report before looking whether the actor still lives.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Where actors report, and the directory of their sockets.
#[derive(Debug)]
pub struct Stage {
    program: PathBuf,
    directory: PathBuf,
    listener: UnixListener,
}

/// One process that takes commands.
#[derive(Debug)]
pub struct Actor {
    /// Its process id, as the kernel told it when it reported (unix(7), `SO_PEERCRED`).
    pub pid: u32,
    control: BufReader<UnixStream>,
    /// Absent for one that another actor forked.
    child: Option<Child>,
}

/// What an actor is started with.
#[derive(Debug, Default)]
pub struct Part<'a> {
    /// Where its sockets are; the lab's own network namespace when absent.
    pub host: Option<&'a Host>,
    /// Its control group; that of the lab when absent.
    pub cgroup: Option<&'a Cgroup>,
    /// Its name (`comm`), up to 15 bytes.
    pub name: Option<&'a str>,
    /// Its own pid namespace, where it has the process id 1.
    pub own_pids: bool,
}

impl Stage {
    /// A stage for actors that run `program act`: `env!("CARGO_BIN_EXE_actor")` of a test.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn new(program: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("rstblame-lab-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| LabError::io(format!("create {}", directory.display()), error))?;
        let control = directory.join("control");
        let listener = UnixListener::bind(&control).map_err(|error| LabError::io(format!("listen on {}", control.display()), error))?;
        Ok(Self { program: program.into(), directory, listener })
    }

    /// A file of this name in the directory of the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts an actor on a host.
    ///
    /// # Errors
    ///
    /// As [`Stage::cast`].
    pub fn actor(&self, host: &Host) -> Result<Actor> {
        self.cast(&Part { host: Some(host), ..Part::default() })
    }

    /// Starts an actor.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be started, [`LabError::Timeout`] when it does not report.
    pub fn cast(&self, part: &Part<'_>) -> Result<Actor> {
        let mut command = if part.own_pids {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.arg("act").arg(self.path("control"));
        if let Some(host) = part.host {
            command.arg("--netns").arg(host.path());
        }
        if let Some(cgroup) = part.cgroup {
            command.arg("--cgroup").arg(cgroup.path());
        }
        if let Some(name) = part.name {
            command.args(["--name", name]);
        }
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        match self.reported(&mut child) {
            Ok((pid, control)) => Ok(Actor { pid, control, child: Some(child) }),
            Err(error) => {
                // Its own error would only hide the one being reported.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Lets an actor fork. The child has all its sockets, and takes commands of its own.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn fork(&self, parent: &mut Actor) -> Result<Actor> {
        parent.ask("fork")?;
        let (pid, control) = self.accept()?;
        Ok(Actor { pid, control, child: None })
    }

    fn reported(&self, child: &mut Child) -> Result<(u32, BufReader<UnixStream>)> {
        let io = |error: io::Error| LabError::io("wait for an actor to report", error);
        let ready = poll::until("an actor to report", PATIENCE, || {
            if let Some(status) = child.try_wait().map_err(io)? {
                return Err(LabError::Client(format!("an actor ended at once: {status}")));
            }
            let ready = event::poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&TICK));
            Ok((ready.map_err(|error| io(error.into()))? > 0).then_some(()))
        });
        ready.and_then(|()| self.accept())
    }

    fn accept(&self) -> Result<(u32, BufReader<UnixStream>)> {
        let io = |error: io::Error| LabError::io("hear an actor", error);
        let (control, _) = self.listener.accept().map_err(io)?;
        control.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        let credentials = socket_peercred(&control).map_err(|error| LabError::io("ask who an actor is", error))?;
        Ok((credentials.pid.as_raw_nonzero().get().unsigned_abs(), BufReader::new(control)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left in the directory for temporary files is nobody's loss.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Actor {
    /// Gives a command without waiting for the answer.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the actor is gone.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let told = self.control.get_mut().write_all(format!("{line}\n").as_bytes());
        told.map_err(|error| LabError::io(format!("tell actor {} to {line}", self.pid), error))
    }

    /// The answer to the oldest command that was not answered yet.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] when the actor could not do it, [`LabError::Io`] when it is gone or
    /// takes longer than a minute.
    pub fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.control.read_line(&mut line).map_err(|error| LabError::io(format!("hear actor {}", self.pid), error))?;
        match line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "")) {
            ("ok", answer) => Ok(answer.to_owned()),
            _ => Err(LabError::Client(format!("actor {} answered {line:?}", self.pid))),
        }
    }

    /// Gives a command and waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`Actor::tell`] and [`Actor::answer`].
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.answer().map_err(|error| LabError::Client(format!("{line:?}: {error}")))
    }

    /// Opens connections, and returns their local addresses.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn connect(&mut self, address: SocketAddr, count: usize) -> Result<Vec<SocketAddr>> {
        addresses(&self.ask(&format!("connect {address} {count}"))?)
    }

    /// Accepts connections, and returns the peers' addresses.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn accept(&mut self, count: usize) -> Result<Vec<SocketAddr>> {
        addresses(&self.ask(&format!("accept {count}"))?)
    }

    /// Hands one of its sockets to the inbox of another, and closes its own descriptor if told so.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn give(&mut self, number: usize, inbox: &Path, keep: bool) -> Result<()> {
        self.ask(&format!("give {number} {}", inbox.display()))?;
        if !keep {
            self.ask(&format!("close {number} 1"))?;
        }
        Ok(())
    }

    /// Gives a command that ends the process, and waits for its end.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when it lives on.
    pub fn end(mut self, line: &str) -> Result<Option<ExitStatus>> {
        self.tell(line)?;
        self.wait()
    }

    /// Waits for its end. A forked actor has no exit status to tell.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when it lives on.
    pub fn wait(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(child) = self.child.as_mut() {
            return command::wait(child, "actor", PATIENCE).map(Some);
        }
        // The end of its control connection, in order or not, is its end.
        let _ = self.control.read_line(&mut String::new());
        Ok(None)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It has played its part; only its end matters.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Addresses with blanks between them.
///
/// # Errors
///
/// [`LabError::Client`] when they are something else.
pub fn addresses(text: &str) -> Result<Vec<SocketAddr>> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|_| LabError::Client(format!("{word:?} is no address"))))
        .collect()
}
