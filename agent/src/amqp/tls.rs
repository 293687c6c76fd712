//! TLS records by their headers (RFC 8446, section 5.1): type, version, length. What they hold is
//! not looked at.

use super::unit::{Malformed, Parsed};

/// Type, version, length.
const HEAD: usize = 5;

/// Longest record, bytes: 2^14 and the 2048 that TLS 1.2 allows on top (RFC 5246, section 6.2.3).
const LONGEST: u16 = (1 << 14) + 2048;

/// First byte of an alert.
pub(super) const ALERT: u8 = 21;

/// First byte of a record of the handshake.
pub(super) const HANDSHAKE: u8 = 22;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Alert,
    Handshake,
    ApplicationData,
    /// change_cipher_spec or heartbeat.
    Other,
}

/// Looks at the head of a record.
///
/// # Errors
///
/// When this is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<Record>, Malformed> {
    let Some([kind, major, _minor, l0, l1]) = bytes.first_chunk::<HEAD>().copied() else {
        return Ok(Parsed::More(HEAD));
    };
    let size = u16::from_be_bytes([l0, l1]);
    let record = match kind {
        20 | 24 => Record::Other,
        ALERT => Record::Alert,
        HANDSHAKE => Record::Handshake,
        23 => Record::ApplicationData,
        _ => return Err(Malformed),
    };
    if major != 3 || size > LONGEST {
        return Err(Malformed);
    }
    Ok(Parsed::Unit { unit: record, length: 5 + u32::from(size), end_octet: false })
}
