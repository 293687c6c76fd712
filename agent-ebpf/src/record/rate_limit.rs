//! Keeping a flood of resets from becoming a flood of records.
//!
//! Past its budget a reset is counted and not reported. That costs a hash lookup and two additions,
//! the agent nothing.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap},
};
use rstblame_abi::{
    Config, counter,
    flow::FlowKey,
    rate_limit::{Budget, Flood, FloodKey, KEYS, NOTHING_COUNTED, PEER_SHARES, class},
};

use crate::ground::{
    clock::boottime_ns,
    endpoints::Ends,
    filter,
    maps::{CONFIG, add_one, count},
    verifier::unknown_number,
};

const SECOND_NS: u64 = 1_000_000_000;

/// Keys of [`class::REFUSED`]. Anybody can fill it with forged addresses; those of connections have
/// a map of their own.
#[map]
static REFUSED: HashMap<FloodKey, Flood> = HashMap::with_max_entries(KEYS, 0);

/// Keys of [`class::CONNECTED`].
#[map]
static CONNECTED: HashMap<FloodKey, Flood> = HashMap::with_max_entries(KEYS, 0);

/// What was counted of keys for which there was no room, by class.
#[map]
static UNTRACKED: Array<Flood> = Array::with_max_entries(class::RESETS, 0);

/// Records of this second, by class.
#[map]
static SPENT: Array<Spent> = Array::with_max_entries(class::COUNT, 0);

/// Records of this second of packets, by [`share_of`] their peers.
#[map]
static SHARES: Array<Spent> = Array::with_max_entries(PEER_SHARES, 0);

/// Where in it a peer's place is; overwritten and frozen by user space before load.
#[unsafe(no_mangle)]
static SHARE_SEED: u64 = 0;

/// How much of a budget is used up.
#[repr(C)]
struct Spent {
    /// Seconds since boot.
    second: u64,
    records: u64,
}

/// Written to the maps from where it is: on the stack it would take room.
static NEW: Flood = NOTHING_COUNTED;

/// What a class may have.
#[inline(always)]
fn budget(class: u32) -> Budget {
    // In 64 bits, and bounded before it is compared: the compiler checks one copy of a shorter
    // number and adds another one.
    let class = core::hint::black_box(u64::from(class)) & 7;
    let budget = CONFIG.get(0).and_then(|Config { budgets, .. }| budgets.get(class as usize));
    match budget {
        Some(budget) => *budget,
        None => Budget { class: 0, key: 0 },
    }
}

/// Takes one record from the budget of a class. Two processors that do so at once may both get the
/// last one.
#[inline(always)]
fn spend(class: u32, second: u64, limit: u32) -> bool {
    let Some(spent) = SPENT.get_ptr_mut(class) else {
        return true;
    };
    // SAFETY: array values live as long as the map, and are aligned.
    take_one(unsafe { &mut *spent }, second, limit)
}

/// Takes one record from what may be had in a second.
#[inline(always)]
fn take_one(spent: &mut Spent, second: u64, limit: u32) -> bool {
    if second > spent.second {
        spent.second = second;
        spent.records = 0;
    }
    if spent.records >= u64::from(limit) {
        return false;
    }
    // SAFETY: as above.
    unsafe { add_one(&raw mut spent.records) };
    true
}

/// Whether the record of a packet may be submitted of which the peer may have no more than its
/// share.
#[inline(never)]
pub fn admits_packet_of(class: u32, key: &FlowKey) -> bool {
    let Budget { key: share, .. } = budget(class);
    let second = boottime_ns() / SECOND_NS;
    if share != 0
        && let Some(spent) = SHARES.get_ptr_mut(share_of(class, key))
        // SAFETY: as in `spend`.
        && !take_one(unsafe { &mut *spent }, second, share)
    {
        return false;
    }
    admits_packet(class)
}

