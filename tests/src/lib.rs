//! The lab: the agent against real TCP stacks, brokers and clients in throw-away network
//! namespaces.
//!
//! A scenario is one test function. It builds its own hosts ([`net`]), watches each of them with
//! its own agent ([`agent`]), makes one thing happen with plain sockets ([`peer`]) or with a real
//! broker and real clients ([`broker`], [`client`]), and compares what each agent said with the
//! truth written beside it ([`expect`]). Nothing of the kernel is mocked, so the lab needs root;
//! `cargo xtask test` runs it.

pub mod act;
pub mod actor;
pub mod agent;
pub mod broker;
pub mod cgroup;
pub mod client;
pub mod command;
pub mod crowd;
pub mod endings;
mod error;
pub mod expect;
pub mod figures;
pub mod flood;
pub mod forge;
pub mod kernel;
pub mod maps;
pub mod net;
pub mod pair;
pub mod peer;
pub mod pika;
pub mod poll;
pub mod privileges;
pub mod proxied;
pub mod proxy;
pub mod ptrace;
pub mod record;
pub mod round;
pub mod router;
pub mod scene;
pub mod site;
pub mod speech;
pub mod stand;
pub mod status;
pub mod table;
pub mod tracing;
pub mod trial;
pub mod truth;
pub mod views;
mod wiretap;
pub mod workspace;

pub use error::LabError;
pub use serde_json::{Value, json};

/// What every scenario and every helper of the lab returns.
pub type Result<T, E = LabError> = std::result::Result<T, E>;
