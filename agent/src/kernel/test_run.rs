//! The tap on packets that were never on a wire (`BPF_PROG_TEST_RUN`): the kernel program itself
//! against the rules that it keeps.

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
    programs::{ProgramError, SocketFilter, TestRun as _, TestRunOptions},
};
use thiserror::Error;

use super::{
    conversations::Talk,
    decode::conversation::{Jiffies, conversation},
    error::{KernelError, first_line},
    filter, flows,
    kernel_info::Knowledge,
    load, maps,
    options::ArmOptions,
    packet_tap::{Tap, program},
    verify::Verified,
};
use crate::{
    amqp::Conversation,
    model::{Role, Tuple},
};

/// Why there is no dry run.
#[derive(Debug, Error)]
pub enum DryError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("the tap cannot be run: {0}; it takes root")]
    Run(String),
}

impl From<ProgramError> for DryError {
    fn from(error: ProgramError) -> Self {
        Self::Run(first_line(&error))
    }
}

/// The programs, loaded and attached to nothing.
pub struct DryRun {
    ebpf: Ebpf,
    /// Holds the map by which the programs find each other.
    _tap: Tap,
    talk: Talk,
    ring: RingBuf<MapData>,
}

impl DryRun {
    /// Loads the programs.
    ///
    /// # Errors
    ///
    /// When they, or one of them that `options` asks for, cannot be loaded.
    pub fn new(options: &ArmOptions) -> Result<Self, DryError> {
        let knowledge = Knowledge::gather(options);
        let table = flows::table(options.max_connections);
        let mut ebpf = load::load(options, options.ring_size()?, &knowledge, &table)?;
        filter::set(&mut ebpf, &options.ports, options.netns.as_deref(), options.budgets)?;
        let tap = Tap::load(&mut ebpf, options.extras, &mut Verified::default())?;
        if options.extras.amqp {
            tap.amqp().map_err(|error| DryError::Run(error.to_owned()))?;
        }
        let talk = Talk::new(&mut ebpf, table)?;
        let ring = RingBuf::try_from(maps::take(&mut ebpf, "EVENTS")?).map_err(|error| KernelError::map("EVENTS", error))?;
        Ok(Self { ebpf, _tap: tap, talk, ring })
    }

    /// The records that the programs have written since they were last asked for, for a
    /// [`Decoder`](super::decode::Decoder).
    pub fn records(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.ring.next().map(|record| record.to_vec())).collect()
    }

    /// Lets an Ethernet frame arrive. One that is neither of IPv4 nor of IPv6 no program is asked
    /// about.
    ///
    /// # Errors
    ///
    /// When the kernel does not run the program.
    pub fn arrive(&mut self, frame: &[u8]) -> Result<(), DryError> {
        let ethertype = frame.get(12..).and_then(<[u8]>::first_chunk).map_or(0, |ethertype| u16::from_be_bytes(*ethertype));
        let Some(name) = Tap::arriving(ethertype) else {
            return Ok(());
        };
        let program: &mut SocketFilter = program(&mut self.ebpf, name)?;
        program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() })?;
        Ok(())
    }

    /// What was said on a connection of which both ends arrived, in this network namespace. `role`:
    /// that of its local end.
    pub fn conversation(&self, tuple: Tuple, role: Role, netns: u32) -> Option<Conversation> {
        // What has a time at all began while the machine ran.
        let lifetime = 1..=u64::MAX;
        let [peer, local] = [tuple, tuple.reversed()].map(|tuple| self.talk.arriving(tuple, netns).within(&lifetime));
        if peer.said.is_none() && local.said.is_none() {
            return None;
        }
        // Only whether there is a time is asked for.
        let clock = Jiffies { now_ns: 0, now: 0, length: std::time::Duration::ZERO };
        conversation(&local, &peer, role, &clock)
    }
}
