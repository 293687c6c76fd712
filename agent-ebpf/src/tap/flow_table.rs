//! The table of directions that are remembered: looking one up, and putting one down.

use aya_ebpf::bindings::BPF_NOEXIST;
use rstblame_abi::{
    counter,
    flow::{FlowKey, FlowState},
    flow_table::{Place, Table, WAYS},
};

use crate::ground::{
    clock::now,
    maps::{FLOWS, SETS, TAKEN, count},
    verifier::{not_written_out, unknown_number, zero},
};

/// The form of the table; overwritten and frozen by user space before load.
#[unsafe(no_mangle)]
static TABLE: Table = Table::SMALLEST;

/// How often a set that another CPU puts something down in is tried again. That takes as long as
/// two or three tries, unless its virtual machine is stopped meanwhile.
const TRIES: u32 = 16;

/// How many sets there are.
#[inline(always)]
fn sets() -> u32 {
    // SAFETY: a valid, aligned static of plain integers; volatile, since the value in the object is
    // not the final one.
    unsafe { core::ptr::read_volatile(&raw const TABLE.sets) }
}

#[inline(always)]
fn place(key: &FlowKey) -> Place {
    // By a reference that the compiler cannot see through: it would take the numbers in the object
    // for the final ones.
    Place::of(key, core::hint::black_box(&TABLE.seeds))
}

/// What is known of a direction; null when nothing is.
#[inline(always)]
pub fn of(key: &FlowKey) -> *mut FlowState {
    let place = place(key);
    if let Some(slot) = FLOWS.get_ptr_mut(place.slot(sets())) {
        // SAFETY: the value stays valid while the program runs. Another CPU may put something else
        // down in it meanwhile, if it was the least recently used of its set: as with the kernel's
        // own maps, whose elements are taken for others while a program looks at them.
        let slot = unsafe { &mut *slot };
        if slot.key.is(key) {
            return &raw mut slot.state;
        }
    }
    elsewhere(key, place)
}

/// [`of`] for what is seldom asked, in less room: a filter may not be longer than some 2500
/// instructions before Linux 6.7, where it is charged to its socket (`optmem_max`,
/// <https://github.com/torvalds/linux/blob/v6.1/net/core/filter.c>, `sk_filter_charge()`).
#[inline(never)]
pub fn seldom_of(key: &FlowKey) -> *mut FlowState {
    elsewhere(key, Place(seldom_sum(key)))
}

/// The sum of a key's place, in less room.
#[inline(never)]
fn seldom_sum(key: &FlowKey) -> u64 {
    place(key).0
}

/// Looks a direction up that is not where it prefers to be.
#[inline(never)]
fn elsewhere(key: &FlowKey, place: Place) -> *mut FlowState {
    let sets = sets();
    let (first, second) = (place.slot(sets) / WAYS, place.second_set(sets));
    let found = within(first, key, place);
    if found.is_null() { within(second, key, place) } else { found }
}

/// Looks a direction up in a set.
#[inline(never)]
fn within(set: u32, key: &FlowKey, place: Place) -> *mut FlowState {
    let Some(tags) = SETS.get(set) else {
        return core::ptr::null_mut();
    };
    for (way, tag) in (0_u32..).zip(&tags.tags) {
        if *tag == place.tag()
            && let Some(slot) = FLOWS.get_ptr_mut(set * WAYS + way)
        {
            // SAFETY: as in `of`.
            let slot = unsafe { &mut *slot };
            if slot.key.is(key) {
                return &raw mut slot.state;
            }
        }
    }
    core::ptr::null_mut()
}

/// Puts a direction down that is not in the table; null when that fails. The least recently used of
/// its set makes room when there is none.
#[inline(never)]
pub fn put(key: &FlowKey) -> *mut FlowState {
    let place = Place(seldom_sum(key));
    let sets = sets();
    let slot = place.slot(sets);
    let first = slot / WAYS;
    if !take(first) {
        return core::ptr::null_mut();
    }
    // Another CPU may have been faster.
    let mut state = elsewhere(key, place);
    if state.is_null() {
        state = put_within(key, place, first, slot % WAYS);
    }
    give_back(first);
    state
}

/// Puts a direction down in its first set, which is taken, or in its second.
#[inline(never)]
fn put_within(key: &FlowKey, place: Place, first: u32, preferred: u32) -> *mut FlowState {
    let way = free(first, preferred);
    if way < WAYS {
        return fill(first, way, key, place);
    }
    let second = place.second_set(sets());
    if second != first && take(second) {
        let way = free(second, preferred);
        let state = if way < WAYS { fill(second, way, key, place) } else { core::ptr::null_mut() };
        give_back(second);
        if !state.is_null() {
            return state;
        }
    }
    count(counter::FLOWS_GONE);
    fill(first, least_recent(first), key, place)
}

/// Takes a set for this CPU alone, as far as putting down goes.
#[inline(never)]
fn take(set: u32) -> bool {
    for _ in 0..not_written_out(TRIES) {
        if TAKEN.insert(set, 0, u64::from(BPF_NOEXIST)).is_ok() {
            return true;
        }
    }
    false
}

#[inline(always)]
fn give_back(set: u32) {
    // It is there: this CPU put it in.
    let _always_there = TAKEN.remove(set);
}

/// A way of a set in which nothing stands, from the preferred one on; [`WAYS`] when there is none.
#[inline(never)]
fn free(set: u32, preferred: u32) -> u32 {
    let Some(tags) = SETS.get(set) else {
        return WAYS;
    };
    for step in 0..not_written_out(WAYS) {
        let way = (preferred + step as u32) % WAYS;
        if tags.tags.get(way as usize) == Some(&0) {
            return way;
        }
    }
    WAYS
}

/// The way of a full set in which nothing has happened for longest.
#[inline(never)]
fn least_recent(set: u32) -> u32 {
    let now = now();
    // Age and way in one number, of which the verifier knows nothing: of a way that it knows it
    // would follow each that could be the oldest.
    let mut oldest = 0;
    for way in 0..not_written_out(WAYS) {
        if let Some(slot) = FLOWS.get(set * WAYS + way as u32) {
            let since = u64::from(now.wrapping_sub(slot.state.last)) << 32 | way;
            if since > oldest {
                oldest = since;
            }
        }
        oldest = unknown_number(oldest);
    }
    oldest as u32 % WAYS
}

/// Puts a direction down in a slot. Nobody finds it before all of it is there.
#[inline(never)]
fn fill(set: u32, way: u32, key: &FlowKey, place: Place) -> *mut FlowState {
    let Some(slot) = FLOWS.get_ptr_mut(set * WAYS + way) else {
        return core::ptr::null_mut();
    };
    // SAFETY: the value stays valid while the program runs.
    let slot = unsafe { &mut *slot };
    // No key is like that: what stands here is found no more from now on. SAFETY: a valid, aligned
    // member. Volatile, or the compiler would leave it out: the key is written again below.
    unsafe { core::ptr::write_volatile(&raw mut slot.key.family, 0) };
    clear(&mut slot.state);
    // It is not the least recently used of its set from the beginning.
    slot.state.last = now();
    slot.key = *key;
    if let Some(tags) = SETS.get_ptr_mut(set) {
        // SAFETY: as above.
        if let Some(tag) = unsafe { (*tags).tags.get_mut(way as usize) } {
            *tag = place.tag();
        }
    }
    &raw mut slot.state
}

/// Forgets all that is remembered of a direction.
#[inline(never)]
pub fn clear(state: &mut FlowState) {
    // SAFETY: valid and aligned to words, as it comes from a reference to what is a multiple of
    // them long.
    unsafe { zero(state) };
}
