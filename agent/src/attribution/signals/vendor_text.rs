//! A device says in the RST that it made it: by text in the payload, or by a number in the window.
//!
//! Source: F5 K13223, Citrix CTX200852 (see [`vendors`](crate::attribution::vendors)). Strength:
//! 500 for text, 40 to 300 for a number, by what else is the device's. Failure modes: a full proxy
//! is the endpoint itself; the contract counts a load balancer as a middlebox even then. Anybody
//! could write such text, but an injector gains nothing by it.

use super::{Finding, Scene};
use crate::attribution::vendors;

pub fn look(scene: &Scene) -> Option<Finding> {
    let said = vendors::said(scene.wire)?;
    Some(Finding::new(said.ratio, format!("{} says: {}", said.vendor, said.literal)))
}
