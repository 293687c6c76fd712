//! Bad input and bad places: one clear line on stderr, the right exit status, never a panic.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::record::Record,
    command::{self, Finished, finish},
    hosts::net::lone_host,
    workspace,
};

/// Exit status of a wrong command line.
const USAGE: i32 = 2;
/// Exit status of a place the agent cannot work in.
const ENVIRONMENT: i32 = 1;

/// How long the agent may take to find out.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs the agent with these arguments after `capture`.
fn capture(arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new(workspace::agent_binary());
    command.arg("capture").args(arguments);
    finish(command, LIMIT)
}

/// Asserts the exit status, and that stderr is one line by the agent that has each of `words` in
/// it.
#[track_caller]
fn assert_one_line(finished: &Finished, status: i32, words: &[&str]) {
    let stderr = &finished.stderr;
    assert_eq!(finished.status.code(), Some(status), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("rstblame: "), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in {stderr}");
    }
    assert_no_panic(finished);
}

#[track_caller]
fn assert_no_panic(finished: &Finished) {
    for word in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!finished.stderr.contains(word), "{}", finished.stderr);
    }
}

#[test]
fn port_zero() -> Result<()> {
    assert_one_line(&capture(&["--port", "0"])?, USAGE, &["port"]);
    Ok(())
}

#[test]
fn port_too_large() -> Result<()> {
    assert_one_line(&capture(&["--port", "70000"])?, USAGE, &["port", "70000"]);
    Ok(())
}

#[test]
fn port_range_backwards() -> Result<()> {
    assert_one_line(&capture(&["--port", "5672-5671"])?, USAGE, &["5672-5671"]);
    Ok(())
}

#[test]
fn unknown_flag() -> Result<()> {
    assert_one_line(&capture(&["--prot", "5672"])?, USAGE, &["--prot"]);
    Ok(())
}

#[test]
fn duration_of_zero() -> Result<()> {
    assert_one_line(&capture(&["--duration", "0"])?, USAGE, &["duration"]);
    Ok(())
}

#[test]
fn network_namespace_that_does_not_exist() -> Result<()> {
    let path = "/run/netns/rstblame-lab-no-such-namespace";
    let finished = capture(&["--netns", path, "--duration", "1s"])?;
    assert_one_line(&finished, ENVIRONMENT, &[path]);
    Ok(())
}

#[test]
fn output_that_cannot_be_written() -> Result<()> {
    let path = "/proc/rstblame-lab-no-such-directory/events.jsonl";
    let finished = capture(&["--output", path, "--duration", "1s"])?;
    assert_one_line(&finished, ENVIRONMENT, &[path]);
    Ok(())
}

/// Every write to `/dev/full` fails with ENOSPC: a full disk.
#[test]
fn output_that_is_full() -> Result<()> {
    let finished = capture(&["--output", "/dev/full", "--duration", "1s"])?;
    assert_one_line(&finished, ENVIRONMENT, &["/dev/full"]);
    Ok(())
}

