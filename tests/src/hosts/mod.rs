//! Hosts: network namespaces, the wires and routers between them, and packets that no kernel made.

pub mod cgroup;
pub mod flood;
pub mod flow;
pub mod forge;
pub mod net;
pub mod router;
pub mod side;
mod wiretap;
