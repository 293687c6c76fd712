//! What must hold whatever bytes arrive. Each module is one fuzz target; its `holds` panics where a
//! property does not.
//!
//! `cargo xtask fuzz` runs them. Nothing here looks for a panic alone: bytes that are understood
//! are understood one way, however they arrive and whatever follows them, and what cannot be
//! understood is refused by name.

pub mod amqp;
pub mod btf;
pub mod capture;
pub mod config;
pub mod events;
mod input;
pub mod log;
mod memory;
pub mod names;
pub mod packet;
pub mod sinks;
pub mod state;
pub mod tracefs;
pub mod wire;
