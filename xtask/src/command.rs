//! Commands: run, captured, replaced by, and with privileges.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    process::Command,
};

use crate::{
    error::{Error, Result},
    toolchain::clean,
};

/// The command line as one would type it, for messages.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end, its output going where ours goes.
///
/// # Errors
///
/// [`Error::Start`] when there is no such program, [`Error::Failed`] when it ends with anything but
/// success.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|source| Error::Start { command: line(command), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: line(command), status }) }
}

/// What a command prints on standard output.
///
/// # Errors
///
/// As [`run`].
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|source| Error::Start { command: line(command), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Failed { command: line(command), status: output.status })
    }
}

/// Whether a command ends with success; its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Becomes the command, so that its signals, terminal and exit code are its own.
///
/// # Errors
///
/// [`Error::Start`]; it returns only then.
pub fn exec(command: &mut Command) -> Result<()> {
    let source = command.exec();
    Err(Error::Start { command: line(command), source })
}

/// Whether this process has the privileges of root.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user:
    // https://man7.org/linux/man-pages/man5/proc_pid.5.html
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A command with the privileges of root: as it is for root, behind sudo for anybody else.
pub fn privileged(program: &str) -> Command {
    if is_root() {
        return clean(program);
    }
    let mut command = clean("sudo");
    command.arg(program);
    command
}
