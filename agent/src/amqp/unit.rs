//! What the first bytes of a unit say: a protocol header, a frame or a TLS record.

/// Last octet of a frame (AMQP 0-9-1, section 4.2.3).
pub(super) const FRAME_END: u8 = 0xce;

/// These bytes are not what the protocol has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the first bytes of a unit say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    /// This many are needed, more than there are; at most [`CARRY`](super::direction::CARRY).
    More(usize),
    /// What it is; its length on the wire; whether its last octet is [`FRAME_END`].
    Unit { unit: T, length: u32, end_octet: bool },
}

impl<T> Parsed<T> {
    /// The same of a more general unit.
    pub(super) fn map<U>(self, general: impl FnOnce(T) -> U) -> Parsed<U> {
        match self {
            Self::More(more) => Parsed::More(more),
            Self::Unit { unit, length, end_octet } => Parsed::Unit { unit: general(unit), length, end_octet },
        }
    }
}
