//! Where things are.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    error::{Error, Result},
    toolchain::target_dir,
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

    /// Packages that are unpacked and not installed.
    pub fn unpacked(&self) -> PathBuf {
        self.target.join("lab").join("unpacked")
    }

    /// The virtual environment of the lab's Python clients.
    pub fn venv(&self) -> PathBuf {
        self.target.join("lab").join("venv")
    }
}
