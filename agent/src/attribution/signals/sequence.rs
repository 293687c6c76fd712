//! Whether the RST has a sequence number that an end of the connection would give it.
//!
//! Source: RFC 9293, section 3.10.7, and `tcp_send_active_reset()`: the next one the sender would
//! have sent, or, in an answer, a number that the receiver had acknowledged. Strength: 0.8 when it
//! is one of these, since an injector that sees the traffic gets it right (75 % of those measured);
//! 10 when it lies before all of them; 3 when ahead. Failure modes: lost payload puts the number of
//! a genuine RST ahead; a keepalive probe lies one before.

use super::{Finding, Scene};
use crate::{attribution::shape::answers_syn, model::seq_after};

pub fn look(scene: &Scene) -> Option<Finding> {
    let wire = scene.wire;
    let rst = &wire.rst;
    if answers_syn(rst) {
        let opened = wire.receiver.initial_seq.map(|initial| initial.wrapping_add(1));
        let sent = wire.receiver.end_seq;
        opened.or(sent)?;
        let acknowledges = [opened, sent].contains(&Some(rst.ack));
        return Some(if acknowledges {
            Finding::new(0.8, "it answers the SYN")
        } else {
            Finding::new(5.0, format!("it acknowledges {}, which the SYN does not explain", rst.ack))
        });
    }
    let expected = wire.expected_seq()?;
    let end = wire.sender.end_seq.unwrap_or(expected);
    let known = rst.seq == expected || rst.seq == end || wire.receiver.acks.iter().any(|ack| *ack == rst.seq);
    if known || rst.seq.wrapping_add(1) == expected {
        return Some(Finding::new(0.8, "its sequence number is one that the peer would give it"));
    }
    if seq_after(rst.seq, expected) && seq_after(rst.seq, end) {
        let ahead = rst.seq.wrapping_sub(end);
        return Some(Finding::new(
            if ahead == 1 { 1.5 } else { 3.0 },
            format!("its sequence number is {ahead} ahead of all that was seen of the peer"),
        ));
    }
    if seq_after(rst.seq, expected) {
        return Some(Finding::new(1.5, "its sequence number lies in what the peer had sent, and was not acknowledged"));
    }
    let stale = wire.sender.initial_seq.map(|initial| initial.wrapping_add(1)) == Some(rst.seq);
    let behind = expected.wrapping_sub(rst.seq);
    Some(if stale {
        Finding::new(15.0, format!("its sequence number is that of the handshake, {behind} before the expected one"))
    } else {
        Finding::new(10.0, format!("its sequence number is {behind} before the expected one"))
    })
}
