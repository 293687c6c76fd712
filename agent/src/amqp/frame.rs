//! Frames of AMQP 0-9-1 (section 4.2.3): as much of one as decides what it is, and how long it is.

use super::{
    direction::{Malformed, Parsed},
    method::{self, Method},
};

/// Type, channel, size.
pub(super) const HEAD: usize = 7;

/// Longest payload of a frame that is followed, bytes. Sequence numbers can be compared over 2^31 only (RFC 9293, section 3.4), and no client
/// sends frames of this size: the broker's default `frame_max` is 128 KiB.
const LONGEST: u32 = 1 << 30;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Heartbeat,
    /// A method of channel 0 and class `connection` that counts.
    Method(Method),
    /// Of a channel, which only an open connection has; not looked at.
    Channel,
    /// Any other, not looked at.
    Other,
}

/// Looks at the beginning of a frame.
///
/// # Errors
///
/// When this is no frame that an AMQP 0-9-1 peer may send.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<Frame>, Malformed> {
    let Some([kind, c0, c1, s0, s1, s2, s3]) = bytes.first_chunk::<HEAD>().copied() else {
        return Ok(Parsed::More(HEAD));
    };
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    if size > LONGEST {
        return Err(Malformed);
    }
    let whole = |frame| Ok(Parsed::Unit { unit: frame, length: 8 + size, end_octet: true });
    match (kind, [c0, c1] == [0, 0]) {
        (METHOD, true) => match method::parse(bytes.get(HEAD..).unwrap_or_default(), size)? {
            Parsed::More(more) => Ok(Parsed::More(HEAD + more)),
            Parsed::Unit { unit, .. } => whole(unit.map_or(Frame::Other, Frame::Method)),
        },
        (METHOD, false) if size >= 4 => whole(Frame::Channel),
        (HEADER | BODY, false) => whole(Frame::Channel),
        (HEARTBEAT, true) if size == 0 => whole(Frame::Heartbeat),
        _ => Err(Malformed),
    }
}
