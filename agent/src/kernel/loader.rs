//! aya's loader, without what it does unasked.

use std::{panic::resume_unwind, thread};

use aya::EbpfLoader;

use crate::privileges::seccomp;

/// A loader that has not read the kernel's types.
///
/// `EbpfLoader::new()` of aya 0.14 reads all of them, to relocate by them, and cannot be told not
/// to. The object has no relocations: rustc emits none. It takes longer than all programs take to
/// be verified, and more memory than the agent needs ever after. So the loader is made on a thread
/// that may open no files: then it does without.
pub(super) fn without_types() -> EbpfLoader<'static> {
    let make = || {
        if let Err(error) = seccomp::open_no_files() {
            tracing::debug!(%error, "arming takes longer: aya reads all types of the kernel");
        }
        EbpfLoader::new()
    };
    match thread::Builder::new().name("loader".to_owned()).spawn(make) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(_) => EbpfLoader::new(),
    }
}
