//! Both ends of a connection, as records hold them.

use super::{probe_read::read_into, verifier::unknown_number};

/// Reads an IPv4 address into the room of an IPv6 one: the first four bytes.
#[inline(always)]
pub fn read_ipv4(base: u64, offset: u32, room: &mut [u8; 16]) -> bool {
    room.first_chunk_mut::<4>().is_some_and(|place| read_into(base, offset, place))
}

/// Puts an IPv4 address into the room of an IPv6 one, which holds zeros: the first four bytes.
#[inline(always)]
pub const fn narrow(room: &mut [u8; 16], ipv4: [u8; 4]) {
    if let Some(place) = room.first_chunk_mut() {
        *place = ipv4;
    }
}

/// The two ends of a connection. Kept as a value with a mark, and not as an `Option`: see
/// [`read_or`](super::probe_read::read_or).
#[repr(C, align(8))]
pub struct Ends {
    /// Four bytes for `AF_INET`, sixteen for `AF_INET6`.
    pub local: [u8; 16],
    pub peer: [u8; 16],
    /// They were read.
    pub present: bool,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Ports in host byte order.
    pub local_port: u16,
    pub peer_port: u16,
}

impl Ends {
    /// None yet. Zero bytes, of which the verifier does not know that they are: else those that are
    /// read into and those that are not differ.
    #[inline(always)]
    pub fn none() -> Self {
        let zero = unknown_number(0) as u32;
        let mut words = [0_u32; 4];
        for word in &mut words {
            // SAFETY: a valid, aligned reference. Volatile, so that it is written and each on its
            // own.
            unsafe { core::ptr::write_volatile(word, zero) };
        }
        // SAFETY: the same bytes.
        let bytes: [u8; 16] = unsafe { core::mem::transmute(words) };
        Self { local: bytes, peer: bytes, present: false, family: 0, local_port: 0, peer_port: 0 }
    }
}
