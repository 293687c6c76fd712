//! Loads the object: with the sizes of its maps, what is known of this kernel, and nothing that aya
//! does unasked.

use std::{
    hash::{BuildHasher as _, RandomState},
    panic::resume_unwind,
    thread,
};

use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use rstblame_abi::flow_table::Table;

use super::{diagnostics, error::KernelError, hooks, kernel_info::Knowledge, memlock, options::ArmOptions};
use crate::{clock, privileges::seccomp};

/// The kernel programs, one object for all kernels.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rstblame.bpf.o"));

pub(super) fn load(options: &ArmOptions, ring_size: u32, knowledge: &Knowledge, table: &Table) -> Result<Ebpf, KernelError> {
    let (second, level) = (clock::jiffies_a_second(), options.diagnostics.level());
    let formats = hooks::ALL.map(|hook| (hook.format_global, knowledge.record_format(hook)));
    let seed = RandomState::new().hash_one(0);
    let mut loader = without_types();
    loader
        // A refused program is verified anew for its log, which with every instruction in it takes
        // long and is not read.
        .verifier_log_level(VerifierLogLevel::STATS)
        .map_max_entries("EVENTS", ring_size)
        .map_max_entries("CONNECTIONS", options.max_connections.max(1))
        .map_max_entries("FLOWS", table.slots())
        .map_max_entries("SETS", table.sets)
        .override_global("TABLE", table, true)
        .map_max_entries("SPOKEN", if options.extras.amqp { options.max_conversations.saturating_mul(2).max(1) } else { 1 })
        .override_global("SHARE_SEED", &seed, true)
        .override_global("LAYOUT", &knowledge.layout, true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries(diagnostics::MAP, options.diagnostics.buffer())
        .override_global("SECOND", &second, true)
        .override_global("SEND_REASON_ARG", &knowledge.reason_argument, true)
        .override_global("OOM_HAS_TASK", &knowledge.oom_has_task, true);
    for (name, format) in &formats {
        loader.override_global(name, format, true);
    }
    let loaded = match loader.load(OBJECT) {
        // The error does not tell whether it was the limit, so the limit is lifted only after a
        // failure, and it is tried once more.
        Err(_) if memlock::lift() => loader.load(OBJECT),
        loaded => loaded,
    };
    loaded.map_err(|source| {
        let denied = super::error::errno(&source) == Some(libc::EPERM);
        let source = Box::new(source);
        if denied { KernelError::Denied { source } } else { KernelError::Load { source } }
    })
}

/// A loader that has not read the kernel's types.
///
/// `EbpfLoader::new()` of aya 0.14 reads all of them, to relocate by them, and cannot be told not
/// to. The object has no relocations: rustc emits none. It takes longer than all programs take to
/// be verified, and more memory than the agent needs ever after. So the loader is made on a thread
/// that may open no files: then it does without.
fn without_types() -> EbpfLoader<'static> {
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
