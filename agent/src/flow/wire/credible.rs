//! Whether a segment can be of the end whose address it bears.
//!
//! Anybody may put any address on a packet. Who does not see the connection does not know its
//! numbers, though: a segment counts only if its sequence number is near what the other end
//! expects, and its acknowledgement near what that has sent (RFC 9293, section 3.10.7.4; RFC 5961,
//! section 5). One in 260,000 that are made up passes both.

use super::{Segment, Side};

/// Furthest distance of a number from the one expected: more is in flight on no connection that a
/// capture shows whole.
const WINDOW: u32 = 1 << 22;

/// Whether two sequence numbers are so near that both can be of one connection at one time.
pub const fn near(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed().unsigned_abs() <= WINDOW
}

/// The same for a RST without ACK, which has one number only to be told by: a window without
/// scaling.
const fn quite_near(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed().unsigned_abs() <= u16::MAX as u32
}

/// Whether `segment`, which is no SYN, can be of `sender`. Where nothing was seen, anything can.
pub(super) fn credible(segment: &Segment, sender: &Side, receiver: &Side) -> bool {
    // All that is known of a connection being opened is the SYN, which a RST has to acknowledge
    // (RFC 9293, section 3.10.7.3).
    if segment.flags.rst() && sender.packets == 0 && receiver.last_ack.is_none() && receiver.initial_seq.is_some() {
        return segment.flags.ack() && receiver.end_seq == Some(segment.ack);
    }
    let near: fn(u32, u32) -> bool = if segment.flags.rst() && !segment.flags.ack() { quite_near } else { near };
    expected(segment.seq, [receiver.last_ack, sender.end_seq], near)
        && (!segment.flags.ack() || expected(segment.ack, [receiver.end_seq, sender.last_ack], near))
        // Every segment after the SYN has it (RFC 9293, section 3.10.7.4), but for RSTs.
        && (segment.flags.ack() || segment.flags.rst() || sender.packets + receiver.packets == 0)
}

/// Whether a number is near one of those that it follows from.
fn expected(number: u32, anchors: [Option<u32>; 2], near: fn(u32, u32) -> bool) -> bool {
    let mut known = anchors.into_iter().flatten().peekable();
    known.peek().is_none() || known.any(|anchor| near(number, anchor))
}

/// Segments in a row by which one direction alone is taken up elsewhere.
const ROW: u8 = 8;

/// Two segments of either end that are no connection's of before, and fit each other: the capture
/// missed what lay between. Who sees one direction only cannot make both. Where only one was
/// captured, a row of them has to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strangers {
    first: Option<(u32, u32)>,
    second: Option<(u32, u32)>,
    row: u8,
}

impl Strangers {
    /// Takes in a segment that was not credible; gives back whether it answers the other end's.
    /// `alone`: that was never seen.
    pub fn meet(&mut self, segment: &Segment, from_first: bool, alone: bool) -> bool {
        if !segment.flags.ack() {
            return false;
        }
        let (own, other) = if from_first { (&mut self.first, self.second) } else { (&mut self.second, self.first) };
        let follows = own.is_some_and(|(end, ack)| near(segment.seq, end) && near(segment.ack, ack));
        self.row = if follows { self.row.saturating_add(1) } else { 0 };
        *own = Some((segment.end_seq(), segment.ack));
        if alone {
            return self.row >= ROW;
        }
        other.is_some_and(|(end, ack)| quite_near(segment.seq, ack) && quite_near(segment.ack, end))
    }
}
