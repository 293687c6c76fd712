//! Maps of the loaded object, by name, and what the kernel side has counted in them.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use rstblame_abi::counter;

use super::error::KernelError;

pub(super) fn open<'a, M>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<&'a mut aya::maps::Map, Error = aya::maps::MapError>,
{
    M::try_from(ebpf.map_mut(name).ok_or(KernelError::NoMap { name })?).map_err(|error| KernelError::map(name, error))
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::NoMap { name })
}

/// What the kernel side has counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Resets that passed the filter.
    pub seen: u64,
    /// Those for which the ring buffer had no room, by CPU.
    pub ring_full: BTreeMap<u32, u64>,
    /// Connections that could not be remembered.
    pub connections_full: u64,
    /// Records of processes that found no room.
    pub tasks_lost: u64,
    /// Packets of the tap that found no room.
    pub packets_lost: u64,
    /// Directions of connections that the tap forgot, to make room for others.
    pub flows_gone: u64,
    /// Handshakes that were put down to wait for their connection.
    pub handshakes_begun: u64,
    /// Those of them that a connection was begun with.
    pub handshakes_taken: u64,
    /// Directions of connections of which what was said was forgotten before they ended.
    pub conversations_gone: u64,
    /// Messages that the kernel programs had for the log.
    pub diagnosed: u64,
    /// Resets that were counted by their key and not reported.
    pub folded: u64,
    /// Ends of connections that were to be reported.
    pub endings: u64,
    /// Those of them for which the ring buffer had no room to spare.
    pub endings_lost: u64,
}

impl Counters {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub(super) fn read(counters: &PerCpuArray<MapData, u64>) -> Result<Self, KernelError> {
        let read = |index| counters.get(&index, 0).map_err(|error| KernelError::map("COUNTERS", error));
        let ring_full = read(counter::RING_FULL)?;
        Ok(Self {
            seen: read(counter::SEEN)?.iter().sum(),
            ring_full: ring_full
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .filter_map(|(cpu, count)| Some((u32::try_from(cpu).ok()?, *count)))
                .collect(),
            connections_full: read(counter::CONNECTIONS_FULL)?.iter().sum(),
            tasks_lost: read(counter::TASKS_LOST)?.iter().sum(),
            packets_lost: read(counter::PACKETS_LOST)?.iter().sum(),
            flows_gone: read(counter::FLOWS_GONE)?.iter().sum(),
            handshakes_begun: read(counter::HANDSHAKES_BEGUN)?.iter().sum(),
            handshakes_taken: read(counter::HANDSHAKES_TAKEN)?.iter().sum(),
            conversations_gone: read(counter::CONVERSATIONS_GONE)?.iter().sum(),
            diagnosed: read(counter::DIAGNOSED)?.iter().sum(),
            folded: read(counter::FOLDED)?.iter().sum(),
            endings: read(counter::ENDINGS)?.iter().sum(),
            endings_lost: read(counter::ENDINGS_LOST)?.iter().sum(),
        })
    }

    /// Resets lost to a full ring buffer on all CPUs.
    pub fn ring_full_total(&self) -> u64 {
        self.ring_full.values().sum()
    }
}
