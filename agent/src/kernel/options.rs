//! How to arm.

use std::path::PathBuf;

use rstblame_abi::rate_limit::{Budget, class};

use super::{diagnostics::Diagnostics, error::KernelError};
use crate::model::ports::PortSet;

/// Smallest and largest ring buffer, bytes.
const RING_SIZES: std::ops::RangeInclusive<u64> = 4096..=1 << 30;

/// Bounds on what the kernel programs report, by [`class`].
pub type Budgets = [Budget; class::COUNT as usize];

/// Which rungs of the ladder may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Ladder {
    /// BTF tracepoints, else plain ones.
    #[default]
    Auto,
    /// BTF tracepoints only.
    Btf,
    /// Plain tracepoints only.
    Tracepoint,
}

/// Which programs are wanted beside that for what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extras {
    /// What leaves.
    pub egress: bool,
    /// What AMQP says.
    pub amqp: bool,
}

/// How to arm.
#[derive(Clone, Debug)]
pub struct ArmOptions {
    pub ports: PortSet,
    /// Inode numbers of the watched network namespaces; `None` for all.
    pub netns: Option<Vec<u32>>,
    /// Size of the ring buffer in bytes, rounded up by the kernel to a power of two of pages.
    pub ring_size: u64,
    /// Connections remembered at once.
    pub max_connections: u32,
    /// Connections at once of which is remembered what was said.
    pub max_conversations: u32,
    /// What the tap watches beside what arrives.
    pub extras: Extras,
    /// Whether the kernel programs say what goes wrong in them.
    pub diagnostics: Diagnostics,
    /// Records a second, by [`class`].
    pub budgets: Budgets,
    pub ladder: Ladder,
    /// The kernel's type information; `None` to do without.
    pub btf: Option<PathBuf>,
}

impl ArmOptions {
    /// The size of the ring buffer as the kernel takes it.
    ///
    /// # Errors
    ///
    /// [`KernelError::RingSize`].
    pub(super) fn ring_size(&self) -> Result<u32, KernelError> {
        u32::try_from(self.ring_size)
            .ok()
            .filter(|size| RING_SIZES.contains(&u64::from(*size)))
            .ok_or(KernelError::RingSize(self.ring_size))
    }
}
