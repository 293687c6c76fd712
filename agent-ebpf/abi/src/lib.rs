//! What the kernel programs and the agent must agree on: records, values of maps, where things lie
//! in the kernel, and the names of all that.
//!
//! One module for each subject; it knows nothing of programs, and nothing of the agent. Every
//! record is `repr(C)` without padding: the memory a ring buffer hands out is not zeroed, so a hole
//! in a record would leak whatever the kernel had there before. Integers are in host byte order
//! unless said otherwise; addresses are bytes as on the wire. Enumerations travel as integers,
//! since the running kernel may know more values than this code.
#![no_std]

mod address;
mod config;
mod connection;
pub mod conversation;
pub mod counter;
pub mod flow;
pub mod flow_table;
mod header;
mod layout;
mod live;
#[cfg(feature = "pod")]
mod pod;
pub mod port_filter;
pub mod rate_limit;
mod reset;
mod sender;
mod task;
pub mod tcp;

pub use address::{AF_INET, AF_INET6};
pub use config::{Config, config_flag};
pub use connection::{Connection, owner};
pub use header::{Header, Heartbeat, called, kind};
pub use layout::{ABSENT, Layout, RecordFormat};
pub use live::{LiveConnection, LocalEnd};
pub use reset::{ResetRecord, errno, sock_bit, valid};
pub use sender::{Receiver, Sender};
pub use task::{COMM_LEN, PF_EXITING, PF_KTHREAD, Signal, Task, TaskRecord, signal_flag};
