//! The RST came when the connection was being closed anyway.
//!
//! Source: RFC 9293, section 3.6. An end that has closed resets what still arrives for it.
//! Strength: 0.2 after the sender's FIN, 0.5 after the receiver's. Failure modes: firewalls drop
//! the state of half-closed connections early, and reset what follows.

use super::{Finding, Scene};

pub fn look(scene: &Scene) -> Option<Finding> {
    if scene.wire.sender.fin {
        Some(Finding::new(0.2, "the peer had sent its FIN before"))
    } else if scene.wire.receiver.fin {
        Some(Finding::new(0.5, "this end had sent its FIN before"))
    } else {
        None
    }
}
