//! Real brokers.

pub mod broker;
