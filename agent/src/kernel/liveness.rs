//! Whether the kernel side is still there: hooks that are attached, and a way from the ring buffer
//! to the agent that is open.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{Program, SocketFilter, TestRun as _, TestRunOptions},
};

use super::{
    error::{explain, first_line},
    packet_tap::program,
};

/// The program that writes a heartbeat.
const HEARTBEAT: &str = "heartbeat";

/// What it is run on: the kernel wants an Ethernet header and something behind it, and the program
/// looks at neither (`bpf_prog_test_run_skb()`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/bpf/test_run.c>).
const FRAME: [u8; 64] = [0; 64];

/// Whether a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// Its link exists, and as long as it does the program runs.
    Attached,
    /// It was attached, and its link is gone.
    Detached,
    /// This kernel would not have it: see `coverage`.
    Missing,
    /// It was attached. A plain tracepoint before Linux 5.15 has no link to ask
    /// (<https://github.com/torvalds/linux/blob/v5.15/kernel/bpf/syscall.c>,
    /// `bpf_perf_link_attach()`).
    Unverifiable,
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It is in the ring buffer.
    Sent,
    /// The ring buffer is full.
    NoRoom,
}

/// A link of this process: its descriptor, and its number, which is never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    fd: RawFd,
    id: u64,
}

impl Link {
    /// The links of this process by the programs they attach.
    pub(super) fn all() -> HashMap<u64, Self> {
        let Ok(entries) = fs::read_dir(fdinfo()) else { return HashMap::new() };
        entries
            .filter_map(|entry| {
                let fd = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let text = read(fd)?;
                Some((member(&text, "prog_id")?, Self { fd, id: member(&text, "link_id")? }))
            })
            .collect()
    }

    pub(super) fn exists(self) -> bool {
        read(self.fd).and_then(|text| member(&text, "link_id")) == Some(self.id)
    }
}

/// Number of a loaded program.
pub(super) fn program_id(ebpf: &Ebpf, name: &str) -> Option<u64> {
    program_member(ebpf, name, "prog_id")
}

/// A number that the kernel tells of a loaded tracepoint program (`bpf_prog_show_fdinfo()`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/syscall.c>).
pub(super) fn program_member(ebpf: &Ebpf, name: &str, wanted: &str) -> Option<u64> {
    let fd = match ebpf.program(name)? {
        Program::BtfTracePoint(program) => program.fd().ok()?.as_fd().as_raw_fd(),
        Program::TracePoint(program) => program.fd().ok()?.as_fd().as_raw_fd(),
        _ => return None,
    };
    member(&read(fd)?, wanted)
}

fn fdinfo() -> PathBuf {
    Path::new("/proc/self/fdinfo").to_owned()
}

fn read(fd: RawFd) -> Option<String> {
    fs::read_to_string(fdinfo().join(fd.to_string())).ok()
}

fn member(text: &str, wanted: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix(':')?.trim().parse().ok())
}

/// Loads the program that writes heartbeats.
///
/// # Errors
///
/// Why there can be none.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), String> {
    program(ebpf, HEARTBEAT).and_then(SocketFilter::load).map_err(|error| explain(&error))
}

/// Has a heartbeat written.
///
/// # Errors
///
/// When the kernel does not run the program.
pub(super) fn beat(ebpf: &Ebpf) -> Result<Beat, String> {
    let Some(Program::SocketFilter(heartbeat)) = ebpf.program(HEARTBEAT) else {
        return Err(format!("the object has no program {HEARTBEAT}"));
    };
    let run = heartbeat.test_run(TestRunOptions { data_in: Some(&FRAME), ..TestRunOptions::new() });
    let result = run.map_err(|error| first_line(&error))?;
    Ok(if result.return_value == 0 { Beat::NoRoom } else { Beat::Sent })
}

#[cfg(test)]
mod tests {
    use super::{Link, member};

    #[test]
    fn members_are_read_by_their_whole_name() {
        let text = "pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t12\nprog_tag:\tabc\nprog_id:\t34\n";
        assert_eq!(
            (member(text, "link_id"), member(text, "prog_id"), member(text, "prog"), member(text, "prog_tag")),
            (Some(12), Some(34), None, None)
        );
    }

    #[test]
    fn a_descriptor_that_is_no_link_is_not_taken_for_one() {
        assert!(!Link { fd: 0, id: 1 }.exists());
        assert!(!Link { fd: -1, id: 1 }.exists());
    }
}
