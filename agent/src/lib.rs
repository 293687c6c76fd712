//! `rstblame` tells who sent the TCP RST that killed an AMQP connection, and why. Like `git blame`,
//! for resets.
//!
//! One way through: a kernel record ([`kernel`]) becomes a [`flow::Reset`], that a verdict
//! ([`attribution`]), that an [`event`], and that a line ([`output`]). Each stage takes a plain
//! value and gives one back.

pub mod amqp;
pub mod attribution;
pub mod capture;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
mod decompress;
pub mod event;
pub mod events;
pub mod explain;
pub mod files;
pub mod flow;
pub mod health;
pub mod host;
pub mod http;
pub mod join;
pub mod kernel;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod model;
pub mod output;
pub mod pcap;
pub mod privileges;
mod progress;
pub mod query;
pub mod reader;
pub mod report;
pub mod signal;
pub mod story;
pub mod summary;
pub mod systemd;
#[cfg(test)]
mod testing;
pub mod text;
pub mod top;
mod units;
