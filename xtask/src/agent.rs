//! The agent: built, run, and the cargo commands around it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    bpf, command,
    error::{Error, Result},
    workspace::Workspace,
};

/// A cargo command in this workspace, into the target directory of this program.
pub struct Cargo(Command);

impl Cargo {
    /// `cargo` with these arguments.
    pub fn new(workspace: &Workspace, args: &[&str]) -> Self {
        let mut command = Command::new(&workspace.cargo);
        command.current_dir(&workspace.root).args(args).env("CARGO_TARGET_DIR", &workspace.target);
        Self(command)
    }

    /// The command, to be changed.
    pub fn command(&mut self) -> &mut Command {
        &mut self.0
    }

    /// Runs it; it has printed what it had to say when it fails.
    ///
    /// # Errors
    ///
    /// [`Error::Reported`] with its exit code, [`Error::Start`] without a cargo.
    pub fn run(mut self) -> Result<()> {
        let status = self.0.status().map_err(|source| Error::Start { command: command::line(&self.0), source })?;
        if status.success() {
            return Ok(());
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Err(Error::Reported { code })
    }
}

/// Lets a command build tests without debug information, which takes longer to write than the tests
/// to run, and is not read.
pub fn without_debug_info(command: &mut Command) -> &mut Command {
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0")
}

/// Builds the release binary, and says where it is.
///
/// # Errors
///
/// When the BPF toolchain is missing or the code does not build.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    bpf::check_quietly()?;
    Cargo::new(workspace, &["build", "--release", "--package", "rstblame"]).run()?;
    Ok(workspace.agent())
}

/// Builds, then becomes the agent.
///
/// # Errors
///
/// As [`build`], and when the agent or sudo does not start.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let binary = build(workspace)?;
    command::exec(command::privileged(&binary.to_string_lossy()).args(args))
}

/// Asks the agent itself whether its main job can run on this machine.
///
/// # Errors
///
/// [`Error::NoBpf`] with what `rstblame check` printed.
pub fn preflight(workspace: &Workspace) -> Result<()> {
    let mut check = command::privileged(&workspace.agent().to_string_lossy());
    // The password prompt of sudo needs the terminal.
    check.arg("check").stdin(Stdio::inherit());
    let output = check.output().map_err(|source| Error::Start { command: command::line(&check), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Err(Error::NoBpf { status: output.status, said })
}