/// The reader has gone before the first line: that is how `rstblame capture | head` ends, and no
/// failure.
#[test]
fn closed_pipe() -> Result<()> {
    let mut command = Command::new(workspace::agent_binary());
    command.args(["capture", "--format", "json"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command::spawn(&mut command)?;
    drop(child.stdout.take());
    let status = command::wait(&mut child, "rstblame capture | true", LIMIT)?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn closed_stdin() -> Result<()> {
    let host = lone_host()?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" <&-"])
        .arg(workspace::agent_binary())
        .args(["capture", "--format", "json", "--duration", "200ms", "--netns"])
        .arg(host.path());
    let finished = finish(command, LIMIT)?;
    assert!(finished.status.success(), "{finished:?}");
    let record = Record::new(finished.stdout.lines().map(str::to_owned).collect());
    assert_eq!(record.violations(), Vec::<String>::new());
    Ok(())
}

#[test]
fn not_root() -> Result<()> {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let finished = with_privileges("not-root", &nobody)?;
    assert_one_line(&finished, ENVIRONMENT, &["CAP_"]);
    Ok(())
}

/// Root in a container that was given no capabilities: the user id says nothing.
#[test]
fn root_without_capabilities() -> Result<()> {
    let finished = with_privileges("no-capabilities", &["--bounding-set=-all", "--inh-caps=-all"])?;
    assert_one_line(&finished, ENVIRONMENT, &["CAP_"]);
    Ok(())
}

/// No BTF to read struct offsets from: the agent works without, or says what it lacks; it never
/// stays up blind.
#[test]
fn no_btf() -> Result<()> {
    let finished = without("/sys/kernel/btf")?;
    assert_no_panic(&finished);
    if finished.status.success() {
        let record = Record::new(finished.stdout.lines().map(str::to_owned).collect());
        assert_eq!(record.violations(), Vec::<String>::new());
        let started = record.lines().first().cloned().unwrap_or_default();
        assert!(started.contains("degraded") || started.contains("unavailable"), "coverage does not mention it: {started}");
    } else {
        assert_one_line(&finished, ENVIRONMENT, &["BTF"]);
    }
    Ok(())
}

/// Neither way to attach a tracepoint is left without tracefs and without BTF.
#[test]
fn no_tracefs() -> Result<()> {
    let finished = without("/sys/kernel")?;
    assert_one_line(&finished, ENVIRONMENT, &["BTF"]);
    Ok(())
}

/// A capture that is damaged or breaks off: what came before is told, and the exit status says that
/// this is not all.
#[test]
fn a_damaged_capture() -> Result<()> {
    // A pcap file (version 2.4, Ethernet) with one frame of 60 bytes: whole, cut in the frame, cut
    // in the frame's head, and with a frame that is longer than any.
    let mut whole = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    let head = whole.len();
    whole.extend([1, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0]);
    whole.extend([0; 60]);
    let mut endless = whole.clone();
    endless.extend([1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    let cut = |at| whole.get(..at).unwrap_or_default().to_vec();
    for (name, bytes, status) in
        [("whole", whole.clone(), 0), ("in a frame", cut(whole.len() - 1), 1), ("in a head", cut(head + 7), 1), ("endless", endless, 1)]
    {
        let path = workspace::artefacts()?.join("damaged.pcap");
        fs::write(&path, bytes).map_err(|error| LabError::io("write a capture", error))?;
        let mut command = Command::new(workspace::agent_binary());
        command.args(["pcap", "--format", "json"]).arg(&path);
        let finished = finish(command, LIMIT)?;
        assert_no_panic(&finished);
        assert_eq!(finished.status.code(), Some(status), "{name}: {}", finished.stderr);
        assert_eq!(status == 1, finished.stderr.contains("damaged.pcap"), "{name}: {}", finished.stderr);
    }
    Ok(())
}

/// A FIFO whose other end nobody opens, where a configuration was expected.
#[test]
fn a_configuration_that_is_a_fifo() -> Result<()> {
    let path = workspace::artefacts()?.join("fifo.toml");
    // What an earlier run left.
    let _ = fs::remove_file(&path);
    command::run(&["mkfifo", &path.to_string_lossy()])?;
    let mut command = Command::new(workspace::agent_binary());
    command.args(["daemon", "--config"]).arg(&path);
    assert_one_line(&finish(command, LIMIT)?, USAGE, &["fifo.toml", "no regular file"]);
    Ok(())
}

/// Runs the agent in a mount namespace of its own where `directory` is empty.
fn without(directory: &str) -> Result<Finished> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs none \"$1\" && exec \"$0\" capture --format json --duration 200ms")
        .arg(workspace::agent_binary())
        .arg(directory);
    finish(command, LIMIT)
}

/// Runs a copy of the agent that anyone may execute, with fewer privileges.
fn with_privileges(name: &str, privileges: &[&str]) -> Result<Finished> {
    let copy = PathBuf::from(format!("{}/rstblame-lab-{}-{name}", std::env::temp_dir().display(), std::process::id()));
    let copied = fs::copy(workspace::agent_binary(), &copy).and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)));
    let finished = copied.map_err(|error| LabError::io(format!("copy the agent to {}", copy.display()), error)).and_then(|()| {
        let mut command = Command::new("setpriv");
        command.args(privileges).arg(&copy).args(["capture", "--duration", "1s"]);
        finish(command, LIMIT)
    });
    // A leftover in the temporary directory is no reason to fail.
    let _ = fs::remove_file(&copy);
    finished
}
