//! What time it is: nanoseconds since boot for records, jiffies for packets.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns};

/// Jiffies a second (`CONFIG_HZ`); overwritten and frozen by user space before load.
#[unsafe(no_mangle)]
static SECOND: u32 = 1000;

/// Nanoseconds since boot, suspend included.
#[inline(always)]
pub fn boottime_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Jiffies a second.
#[inline(always)]
pub fn second() -> u32 {
    // SAFETY: a valid, aligned static of a plain integer; volatile, since the value in the object
    // is not the final one.
    unsafe { core::ptr::read_volatile(&raw const SECOND) }
}

/// Jiffies now, low 32 bits.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() as u32 }
}
