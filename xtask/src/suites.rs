//! Test programs as cargo builds them, run one by one, timed and counted.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    agent::Cargo,
    command,
    error::{Error, Result},
    workspace::Workspace,
};

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// `agent: properties` is `agent/tests/properties.rs`; `agent` alone are the unit tests of it.
    pub name: String,
    program: PathBuf,
    /// The directory of its package, where cargo runs it.
    directory: PathBuf,
}

/// What came of tests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    /// The names of what was not run, by the reason.
    pub skipped: BTreeMap<String, Vec<String>>,
    /// How long each suite took.
    took: Vec<(Duration, String)>,
}

impl Tally {
    /// Adds what came of others.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        for (reason, names) in other.skipped {
            self.skipped.entry(reason).or_default().extend(names);
        }
        self.took.extend(other.took);
    }

    /// A suite that is no test program: so many passed and failed.
    pub fn count(&mut self, name: &str, passed: usize, failed: usize, took: Duration) {
        self.passed += u64::try_from(passed).unwrap_or(u64::MAX);
        self.failed += u64::try_from(failed).unwrap_or(u64::MAX);
        self.took.push((took, name.to_owned()));
    }

    /// What passed, what took longest, what was not run and why; the last line has the numbers
    /// alone.
    ///
    /// # Errors
    ///
    /// [`Error::Tests`] when a test failed.
    pub fn tell(mut self, began: Instant) -> Result<()> {
        self.took.sort_by(|one, other| other.cmp(one));
        println!("\ntook longest, of {} s in all:", began.elapsed().as_secs());
        for (took, name) in self.took.iter().take(10) {
            println!("  {:>6.1} s  {name}", took.as_secs_f64());
        }
        if !self.skipped.is_empty() {
            println!("not run:");
        }
        for (reason, names) in &self.skipped {
            println!("  {} ({reason})", names.join(", "));
        }
        let skipped: usize = self.skipped.values().map(Vec::len).sum();
        println!(
            "{} passed, {} failed{}",
            self.passed,
            self.failed,
            if skipped > 0 { format!(", {skipped} skipped") } else { String::new() }
        );
        if self.failed == 0 { Ok(()) } else { Err(Error::Tests(self.failed)) }
    }
}

/// Builds tests, and says which programs that made.
///
/// # Errors
///
/// [`Error::Reported`] when they do not build.
pub fn build(workspace: &Workspace, packages: &[&str]) -> Result<Vec<Suite>> {
    let mut cargo = Cargo::new(workspace, &["test", "--no-run", "--message-format", "json-render-diagnostics"]);
    cargo.command().args(packages).stderr(Stdio::inherit());
    let output = cargo.command().output().map_err(|source| Error::Start { command: "cargo test".to_owned(), source })?;
    if !output.status.success() {
        return Err(Error::Reported { code: output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1) });
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

/// The test programs in what cargo says it built
/// (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn read(messages: &str) -> Vec<Suite> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/profile/test").is_some_and(|test| test == true))
        .filter_map(|message| {
            let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
            let directory = Path::new(text("/manifest_path")?).parent()?.to_owned();
            let package = directory.file_name()?.to_string_lossy().into_owned();
            let name = match (text("/target/kind/0")?, text("/target/name")?) {
                ("test" | "example", name) => format!("{package}: {name}"),
                ("bin", name) if name != package => format!("{package}: program {name}"),
                _ => package,
            };
            Some(Suite { name, program: text("/executable")?.into(), directory })
        })
        .collect()
}

/// Runs the examples in the documentation of a package.
///
/// # Errors
///
/// When cargo does not start.
pub fn documented(workspace: &Workspace, package: &str) -> Result<Tally> {
    let mut cargo = Cargo::new(workspace, &["test", "--quiet", "--doc", "--package", package]);
    counted(&format!("{package}: examples in the documentation"), cargo.command())
}

/// Runs a command that prints what tests print; it is told about in one line, and all that it said
/// is shown when a test failed.
fn counted(name: &str, command: &mut Command) -> Result<Tally> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|source| Error::Start { command: command::line(command), source })?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    let mut tally = tally(&said);
    if tally.failed == 0 && !output.status.success() {
        // It was killed, or ended before it could count.
        tally.failed = 1;
    }
    if tally.failed > 0 {
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    if tally.passed + tally.failed > 0 {
        tally.took.push((took, name.to_owned()));
        println!("test: {name}: {} passed, {} failed in {:.1} s", tally.passed, tally.failed, took.as_secs_f64());
    }
    Ok(tally)
}

impl Suite {
    /// Runs it to its end, behind `runner` if there is one.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn run(&self, runner: Option<Command>, settings: &[String], filter: Option<&str>) -> Result<Tally> {
        let mut command = match runner {
            Some(mut runner) => {
                runner.arg(&self.program);
                runner
            }
            None => Command::new(&self.program),
        };
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory).args(filter);
        command.envs(settings.iter().filter_map(|setting| setting.split_once('=')));
        let mut tally = counted(&self.name, &mut command)?;
        if filter.is_some() {
            // What was asked for is what is run.
            tally.skipped.clear();
        }
        Ok(tally)
    }
}

/// Reads what a test program prints: `test NAME ... ignored, REASON` and `test result: ok. 3
/// passed; 0 failed; 1 ignored; ...`.
fn tally(said: &str) -> Tally {
    let mut tally = Tally::default();
    for line in said.lines() {
        if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored")) {
            let reason = reason.trim_start_matches([',', ' ']);
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            tally.skipped.entry(reason.to_owned()).or_default().push(name.to_owned());
        }
        if let Some(numbers) = line.strip_prefix("test result: ") {
            let number = |word: &str| {
                let before = numbers.split(word).next().and_then(|text| text.split_whitespace().last());
                before.and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            tally.passed += number(" passed");
            tally.failed += number(" failed");
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_what_else_is_built() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/w/agent/Cargo.toml","target":{"name":"rstblame","kind":["lib"]},"profile":{"test":true},"executable":"/t/rstblame-1"}
{"reason":"compiler-artifact","manifest_path":"/w/agent/Cargo.toml","target":{"name":"rstblame","kind":["bin"]},"profile":{"test":false},"executable":"/t/rstblame"}
{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"name":"burst","kind":["test"]},"profile":{"test":true},"executable":"/t/burst-1"}
{"reason":"build-finished","success":true}"#;
        let suites = read(messages);
        assert_eq!(suites.iter().map(|suite| suite.name.as_str()).collect::<Vec<_>>(), ["agent", "tests: burst"]);
        assert_eq!(suites.last().map(|suite| suite.directory.as_path()), Some(Path::new("/w/tests")));
    }

    #[test]
    fn results_and_reasons_are_read() {
        let said = "\nrunning 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored, needs root\ntest e ... ignored\n\n\
                    test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let tally = tally(said);
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.skipped.get("needs root").map(Vec::as_slice), Some(["d".to_owned()].as_slice()));
        assert_eq!(tally.skipped.len(), 2);
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally::default();
        sum.add(tally("test d ... ignored, needs root\ntest result: ok. 2 passed; 0 failed; 1 ignored"));
        sum.add(tally("test x ... ignored, needs root\ntest result: ok. 3 passed; 0 failed; 1 ignored"));
        sum.count("Linux 6.1", 6, 1, Duration::from_secs(70));
        assert_eq!((sum.passed, sum.failed, sum.skipped.get("needs root").map(Vec::len)), (11, 1, Some(2)));
        assert!(matches!(sum.tell(Instant::now()), Err(Error::Tests(1))));
    }
}
