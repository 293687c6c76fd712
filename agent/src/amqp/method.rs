//! Methods of the class `connection` (AMQP 0-9-1, section 1.4) and `channel.close`, as far as their
//! arguments count. Of `start`, `start-ok`, `secure` and `secure-ok` nothing is read past the
//! method id: the answers hold credentials.

use rstblame_abi::conversation::{CHANNEL_CLOSE, is_success};

use super::unit::{FRAME_END, Malformed, Parsed};
use crate::text::clean_bytes;

/// The class `connection`.
const CONNECTION: u16 = 10;

/// Class id and method id.
const IDS: usize = 4;

/// Bytes of a virtual host that are kept.
const VHOST: usize = 63;

/// Bytes of a reply text that are kept.
const TEXT: usize = 127;

/// Largest payload that is read: `open` with two strings of 255 bytes.
pub(super) const LONGEST: usize = IDS + 256 + 256 + 1;

/// A method that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Start,
    /// Also `secure-ok`.
    StartOk,
    Secure,
    Tune {
        heartbeat: u16,
    },
    TuneOk {
        heartbeat: u16,
    },
    Open {
        vhost: String,
    },
    OpenOk,
    Close {
        code: u16,
        text: String,
        method: Option<(u16, u16)>,
    },
    CloseOk,
    Blocked,
    Unblocked,
}

/// `channel.close` that names an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelClose {
    pub channel: u16,
    pub code: u16,
    pub text: String,
    pub method: Option<(u16, u16)>,
}

/// Looks at a method frame of another channel, of the size that `channel.close` may have, from the
/// class id on. `None`: it is another one, or names no error.
///
/// # Errors
///
/// As [`parse`].
pub(super) fn channel_close(bytes: &[u8], channel: u16, size: u32) -> Result<Parsed<Option<ChannelClose>>, Malformed> {
    let size_in_memory = usize::try_from(size).map_err(|_| Malformed)?;
    let Some([c0, c1, m0, m1]) = bytes.first_chunk::<IDS>().copied() else {
        return Ok(Parsed::More(IDS));
    };
    let done = |close| Ok(Parsed::Unit { unit: close, length: size, end_octet: true });
    if (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])) != CHANNEL_CLOSE {
        return done(None);
    }
    let Some(arguments) = bytes.get(IDS..size_in_memory) else {
        return Ok(Parsed::More(size_in_memory + 1));
    };
    match bytes.get(size_in_memory) {
        None => Ok(Parsed::More(size_in_memory + 1)),
        Some(&FRAME_END) => {
            let close = close(channel, arguments).ok_or(Malformed)?;
            done((!is_success(close.code)).then_some(close))
        }
        Some(_) => Err(Malformed),
    }
}

/// Looks at a method frame of channel 0 from the class id on. `None`: a method that does not count.
/// `size` is that of the payload.
///
/// # Errors
///
/// When the size of the frame and that of the arguments contradict each other, or the frame does
/// not end where it has to.
pub(super) fn parse(bytes: &[u8], size: u32) -> Result<Parsed<Option<Method>>, Malformed> {
    let size_in_memory = usize::try_from(size).map_err(|_| Malformed)?;
    if size_in_memory < IDS {
        return Err(Malformed);
    }
    let Some([c0, c1, m0, m1]) = bytes.first_chunk::<IDS>().copied() else {
        return Ok(Parsed::More(IDS));
    };
    let done = |method| Ok(Parsed::Unit { unit: method, length: size, end_octet: true });
    let sizes = match (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])) {
        (CONNECTION, 10) => return done(Some(Method::Start)),
        (CONNECTION, 11 | 21) => return done(Some(Method::StartOk)),
        (CONNECTION, 20) => return done(Some(Method::Secure)),
        (CONNECTION, 30 | 31) => 12..=12,
        (CONNECTION, 40) => 7..=LONGEST,
        (CONNECTION, 41 | 60) => 5..=260,
        (CONNECTION, 50) => 11..=266,
        (CONNECTION, 51 | 61) => 4..=4,
        _ => return done(None),
    };
    if !sizes.contains(&size_in_memory) {
        return Err(Malformed);
    }
    let Some(arguments) = bytes.get(IDS..size_in_memory) else {
        return Ok(Parsed::More(size_in_memory + 1));
    };
    match bytes.get(size_in_memory) {
        None => Ok(Parsed::More(size_in_memory + 1)),
        Some(&FRAME_END) => done(Some(complete(u16::from_be_bytes([m0, m1]), arguments).ok_or(Malformed)?)),
        Some(_) => Err(Malformed),
    }
}

/// `None` if the arguments are not as long as they have to be.
fn complete(id: u16, arguments: &[u8]) -> Option<Method> {
    match id {
        // channel-max (2), frame-max (4), heartbeat (2).
        30 => Some(Method::Tune { heartbeat: be16(arguments, 6)? }),
        31 => Some(Method::TuneOk { heartbeat: be16(arguments, 6)? }),
        // virtual-host (short string), reserved (short string), reserved (bit).
        40 => {
            let (vhost, rest) = short(arguments)?;
            let (_, rest) = short(rest)?;
            (rest.len() == 1).then(|| Method::Open { vhost: text(vhost, VHOST) })
        }
        // Reserved (short string).
        41 => short(arguments)?.1.is_empty().then_some(Method::OpenOk),
        50 => close(0, arguments).map(|ChannelClose { code, text, method, .. }| Method::Close { code, text, method }),
        51 => Some(Method::CloseOk),
        // reason (short string).
        60 => short(arguments)?.1.is_empty().then_some(Method::Blocked),
        61 => Some(Method::Unblocked),
        _ => None,
    }
}

/// reply-code (2), reply-text (short string), class-id (2), method-id (2).
fn close(channel: u16, arguments: &[u8]) -> Option<ChannelClose> {
    let code = be16(arguments, 0)?;
    let (reply, rest) = short(arguments.get(2..)?)?;
    let method = Some((be16(rest, 0)?, be16(rest, 2)?)).filter(|ids| *ids != (0, 0));
    (rest.len() == 4).then(|| ChannelClose { channel, code, text: text(reply, TEXT), method })
}

/// A short string, and what follows it.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The beginning of a text of a peer's, cleaned.
fn text(bytes: &[u8], longest: usize) -> String {
    clean_bytes(bytes.get(..longest).unwrap_or(bytes))
}

fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|raw| u16::from_be_bytes(*raw))
}
