//! The `.deb` and the `.rpm`, of the static binary that is built already. What is in them stands in
//! `agent/Cargo.toml`.

mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub use self::trial::test;
use crate::{
    agent::Cargo,
    command,
    error::{Error, Result},
    workspace::Workspace,
};

/// The programs that pack, and their versions: another may lay packages out otherwise.
const DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");

/// Packs both into `dist`, and returns their file names.
///
/// # Errors
///
/// When a program that packs is missing and cannot be installed, or fails.
pub fn pack(workspace: &Workspace, dist: &Path, date: Option<&str>) -> Result<Vec<String>> {
    let pages = workspace.root.join("target/pages");
    let mut cargo = Cargo::new(workspace, &["run", "--quiet", "--package", "rstblame", "--example", "pages", "--"]);
    cargo.command().arg(&pages);
    cargo.run()?;

    let (version, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let (deb, rpm) = (format!("rstblame_{version}-1_{}.deb", debian(machine)), format!("rstblame-{version}-1.{machine}.rpm"));
    let mut packer = packing(workspace, DEB)?;
    // Stripped of nothing: the profile says what is left in.
    packer.args(["deb", "--quiet", "--no-build", "--no-strip", "--package", "rstblame", "--target", &workspace.host, "--output"]);
    command::run(dated(packer.arg(dist.join(&deb)), date))?;
    let mut packer = packing(workspace, RPM)?;
    packer.args(["generate-rpm", "--package", "agent", "--target", &workspace.host, "--output"]);
    command::run(dated(packer.arg(dist.join(&rpm)), date))?;
    Ok(vec![deb, rpm])
}

/// Debian's name of an architecture (<https://www.debian.org/ports/>).
fn debian(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn dated<'a>(packer: &'a mut Command, date: Option<&str>) -> &'a mut Command {
    packer.envs(date.map(|date| ("SOURCE_DATE_EPOCH", date)))
}

/// A program that packs, installed into the target directory if it is not there in that version.
fn packing(workspace: &Workspace, (name, version): (&str, &str)) -> Result<Command> {
    let tools = workspace.target.join("tools");
    let path: PathBuf = tools.join("bin").join(name);
    let stamp = tools.join(format!("{name}.version"));
    if !path.exists() || fs::read_to_string(&stamp).ok().as_deref() != Some(version) {
        println!("dist: installing {name} {version} into {}", tools.display());
        let mut cargo = Cargo::new(workspace, &["install", "--quiet", "--locked", "--force", "--root"]);
        cargo.command().arg(&tools).arg(format!("{name}@{version}"));
        cargo.run()?;
        fs::write(&stamp, version).map_err(|source| Error::File { path: stamp.clone(), source })?;
    }
    let mut command = Command::new(path);
    command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target);
    Ok(command)
}
