//! What can go wrong between the agent and the kernel.

use std::io;

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use thiserror::Error;

use crate::model::ports::PortError;

/// Why the agent could not arm itself, or lost the kernel side.
#[derive(Debug, Error)]
pub enum KernelError {
    #[error("neither tcp_send_reset nor tcp_receive_reset could be attached: {0}; run `rstblame check`")]
    NoHook(String),
    #[error(
        "missing CAP_BPF, or CAP_SYS_ADMIN on a kernel before 5.8, or before 5.11 too low a limit of locked memory (ulimit -l): {}; run with sudo, or see `rstblame check`",
        first_line(source)
    )]
    Denied {
        #[source]
        source: Box<EbpfError>,
    },
    #[error("the kernel programs could not be loaded: {}; run `rstblame check`", first_line(source))]
    Load {
        #[source]
        source: Box<EbpfError>,
    },
    #[error("map {name} is missing from the kernel programs; this binary was built wrongly")]
    NoMap { name: &'static str },
    #[error("map {name} cannot be used: {}; run `rstblame check`", first_line(source))]
    Map {
        name: &'static str,
        #[source]
        source: Box<MapError>,
    },
    #[error("the ring buffer cannot be waited on: {0}")]
    Ring(#[source] io::Error),
    #[error("one network namespace cannot be picked out on a kernel without BTF; use --netns all")]
    NetnsWithoutBtf,
    #[error("a ring buffer of {0} bytes is out of range; give --ring-size from 4KiB to 1GiB")]
    RingSize(u64),
    #[error(transparent)]
    Ports(#[from] PortError),
}

impl KernelError {
    pub(super) fn map(name: &'static str, source: impl Into<MapError>) -> Self {
        Self::Map { name, source: Box::new(source.into()) }
    }
}

/// The errno behind an error, wherever in the chain it is.
pub fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = error.source();
    }
    None
}

/// An error and its sources on one line; verifier logs and other long tails are cut.
pub fn first_line(error: &dyn std::error::Error) -> String {
    const LONGEST: usize = 300;
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let own = error.to_string();
        let own = own.lines().next().unwrap_or_default();
        // Many wrappers repeat their source.
        if !text.contains(own) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(own);
        }
        next = error.source();
    }
    text.chars().take(LONGEST).collect()
}

/// The error in one line, with the missing capability named where that is what it means.
pub fn explain(error: &ProgramError) -> String {
    let text = first_line(error);
    let code = match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    // EPERM is a want of privilege; EACCES and the rest are the verifier's own verdict.
    if code == Some(libc::EPERM) { format!("missing CAP_BPF or CAP_PERFMON ({text})") } else { text }
}
