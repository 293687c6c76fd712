//! The preflight: one line for each thing a capture needs, what breaks without it, and how to mend
//! it.
//!
//! Versions and capabilities are reported, but they decide nothing: the programs are loaded,
//! attached and detached for real, and that decides.

mod machine;
mod privileges;
mod programs;

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use programs::MainJob;
use rustix::thread::capabilities;

use crate::{capture::arm_options, cli::KernelArgs, host, kernel::probe, log, model::ports::PortSet};

/// What became of one prerequisite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// As it should be.
    Ok,
    /// The main job runs without it; something less important is missing, or nothing is.
    Note,
    /// The main job, or one of its two halves, does not run without it.
    Fail,
}

/// One line of the report.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    status: Status,
    what: String,
    /// What was found.
    found: String,
    /// What cannot be seen because of it.
    breaks: Option<String>,
    fix: Option<String>,
}

impl Line {
    fn new(status: Status, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { status, what: what.into(), found: found.into(), breaks: None, fix: None }
    }

    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Status::Ok, what, found)
    }

    fn note(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Status::Note, what, found)
    }

    fn fail(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Status::Fail, what, found)
    }

    fn breaks(mut self, breaks: impl Into<String>) -> Self {
        self.breaks = Some(breaks.into());
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Fail => "FAIL",
        };
        write!(f, "{status:<4}  {:<21}  {}", self.what, self.found)?;
        if let Some(breaks) = &self.breaks {
            write!(f, "; breaks: {breaks}")?;
        }
        self.fix.as_ref().map_or(Ok(()), |fix| write!(f, "; fix: {fix}"))
    }
}

/// Runs the preflight and prints it. The exit code is 1 when the main job cannot run.
pub fn run(args: &KernelArgs) -> ExitCode {
    let (lines, main_job) = inspect(args);
    let mut out = io::stdout().lock();
    match lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| writeln!(out, "{main_job}")) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log::failed(format_args!("cannot write the report: {error}"));
            ExitCode::FAILURE
        }
        _ if main_job == MainJob::Blocked => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn inspect(args: &KernelArgs) -> (Vec<Line>, MainJob) {
    let (_, release, machine) = host::uname();
    let options = arm_options(args, PortSet::NONE, None);
    let btf = machine::btf(options.btf.as_deref());
    let without_btf = btf.status != Status::Ok;
    let tracefs = machine::tracefs(without_btf);
    // Without either, nothing tells what the kernel gives reasons for.
    let reasons_can_be_told = [&btf, &tracefs].iter().any(|line| line.status == Status::Ok);
    let mut lines = vec![machine::kernel(&release, &machine), btf, tracefs, machine::user_namespace()];
    lines.extend(capabilities(None).map_or_else(
        |error| vec![Line::note("capabilities", format!("cannot be read: {error}"))],
        |held| {
            let mut lines = privileges::lines(held.effective, without_btf, &release);
            lines.push(privileges::confinement(held.effective));
            lines
        },
    ));
    lines.extend([machine::lockdown(), machine::unprivileged_bpf(), machine::memlock(&release)]);
    let probe = probe::probe(&options);
    lines.extend(programs::lines(&probe, args.ring_size));
    if reasons_can_be_told {
        lines.extend(programs::sources(&probe));
    }
    let main_job = MainJob::of(&probe);
    (lines, main_job)
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_line_says_what_breaks_and_how_to_mend_it() {
        assert_eq!(Line::ok("BTF", "found").to_string(), "ok    BTF                    found");
        assert_eq!(
            Line::fail("CAP_BPF", "missing").breaks("everything").fix("run with sudo").to_string(),
            "FAIL  CAP_BPF                missing; breaks: everything; fix: run with sudo"
        );
    }
}
