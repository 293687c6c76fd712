//! Arithmetic of sequence numbers.

/// Whether sequence number `a` comes after `b`, modulo 2^32 (RFC 9293, section 3.4).
pub const fn seq_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).wrapping_sub(1) < (1 << 31) - 1
}

/// Whether sequence number `a` is `b` or comes after it.
pub const fn seq_at_or_after(a: u32, b: u32) -> bool {
    a == b || seq_after(a, b)
}
