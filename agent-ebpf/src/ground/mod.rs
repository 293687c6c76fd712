//! What every program stands on: clock, endpoints, maps, the filter, reading of kernel memory, and
//! what is written for the verifier's sake. It knows nothing of hooks, records or packets.

pub mod clock;
pub mod diagnose;
pub mod endpoints;
pub mod filter;
pub mod maps;
pub mod netns;
pub mod probe_read;
pub mod verifier;