/// The place of a peer's share. Peers of one place share it: there are enough of them that a flood
/// seldom meets another's, and they are random, so that none can be aimed at.
#[inline(always)]
fn share_of(class: u32, key: &FlowKey) -> u32 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    const MULTIPLIER: u64 = 0xbf58_476d_1ce4_e5b9;
    // SAFETY: a valid, aligned static; volatile, since the value in the object is not the final
    // one.
    let mut sum = unsafe { core::ptr::read_volatile(&raw const SHARE_SEED) };
    let [first @ .., _, _, _, _, _, _, _, _] = key.peer;
    let [_, _, _, _, _, _, _, _, second @ ..] = key.peer;
    for part in [u64::from_ne_bytes(first), u64::from_ne_bytes(second), u64::from(key.netns) << 32 | u64::from(class)] {
        sum = (sum ^ part).wrapping_mul(MULTIPLIER);
        sum ^= sum >> 32;
    }
    sum as u32 % PEER_SHARES
}

/// Whether the record of a packet may be submitted.
#[inline(never)]
pub fn admits_packet(class: u32) -> bool {
    let Budget { class: limit, .. } = budget(class);
    limit == 0 || spend(class, boottime_ns() / SECOND_NS, limit)
}

/// Whether the record of a reset may be submitted. One that may not is counted here. The first of a
/// key always may, while there is room for keys.
#[inline(always)]
pub fn admits_reset(class: u32, ends: &Ends, netns: u32) -> bool {
    // A number that is known makes two ways of all that follows; the mask is the bound that is lost
    // with it.
    const { assert!(class::RESETS.is_power_of_two()) };
    let class = unknown_number(u64::from(class)) as u32 & (class::RESETS - 1);
    let Budget { class: limit, key: share } = budget(class);
    if limit == 0 {
        return true;
    }
    let served_here = filter::port_watched(ends.local_port);
    let key = FloodKey {
        peer: ends.peer,
        netns,
        family: ends.family,
        local_port: if served_here { ends.local_port } else { 0 },
        peer_port: if served_here { 0 } else { ends.peer_port },
        reserved: 0,
    };
    admits(class, &key, limit, share)
}

#[inline(always)]
fn admits(class: u32, key: &FloodKey, limit: u32, share: u32) -> bool {
    let now = boottime_ns();
    let second = now / SECOND_NS;
    let known = if class == class::REFUSED { entry(&REFUSED, key) } else { entry(&CONNECTED, key) };
    // SAFETY: null, or a map value, which stays valid while the program runs.
    let Some(flood) = (unsafe { known.as_mut() }) else {
        let admitted = spend(class, second, limit);
        if !admitted && let Some(untracked) = UNTRACKED.get_ptr_mut(class) {
            // SAFETY: as in `spend`.
            tally(unsafe { &mut *untracked }, now, second);
        }
        return admitted;
    };
    if second > flood.second {
        let first = flood.second == 0;
        flood.second = second;
        flood.whole = 0;
        if first {
            // Beside the budget of its class, which a flood may have used up; it still counts
            // there.
            let _either_way = spend(class, second, limit);
            flood.whole = 1;
            return true;
        }
    }
    if flood.whole < u64::from(share) && spend(class, second, limit) {
        // SAFETY: as above.
        unsafe { add_one(&raw mut flood.whole) };
        return true;
    }
    tally(flood, now, second);
    false
}

/// The entry of a key, made if there is none; null when there is no room.
#[inline(always)]
fn entry(map: &HashMap<FloodKey, Flood>, key: &FloodKey) -> *mut Flood {
    if let Some(flood) = map.get_ptr_mut(key) {
        return flood;
    }
    // Another processor may have been faster, and then its entry is taken.
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
    let _none_or_full = map.insert(key, &NEW, u64::from(BPF_NOEXIST));
    map.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
}

/// Counts a reset that is not reported.
#[inline(always)]
fn tally(flood: &mut Flood, now: u64, second: u64) {
    // First, so that at no time more is counted by key than all in all.
    count(counter::FOLDED);
    let [even, odd] = &mut flood.counted;
    let counted = if second & 1 == 0 { even } else { odd };
    if counted.first_ns / SECOND_NS != second {
        counted.first_ns = now;
    }
    counted.last_ns = now;
    // SAFETY: part of a map value.
    unsafe { add_one(&raw mut counted.count) };
}
