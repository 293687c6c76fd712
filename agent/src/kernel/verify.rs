//! Loading programs side by side: the verifier works through each on one processor, and is what
//! arming waits for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, Program, ProgramError, SocketFilter, TracePoint},
};

/// How a program is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load<'a> {
    /// For the BTF tracepoint of this name, with the kernel's types.
    BtfTracePoint(&'static str, &'a Btf),
    TracePoint,
    SocketFilter,
}

impl Load<'_> {
    fn load(self, name: &str, program: &mut Program) -> Result<(), ProgramError> {
        let started = Instant::now();
        match self {
            Self::BtfTracePoint(tracepoint, btf) => <&mut BtfTracePoint>::try_from(&mut *program)?.load(tracepoint, btf)?,
            Self::TracePoint => <&mut TracePoint>::try_from(&mut *program)?.load()?,
            Self::SocketFilter => <&mut SocketFilter>::try_from(&mut *program)?.load()?,
        }
        let instructions = program.info().ok().and_then(|info| info.verified_instruction_count());
        tracing::debug!(program = name, instructions, milliseconds = started.elapsed().as_millis(), "verified");
        Ok(())
    }
}

/// What became of programs that were loaded ahead of their turn, by name.
#[derive(Default)]
pub(super) struct Verified(HashMap<&'static str, Result<(), ProgramError>>);

impl Verified {
    /// Loads programs on all processors, in this order. Linux verifies side by side what the
    /// privileged load (`bpf_check()`,
    /// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/verifier.c>).
    pub(super) fn ahead(ebpf: &mut Ebpf, wanted: &[(&'static str, Load<'_>)]) -> Self {
        let mut programs: HashMap<&str, &mut Program> = ebpf.programs_mut().collect();
        let jobs: Vec<_> = wanted.iter().filter_map(|(name, load)| Some((*name, *load, programs.remove(name)?))).collect();
        let helpers = thread::available_parallelism().map_or(0, |processors| processors.get().min(jobs.len()).saturating_sub(1));
        let (jobs, done) = (Mutex::new(jobs.into_iter()), Mutex::new(HashMap::new()));
        let work = || {
            loop {
                // A statement of its own: the lock is not held while the program is loaded.
                let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((name, load, program)) = next else { return };
                let result = load.load(name, program);
                done.lock().unwrap_or_else(PoisonError::into_inner).insert(name, result);
            }
        };
        thread::scope(|scope| {
            for _ in 0..helpers {
                // Where there may be no more threads, this one does it all.
                let _fewer = thread::Builder::new().name("verify".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        Self(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads a program, unless that was done ahead: then it says what came of it.
    ///
    /// # Errors
    ///
    /// What the verifier said.
    pub(super) fn load(&mut self, ebpf: &mut Ebpf, name: &str, load: Load<'_>) -> Result<(), ProgramError> {
        match self.0.remove(name) {
            Some(result) => result,
            None => load.load(name, ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?),
        }
    }
}
