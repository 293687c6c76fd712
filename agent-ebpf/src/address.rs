//! Addresses as records hold them.

use crate::memory::read_into;

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

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
