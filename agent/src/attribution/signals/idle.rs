//! The silence before the RST, against what earlier resets of this destination taught.
//!
//! Source: devices forget idle connections after a fixed time, and then reset, at that time or when
//! the next segment comes. Strength: 50 where at least three resets cluster, 2 for a single match
//! with a shipped default. Failure modes: programs have timers as well; they close by FIN or by an
//! active RST, so that an active RST does not count, nor does one after a FIN.

use super::{Finding, Scene};
use crate::{attribution::shape::Shape, flow::idle::candidates};

pub fn look(scene: &Scene) -> Option<Finding> {
    let silence = scene.wire.silence?;
    if scene.shape == Shape::Active || scene.wire.sender.fin || scene.wire.receiver.fin {
        return None;
    }
    let seconds = silence.length.as_secs_f64();
    let ended = if silence.broken_by_receiver { "it answered the first segment after" } else { "it broke" };
    if let Some(learnt) = scene.reset.learnt_idle.as_deref().filter(|learnt| learnt.explains(silence)) {
        return Some(Finding::new(
            50.0,
            format!(
                "{ended} {seconds:.1} s of silence; {} resets of this destination came after {:.1} s, within {:.1} s",
                learnt.repeats,
                learnt.timeout.as_secs_f64(),
                learnt.spread.as_secs_f64()
            ),
        ));
    }
    let fits = candidates(silence.length);
    (!fits.is_empty()).then(|| Finding::new(2.0, format!("{ended} {seconds:.1} s of silence, the default of {}", fits.join(", "))))
}
