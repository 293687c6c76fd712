//! Machines that were never used: root file systems made for it, in which the README's commands
//! have to work.

use std::{env, fs, path::PathBuf, process::Command, time::Instant};

use crate::{
    apt::{self, KEYS},
    command,
    error::{Error, Result},
    programs::{self, Program, program},
    suites::Tally,
    unpacked,
    workspace::Workspace,
};

/// Names the variable with the address of an archive of Ubuntu's.
const UBUNTU: &str = "RSTBLAME_UBUNTU";

/// Where the keys of that archive are, if this machine has them.
const UBUNTU_KEYS: &str = "/usr/share/keyrings/ubuntu-archive-keyring.gpg";

const PROGRAMS: [Program; 1] = [program("debootstrap", "debootstrap", "makes root file systems")];

const SCRIPT: &str = include_str!("fresh.sh");

/// A machine to be made.
struct Machine {
    suite: &'static str,
    archive: String,
    security: String,
    keys: PathBuf,
    /// The suite of what is installed beforehand and stands in the way.
    upset: &'static str,
}

/// Makes fresh machines, or the one whose suite has this name, and runs there what the README says.
/// Needs root.
///
/// # Errors
///
/// When a step fails on one of them: it has said which.
pub fn test(workspace: &Workspace, suite: Option<&str>) -> Result<()> {
    let began = Instant::now();
    programs::provide(workspace, &PROGRAMS, "fresh machines need")?;
    let mut tally = Tally::default();
    for machine in machines(workspace)? {
        if suite.is_some_and(|suite| suite != machine.suite) {
            continue;
        }
        let started = Instant::now();
        let good = try_out(workspace, &machine)?;
        let name = format!("{}{}", machine.suite, if machine.upset.is_empty() { "" } else { ", upset" });
        tally.count(&name, usize::from(good), usize::from(!good), started.elapsed());
    }
    tally.tell(began)
}

fn machines(workspace: &Workspace) -> Result<Vec<Machine>> {
    let archive = apt::mirror()?;
    // Beside it on every mirror that has it.
    let security = format!("{}-security", archive.trim_end_matches('/'));
    programs::provide(workspace, [&KEYS], "fresh machines need")?;
    let keys = programs::find(workspace, &KEYS).ok_or_else(|| Error::MissingPrograms(KEYS.name.to_owned()))?;
    let debian = |suite, upset| Machine { suite, archive: archive.clone(), security: security.clone(), keys: keys.clone(), upset };
    let mut machines = vec![debian("bookworm", "bookworm-backports"), debian("trixie", "")];
    if let Ok(archive) = env::var(UBUNTU) {
        machines.push(Machine { suite: "noble", security: archive.clone(), archive, keys: UBUNTU_KEYS.into(), upset: "" });
    }
    Ok(machines)
}

fn try_out(workspace: &Workspace, machine: &Machine) -> Result<bool> {
    let directory = workspace.target.join("fresh").join(machine.suite);
    unpacked::remove(&directory)?;
    fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
    let mut command: Command = command::privileged("env");
    command.arg(format!("PATH={}", workspace.path().to_string_lossy()));
    command.args(["unshare", "--mount", "--propagation", "private", "bash", "-c", SCRIPT, "fresh"]);
    command.arg(&directory).args([machine.suite, &machine.archive, &machine.security]).arg(&machine.keys);
    command.arg(&workspace.root).arg(machine.upset);
    let status = command.status().map_err(|source| Error::Start { command: "unshare".to_owned(), source })?;
    println!("fresh: {}: all that was said is in {}", machine.suite, directory.join("log").display());
    if status.success() {
        // Some gigabytes.
        unpacked::remove(&directory.join("root"))?;
    }
    Ok(status.success())
}
