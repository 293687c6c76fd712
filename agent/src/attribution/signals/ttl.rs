//! What a TTL tells of the way: where it began, and how far it came.

/// The initial TTL a packet was probably sent with, and the hops since.
pub const fn hops(ttl: u8) -> (u8, u8) {
    let initial = match ttl {
        0..=64 => 64,
        65..=128 => 128,
        _ => 255,
    };
    (initial, initial - ttl)
}

/// Whether a packet with this TTL was made on the link: it is one that stacks begin with.
pub const fn fresh(ttl: u8) -> bool {
    hops(ttl).1 == 0
}
