//! Mutations of the verdicts: changes to `agent/src/attribution` that the agent's tests should
//! notice, and which of them they did not.

use std::fs;

use crate::{
    agent::{Cargo, without_debug_info},
    bpf, command,
    error::{Error, Result},
    toolchain::clean,
    workspace::Workspace,
};

/// The release of cargo-mutants that is installed where there is none.
const VERSION: &str = "27.1.0";

/// Tries mutants of the files that match `file` below `agent/src/attribution`, or of all; with
/// `shard` (`K/N`) only the K-th of N parts.
///
/// # Errors
///
/// When something is missing, or a mutant survives: its change is named.
pub fn mutants(workspace: &Workspace, file: Option<&str>, shard: Option<&str>) -> Result<()> {
    bpf::setup(workspace)?;
    if !command::succeeds(clean(&workspace.cargo).args(["mutants", "--version"])) {
        println!("setup: building cargo-mutants {VERSION}: it changes the code and runs the tests");
        command::run(clean(&workspace.cargo).args(["install", "cargo-mutants", "--version", VERSION, "--locked"]))?;
    }
    let output = workspace.target.join("mutants");
    fs::create_dir_all(&output).map_err(|source| Error::File { path: output.clone(), source })?;
    let files = format!("agent/src/attribution/{}", file.unwrap_or("**"));
    let mut cargo = Cargo::new(workspace, &["mutants", "--package", "rstblame", "--jobs", "1", "--no-shuffle", "--colors", "never"]);
    cargo.command().args(["--file", &files, "--exclude", "**/tests/**", "--exclude", "**/tests.rs"]).arg("--output").arg(&output);
    cargo.command().args(shard.map(|shard| format!("--shard={shard}")));
    // The unit tests alone: what they let through is what is looked for. A build directory of its
    // own, since the tree is a copy.
    without_debug_info(cargo.command()).env("CARGO_TARGET_DIR", output.join("target")).args(["--", "--lib", "attribution"]);
    cargo.run()
}
