//! One counter of identifications runs through the RSTs of many addresses, all of which have passed
//! no router: one machine on the link answers for all of them.
//!
//! Source: RFC 6864 leaves the identification to the sender, and what is no host's stack mostly
//! counts; see [`Machines`](crate::flow::machines::Machines). Strength: 300. Failure modes: a host
//! on the link with addresses of several networks, which is why networks far apart are asked for.

use super::{Finding, Scene, ttl};

pub fn look(scene: &Scene) -> Option<Finding> {
    let addresses = scene.wire.one_machine.filter(|_| ttl::fresh(scene.wire.rst.ttl))?;
    let ttl = scene.wire.rst.ttl;
    Some(Finding::new(
        300.0,
        format!("TTL {ttl}: it has passed no router, and its IP-IDs are those of one counter with the RSTs of {addresses} addresses"),
    ))
}
