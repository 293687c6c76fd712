//! The running kernel: load, attach, layouts, ring, coverage. Knows nothing of JSON or verdicts.

pub mod armed;
pub mod btf;
pub mod clock;
pub mod decode;
pub mod diagnostics;
#[cfg(test)]
mod drift;
pub mod dry;
pub mod error;
mod filter;
pub mod floods;
mod flows;
pub mod hooks;
mod knowledge;
pub mod layout;
mod loader;
pub mod memlock;
pub mod ports;
pub mod probe;
pub mod pulse;
pub mod reasons;
pub mod talk;
pub mod tap;
pub mod tracefs;
mod verified;

pub use armed::{ArmOptions, Armed, Budgets, Counters};
pub use error::KernelError;
