//! Several RSTs of a kind that no stack sends.
//!
//! Source: Weaver, Sommer and Paxson, NDSS 2009 (RST_SEQ_CHANGE); Clayton, Murdoch and
//! Watson, 2006. Two patterns: the same IPv4 identification, not zero, on RSTs that differ
//! otherwise; and a RST within two seconds of another, beyond all the peer ever sent and not at a
//! number that the receiver acknowledged. Strength: 50. Failure modes: a peer that is gone answers
//! every segment it gets with a RST of its own; those have the numbers that the receiver
//! acknowledged, and identification 0. The same frame captured twice is the same in everything.

use std::time::Duration;

use super::{Finding, Scene};
use crate::{flow::wire::Segment, model::seq_after};

const APART: Duration = Duration::from_secs(2);

pub fn look(scene: &Scene) -> Option<Finding> {
    let wire = scene.wire;
    let rst = &wire.rst;
    let near = |other: &&Segment| Duration::from_nanos(rst.time_ns.abs_diff(other.time_ns)) <= APART;
    let twin = |other: &&Segment| {
        rst.ip_id.is_some_and(|id| id != 0)
            && other.ip_id == rst.ip_id
            && (other.window != rst.window || other.ttl.abs_diff(rst.ttl) > 2 || other.seq != rst.seq)
    };
    if let Some(other) = wire.others.iter().filter(near).find(twin) {
        let id = rst.ip_id.unwrap_or_default();
        return Some(Finding::new(
            50.0,
            format!(
                "another RST has the same IP-ID {id}, with TTL {} and window {} against {} and {}",
                other.ttl, other.window, rst.ttl, rst.window
            ),
        ));
    }
    let end = wire.sender.end_seq?;
    let acknowledged = wire.receiver.acks.iter().any(|ack| *ack == rst.seq) || wire.receiver.packets == 0;
    let beyond = rst.seq.wrapping_sub(end);
    // One beyond is a FIN that was not seen.
    if acknowledged || !seq_after(rst.seq, end) || beyond <= 2 || wire.sender.fin || rst.flags.ack() && rst.seq == 0 {
        return None;
    }
    let other = wire.others.iter().filter(near).find(|other| seq_after(rst.seq, other.seq.wrapping_add(1)))?;
    let step = rst.seq.wrapping_sub(other.seq);
    Some(Finding::new(50.0, format!("it is {step} beyond another RST, and {beyond} beyond all the peer ever sent")))
}
