//! What can go wrong in a task.

use std::{io, path::PathBuf, process::ExitStatus};

use crate::{elf::ElfError, toolchain::NotSetUp};

/// Result of a task.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a task did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program is not where cargo builds it.
    #[error("cannot tell the target directory from {}: run this as `cargo xtask`", .0.display())]
    Place(PathBuf),
    /// A command that does not start.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A command that ended badly.
    #[error("`{command}` failed ({status})")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A command that ended badly and has printed why.
    #[error("exit code {code}")]
    Reported {
        /// Its exit code, to be passed on.
        code: u8,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The BPF toolchain is missing.
    #[error(transparent)]
    NotSetUp(#[from] NotSetUp),
    /// The BPF toolchain is missing, and its parts are not to be had from a package manager here.
    #[error("{reason}. Run these commands, then this one again:\n{commands}")]
    Manual {
        /// What stands in the way.
        reason: String,
        /// The command lines.
        commands: String,
    },
    /// The package manager cannot do what it is asked.
    #[error("apt-get: {cause}. To mend it: {fix}")]
    Apt {
        /// Why not.
        cause: String,
        /// What somebody can do.
        fix: String,
    },
    /// Suites of Debian are wanted on a machine that installs from no archive of Debian's.
    #[error("this machine installs from no archive of Debian's; set {0} to the address of one")]
    NoArchive(&'static str),
    /// Something the lab needs is missing.
    #[error("missing for the lab: {0}. `cargo xtask setup --tests` fetches them on Debian and Ubuntu; elsewhere install them")]
    MissingPrograms(String),
    /// A kernel to test on that cannot be had.
    #[error("Linux {name} for a virtual machine: {problem}")]
    Kernel {
        /// What was asked for.
        name: String,
        /// Why not.
        problem: String,
    },
    /// Tests that failed; each has said why.
    #[error("tests failed: {0}")]
    Tests(u64),
    /// The agent's preflight says it cannot work here.
    #[error("the lab cannot run on this machine: `rstblame check` failed ({status})\n{said}")]
    NoBpf {
        /// How the preflight ended.
        status: ExitStatus,
        /// What it printed.
        said: String,
    },
    /// The binary to be packed is not an ELF file as expected.
    #[error("{}: {source}", path.display())]
    Elf {
        /// The binary.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// The binary to be packed needs a dynamic loader.
    #[error("{} is not static: it asks for {interpreter}", path.display())]
    Dynamic {
        /// The binary.
        path: PathBuf,
        /// The loader it names.
        interpreter: String,
    },
    /// Comments that are too wide, or cite the kernel's sources of no release or without a link.
    #[error("comments:\n{0}")]
    Comments(String),
    /// Imports that the house does not allow ([`crate::rooms`]).
    #[error("what imports what (cargo xtask rooms):\n{0}")]
    Rooms(String),
    /// Code that no test reaches.
    #[error("less than {least} % of the regions or branches of agent/src/{folder} are reached by tests")]
    Coverage {
        /// The folder.
        folder: &'static str,
        /// Percent that have to be.
        least: f64,
    },
    /// A name on the command line that nothing has.
    #[error("there is no {what} `{name}`; there are {known}")]
    NoSuch {
        /// What was looked for.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Properties that do not hold.
    #[error("properties do not hold in: {targets}. The inputs that show it are in {}", place.display())]
    Fuzz {
        /// The fuzz targets.
        targets: String,
        /// The folder of the findings.
        place: PathBuf,
    },
    /// `rustc -vV` without a host line.
    #[error("`rustc -vV` does not name the host: is rustc on PATH the one of rustup?")]
    Host,
}
