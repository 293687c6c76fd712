//! What of this host made a RST that left it and that its TCP did not make.

use super::{
    shape::{Shape, answers_syn},
    signals::ttl,
};
use crate::flow::wire::Wire;

/// What of this host made a RST that its TCP did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A rule of its firewall: `reject with tcp reset`.
    Firewall,
    /// A program that writes packets itself: a raw socket, tc, XDP, a TCP stack of its own.
    Program,
}

/// How far acknowledgements may have come since: a window without scaling.
const WINDOW: u32 = u16::MAX as u32;

/// Who made it, where it was made on this host. Nothing where it may have come from elsewhere.
///
/// What is forwarded has lost one from its TTL; what a bridge hands on has not, and of that the
/// other direction does not come by here.
pub fn made_here(wire: &Wire) -> Option<Maker> {
    let (rst, answered) = (&wire.rst, &wire.receiver);
    if !ttl::fresh(rst.ttl) || answered.packets == 0 && answered.initial_seq.is_none() {
        return None;
    }
    // A firewall answers the segment that it stops; others may have come since
    // (`nf_reject_ip_tcphdr_put()`,
    // <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/netfilter/nf_reject_ipv4.c>).
    let answers = if answers_syn(rst) {
        answered.initial_seq.is_some_and(|syn| rst.ack == syn.wrapping_add(1))
    } else {
        !rst.flags.ack() && answered.last_ack.is_some_and(|ack| ack.wrapping_sub(rst.seq) <= WINDOW)
    };
    match Shape::of(wire) {
        Shape::Answer if answers => Some(Maker::Firewall),
        // That its numbers do not fit may be a segment that was not seen.
        Shape::Answer => None,
        Shape::Active | Shape::OtherAnswer | Shape::Foreign => Some(Maker::Program),
    }
}
