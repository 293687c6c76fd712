//! The lab: the agent against real TCP stacks, brokers and clients in throw-away network
//! namespaces.
//!
//! A scenario is one test function. It builds its own hosts ([`hosts::net`]), watches each of them
//! with its own agent ([`agents::agent`]), makes one thing happen with plain sockets
//! ([`peers::peer`]) or with a real broker and real clients ([`brokers::broker`],
//! [`peers::client`]), and compares what each agent said with the truth written beside it
//! ([`truths::expect`]). Nothing of the kernel is mocked, so the lab needs root; `cargo xtask test`
//! runs it.

pub mod agents;
pub mod brokers;
pub mod command;
mod error;
pub mod figures;
pub mod hosts;
pub mod peers;
pub mod poll;
pub mod proxies;
pub mod truths;
pub mod workspace;

pub use error::LabError;
pub use serde_json::{Value, json};

/// What every scenario and every helper of the lab returns.
pub type Result<T, E = LabError> = std::result::Result<T, E>;
