//! The preflight.
use std::process::ExitCode;
use crate::cli::KernelArgs;
pub fn run(_args: &KernelArgs) -> ExitCode { ExitCode::FAILURE }
