//! Frames of AMQP 0-9-1 (section 4.2.3): as much of one as decides what it is, and how long it is.

use rstblame_abi::conversation::may_be_close;

use super::{
    method::{self, ChannelClose, Method},
    unit::{Malformed, Parsed},
};

/// Type, channel, size.
pub(super) const HEAD: usize = 7;

/// Longest payload of a frame that is followed, bytes. Sequence numbers can be compared over 2^31
/// only (RFC 9293, section 3.4), and no client sends frames of this size: the broker's default
/// `frame_max` is 128 KiB.
const LONGEST: u32 = 1 << 30;

pub(super) const METHOD: u8 = 1;
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
    /// `channel.close` that names an error.
    ChannelClose(ChannelClose),
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
        (METHOD, false) if may_be_close(size) => {
            match method::channel_close(bytes.get(HEAD..).unwrap_or_default(), u16::from_be_bytes([c0, c1]), size)? {
                Parsed::More(more) => Ok(Parsed::More(HEAD + more)),
                Parsed::Unit { unit, .. } => whole(unit.map_or(Frame::Channel, Frame::ChannelClose)),
            }
        }
        (METHOD, false) if size >= 4 => whole(Frame::Channel),
        (HEADER | BODY, false) => whole(Frame::Channel),
        (HEARTBEAT, true) if size == 0 => whole(Frame::Heartbeat),
        _ => Err(Malformed),
    }
}

/// Longest frame that is looked for in the midst of a conversation: RabbitMQ's default `frame_max`.
const USUAL: u32 = 131_072;

/// Octet at the end of a frame.
const END: u8 = 0xce;

/// Classes of AMQP 0-9-1 and RabbitMQ's `confirm`.
const CLASSES: [u16; 7] = [10, 20, 40, 50, 60, 85, 90];

/// Whether the bytes are frames of AMQP 0-9-1, from the first byte of the first to the last of the
/// last, and cannot be anything else: type, channel, length, class and end octet of each fit, and
/// one of them at least is a heartbeat or a method.
pub(super) fn whole_frames(mut bytes: &[u8]) -> bool {
    let mut certain = false;
    while !bytes.is_empty() {
        let Some([kind, c0, c1, s0, s1, s2, s3]) = bytes.first_chunk::<HEAD>().copied() else { return false };
        let (channel, size) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes([s0, s1, s2, s3]));
        let Some((frame, rest)) =
            usize::try_from(size).ok().filter(|_| size <= USUAL).and_then(|size| bytes.split_at_checked(HEAD + size + 1))
        else {
            return false;
        };
        let class = frame.get(HEAD..).and_then(<[u8]>::first_chunk).map(|class| u16::from_be_bytes(*class));
        let known = class.is_some_and(|class| CLASSES.contains(&class) && (class == 10) == (channel == 0));
        let fits = match kind {
            METHOD => known && size >= 4,
            HEADER => known && channel != 0 && size >= 14,
            BODY => channel != 0,
            HEARTBEAT => channel == 0 && size == 0,
            _ => false,
        };
        if !fits || frame.last() != Some(&END) {
            return false;
        }
        certain |= matches!(kind, METHOD | HEARTBEAT);
        bytes = rest;
    }
    certain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::whole_frames;

    const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 0xce];

    #[test]
    fn whole_frames_and_nothing_else() {
        let publish = [1, 0, 1, 0, 0, 0, 5, 0, 60, 0, 40, 0, 0xce];
        let body = [3, 0, 1, 0, 0, 0, 2, 7, 7, 0xce];
        assert!(whole_frames(&HEARTBEAT));
        assert!(whole_frames(&[publish.as_slice(), &body, &HEARTBEAT].concat()));
        for (what, bytes) in [
            ("nothing", vec![]),
            ("a body alone may be anything", body.to_vec()),
            ("cut off", publish[..12].to_vec()),
            ("begins within a frame", publish[1..].to_vec()),
            ("another end octet", [&HEARTBEAT[..7], &[0xcd]].concat()),
            ("connection on a channel", [1, 0, 1, 0, 0, 0, 4, 0, 10, 0, 51, 0xce].to_vec()),
        ] {
            assert!(!whole_frames(&bytes), "{what}");
        }
    }

    proptest! {
        #[test]
        fn other_bytes_are_not_taken_for_frames(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
            prop_assert!(!whole_frames(&bytes));
        }
    }
}
