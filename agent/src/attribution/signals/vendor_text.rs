//! A device wrote its name into the payload of the RST.
//!
//! Source: F5 K13223 (reset cause in the packet). Strength: 500. Failure modes: a full proxy is the endpoint itself; the contract counts a load
//! balancer as a middlebox even then. Anybody could write such text, but an injector gains nothing by it.

use super::{Finding, Scene};

pub fn look(scene: &Scene) -> Option<Finding> {
    let text = scene.wire.text.as_ref()?;
    Some(Finding::new(500.0, format!("{} says: {}", text.vendor, text.text)))
}
