//! Which end of a captured connection is local.

use std::net::IpAddr;

use super::{reader::FrameDirection, table::Key};
use crate::flow::{
    LocalKnown,
    wire::{End, Side, WireFlow},
};

/// How often the capture marked the packets of each end as leaving the capturing host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Votes {
    first: u32,
    second: u32,
}

impl Votes {
    /// Counts one packet.
    pub fn count(&mut self, direction: Option<FrameDirection>, from: End) {
        let local = match direction {
            Some(FrameDirection::Leaving) => from,
            Some(FrameDirection::Arriving) => from.other(),
            None => return,
        };
        match local {
            End::First => self.first = self.first.saturating_add(1),
            End::Second => self.second = self.second.saturating_add(1),
        }
    }
}

/// Decides, by what is most certain first.
pub fn local_end(key: &Key, told: Option<IpAddr>, votes: Votes, flow: &WireFlow, rst_from: End) -> (End, LocalKnown) {
    let at = |end| told == Some(key.address(end).ip());
    match (at(End::First), at(End::Second)) {
        (true, false) => return (End::First, LocalKnown::Told),
        (false, true) => return (End::Second, LocalKnown::Told),
        _ => {}
    }
    match votes.first.cmp(&votes.second) {
        std::cmp::Ordering::Greater => return (End::First, LocalKnown::PacketType),
        std::cmp::Ordering::Less => return (End::Second, LocalKnown::PacketType),
        std::cmp::Ordering::Equal => {}
    }
    match (fresh(flow.side(End::First)), fresh(flow.side(End::Second))) {
        (Some(true), Some(false)) => (End::First, LocalKnown::FreshTtl),
        (Some(false), Some(true)) => (End::Second, LocalKnown::FreshTtl),
        _ => (rst_from.other(), LocalKnown::Assumed),
    }
}

/// Whether an end's packets still had an initial TTL: no router had seen them.
fn fresh(side: &Side) -> Option<bool> {
    let initial = |ttl: u8| matches!(ttl, 64 | 128 | 255);
    match side.handshake_ttl {
        Some(ttl) => Some(initial(ttl)),
        None if side.ttl.count > 0 => Some(initial(side.ttl.mode)),
        None => None,
    }
}
