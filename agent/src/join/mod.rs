//! Joins what belongs to one connection: what hooks, packets and the owner search each know becomes
//! one reset ([`settle`], [`packets`], [`departures`], [`owners`]), and what a connection did first
//! explains the RST that comes after it ([`endings`]).
//!
//! It knows nothing of JSON, verdicts and BPF.

pub mod bypassed;
pub mod departures;
pub mod endings;
pub mod owner_filter;
pub mod owners;
pub mod packets;
pub mod settle;
pub mod told;
