//! Builds the kernel programs into `$OUT_DIR/rstblame.bpf.o`, which the agent embeds, and names the
//! commit in `RSTBLAME_COMMIT` where there is one.

#[path = "../xtask/src/toolchain/mod.rs"]
mod toolchain;

use std::{
    env::{self, VarError},
    fmt, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use toolchain::{NotSetUp, Order, Origin};

/// Why there is no object.
enum Error {
    /// Cargo did not set what it sets for every build script.
    Environment(&'static str, VarError),
    /// `OUT_DIR` or the manifest is not where cargo puts them.
    Place(PathBuf),
    /// No toolchain for the kernel programs.
    NotSetUp(NotSetUp),
    /// A command that does not start.
    Start(io::Error),
    /// The kernel programs do not compile.
    Compile(ExitStatus, String),
    /// The object is not where it should be.
    Copy(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name, source) => write!(f, "{name}: {source}; build with cargo"),
            Self::Place(path) => write!(f, "{} is not inside a target directory or workspace", path.display()),
            Self::NotSetUp(source) => write!(f, "{source}"),
            Self::Start(source) => write!(f, "cannot start the build of the kernel programs: {source}"),
            Self::Compile(status, text) => write!(f, "the kernel programs do not build ({status}):\n{text}"),
            Self::Copy(path, source) => write!(f, "cannot copy the object {}: {source}", path.display()),
        }
    }
}

fn main() {
    if let Err(error) = build() {
        // Cargo fails the build for these lines, and shows them alone; after an exit code it would
        // show all that was printed here.
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), Error> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().ok_or_else(|| Error::Place(manifest_dir.clone()))?;
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = toolchain::target_dir(&out_dir, &variable("TARGET")?).ok_or(Error::Place(out_dir.clone()))?;
    watch(workspace);
    name_commit(workspace);

    let chosen = toolchain::choose(&toolchain::probe()).map_err(Error::NotSetUp)?;
    println!("cargo::rerun-if-changed={}", chosen.linker.display());
    if let Origin::Path(rustc) = &chosen.compiler.origin {
        println!("cargo::rerun-if-changed={}", rustc.display());
    }

    let (cargo, arch) = (variable("CARGO")?, variable("CARGO_CFG_TARGET_ARCH")?);
    let order = Order {
        cargo: cargo.as_ref(),
        workspace,
        target_dir: &target_dir.join("bpf"),
        arch: &arch,
        big_endian: variable("CARGO_CFG_TARGET_ENDIAN")? == "big",
    };
    let output = chosen.command(&order).output().map_err(Error::Start)?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Error::Compile(output.status, text.into_owned()));
    }
    for line in text.lines().filter(|line| !line.is_empty()) {
        println!("cargo::warning={line}");
    }
    let object = order.object();
    fs::copy(&object, out_dir.join("rstblame.bpf.o")).map_err(|source| Error::Copy(object, source))?;
    Ok(())
}

fn variable(name: &'static str) -> Result<String, Error> {
    env::var(name).map_err(|source| Error::Environment(name, source))
}

/// Everything the object is made from.
fn watch(workspace: &Path) {
    for path in ["agent-ebpf/src", "agent-ebpf/Cargo.toml", "agent-ebpf/abi", "Cargo.toml", "Cargo.lock", "xtask/src/toolchain/mod.rs"] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// Sets `RSTBLAME_COMMIT` when the workspace is a git checkout of its own: not an unpacked archive,
/// nor a folder in somebody else's repository.
fn name_commit(workspace: &Path) {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        // A build started from a git hook inherits these, and they would name that hook's
        // repository.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        let output = command.arg("-C").arg(workspace).arg("rev-parse").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if git(&["--show-prefix"]).is_none_or(|prefix| !prefix.is_empty()) {
        return;
    }
    let Some(commit) = git(&["--short=12", "HEAD"]) else { return };
    println!("cargo::rustc-env=RSTBLAME_COMMIT={commit}");
    // One file that changes with each commit and checkout, and with nothing else. A watched file
    // that does not exist would make every build run this script again, so without a reflog the
    // commit stays that of the last build.
    let reflog = git(&["--git-path", "logs/HEAD"]).map(|path| workspace.join(path));
    if let Some(reflog) = reflog.filter(|path| path.is_file()) {
        println!("cargo::rerun-if-changed={}", reflog.display());
    }
}
