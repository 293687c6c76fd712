//! The static binary that runs on any distribution, packed: a tarball, a `.deb`, a `.rpm`, and
//! their checksums.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    agent::Cargo,
    bpf, command, elf,
    error::{Error, Result},
    packages,
    toolchain::clean,
    workspace::Workspace,
};

/// What goes into the tarball beside the binary.
const DOCUMENTS: [&str; 4] = ["README.md", "LICENSE", "LICENSE-MIT", "LICENSE-APACHE"];

/// Builds the static binary and packs it into `target/dist`. Returns what was packed.
///
/// # Errors
///
/// When it does not build, is not static, does not start, or cannot be packed.
pub fn dist(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    bpf::check_quietly()?;
    let binary = build(workspace)?;
    require_static(&binary)?;
    // With nothing in its environment, from a directory that is not ours.
    command::output(Command::new(&binary).arg("--version").env_clear().current_dir("/"))?;

    let dist = workspace.target.join("dist");
    let name = name();
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    }
    fs::create_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    copy(&binary, &folder.join("rstblame"))?;
    for document in DOCUMENTS {
        copy(&workspace.root.join(document), &folder.join(document))?;
    }

    let tarball = format!("{name}.tar.gz");
    command::run(pack(workspace, &name, &tarball).current_dir(&dist))?;
    let mut made = vec![tarball];
    made.extend(packages::pack(workspace, &dist, commit_time(workspace).as_deref())?);
    for file in &made {
        let sum = command::output(clean("sha256sum").arg(file).current_dir(&dist))?;
        let checksum = dist.join(format!("{file}.sha256"));
        fs::write(&checksum, sum).map_err(|source| Error::File { path: checksum.clone(), source })?;
        println!("{}\n{}", dist.join(file).display(), checksum.display());
    }
    Ok(made.iter().map(|file| dist.join(file)).collect())
}

/// Where what is in the archive is left: the static binary and its documents.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("dist").join(name())
}

/// The archive and the folder in it.
fn name() -> String {
    format!("rstblame-{}-{}-linux", env!("CARGO_PKG_VERSION"), env::consts::ARCH)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = Cargo::new(workspace, &["build", "--release", "--package", "rstblame"]);
    // The triple is given although it is this machine's own: without it the flags would apply to
    // build scripts and procedural macros too, and those must be dynamic.
    cargo.command().args(["--target", &workspace.host]).env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.run()?;
    Ok(workspace.target.join(&workspace.host).join("release").join("rstblame"))
}

fn require_static(binary: &Path) -> Result<()> {
    let file = fs::read(binary).map_err(|source| Error::File { path: binary.to_owned(), source })?;
    match elf::interpreter(&file) {
        Ok(None) => Ok(()),
        Ok(Some(interpreter)) => Err(Error::Dynamic { path: binary.to_owned(), interpreter }),
        Err(source) => Err(Error::Elf { path: binary.to_owned(), source }),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map_err(|source| Error::File { path: from.to_owned(), source })?;
    Ok(())
}

/// Packs so that the same commit gives the same bytes: sorted, owned by root, dated by the commit.
fn pack(workspace: &Workspace, name: &str, tarball: &str) -> Command {
    let mut command = clean("tar");
    command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--use-compress-program=gzip -9n"]);
    command.args(commit_time(workspace).map(|date| format!("--mtime=@{date}")));
    command.args(["--create", "--file", tarball, name]);
    command
}

/// What files are dated by, in seconds since the epoch: `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), else the time of the checked out
/// commit; `None` outside git.
pub fn commit_time(workspace: &Workspace) -> Option<String> {
    if let Ok(date) = env::var("SOURCE_DATE_EPOCH") {
        return Some(date);
    }
    let date = command::output(clean("git").arg("-C").arg(&workspace.root).args(["log", "-1", "--format=%ct"])).ok()?;
    Some(date.trim().to_owned())
}
