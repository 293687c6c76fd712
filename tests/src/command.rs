//! Running other programs, so that a failure shows the command line and what the program said.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use crate::{LabError, Result, poll};

/// How a command ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

/// Runs a command line to its end and returns its standard output.
///
/// # Errors
///
/// [`LabError::Command`] with the command line and its stderr when it cannot be started or does not
/// exit with 0, and [`LabError::Timeout`] when it takes longer than 20 s.
pub fn run(words: &[&str]) -> Result<String> {
    let mut words_left = words.iter();
    let mut command = Command::new(words_left.next().copied().unwrap_or_default());
    command.args(words_left);
    run_command(command, Duration::from_secs(20))
}

/// Like [`run`], for a prepared command and with its own time limit.
///
/// # Errors
///
/// As [`run`].
pub fn run_command(command: Command, limit: Duration) -> Result<String> {
    let text = describe(&command);
    let finished = finish(command, limit)?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    Err(LabError::Command {
        command: text,
        status: finished.status.to_string(),
        output: if finished.stderr.trim().is_empty() { finished.stdout } else { finished.stderr },
    })
}

/// Runs a command to its end, whatever its exit status, with an empty standard input.
///
/// # Errors
///
/// [`LabError::Io`] when it cannot be started; [`LabError::Timeout`], after killing it, when it
/// outlives `limit`.
pub fn finish(mut command: Command, limit: Duration) -> Result<Finished> {
    let text = describe(&command);
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = wait(&mut child, &text, limit)?;
    Ok(Finished { status, stdout: stdout.map(collect).unwrap_or_default(), stderr: stderr.map(collect).unwrap_or_default() })
}

/// Starts a command, with no close of [`while_nothing_starts`] in between.
///
/// # Errors
///
/// [`LabError::Io`] when it cannot be started.
pub fn spawn(command: &mut Command) -> Result<Child> {
    let started = while_nothing_starts(|| command.spawn());
    started.map_err(|error| LabError::io(format!("start `{}`", describe(command)), error))
}

/// Does `work` while no other test of this process starts a command.
///
/// A child holds a copy of every descriptor until it executes its program. A socket closed
/// meanwhile is closed for real only then, by the child: too late, and by the wrong process.
/// `spawn` returns after that moment.
pub fn while_nothing_starts<T>(work: impl FnOnce() -> T) -> T {
    static STARTING: Mutex<()> = Mutex::new(());
    let _guard = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Waits for a child to end.
///
/// # Errors
///
/// [`LabError::Timeout`], after killing it, when it outlives `limit`.
pub fn wait(child: &mut Child, name: &str, limit: Duration) -> Result<ExitStatus> {
    let waited = poll::until(&format!("`{name}` to end"), limit, || {
        child.try_wait().map_err(|error| LabError::io(format!("wait for `{name}`"), error))
    });
    if waited.is_err() {
        // Its own error would only hide the one being reported.
        let _ = child.kill();
        let _ = child.wait();
    }
    waited
}

/// Sends a process a signal.
///
/// # Errors
///
/// [`LabError::Io`] when there is no such process.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    process
        .ok_or(Errno::SRCH)
        .and_then(|process| kill_process(process, signal))
        .map_err(|error| LabError::io(format!("signal process {pid}"), error))
}

/// The command line as a person would type it.
pub fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks early leaves what was read, which is all there is to show.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn collect(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}
