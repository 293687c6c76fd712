//! Reading kernel memory at offsets known only at load time.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use rstblame_ebpf::{ABSENT, Layout};

use crate::maps::add_one;

/// Offsets in this kernel's structures; overwritten and frozen by user space before load.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::UNKNOWN;

/// The offset of one member of [`LAYOUT`], read so that the compiler cannot take the value in the
/// object for the final one.
macro_rules! offset_of_member {
    ($member:ident) => {
        // SAFETY: a valid, aligned static of plain integers.
        unsafe { core::ptr::read_volatile(&raw const $crate::memory::LAYOUT.$member) }
    };
}
pub(crate) use offset_of_member;

/// Reads a `T` at `base + offset`; `None` where the member does not exist on this kernel or the
/// address is not mapped.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: every `T` used here is integers and arrays of integers, for which zero bytes are a
    // value.
    let mut slot: T = unsafe { core::mem::zeroed() };
    let done = read_into(base, offset, &mut slot);
    // The compiler may leave the payload of a `None` undefined and still move it about, which the
    // verifier refuses: load it on every path, and so that the load cannot be moved onto one.
    // SAFETY: a valid, aligned local.
    let value = unsafe { core::ptr::read_volatile(&raw const slot) };
    done.then_some(value)
}

/// Reads a `T` at `base + offset` straight into its place in a record; zero bytes where that fails.
/// The stack has 512 bytes for a program and all it calls, so what goes into a record does not go
/// through it.
///
/// A `base` of 0 is not asked about: no member is so far from the beginning of its structure that
/// an address of the kernel's would come of it, and the helper reads no others. A branch for each
/// member would be more for the verifier to follow than all the rest.
#[inline(always)]
pub fn read_into<T: Copy>(base: u64, offset: u32, place: &mut T) -> bool {
    if offset == ABSENT {
        return false;
    }
    let source = base.wrapping_add(u64::from(offset)) as *const c_void;
    // SAFETY: the helper checks the source address itself and fails on a bad one; the destination
    // is as large as it is told, and every bit pattern is a value of the integers and arrays of
    // integers that are read.
    unsafe { bpf_probe_read_kernel(core::ptr::from_mut(place).cast(), size_of::<T>() as u32, source) == 0 }
}

/// Reads a `T` at `base + offset`; zero bytes where the member does not exist on this kernel, and
/// where the address is not mapped: the helper writes them itself, so that nothing has to ask what
/// came of it (`bpf_probe_read_kernel_common()`,
/// <https://github.com/torvalds/linux/blob/v5.10/kernel/trace/bpf_trace.c>).
#[inline(always)]
pub fn read_or_zero<T: Copy>(base: u64, offset: u32) -> T {
    // SAFETY: as in `read`.
    let mut slot: T = unsafe { core::mem::zeroed() };
    let _zero_bytes_if_not = read_into(base, offset, &mut slot);
    // SAFETY: a valid, aligned local; volatile for the reason given in `read`.
    unsafe { core::ptr::read_volatile(&raw const slot) }
}

/// Reads a `T` as [`read`] does, or takes `otherwise`.
///
/// For values that are kept in a struct: an `Option` there is copied whether it holds something or
/// not, and the verifier refuses a copy of what was never written.
#[inline(always)]
pub fn read_or<T: Copy>(base: u64, offset: u32, otherwise: T) -> T {
    match read(base, offset) {
        Some(value) => value,
        None => otherwise,
    }
}

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
