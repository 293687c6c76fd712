//! How much of user space the agent's own tests reach, by folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    agent::{Cargo, without_debug_info},
    apt::Apt,
    bpf, command,
    error::{Error, Result},
    toolchain::{self, clean},
    workspace::Workspace,
};

/// The release of cargo-llvm-cov that is installed where there is none.
const VERSION: &str = "0.9.1";

/// Folder of the verdicts, and how much of its regions and branches has to be reached at least,
/// percent.
const ENGINE: (&str, f64) = ("attribution", 95.0);

/// Runs the agent's tests and prints what they reach. The lab's scenarios do not count: what they
/// reach, they reach in another process.
///
/// # Errors
///
/// When something is missing, a test fails, or too little of the engine is reached.
pub fn coverage(workspace: &Workspace) -> Result<()> {
    bpf::setup(workspace)?;
    if !command::succeeds(clean(&workspace.cargo).args(["llvm-cov", "--version"])) {
        println!("setup: building cargo-llvm-cov {VERSION}: it runs tests instrumented");
        command::run(clean(&workspace.cargo).args(["install", "cargo-llvm-cov", "--version", VERSION, "--locked"]))?;
    }
    let tools = tools()?;
    let report = workspace.target.join("coverage.json");
    let mut cargo =
        Cargo::new(workspace, &["llvm-cov", "--package", "rstblame", "--tests", "--branch", "--json", "--summary-only", "--output-path"]);
    let command = without_debug_info(cargo.command());
    // Branches are counted by an unstable option of the compiler's.
    command.arg(&report).env("RUSTC_BOOTSTRAP", "1");
    command.env("LLVM_COV", tools.join("llvm-cov")).env("LLVM_PROFDATA", tools.join("llvm-profdata"));
    cargo.run()?;
    let text = fs::read_to_string(&report).map_err(|source| Error::File { path: report.clone(), source })?;
    let folders = folders(&text, &workspace.root.join("agent/src"));
    print!("{}", table(&folders));
    let engine = folders.get(ENGINE.0).copied().unwrap_or_default();
    if engine.regions.percent() < ENGINE.1 || engine.branches.percent() < ENGINE.1 {
        return Err(Error::Coverage { folder: ENGINE.0, least: ENGINE.1 });
    }
    Ok(())
}

/// The folder of LLVM's tools of the compiler's own version, whose format of profiles they read.
fn tools() -> Result<PathBuf> {
    let verbose = command::output(Command::new("rustc").arg("-vV"))?;
    let version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")).and_then(toolchain::version);
    let (major, _) = version.ok_or(Error::Host)?;
    let folder = PathBuf::from(format!("/usr/lib/llvm-{major}/bin"));
    if !folder.join("llvm-cov").is_file() {
        let package = format!("llvm-{major}");
        Apt::find().ok_or_else(|| Error::MissingPrograms(package.clone()))?.install(&[&package])?;
    }
    Ok(folder)
}

/// How many there are, and how many were reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    count: u64,
    covered: u64,
}

impl Share {
    fn percent(self) -> f64 {
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if self.count == 0 { 100.0 } else { 100.0 * number(self.covered) / number(self.count) }
    }

    fn add(&mut self, summary: &serde_json::Value) {
        let number = |member: &str| summary.get(member).and_then(serde_json::Value::as_u64).unwrap_or(0);
        self.count += number("count");
        self.covered += number("covered");
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reached {
    lines: Share,
    regions: Share,
    branches: Share,
}

/// What was reached of each folder below `source`, tests left out, and of all of them (`all`).
fn folders(report: &str, source: &Path) -> BTreeMap<String, Reached> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    let files = report.pointer("/data/0/files").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let mut folders: BTreeMap<String, Reached> = BTreeMap::new();
    for file in &files {
        let Some(path) = file.get("filename").and_then(|name| Path::new(name.as_str()?).strip_prefix(source).ok()) else { continue };
        if path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "testing.rs") {
            continue;
        }
        let folder = path.iter().next().unwrap_or_default().to_string_lossy();
        let folder = folder.strip_suffix(".rs").unwrap_or(&folder).to_owned();
        for name in [folder, "all".to_owned()] {
            let reached = folders.entry(name).or_default();
            for (member, share) in [("lines", &mut reached.lines), ("regions", &mut reached.regions), ("branches", &mut reached.branches)] {
                share.add(file.pointer(&format!("/summary/{member}")).unwrap_or(&serde_json::Value::Null));
            }
        }
    }
    folders
}

fn table(folders: &BTreeMap<String, Reached>) -> String {
    let percent = |share: &Share| format!("{:.1} %", share.percent());
    let row = |(name, Reached { lines, regions, branches }): (&String, &Reached)| {
        format!("| {name} | {} | {} | {} | {} |\n", lines.count, percent(lines), percent(regions), percent(branches))
    };
    let head = "| folder | lines | reached | regions | branches |\n|---|---:|---:|---:|---:|\n".to_owned();
    head + &folders.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Share, folders};

    #[test]
    fn tests_do_not_count_and_folders_add_up() {
        let file = |name: &str| {
            let share = r#"{"count":10,"covered":9}"#;
            format!(r#"{{"filename":"/w/{name}","summary":{{"lines":{share},"regions":{share},"branches":{share}}}}}"#)
        };
        let files = ["attribution/mod.rs", "attribution/sent.rs", "attribution/tests/any.rs", "units.rs"].map(file).join(",");
        let found = folders(&format!(r#"{{"data":[{{"files":[{files}]}}]}}"#), Path::new("/w"));
        let lines = |name: &str| found.get(name).map(|reached| reached.lines);
        assert_eq!(lines("attribution"), Some(Share { count: 20, covered: 18 }));
        assert_eq!(lines("units"), Some(Share { count: 10, covered: 9 }));
        assert_eq!(lines("all"), Some(Share { count: 30, covered: 27 }));
    }
}
