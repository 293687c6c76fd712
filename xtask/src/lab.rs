//! Unit tests, the lab, its demo and its benchmarks.

use std::{process::Command, thread, time::Instant};

use clap::ValueEnum;

use crate::{
    agent::{self, Cargo},
    bpf, command,
    error::{Error, Result},
    figures, programs,
    suites::{self, Suite, Tally},
    toolchain::clean,
    vm,
    workspace::Workspace,
};

/// Names the file that the lab appends its verdicts to, and that the benchmark of them reads
/// (`rstblame_lab::truths::truth`).
const TRUTH_FILE: &str = "RSTBLAME_TRUTH_FILE";

/// Names the variable by which a benchmark knows what to write beside its figures.
const RUN: &str = "RSTBLAME_RUN";

/// Names the variable by which the soak knows how long it is to be, in seconds.
const SOAK: &str = "RSTBLAME_LAB_SOAK";

/// Which tests `cargo xtask test` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Unit tests, then the lab, then other kernels
    All,
    /// Unit tests, which need no privileges
    Unit,
    /// The lab, on the kernel of this machine; needs root
    Local,
    /// The part of the lab that needs no server, on other kernels, in virtual machines
    Vm,
    /// What `dist` packs: installed, run, upgraded and removed above this machine's file system;
    /// then `fresh`; needs root
    Packages,
    /// New root file systems of Debian 12 and 13, from clone to a scenario of the lab; needs root
    Fresh,
}

/// The suite that runs when the others are done: its agent watches all namespaces of this machine,
/// and what those of other suites cost it would look like growth.
const LAST: &str = "tests: soak";

/// Sets up and runs the tests; says in the end what passed, failed, and was not run.
///
/// # Errors
///
/// When something is missing, a test fails, or BPF does not work here: neither the lab nor a kernel
/// is ever skipped.
pub fn test(workspace: &Workspace, part: Part, filter: Option<&str>) -> Result<()> {
    let began = Instant::now();
    bpf::setup(workspace)?;
    if part != Part::Unit {
        programs::setup(workspace)?;
    }
    let with_kernels = part == Part::All && filter.is_none();
    if with_kernels {
        vm::setup(workspace)?;
    }
    let tally = thread::scope(|scope| {
        // Meanwhile, for it is a matter of the network.
        let kernels = with_kernels.then(|| scope.spawn(|| vm::fetch(workspace)));
        let (mut tally, last) = native(workspace, part, filter)?;
        let kernels = kernels.map(joined).transpose()?;
        // All of them are about what happens in time, and need the processors for that.
        tally.add(run(workspace, &last, filter)?);
        if let Some(kernels) = kernels {
            tally.add(vm::boot(workspace, &kernels, true)?);
        }
        Ok::<_, Error>(tally)
    })?;
    tally.tell(began)
}

/// The tests that run on the kernel of this machine, but for the last of them, which are built.
fn native(workspace: &Workspace, part: Part, filter: Option<&str>) -> Result<(Tally, Vec<Suite>)> {
    let mut tally = Tally::default();
    thread::scope(|scope| {
        // The end of it, linking, is the work of one processor; the unit tests have the other.
        let agent = (part != Part::Unit).then(|| scope.spawn(|| agent::build(workspace)));
        if part != Part::Local {
            let args = ["--workspace", "--exclude", "rstblame-ebpf", "--exclude", "rstblame-lab"];
            for suite in suites::build(workspace, &args)? {
                tally.add(suite.run(None, &[], filter)?);
            }
        }
        let Some(agent) = agent else { return Ok((tally, Vec::new())) };
        joined(agent)?;
        agent::preflight(workspace)?;
        let (last, others): (Vec<_>, Vec<_>) =
            suites::build(workspace, &["--package", "rstblame-lab"])?.into_iter().partition(|suite| suite.name == LAST);
        tally.add(run(workspace, &others, filter)?);
        if filter.is_none() {
            tally.add(suites::documented(workspace, "rstblame-lab")?);
        }
        Ok((tally, last))
    })
}

/// Runs suites of the lab, one after the other.
fn run(workspace: &Workspace, suites: &[Suite], filter: Option<&str>) -> Result<Tally> {
    let mut tally = Tally::default();
    let settings = programs::settings(workspace);
    for suite in suites {
        tally.add(suite.run(sudo(&settings), &settings, filter)?);
    }
    Ok(tally)
}

