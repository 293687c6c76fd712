//! The preflight.
use crate::cli::KernelArgs;
use std::process::ExitCode;
pub fn run(_args: &KernelArgs) -> ExitCode {
    ExitCode::FAILURE
}
