//! Settings of the programs that may change while they run.

use crate::rate_limit::{self, Budget};

/// Bits of `Config::flags`.
pub mod config_flag {
    /// Only the namespaces in the `NETNS` map are watched.
    pub const NETNS_FILTER: u32 = 1 << 0;
}

/// Runtime settings of the kernel side that may change without re-attaching.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// [`config_flag`].
    pub flags: u32,
    /// By [`rate_limit::class`].
    pub budgets: [Budget; rate_limit::class::COUNT as usize],
}

const _: () = assert!(size_of::<Config>() == 52);
