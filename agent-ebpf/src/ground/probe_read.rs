//! Reading kernel memory at offsets known only at load time.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use rstblame_abi::{ABSENT, Layout};

/// Offsets in this kernel's structures; overwritten and frozen by user space before load.
#[unsafe(no_mangle)]
pub static LAYOUT: Layout = Layout::UNKNOWN;

/// The offset of one member of [`LAYOUT`], read so that the compiler cannot take the value in the
/// object for the final one.
macro_rules! offset_of_member {
    ($member:ident) => {
        // SAFETY: a valid, aligned static of plain integers.
        unsafe { core::ptr::read_volatile(&raw const $crate::ground::probe_read::LAYOUT.$member) }
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
