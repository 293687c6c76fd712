//! The agent on other kernels than this machine's: Debian's, in virtual machines, with the lab's
//! own scenarios.

mod fixtures;
mod guest;
mod kernels;
mod matrix;
mod qemu;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

pub use self::fixtures::make as fixtures;
use self::{guest::Suite, kernels::Kernel};
use crate::{
    agent::{self, Cargo},
    apt, bpf, command,
    error::{Error, Result},
    figures,
    programs::{self, Program, program},
    suites::Tally,
    workspace::Workspace,
};

/// What makes and boots a guest; what its scenarios call is among the lab's own programs.
const PROGRAMS: [Program; 6] = [
    program("qemu-system-x86_64", "qemu-system-x86", "boots the kernels"),
    program("busybox", "busybox-static", "the shell of the guests"),
    program("cpio", "cpio", "packs their file systems"),
    program("xz", "xz-utils", "unpacks their modules"),
    program("depmod", "kmod", "orders their modules"),
    program("strip", "binutils", "leaves debug information out"),
];

/// Test programs of the lab that need no server, and what they are told: agents are slow to start
/// on an emulated processor, and share.
const SUITES: [(&str, &[&str]); 7] = [
    ("burst", &["--exact", "a_ring_that_overflows_counts_what_it_lost", "resets_that_are_alike_are_folded"]),
    ("firewall_rejects", &[]),
    ("ladder", &[]),
    ("local", &["--ignored", "--exact", "in_turn"]),
    ("middlebox_redirect", &["--skip", "haproxy", "--skip", "envoy"]),
    ("middlebox_translation", &["--include-ignored"]),
    (
        "privileges",
        &[
            "--exact",
            "in_its_own_namespace_only_the_search_for_owners_is_left",
            "without_an_essential_one_nothing_starts_and_the_message_names_it",
        ],
    ),
];

/// Those of them that start the lab's actors.
const WITH_ACTORS: [&str; 1] = ["middlebox_redirect"];

/// Runs the agent on these lines of kernels, or on all.
///
/// # Errors
///
/// When something is missing, and [`Error::Tests`] when a guest fails.
pub fn test(workspace: &Workspace, lines: &[String]) -> Result<()> {
    bpf::setup(workspace)?;
    setup(workspace)?;
    let began = Instant::now();
    let kernels = kernels::fetch(workspace, &directory(workspace)?, lines)?;
    boot(workspace, &kernels, lines.is_empty())?.tell(began)
}

/// Unpacks what makes and boots a guest, if it is missing, and makes sure that there is a place to
/// fetch kernels from.
///
/// # Errors
///
/// As [`programs::setup`]; [`Error::NoArchive`] when there is no such place.
pub fn setup(workspace: &Workspace) -> Result<()> {
    programs::provide(workspace, &PROGRAMS, "the virtual machines need")?;
    apt::mirror().map(drop)
}

/// Fetches all kernels that are not there yet.
///
/// # Errors
///
/// When the archive does not have one of them.
pub fn fetch(workspace: &Workspace) -> Result<Vec<Kernel>> {
    kernels::fetch(workspace, &directory(workspace)?, &[])
}

fn directory(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("vm");
    fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
    Ok(directory)
}

/// Where a program of [`PROGRAMS`] is.
fn find(workspace: &Workspace, name: &str) -> Option<PathBuf> {
    PROGRAMS.iter().find(|program| program.name == name).and_then(|program| programs::find(workspace, program))
}

/// Boots kernels and has the agent tested on each. What came of all of them together is kept for
/// `cargo xtask report`.
///
/// # Errors
///
/// When the emulator does not start, or a guest cannot be packed. A guest that fails counts as
/// such.
pub fn boot(workspace: &Workspace, kernels: &[Kernel], all: bool) -> Result<Tally> {
    let agent = agent::build(workspace)?;
    let suites = suites(workspace)?;
    let directory = directory(workspace)?;
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut ended = Vec::new();
        // The newest first, whose verifier does most: it is not to be what is waited for at the
        // end.
        while let Some(index) = kernels.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1)
            && let Some(kernel) = kernels.get(index)
        {
            let initramfs = guest::pack(workspace, &directory, kernel, &agent, &suites)?;
            let log = directory.join(format!("{}.log", kernel.name));
            let report = qemu::boot(workspace, kernel, &initramfs, &log)?;
            tell(kernel, &report, &log);
            ended.push((index, report));
        }
        Ok::<_, Error>(ended)
    };
    // Two at a time: emulation takes a processor and a bit for each.
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(work);
        (work(), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut reports = [one?, other?].concat();
    reports.sort_by_key(|(index, _)| *index);
    let reports: Vec<_> = kernels.iter().zip(reports.into_iter().map(|(_, report)| report)).collect();
    println!("vm: {} kernels in {} s", reports.len(), began.elapsed().as_secs());
    let mut tally = Tally::default();
    for (kernel, report) in &reports {
        tally.count(&format!("Linux {}", kernel.release), report.passed.len(), report.problems.len(), report.took);
    }
    if all {
        figures::write(workspace, "kernels", tally.failed == 0, &matrix::tables(&reports))?;
    }
    Ok(tally)
}

fn tell(kernel: &Kernel, report: &qemu::Report, log: &Path) {
    let (release, seconds) = (&kernel.release, report.took.as_secs());
    if report.problems.is_empty() {
        println!("vm: Linux {release} passed in {seconds} s: {}", report.passed.join(", "));
    } else {
        println!("vm: Linux {release} failed in {seconds} s, all it said is in {}:", log.display());
        report.problems.iter().for_each(|problem| println!("vm:   {problem}"));
    }
}

/// Builds the lab's tests, and finds the programs of those that run in guests.
fn suites(workspace: &Workspace) -> Result<Vec<Suite>> {
    let mut cargo =
        Cargo::new(workspace, &["test", "--package", "rstblame-lab", "--no-run", "--message-format", "json-render-diagnostics"]);
    for (name, _) in SUITES {
        cargo.command().args(["--test", name]);
    }
    let messages = command::output(cargo.command().stderr(std::process::Stdio::inherit()))?;
    SUITES
        .iter()
        .map(|(name, filter)| {
            let program = executable(&messages, name, "test").ok_or_else(|| Error::MissingPrograms(format!("the lab's test `{name}`")))?;
            let starts = WITH_ACTORS.contains(name).then(|| executable(&messages, "actor", "bin")).flatten();
            Ok(Suite { name: (*name).to_owned(), program, filter: filter.iter().map(|&test| test.to_owned()).collect(), starts })
        })
        .collect()
}

/// The test program of a target of this kind, by what cargo says it built
/// (<https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>).
fn executable(messages: &str, target: &str, kind: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let names_it = message.pointer("/target/name")? == target && message.pointer("/target/kind/0")? == kind;
        names_it.then(|| message.get("executable")?.as_str().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_a_test_is() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"ladder","kind":["bin"]},"executable":"/wrong"}
{"reason":"compiler-artifact","target":{"name":"ladder","kind":["test"]},"executable":"/t/ladder-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "ladder", "test"), Some("/t/ladder-1".into()));
        assert_eq!(executable(messages, "burst", "test"), None);
    }
}
