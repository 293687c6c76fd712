//! Everything that arming does, done once by every way there is, and undone: what `rstblame check`
//! reports.

use std::collections::BTreeMap;

use aya::maps::RingBuf;

use super::{
    error::{KernelError, first_line},
    flows,
    hooks::{self, Hook},
    kernel_info::{Knowledge, coverage},
    load::load,
    maps::take,
    options::{ArmOptions, Ladder},
    verify::Verified,
};
use crate::model::Coverage;

/// One way to attach one hook.
#[derive(Debug)]
pub struct Rung {
    pub hook: Hook,
    /// [`Ladder::Btf`] or [`Ladder::Tracepoint`].
    pub way: Ladder,
    /// Loaded, attached and detached; else what went wrong.
    pub outcome: Result<(), String>,
}

/// What the programs found when they were tried.
#[derive(Debug)]
pub struct Programs {
    /// Every way of every hook, in the order in which they were tried.
    pub rungs: Vec<Rung>,
    /// Whether the ring buffer could be mapped.
    pub ring: Result<(), KernelError>,
}

/// What this kernel offers.
#[derive(Debug)]
pub struct Probe {
    /// The sources of evidence, as `agent_started` would report them.
    pub sources: BTreeMap<String, Coverage>,
    /// `Err` when the object could not be loaded at all.
    pub programs: Result<Programs, KernelError>,
}

/// Tries every rung that `options.ladder` allows. No port is watched meanwhile: nothing is
/// recorded, and nothing stays behind.
pub fn probe(options: &ArmOptions) -> Probe {
    let knowledge = Knowledge::gather(options);
    Probe { sources: coverage(&[], &knowledge), programs: programs(options, &knowledge) }
}

fn programs(options: &ArmOptions, knowledge: &Knowledge) -> Result<Programs, KernelError> {
    let mut ebpf = load(options, options.ring_size()?, knowledge, &flows::table(options.max_connections))?;
    let mut rungs = Vec::new();
    for hook in hooks::ALL {
        let format = knowledge.format(hook);
        for way in [Ladder::Btf, Ladder::Tracepoint].into_iter().filter(|way| options.ladder == Ladder::Auto || options.ladder == *way) {
            let attached = hooks::attach(&mut ebpf, hook, way, knowledge.btf(), format, &mut Verified::default());
            let outcome = match attached.program {
                None => Err(attached.failures.join("; ")),
                Some(program) => {
                    hooks::detach(&mut ebpf, program).map_err(|error| format!("attached, but cannot be detached: {}", first_line(&error)))
                }
            };
            rungs.push(Rung { hook, way, outcome });
        }
    }
    let ring = take(&mut ebpf, "EVENTS")
        .and_then(|map| RingBuf::try_from(map).map(|_mapped| ()).map_err(|error| KernelError::map("EVENTS", error)));
    Ok(Programs { rungs, ring })
}
