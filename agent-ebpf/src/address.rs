//! Addresses as records hold them.

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// An IPv4 address in the room of an IPv6 one: the first four bytes.
#[inline(always)]
pub const fn widen(ipv4: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = ipv4;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
