//! Suites of Debian's besides the one this machine is of, with lists and a cache of their own: what
//! it has installed and where it installs from stays as it is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Apt, imagined, reason};
use crate::{
    command,
    error::{Error, Result},
    programs::{self, Program, program},
    toolchain::clean,
    workspace::Workspace,
};

/// Names the variable with the address of an archive of Debian's, for machines that install from
/// none.
pub const MIRROR: &str = "RSTBLAME_DEBIAN";

/// The keys of that archive, which a machine that is not Debian does not trust by itself.
pub const KEYS: Program =
    program("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring", "vouches for packages of other suites");

/// An apt of its own: own sources, own lists, own cache.
pub struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// Fetches the lists of these suites into `directory`.
    ///
    /// # Errors
    ///
    /// When there is no archive, or it does not have a suite.
    pub fn open<'a>(workspace: &Workspace, directory: &Path, suites: impl Iterator<Item = &'a str>) -> Result<Self> {
        let archive = Self { directory: directory.to_owned() };
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        for folder in ["lists/partial", "cache/archives/partial"] {
            let path = directory.join(folder);
            fs::create_dir_all(&path).map_err(file(&path))?;
        }
        let mirror = mirror()?;
        programs::provide(workspace, [&KEYS], "other suites of Debian need")?;
        let keys = programs::find(workspace, &KEYS).ok_or_else(|| Error::MissingPrograms(KEYS.name.to_owned()))?;
        let sources: Vec<String> = suites.map(|suite| format!("deb [signed-by={}] {mirror} {suite} main\n", keys.display())).collect();
        let path = directory.join("sources.list");
        fs::write(&path, sources.concat()).map_err(file(&path))?;
        reason::run(archive.apt("apt-get").args(["update", "--quiet=2"]))?;
        Ok(archive)
    }

    /// A command of apt's that knows these suites only.
    pub fn apt(&self, program: &str) -> Command {
        let mut command = clean(program);
        let settings = [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "none"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
        ];
        for (name, value) in settings {
            command.args(["-o", &format!("{name}={}", self.directory.join(value).display())]);
        }
        // Of the archive's lists only those of packages.
        command.args(["-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
        // The archive's own user need not be able to enter the target directory.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// Fetches packages with all that they depend on, as for a machine that has nothing, and says
    /// which files these are.
    ///
    /// # Errors
    ///
    /// [`Error::Apt`] with the cause and the fix.
    pub fn fetch(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let status = self.directory.join("status");
        fs::write(&status, "").map_err(|source| Error::File { path: status.clone(), source })?;
        reason::run(imagined::download(&mut self.apt("apt-get"), &status).args(packages))?;
        imagined::downloaded(&self.directory.join("cache/archives"))
    }
}

/// Where other suites are fetched from: what [`MIRROR`] names, else where this machine installs
/// Debian from.
///
/// # Errors
///
/// [`Error::NoArchive`] when there is no such place.
pub fn mirror() -> Result<String> {
    if let Ok(named) = env::var(MIRROR) {
        return Ok(named);
    }
    if let Some(mirror) = configured() {
        return Ok(mirror);
    }
    // Whose archive it is stands in its lists.
    if let Some(mut apt) = Apt::find() {
        apt.update()?;
    }
    configured().ok_or(Error::NoArchive(MIRROR))
}

fn configured() -> Option<String> {
    let targets =
        command::output(clean("apt-get").args(["indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"])).ok()?;
    let mut debian = targets.lines().filter_map(|line| line.strip_prefix("Debian "));
    debian.find(|uri| uri.trim_end_matches('/').ends_with("debian")).map(str::to_owned)
}
