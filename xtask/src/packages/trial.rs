//! The packages tried out: installed, upgraded and removed by dpkg and rpm, on this machine's own
//! file system with a throw-away layer above it; and the image of the same binary, built and run by
//! podman.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{RPM, dated, packing};
use crate::{
    command,
    dist::{self, commit_time},
    error::{Error, Result},
    programs::{self, Program, program},
    unpacked,
    workspace::Workspace,
};

const PROGRAMS: [Program; 8] = [
    program("lintian", "lintian", "holds the .deb against Debian's policy"),
    program("rpm", "rpm", "installs the .rpm"),
    program("systemd-analyze", "systemd", "reads the unit"),
    program("logrotate", "logrotate", "reads the rules of rotation"),
    program("setpriv", "util-linux", "runs the agent with the unit's capabilities"),
    program("ip", "iproute2", "brings up the loopback that is reset"),
    program("podman", "podman", "builds and runs the image"),
    program("runc", "runc", "is what podman runs it with"),
];

const ROOT: &str = include_str!("root.sh");
const STEPS: &str = include_str!("steps.sh");
const DEB: &str = include_str!("deb.sh");
const RPM_STEPS: &str = include_str!("rpm.sh");
const CONTAINER: &str = include_str!("container.sh");

/// What `rpm --erase` leaves, by its custom: the changed configuration, and what the agent wrote.
const RPM_LEAVES: &str = "/etc/rstblame(/rstblame.toml.rpm(save|new))?|/var/(lib|log)/rstblame(/events.jsonl)?";

/// The scalars of an older package, and as much of its content as an upgrade could go wrong with.
const OLDER: &str = r#"
version = "0.0.1"
assets = [
    { source = "target/release/rstblame", dest = "/usr/bin/rstblame", mode = "755" },
    { source = "packaging/systemd/rstblame.service", dest = "/usr/lib/systemd/system/", mode = "644" },
    { source = "packaging/systemd/rstblame.sysusers", dest = "/usr/lib/sysusers.d/rstblame.conf", mode = "644" },
    { source = "OLDER_TOML", dest = "/etc/rstblame/rstblame.toml", mode = "644", config = "noreplace" },
]
"#;

/// Packs, then tries out what was packed. Root is needed.
///
/// # Errors
///
/// When something is missing, does not pack, or a step of a trial fails: it has said which.
pub fn test(workspace: &Workspace) -> Result<()> {
    programs::provide(workspace, &PROGRAMS, "the test of the packages needs")?;
    let packed = dist::dist(workspace)?;
    let [deb, rpm] = ["deb", "rpm"].map(|kind| packed.iter().find(|path| path.extension().is_some_and(|extension| extension == kind)));
    let missing = || Error::MissingPrograms("what packs".to_owned());
    let (deb, rpm) = (deb.ok_or_else(missing)?, rpm.ok_or_else(missing)?);
    try_out(workspace, &format!("{STEPS}{DEB}"), "", &[deb])?;
    try_out(workspace, &format!("{STEPS}{RPM_STEPS}"), RPM_LEAVES, &[rpm, &older_rpm(workspace)?])?;
    try_image(workspace)
}

fn try_image(workspace: &Workspace) -> Result<()> {
    let room = workspace.target.join("tmp/image");
    unpacked::remove(&room)?;
    let recipe = workspace.root.join("packaging/container/Containerfile");
    let steps = format!("set -- \"$1\" '{}' '{}'\n{CONTAINER}", dist::folder(workspace).display(), room.display());
    // An engine may leave what it likes.
    try_out(workspace, &steps, ".*", &[&recipe])
}

/// Runs steps in a root that is this machine's, and has the unpacked programs as if they were
/// installed.
fn try_out(workspace: &Workspace, steps: &str, may_stay: &str, packages: &[&PathBuf]) -> Result<()> {
    let layers: String =
        programs::layers(workspace, &PROGRAMS).iter().flat_map(|root| [root.display().to_string(), ":".to_owned()]).collect();
    // In a network namespace, too: a reset there is no other test's.
    let mut command = command::privileged("unshare");
    command.args(["--mount", "--net", "--propagation=private", "sh", "-c", ROOT, "sh", steps, may_stay, &layers]);
    command.arg(&workspace.target).args(packages);
    // Its command line is the scripts.
    let status = command.status().map_err(|source| Error::Start { command: "unshare".to_owned(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: "the trial of a package".to_owned(), status }) }
}

/// A package of an older version, with another default in its configuration.
fn older_rpm(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("tmp");
    fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
    let (packed, config, older) =
        (workspace.root.join("packaging/rstblame.toml"), directory.join("older.toml"), directory.join("rstblame-0.0.1-1.rpm"));
    let text = fs::read_to_string(&packed).map_err(|source| Error::File { path: packed, source })?;
    write(&config, &text.replace("\nsettle = \"1s\"\n", "\nsettle = \"2s\"\n"))?;
    let mut packer = packing(workspace, RPM)?;
    packer.args(["generate-rpm", "--package", "agent", "--target", &workspace.host, "--set-metadata"]);
    packer.arg(OLDER.replace("OLDER_TOML", &config.to_string_lossy())).arg("--output").arg(&older);
    command::run(dated(&mut packer, commit_time(workspace).as_deref()))?;
    Ok(older)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}
