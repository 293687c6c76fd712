//! `cargo xtask`: everything that is done with this repository besides plain `cargo` commands.

mod agent;
mod apt;
mod bpf;
mod command;
mod comments;
mod coverage;
mod dist;
#[cfg(test)]
mod documented;
mod elf;
mod error;
mod figures;
mod fresh;
mod fuzz;
mod lab;
mod mutants;
mod packages;
mod programs;
mod python;
mod rooms;
mod scenario;
mod suites;
mod toolchain;
mod trixie;
mod unpacked;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    agent::Cargo,
    error::{Error, Result},
    lab::Part,
    workspace::Workspace,
};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Set-up, build, demo, tests, benchmarks and packages of rstblame")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what builds the kernel programs, if it is missing
    Setup {
        /// Install the programs the lab drives too
        #[arg(long)]
        tests: bool,
        /// Only report; exit 1 when something is missing
        #[arg(long)]
        check: bool,
    },
    /// Build target/release/rstblame
    Build,
    /// Build, then run rstblame with privileges
    Run {
        /// What rstblame is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Set up, build, provoke real resets in throw-away network namespaces and show who sent each
    Demo,
    /// Set up, then run the unit tests, the lab, and the agent on other kernels
    Test {
        /// Which tests
        #[arg(value_enum, default_value_t = Part::All)]
        part: Part,
        /// Run only the tests whose name contains this
        filter: Option<String>,
        /// With `vm`: only this line of kernels (5.10, 6.1, 6.12, newest); may be given several
        /// times
        #[arg(long = "kernel", value_name = "LINE")]
        kernels: Vec<String>,
    },
    /// Set up, build, then run the benchmarks
    Bench {
        /// Run only this one
        name: Option<String>,
    },
    /// Set up, build, and give the agent everything at once for as long as this takes
    Soak {
        /// How long
        #[arg(long, default_value_t = 3600, value_name = "N")]
        seconds: u32,
    },
    /// Write docs/figures.md from what the benchmarks, the lab and the virtual machines measured
    /// last
    Report,
    /// Set up, build, and play scenarios of the lab by hand
    Lab {
        /// Only those whose name contains this
        name: Option<String>,
        #[command(flatten)]
        wishes: scenario::Wishes,
    },
    /// Make the test data of kernels anew: this machine's, and Debian's in virtual machines
    Fixtures,
    /// Run the agent's tests instrumented, and print how much of user space they reach
    Coverage,
    /// Change the code of the verdicts, a little at a time, and list the changes that no test
    /// notices
    Mutants {
        /// Only files below agent/src/attribution that match this: `signals/*.rs`
        file: Option<String>,
        /// Only the K-th of N parts, counted from 0
        #[arg(long, value_name = "K/N")]
        shard: Option<String>,
    },
    /// Build the fuzz targets of tests/fuzz, and run each for a while
    Fuzz {
        /// Run only this one
        target: Option<String>,
        /// How long each runs
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u32,
    },
    /// Build the static binary and pack it into target/dist: tarball, deb and rpm, with their
    /// checksums
    Dist,
    /// Print which rooms of the house import which: modules, from the ground up
    Rooms,
    /// Check the formatting, the comments (their width, their links to the kernel), what imports
    /// what, then clippy, warnings denied
    Lint,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        // The command has said itself what went wrong.
        Err(Error::Reported { code }) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup { tests, check } => setup(&workspace, tests, check),
        Task::Build => {
            let binary = agent::build(&workspace)?;
            println!("built {}", binary.display());
            Ok(())
        }
        Task::Run { args } => agent::run(&workspace, &args),
        Task::Demo => lab::demo(&workspace),
        Task::Test { part: Part::Vm, kernels, .. } => vm::test(&workspace, &kernels),
        Task::Test { part: Part::Packages, .. } => packages::test(&workspace).and_then(|()| fresh::test(&workspace, None)),
        Task::Test { part: Part::Fresh, filter, .. } => fresh::test(&workspace, filter.as_deref()),
        Task::Test { part, filter, .. } => lab::test(&workspace, part, filter.as_deref()),
        Task::Bench { name } => lab::bench(&workspace, name.as_deref()),
        Task::Soak { seconds } => lab::soak(&workspace, seconds),
        Task::Report => figures::report(&workspace),
        Task::Fuzz { target, seconds } => fuzz::fuzz(&workspace, target.as_deref(), seconds),
        Task::Lab { name, wishes } => scenario::play(&workspace, name.as_deref(), wishes),
        Task::Fixtures => vm::fixtures(&workspace),
        Task::Coverage => coverage::coverage(&workspace),
        Task::Mutants { file, shard } => mutants::mutants(&workspace, file.as_deref(), shard.as_deref()),
        Task::Dist => dist::dist(&workspace).map(drop),
        Task::Rooms => rooms::print(&workspace),
        Task::Lint => {
            Cargo::new(&workspace, &["fmt", "--all", "--", "--check"]).run()?;
            Cargo::new(&workspace, &["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--", "--check"]).run()?;
            // It is a workspace of its own: what the agent depends on since has to be in its lock
            // file too.
            Cargo::new(&workspace, &["fetch", "--locked", "--manifest-path", "tests/fuzz/Cargo.toml"]).run()?;
            comments::check(&workspace)?;
            rooms::check(&workspace)?;
            bpf::setup(&workspace)?;
            Cargo::new(&workspace, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()
        }
    }
}

fn setup(workspace: &Workspace, tests: bool, check: bool) -> Result<()> {
    if check {
        // Both are looked at before either fails: one report names all that is missing.
        let bpf = bpf::check();
        if tests {
            programs::check(workspace)?;
        }
        return bpf;
    }
    bpf::setup(workspace)?;
    if tests { programs::setup(workspace) } else { Ok(()) }
}
