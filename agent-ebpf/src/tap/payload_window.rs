//! A part of a payload, loaded at once.
//!
//! A call of the helper takes as long for one byte as for sixty: what stands close together is
//! loaded together.

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;

use crate::ground::verifier::{at_most, zero};

/// Bytes that are loaded at once.
const SIZE: u32 = 64;

/// The same in words.
const WORDS: usize = SIZE as usize / size_of::<u64>();

/// The mask that every offset of a word is put through, and room for the word at the last of them.
const MASK: u32 = 2 * SIZE - 1;
const ROOM: usize = MASK as usize + 1 + size_of::<u64>();

/// What is looked at of a payload, closed between two segments. In a map, since the stack has no
/// room for it.
#[repr(C, align(8))]
pub struct Window {
    bytes: [u8; ROOM],
    /// See [`Window::unknown`].
    number: u32,
    reserved: u32,
}

/// Which part of a segment's payload stands in its window.
#[derive(Clone, Copy)]
pub struct Seen {
    /// Bytes of the segment from its first byte on.
    left: u32,
    /// Bytes that were loaded; none when that failed.
    length: u32,
}

impl Seen {
    /// Whether so many bytes are among it of those that begin where `left` bytes of the segment are
    /// left.
    #[inline(always)]
    pub const fn has(self, left: u32, bytes: u32) -> bool {
        self.left.wrapping_sub(left).wrapping_add(bytes) <= self.length
    }
}

impl Window {
    /// Loads what comes where `left` bytes are left of a segment that ends at this offset of the
    /// packet.
    #[inline(always)]
    pub fn open(&mut self, skb: u64, behind: u32, left: u32) -> Seen {
        let length = at_most(left, SIZE);
        // SAFETY: the room is larger than what is loaded; the helper checks the bounds of the
        // packet.
        let failed = unsafe { bpf_skb_load_bytes(skb as *const _, behind.wrapping_sub(left), self.bytes.as_mut_ptr().cast(), length) };
        Seen { left, length: if failed == 0 { length } else { 0 } }
    }

    /// Wipes what was loaded: what applications say to each other stays in no map.
    #[inline(always)]
    pub fn close(&mut self) {
        // SAFETY: as many bytes as are loaded at most, aligned as asserted below.
        #[expect(clippy::cast_ptr_alignment, reason = "asserted below")]
        unsafe {
            zero(self.bytes.as_mut_ptr().cast::<[u64; WORDS]>());
        }
    }

    /// The same number, by way of the map, where the verifier loses sight of it.
    ///
    /// Of an offset that goes round a loop it keeps all that each way through the loop tells, and
    /// goes through the rest once more for each.
    #[inline(always)]
    pub fn unknown(&mut self, number: u32) -> u32 {
        // SAFETY: a valid, aligned member.
        unsafe {
            core::ptr::write_volatile(&raw mut self.number, number);
            core::ptr::read_volatile(&raw const self.number)
        }
    }

    /// The word that begins where `left` bytes of the segment are left; what is beyond the part
    /// that was loaded means nothing.
    #[inline(always)]
    pub fn word(&self, seen: Seen, left: u32) -> u64 {
        word(&self.bytes, seen.left.wrapping_sub(left))
    }
}

const _: () = assert!(core::mem::offset_of!(Window, bytes).is_multiple_of(size_of::<u64>()));

/// The word at an offset, at most [`MASK`], in host byte order.
///
/// In the machine's own words: the compiler would read it byte by byte, since it takes words to be
/// aligned on this target, which the kernel does not ask of a map's value where the machine does
/// not (`check_ptr_alignment()`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/verifier.c>). And it would leave out
/// the mask, knowing that it changes nothing; the verifier, which has lost sight of that by then,
/// needs it.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn word(bytes: &[u8; ROOM], offset: u32) -> u64 {
    let mut word = u64::from(offset);
    // SAFETY: the mask keeps the offset so far from the end that eight bytes are within the array.
    unsafe {
        core::arch::asm!(
            "{word} &= {mask}",
            "{word} += {bytes}",
            "{word} = *(u64 *)({word} + 0)",
            word = inout(reg) word,
            bytes = in(reg) bytes.as_ptr(),
            mask = const MASK,
            options(readonly, nostack),
        );
    }
    word
}

/// Stand-in where the programs are only checked, not run.
#[cfg(not(target_arch = "bpf"))]
fn word(bytes: &[u8; ROOM], offset: u32) -> u64 {
    let at = (offset & MASK) as usize;
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_ne_bytes(*word))
}
