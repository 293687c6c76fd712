//! Devices that say in the RST why they sent it.

mod f5;
mod netscaler;

use std::time::Duration;

use crate::{
    flow::wire::Wire,
    model::{CauseId, Text},
};

/// A silence from which on a device's word for a timer is taken for an idle timeout.
const IDLE: Duration = Duration::from_secs(10);

/// What a device says of its RST.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Whose it is.
    pub vendor: &'static str,
    /// What it means, in a sentence that begins with the device.
    pub meaning: Meaning,
    /// As it stands in the packet.
    pub literal: String,
    /// How much likelier such a RST is from the device than from a host.
    pub ratio: f64,
}

/// A reason of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meaning {
    /// `None`: the word is not in the table.
    pub cause: Option<CauseId>,
    /// What the device did, with `it` for itself.
    pub what: &'static str,
    /// Where to look.
    pub advice: &'static str,
}

impl Meaning {
    const fn of(cause: CauseId, what: &'static str, advice: &'static str) -> Self {
        Self { cause: Some(cause), what, advice }
    }
}

/// What the device that made the RST says in it, if it is one of those known here.
pub fn said(wire: &Wire) -> Option<Said> {
    f5::said(wire).or_else(|| netscaler::said(wire))
}

impl Said {
    /// The cause. A timer is an idle timeout only after a silence.
    pub fn cause(&self, wire: &Wire) -> (CauseId, Text) {
        let quiet = wire.silence.filter(|silence| silence.length >= IDLE);
        match (self.meaning.cause, quiet) {
            (Some(CauseId::IdleTimeout), Some(silence)) => {
                let seconds = silence.length.as_secs_f64();
                (CauseId::IdleTimeout, format!("{}, after {seconds:.0} s of silence", self.meaning.what).into())
            }
            (Some(CauseId::IdleTimeout), None) => (CauseId::StateLost, self.meaning.what.into()),
            (Some(cause), _) => (cause, self.meaning.what.into()),
            (None, _) => (CauseId::Unknown, self.meaning.what.into()),
        }
    }
}