/// What runs a program as root with these settings, for somebody who is not.
fn sudo(settings: &[String]) -> Option<Command> {
    (!command::is_root()).then(|| {
        let mut command = clean("sudo");
        command.arg("env").args(settings);
        command
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Sets up, builds, and runs the lab's demo; says how long each step took.
///
/// # Errors
///
/// When something is missing or does not build, or a verdict is not the truth.
pub fn demo(workspace: &Workspace) -> Result<()> {
    step("a compiler and a linker for the kernel programs", || bpf::setup(workspace))?;
    step("hosts and a firewall", || programs::provide(workspace, &programs::DEMO, "the demo needs"))?;
    step("building the agent and the demo (not optimised, so that it is soon done)", || {
        let packages = ["--package", "rstblame", "--package", "rstblame-lab", "--bin", "rstblame", "--bin", "demo"];
        Cargo::new(workspace, &[&["build", "--profile", DEMO], packages.as_slice()].concat()).run()
    })?;
    let built = workspace.target.join(DEMO);
    let mut settings = programs::settings(workspace);
    settings.push(format!("RSTBLAME_BIN={}", built.join("rstblame").display()));
    // Not by `cargo run`: of one package alone cargo builds all anew, with features of its own.
    let mut command = sudo(&settings).unwrap_or_else(|| clean("env"));
    if command::is_root() {
        command.args(&settings);
    }
    command.arg(built.join("demo"));
    step("the demo", || match command::run(&mut command) {
        // It has said itself what went wrong.
        Err(Error::Failed { .. }) => Err(Error::Reported { code: 1 }),
        ended => ended,
    })
}

/// The profile of the demo.
const DEMO: &str = "demo";

fn step(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    work()?;
    println!("demo: {what}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Sets up, builds, and becomes the lab's benchmarks, or the one of this name.
///
/// # Errors
///
/// When something is missing or does not build.
pub fn bench(workspace: &Workspace, name: Option<&str>) -> Result<()> {
    bpf::setup(workspace)?;
    programs::setup(workspace)?;
    programs::setup_bench(workspace)?;
    agent::build(workspace)?;
    let truth = [format!("{TRUTH_FILE}={}", workspace.truth().display()), format!("{RUN}={}", figures::run(workspace)?)];
    if name.is_none_or(|name| name == "calibration") {
        verdicts(workspace, &truth)?;
    }
    let mut cargo = lab_with(workspace, &["run", "--quiet", "--release", "--package", "rstblame-lab", "--bin", "bench", "--"], &truth);
    command::exec(cargo.command().args(name))
}

/// Sets up, builds, and runs the lab's soak for so long; its figures go to
/// `target/bench/soak.json`.
///
/// # Errors
///
/// When something is missing, does not build, or did not hold.
pub fn soak(workspace: &Workspace, seconds: u32) -> Result<()> {
    bpf::setup(workspace)?;
    programs::setup(workspace)?;
    agent::build(workspace)?;
    let settings = [format!("{SOAK}={seconds}"), format!("{RUN}={}", figures::run(workspace)?)];
    lab_with(workspace, &["test", "--package", "rstblame-lab", "--test", "soak", "--", "--nocapture"], &settings).run()
}

/// Lets the lab write down its verdicts beside the truth: all its scenarios with a middlebox or
/// without.
fn verdicts(workspace: &Workspace, truth: &[String]) -> Result<()> {
    let path = workspace.truth();
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(Error::File { path, source }),
        _ => {}
    }
    println!("calibration: the lab's scenarios of middleboxes come first, to have verdicts to judge");
    let args = ["test", "--quiet", "--package", "rstblame-lab", "--test", "middlebox_*", "--no-fail-fast"];
    // A verdict that is wrong fails its test, and is a verdict all the same.
    if let Err(error) = lab_with(workspace, &args, truth).run() {
        println!("calibration: {error}; the verdicts so far count");
    }
    Ok(())
}

/// A cargo command that builds as this user and runs what it built as root, told where the agent
/// and Python are; `more` are further variables in the environment of what was built.
pub fn lab_with(workspace: &Workspace, args: &[&str], more: &[String]) -> Cargo {
    let mut settings = programs::settings(workspace);
    settings.extend_from_slice(more);
    let mut cargo = Cargo::new(workspace, &[]);
    let command = cargo.command();
    if !command::is_root() {
        command.args(["--config", &sudo_runner(&settings)]);
    }
    command.args(args);
    command.envs(settings.iter().filter_map(|setting| setting.split_once('=')));
    cargo
}

/// The cargo setting that starts each built program through sudo, which drops the environment
/// unless `env` sets it.
fn sudo_runner(settings: &[String]) -> String {
    let words = ["sudo", "env"].into_iter().chain(settings.iter().map(String::as_str));
    let words = words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    format!("target.'cfg(unix)'.runner = [{words}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_runner_hands_the_settings_through_env() {
        let runner = sudo_runner(&["RSTBLAME_BIN=/a b/rstblame".to_owned()]);
        assert_eq!(runner, r#"target.'cfg(unix)'.runner = ["sudo", "env", "RSTBLAME_BIN=/a b/rstblame"]"#);
    }
}
