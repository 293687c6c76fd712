//! The running kernel: load, attach, layouts, ring, coverage. Knows nothing of JSON or verdicts.

pub mod btf;
pub mod conversations;
pub mod decode;
pub mod diagnostics;
#[cfg(test)]
mod drift;
pub mod error;
mod filter;
pub mod floods;
mod flows;
pub mod hooks;
mod kernel_info;
pub mod layout;
mod live;
pub mod liveness;
mod load;
pub mod maps;
pub mod memlock;
pub mod options;
pub mod packet_tap;
pub mod probe;
pub mod probes;
pub mod reasons;
mod senders;
pub mod test_run;
pub mod tracefs;
mod verify;

pub use error::KernelError;
pub use maps::Counters;
pub use options::{ArmOptions, Budgets};
pub use probes::Armed;
