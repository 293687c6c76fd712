//! What followed a RST.

use super::segment::Segment;
use crate::model::{seq_after, seq_at_or_after};

/// A dead end of a connection sends nothing more; a RST that something else made does not silence
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// Latest segment with payload or FIN from the RST's sender at or beyond the RST's sequence
    /// number: when it came, ns after the RST, and where it begins, relative to the RST.
    pub sender_went_on: Option<(u64, u32)>,
    /// First segment without payload from the sender that acknowledges what the receiver sent only
    /// after the RST: ns after the RST.
    pub sender_acknowledged: Option<u64>,
    /// First segment of the sender that acknowledges all that the receiver had sent before the RST,
    /// part of which was not acknowledged then: ns after the RST. What the RST may have been the
    /// answer to had been taken in.
    pub sender_took_in: Option<u64>,
    /// Segments of the sender from before the RST's sequence number: late, or sent again.
    pub late: u32,
    /// First segment of the receiver that is not a RST: ns after the RST. Its kernel did not act on
    /// the RST, or answered by a challenge ACK (RFC 5961, section 3.2).
    pub receiver_spoke: Option<u64>,
    /// RSTs that the receiver sent back.
    pub receiver_rsts: u32,
    /// A RST with exactly the expected sequence number followed, and the receiver had spoken in
    /// between: ns after the first. The end of a connection that is gone answers a challenge ACK
    /// this way.
    pub exact_rst: Option<u64>,
    /// Highest sequence number the receiver sent after the RST, plus one.
    receiver_end: Option<u32>,
    /// A new connection began on the same addresses and ports: what comes now says nothing any
    /// more.
    closed: bool,
    /// The sender's address sent a SYN with this number: what follows from there on is of another
    /// connection, if there is one.
    reopened: Option<u32>,
    /// The same of the receiver's.
    opened: Option<u32>,
}

/// How much of another connection is told apart by its numbers.
const REOPENED: u32 = 1 << 20;

impl After {
    /// Highest sequence number the receiver sent after the RST, plus one.
    pub(super) const fn receiver_end(&self) -> Option<u32> {
        self.receiver_end
    }

    /// Takes in one segment. `expected`: sequence number the receiver expected; `unanswered`: end
    /// of what the sender had still to acknowledge.
    pub(super) fn observe(&mut self, rst: &Segment, expected: Option<u32>, unanswered: Option<u32>, segment: &Segment, from_sender: bool) {
        if self.closed {
            return;
        }
        let since = segment.time_ns.saturating_sub(rst.time_ns);
        if segment.flags.syn() {
            match (segment.flags.opens(), from_sender) {
                (true, true) => self.reopened = Some(segment.seq),
                (true, false) => self.opened = Some(segment.seq),
                // It is answered: a connection begins.
                (false, false) => self.closed |= self.reopened.is_some_and(|syn| segment.ack == syn.wrapping_add(1)),
                (false, true) => self.closed |= self.opened.is_some_and(|syn| segment.ack == syn.wrapping_add(1)),
            }
            return;
        }
        if from_sender && self.reopened.is_some_and(|syn| segment.seq.wrapping_sub(syn) < REOPENED) {
            return;
        }
        if !from_sender {
            if segment.flags.rst() {
                self.receiver_rsts = self.receiver_rsts.saturating_add(1);
                return;
            }
            self.receiver_spoke = self.receiver_spoke.or(Some(since));
            if segment.payload > 0 && self.receiver_end.is_none_or(|end| seq_after(segment.end_seq(), end)) {
                self.receiver_end = Some(segment.end_seq());
            }
            return;
        }
        if segment.flags.rst() {
            let answers = self.receiver_spoke.is_some_and(|spoke| spoke < since);
            if answers && expected == Some(segment.seq) && rst.seq != segment.seq {
                self.exact_rst = self.exact_rst.or(Some(since));
            }
            return;
        }
        if segment.flags.ack() && unanswered.is_some_and(|end| seq_at_or_after(segment.ack, end)) {
            self.sender_took_in = self.sender_took_in.or(Some(since));
        }
        // The RST of a SYN_SENT socket's peer has no sequence number of its own.
        let comparable = !(rst.seq == 0 && rst.flags.ack());
        if comparable && seq_at_or_after(segment.seq, rst.seq) {
            if segment.payload > 0 || segment.flags.fin() {
                self.sender_went_on = Some((since, segment.seq.wrapping_sub(rst.seq)));
            } else if self.receiver_end.is_some_and(|end| segment.ack == end) {
                self.sender_acknowledged = self.sender_acknowledged.or(Some(since));
            }
        } else {
            self.late = self.late.saturating_add(1);
        }
    }
}
