//! Where things are.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    error::{Error, Result},
    toolchain::{clean, target_dir},
};

/// The checkout this program was built from, and what its builds go by.
#[derive(Debug)]
pub struct Workspace {
    /// Its root.
    pub root: PathBuf,
    /// The target directory this program is in, wherever the user's configuration puts it.
    pub target: PathBuf,
    /// The triple of this machine, as rustc names it.
    pub host: String,
    /// The `cargo` that runs this program.
    pub cargo: OsString,
}

impl Workspace {
    /// Finds it from the place of this program.
    ///
    /// # Errors
    ///
    /// [`Error::Place`] when this program was moved, [`Error::Host`] when rustc cannot be asked.
    pub fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_owned();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let verbose = command::output(Command::new("rustc").current_dir(&root).arg("-vV"))?;
        let host = verbose.lines().find_map(|line| line.strip_prefix("host: ")).ok_or(Error::Host)?.to_owned();
        let program = env::current_exe().map_err(|source| Error::File { path: "/proc/self/exe".into(), source })?;
        let target = program.parent().and_then(|dir| target_dir(dir, &host)).ok_or(Error::Place(program))?;
        Ok(Self { root, target, host, cargo })
    }

    /// The release binary of the agent.
    pub fn agent(&self) -> PathBuf {
        self.target.join("release").join("rstblame")
    }

    /// Where the lab's verdicts are put beside the truth.
    pub fn truth(&self) -> PathBuf {
        self.target.join("lab").join("truth.tsv")
    }

    /// Packages that are unpacked and not installed, each with what it needs in a directory of its
    /// name.
    pub fn unpacked(&self) -> PathBuf {
        self.target.join("lab").join("unpacked")
    }

    /// What starts the programs in [`unpacked`](Self::unpacked) that this machine does not have
    /// itself.
    pub fn starters(&self) -> PathBuf {
        self.target.join("lab").join("bin")
    }

    /// The search path for programs: those that were unpacked, this machine's, and where it has the
    /// administrator's, which the PATH of an ordinary user on Debian leaves out.
    pub fn path(&self) -> OsString {
        let own = env::var_os("PATH").unwrap_or_default();
        let all = [self.starters()].into_iter().chain(env::split_paths(&own)).chain(["/usr/sbin".into(), "/sbin".into()]);
        env::join_paths(all).unwrap_or(own)
    }

    /// A command of a program that may be an unpacked one, as may what it calls.
    pub fn tool(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = clean(program);
        command.env("PATH", self.path());
        command
    }

    /// The virtual environment of the lab's Python clients.
    pub fn venv(&self) -> PathBuf {
        self.target.join("lab").join("venv")
    }
}
