//! What is written so, and not otherwise, for the sake of the verifier: it follows every way
//! through a program to its end, and refuses one that takes it too long.

use super::maps::add_one;

/// An integer of which bits are set one by one.
pub trait Bits: Copy + core::ops::BitOr<Output = Self> {}

impl Bits for u8 {}
impl Bits for u32 {}
impl Bits for u64 {}

/// Sets bits of a record, in its place.
///
/// Kept in a register, as the compiler would have it, every set of bits is a state of its own to
/// the verifiers of Linux 6.2 and earlier, which prune no known number in a program with
/// subprograms (`__mark_reg_unknown()`,
/// <https://github.com/torvalds/linux/blob/v6.1/kernel/bpf/verifier.c>): twelve bits are 4096 times
/// all that follows.
#[inline(always)]
pub fn mark<T: Bits>(place: &mut T, bits: T) {
    let place = core::ptr::from_mut(place);
    // SAFETY: valid and aligned, as it comes from a reference.
    unsafe { core::ptr::write_volatile(place, core::ptr::read_volatile(place) | bits) };
}

/// A number of rounds that the compiler does not know of, lest it write the loop out. The verifier
/// does: in 64 bits numbers are followed through the stack.
#[inline(always)]
pub fn not_written_out(rounds: u32) -> u64 {
    core::hint::black_box(u64::from(rounds))
}

/// The same condition, of which the verifier knows nothing any more.
///
/// A condition that is asked about twice makes two of every way that lies between, and each further
/// one two of each of those: the verifier follows them all to the end. Where it knows nothing of a
/// condition they meet again.
#[inline(always)]
pub fn unknown(condition: bool) -> bool {
    unknown_number(u64::from(condition)) != 0
}

/// The same number, of which the verifier knows nothing any more: it loses sight of one that is
/// added to where it lies (`check_xadd()`,
/// <https://github.com/torvalds/linux/blob/v5.10/kernel/bpf/verifier.c>).
#[inline(always)]
pub fn unknown_number(number: u64) -> u64 {
    let mut slot = number;
    // SAFETY: a valid, aligned local.
    let added = unsafe {
        add_one(&raw mut slot);
        core::ptr::read_volatile(&raw const slot)
    };
    added.wrapping_sub(1)
}

/// Reads a member of a record as its place has it, which nothing is known of to the verifier: see
/// [`mark`].
#[inline(always)]
pub fn marked<T: Bits>(place: &T) -> T {
    // SAFETY: valid and aligned, as it comes from a reference.
    unsafe { core::ptr::read_volatile(core::ptr::from_ref(place)) }
}

/// Writes zero bytes over a record.
///
/// LLVM writes out up to 128 stores, of words where it knows that they are aligned. What is larger
/// would be a call of a loop over bytes, which the verifier goes through byte by byte for each way
/// that leads to it.
///
/// # Safety
///
/// `place` is valid for writes and aligned.
#[inline(always)]
pub unsafe fn zero<T>(place: *mut T) {
    const { assert!(size_of::<T>() <= 128 * size_of::<u64>() && align_of::<T>() == align_of::<u64>()) };
    // SAFETY: the caller's.
    unsafe { core::ptr::write_bytes(place, 0, 1) };
}

/// A length that is bounded, and of one byte at least: one less, which is one more in the end, so
/// that the verifier sees that it is never zero.
#[inline(always)]
pub const fn at_most(length: u32, most: u32) -> u32 {
    let less = length.wrapping_sub(1);
    (if less < most - 1 { less } else { most - 1 }) + 1
}
