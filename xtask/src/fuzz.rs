//! Fuzzing: the properties of `tests/fuzz`, each a program of libFuzzer's.
//!
//! The compiler is that of the workspace, which is told to accept the one unstable option (the
//! sanitizer's): its runtime comes with it. Laid out as cargo-fuzz wants it, so that `cargo fuzz`
//! with its own commands works there too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    agent::Cargo,
    bpf, command,
    error::{Error, Result},
    toolchain::clean,
    workspace::Workspace,
};

/// The targets, and what of the tests' data is as good a seed as the corpus.
const TARGETS: [(&str, Option<&str>); 12] = [
    ("amqp", None),
    ("btf", Some("btf")),
    ("capture", None),
    ("config", None),
    ("events", Some("stories")),
    ("log", None),
    ("names", None),
    ("packet", None),
    ("sinks", Some("events")),
    ("state", None),
    ("tracefs", Some("tracefs")),
    ("wire", None),
];

/// Coverage for libFuzzer (<https://llvm.org/docs/LibFuzzer.html>,
/// <https://clang.llvm.org/docs/SanitizerCoverage.html>): the flags that cargo-fuzz 0.13 gives, and
/// its cfg.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Zsanitizer=address",
];

/// Longest input, bytes.
const LONGEST: &str = "-max_len=65536";

/// An input that takes longer is a finding, seconds.
const TIMEOUT: &str = "-timeout=10";

/// Fuzzes one target, or all in turn, each for so many seconds, beginning with the corpus. What
/// reaches something new and what breaks a property goes to the target directory; a finding that
/// was mended belongs into the corpus.
///
/// # Errors
///
/// When there is no such target, something does not build, or a property does not hold: the input
/// that shows it is kept and named.
pub fn fuzz(workspace: &Workspace, name: Option<&str>, seconds: u32) -> Result<()> {
    let chosen: Vec<_> = TARGETS.iter().filter(|(target, _)| name.is_none_or(|name| name == *target)).collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|(target, _)| target).join(", ");
        return Err(Error::NoSuch { what: "fuzz target", name: name.unwrap_or_default().to_owned(), known: names });
    }
    bpf::setup(workspace)?;
    let programs = build(workspace)?;
    let mut failed = Vec::new();
    for (target, data) in chosen {
        let places = Places::of(workspace, target, *data)?;
        let run = command::run(&mut places.run(&programs.join(target), seconds));
        if run.is_err() {
            failed.push(*target);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::Fuzz { targets: failed.join(", "), place: workspace.target.join("fuzz/findings") }) }
}

/// Builds all targets, and says where they are.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = Cargo::new(workspace, &["build", "--release", "--locked", "--manifest-path", "tests/fuzz/Cargo.toml"]);
    let target = workspace.target.join("fuzz");
    // The triple is given although it is this machine's own: without it the flags would apply to
    // build scripts too.
    cargo.command().args(["--target", &workspace.host]);
    cargo.command().env("CARGO_TARGET_DIR", &target).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS.join(" "));
    cargo.run()?;
    Ok(target.join(&workspace.host).join("release"))
}

/// The folders of one target.
struct Places {
    /// Inputs that a run found to reach something new.
    new: PathBuf,
    /// Inputs that broke a property.
    findings: PathBuf,
    /// The corpus that is checked in.
    corpus: PathBuf,
    data: Option<PathBuf>,
}

impl Places {
    fn of(workspace: &Workspace, target: &str, data: Option<&str>) -> Result<Self> {
        let places = Self {
            new: workspace.target.join("fuzz/new").join(target),
            findings: workspace.target.join("fuzz/findings").join(target),
            corpus: workspace.root.join("tests/fuzz/corpus").join(target),
            data: data.map(|data| workspace.root.join("agent/testdata").join(data)),
        };
        for folder in [&places.new, &places.findings, &places.corpus] {
            make(folder)?;
        }
        Ok(places)
    }

    /// The first folder takes new inputs; the others are read.
    fn run(&self, program: &Path, seconds: u32) -> Command {
        let mut run = clean(program);
        run.args([LONGEST, TIMEOUT, "-print_final_stats=0", "-verbosity=1", &format!("-max_total_time={seconds}")]);
        run.arg(format!("-artifact_prefix={}/", self.findings.display())).arg(&self.new).arg(&self.corpus).args(&self.data);
        run
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(file(folder))
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
