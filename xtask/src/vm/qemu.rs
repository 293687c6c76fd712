//! One kernel booted under emulation, and what it said.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use super::kernels::Kernel;
use crate::{
    command,
    error::{Error, Result},
    workspace::Workspace,
};

/// How long a guest may take from power to power off: several times what it takes on a quiet
/// machine.
const LIMIT: Duration = Duration::from_mins(6);

/// What the guest prints last, if it gets that far.
const DONE: &str = "vm: done";

/// What a kernel that is in trouble says; `init.sh` repeats warnings out of the kernel's log.
const TROUBLE: [&str; 7] = ["Kernel panic", "BUG:", "WARNING:", "Call Trace:", "Oops", "stall", "hung task"];

/// How the guest ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Test programs that ended well.
    pub passed: Vec<String>,
    /// Sources of evidence that this kernel does not give, by the agent's own `coverage`; `None` if
    /// it never armed.
    pub lacking: Option<BTreeSet<String>>,
    /// What the lab's scenarios said beside the truth.
    pub verdicts: Vec<Verdict>,
    /// From power to power off.
    pub took: Duration,
    /// What went wrong; empty when all is well.
    pub problems: Vec<String>,
}

/// What one view said of one reset (`RSTBLAME_LAB_TABLE`, see `rstblame_lab::truths::table`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub scenario: String,
    pub view: String,
    pub got: String,
    pub right: bool,
}

/// Boots a kernel into its initramfs, writes what it says to `log`, and waits for its end.
///
/// # Errors
///
/// When the emulator does not start or the log cannot be written. A guest that fails is no error
/// here: see [`Report`].
pub fn boot(workspace: &Workspace, kernel: &Kernel, initramfs: &Path, log: &Path) -> Result<Report> {
    let output = File::create(log).map_err(|source| Error::File { path: log.to_owned(), source })?;
    let mut qemu = workspace.tool("qemu-system-x86_64");
    // No KVM: it hangs in virtual machines that claim to have it. No cmpxchg16b: QEMU 7.2 now and
    // then gets it wrong, and the guest's allocator dies of a double fault. One processor: what is
    // played in turn is no faster on two.
    qemu.args(["-accel", "tcg", "-cpu", "qemu64,-cx16,+ssse3,+sse4.1,+sse4.2,+popcnt", "-smp", "1", "-m", "1536"]);
    qemu.args([
        "-nodefaults",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
        "-append",
        "console=ttyS0 quiet panic=-1 mitigations=off",
    ]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    qemu.stdin(Stdio::null()).stdout(output).stderr(Stdio::inherit());
    let mut child = qemu.spawn().map_err(|source| Error::Start { command: command::line(&qemu), source })?;
    let started = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(_status)) => break true,
            Ok(None) if started.elapsed() < LIMIT => thread::sleep(Duration::from_millis(100)),
            _ => {
                // It may have ended this very moment.
                let _killed = child.kill();
                let _reaped = child.wait();
                break false;
            }
        }
    };
    let said = fs::read(log).map_err(|source| Error::File { path: log.to_owned(), source })?;
    let mut report = Report { took: started.elapsed(), ..read(&String::from_utf8_lossy(&said)) };
    let expected: BTreeSet<String> = kernel.lacks.iter().map(|&source| source.to_owned()).collect();
    if report.lacking.as_ref() != Some(&expected) {
        report.problems.push(format!("not active are {:?}, and that should be {expected:?}", report.lacking));
    }
    if !ended {
        report.problems.push(format!("it was still running after {} s", LIMIT.as_secs()));
    }
    Ok(report)
}

/// Reads what a guest said. Only what it says itself counts as success.
fn read(said: &str) -> Report {
    let mut report = Report::default();
    let mut done = false;
    for line in said.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some((name, status)) = line.strip_prefix("vm: ").and_then(|rest| rest.split_once(" exit ")) {
            if status.split(' ').next() == Some("0") {
                report.passed.push(name.to_owned());
            } else {
                report.problems.push(format!("{name} ended with status {status}"));
            }
        }
        if let Some(lacking) = lacking(line) {
            // The first is that of the agent with all it has; the scenarios turn things off.
            report.lacking.get_or_insert(lacking);
        }
        if let Some(verdict) = line.trim_start().strip_prefix("verdict ") {
            match read_verdict(verdict) {
                Some(verdict) => report.verdicts.push(verdict),
                None => report.problems.push(format!("a verdict that cannot be read: {verdict}")),
            }
        }
        if TROUBLE.iter().any(|sign| line.contains(sign)) && !line.starts_with("    ") {
            report.problems.push(format!("the kernel said: {line}"));
        }
        done |= line == DONE;
    }
    if !done {
        report.problems.push(format!("it never said `{DONE}`"));
    }
    report
}

fn read_verdict(line: &str) -> Option<Verdict> {
    let verdict: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |member: &str| Some(verdict.get(member)?.as_str()?.to_owned());
    Some(Verdict { scenario: text("scenario")?, view: text("view")?, got: text("got")?, right: verdict.get("right")?.as_bool()? })
}

/// What is not active by the `coverage` of an `agent_started`; `None` for any other line.
fn lacking(line: &str) -> Option<BTreeSet<String>> {
    let event: serde_json::Value = serde_json::from_str(line.trim_start()).ok()?;
    let coverage = event.get("coverage").filter(|_| event.get("event").is_some_and(|event| event == "agent_started"))?.as_object()?;
    Some(
        coverage
            .iter()
            .filter(|(_, source)| source.get("state").is_none_or(|state| state != "active"))
            .map(|(name, _)| name.clone())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_what_the_guest_says_itself() {
        let report = read("vm: running 6.1\r\n    test x ... ok\r\nvm: ladder exit 0 at 12.30 s\r\nvm: done\r\n");
        assert_eq!(report, Report { passed: vec!["ladder".to_owned()], ..Report::default() });
        assert_eq!(read("vm: ladder exit 0\n").problems.len(), 1);
        assert_eq!(read("").problems.len(), 1);
    }

    #[test]
    fn what_is_lacking_is_what_the_agent_says_first() {
        let started = r#"    {"event":"agent_started","coverage":{"amqp":{"state":"active"},"kernel_reason":{"state":"unavailable"}}}"#;
        let later = r#"    {"event":"agent_started","coverage":{"amqp":{"state":"unavailable"}}}"#;
        let report = read(&format!("{started}\n{later}\nvm: done\n"));
        assert_eq!(report.lacking, Some(["kernel_reason".to_owned()].into()));
        assert_eq!(read("    {\"event\":\"rst\"}\nvm: done\n").lacking, None);
    }

    #[test]
    fn verdicts_are_read_as_the_lab_writes_them() {
        let line = r#"    verdict {"scenario":"s","view":"client","expected":"*: *","got":"nothing","confidence":null,"evidence":[],"right":true}"#;
        let report = read(&format!("{line}\r\n    verdict {{\nvm: done\n"));
        assert_eq!(report.verdicts.len(), 1);
        assert_eq!(report.problems.len(), 1);
    }

    #[test]
    fn a_failed_test_and_a_kernel_in_trouble_are_problems() {
        assert_eq!(read("vm: ladder exit 101\nvm: done\n").problems, ["ladder ended with status 101"]);
        assert_eq!(read("[  3.1] WARNING: CPU: 0 PID: 1\nvm: done\n").problems.len(), 1);
        // What a test printed of a process is not what the kernel said.
        assert!(read("    WARNING: something\nvm: done\n").problems.is_empty());
    }
}
