//! The RST was made by turning one of the receiver's own packets around: it bears the same IPv4
//! identification.
//!
//! Source: measured on a public capture (CenTrace), and seen in the field. Strength: 100; a chance
//! match is 4 in 65,536 with the few identifications that are remembered. Failure modes:
//! identification 0 is common, and so are the first numbers of a counter: they do not count; a peer
//! whose counter happens to run along with the receiver's (both fresh after a reboot) is excluded
//! by its own packets.

use super::{Finding, Scene};

/// A counter that has just begun, or that a program never moves: others may stand there as well.
const BEGUN: u16 = 16;

pub fn look(scene: &Scene) -> Option<Finding> {
    let id = scene.wire.rst.ip_id.filter(|id| *id > BEGUN)?;
    let (own, theirs) = (&scene.wire.receiver.ip_ids, &scene.wire.sender.ip_ids);
    let continues = theirs.last.is_some_and(|last| id.wrapping_sub(last) <= 2048);
    let mirrored = own.recent.iter().any(|known| *known == id) || scene.wire.receiver.handshake_ip_id == Some(id);
    (mirrored && !continues).then(|| Finding::new(100.0, format!("its IP-ID {id} is that of a packet it was sent")))
}
