//! Where a direction of a connection stands among all that are remembered: asked by the programs
//! for each packet, and by user space.
//!
//! A table of our own in arrays, and no hash map. Each packet of a watched connection is looked up
//! once, and that was most of what it cost: the verifier puts the lookup of an array into the
//! program itself, while that of a hash map is three calls and twice as much memory to fetch.
//!
//! Sets of [`WAYS`] slots (Smith, Cache Memories, ACM Computing Surveys 14(3), 1982). A direction
//! has a slot that it prefers, which mostly is its own; then the set around that, which [`Set`]
//! tells about in one line of memory; then a second set.

#![expect(clippy::inline_always, reason = "each call is a return more for each packet, which takes as long as all of it")]
#![expect(clippy::cast_possible_truncation, reason = "halves of words are taken on purpose")]

use crate::flow::{FlowKey, FlowState};

/// Slots of a set.
pub const WAYS: u32 = 16;

/// Words of 32 bits in a key, without its padding.
pub const WORDS: usize = 11;

/// One direction of a connection and what is remembered of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub key: FlowKey,
    pub state: FlowState,
}

/// What stands in the slots of a set: [`Place::tag`] of each, 0 where there is nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    pub tags: [u32; WAYS as usize],
}

/// The form of the table, set before the programs are loaded.
///
/// The sums of products of the key's words with random numbers: two keys share a slot as seldom as
/// by chance, whoever chose them (Dietzfelbinger, Universal hashing and k-wise independent random
/// variables via integer arithmetic without primes, STACS 1996).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// How many sets there are.
    pub sets: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    /// Random numbers.
    pub seeds: [u64; WORDS],
}

impl Table {
    /// One set, before anything is known.
    pub const SMALLEST: Self = Self { sets: 1, reserved: 0, seeds: [0; WORDS] };

    /// The table for so many directions. It has a third more slots: of directions that are as many
    /// as that one in five hundred finds both its sets full, and of as many as there are slots one
    /// in twenty.
    pub const fn holding(directions: u32, seeds: [u64; WORDS]) -> Self {
        let sets = directions.saturating_add(directions / 3).div_ceil(WAYS);
        // No more than whose slots can be counted in 32 bits, and one at least.
        let sets = if sets > u32::MAX / WAYS { u32::MAX / WAYS } else { sets };
        Self { sets: if sets == 0 { 1 } else { sets }, reserved: 0, seeds }
    }

    /// How many slots there are.
    pub const fn slots(&self) -> u32 {
        self.sets.saturating_mul(WAYS)
    }
}

/// Where a key may stand: a sum of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// By the words of a key and random numbers.
    #[inline(always)]
    pub fn of(key: &FlowKey, seeds: &[u64; WORDS]) -> Self {
        let mut sum: u64 = 0;
        for (word, seed) in key.words().iter().zip(seeds) {
            sum = sum.wrapping_add(u64::from(*word).wrapping_mul(*seed));
        }
        Self(sum)
    }

    /// The slot that it prefers, of so many sets.
    #[inline(always)]
    pub const fn slot(self, sets: u32) -> u32 {
        among(self.0, sets as u64 * WAYS as u64)
    }

    /// The set to which it turns when the one around its slot is full.
    #[inline(always)]
    pub const fn second_set(self, sets: u32) -> u32 {
        // Fibonacci's hashing of the sum (Knuth, The Art of Computer Programming, volume 3, section
        // 6.4).
        among(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15), sets as u64)
    }

    /// What tells it from most others of its set; never 0.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> 8) as u32 | 1
    }
}

/// A number less than `many`, which is at most 2^32, by the upper half of a sum: the lower is less
/// random.
#[inline(always)]
const fn among(sum: u64, many: u64) -> u32 {
    (((sum >> 32) * many) >> 32) as u32
}

const _: () = assert!(size_of::<Slot>() == 256);
const _: () = assert!(size_of::<Set>() == 64);
