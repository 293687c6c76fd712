//! Looking up what the tap remembers of a direction, in the table that the kernel programs fill.

use std::hash::{BuildHasher as _, RandomState};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use rstblame_abi::{
    flow::{FlowKey, FlowState},
    flow_table::{Place, Set, Slot, Table, WAYS},
};

use super::{error::KernelError, maps::take};

/// A table for so many directions, with random numbers of its own.
pub fn table(directions: u32) -> Table {
    let random = RandomState::new();
    Table::holding(directions, std::array::from_fn(|index| random.hash_one(index)))
}

/// The table of directions, to be read.
pub struct Flows {
    table: Table,
    slots: Array<MapData, Slot>,
    sets: Array<MapData, Set>,
}

impl Flows {
    /// Takes the maps of a table of this form.
    ///
    /// # Errors
    ///
    /// When the object has none such.
    pub fn new(ebpf: &mut Ebpf, table: Table) -> Result<Self, KernelError> {
        Ok(Self {
            table,
            slots: Array::try_from(take(ebpf, "FLOWS")?).map_err(|error| KernelError::map("FLOWS", error))?,
            sets: Array::try_from(take(ebpf, "SETS")?).map_err(|error| KernelError::map("SETS", error))?,
        })
    }

    /// What is known of a direction.
    pub fn get(&self, key: &FlowKey) -> Option<FlowState> {
        let place = Place::of(key, &self.table.seeds);
        let slot = place.slot(self.table.sets);
        let elsewhere = || {
            [slot / WAYS, place.second_set(self.table.sets)].into_iter().find_map(|set| {
                let tags = self.sets.get(&set, 0).ok()?.tags;
                (0..WAYS).zip(tags).filter(|(_, tag)| *tag == place.tag()).find_map(|(way, _)| self.slot(set * WAYS + way, key))
            })
        };
        self.slot(slot, key).or_else(elsewhere)
    }

    /// What is known of a direction, if it stands in this slot.
    fn slot(&self, slot: u32, key: &FlowKey) -> Option<FlowState> {
        let read = || self.slots.get(&slot, 0).ok().filter(|slot| slot.key == *key);
        let found = read()?;
        // The kernel copies a slot while its programs may put another direction down in it. Then
        // its key is not there any more.
        read().map(|_| found.state)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use rstblame_abi::flow_table::WORDS;

    use super::*;

    const SEEDS: [u64; WORDS] = [
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
        0x4528_21e6_38d0_1377,
        0xbe54_66cf_34e9_0c6c,
        0xc0ac_29b7_c97c_50dd,
        0x3f84_d5b5_b547_0917,
        0x9216_d5d9_8979_fb1b,
        0xd131_0ba6_98df_b5ac,
        0x2ffd_72db_d01a_dfb7,
    ];

    /// A direction of one of the connections that a broker has: few clients, and their ports in a
    /// row.
    fn key(number: u32) -> FlowKey {
        let mut key = FlowKey { local_port: 5672, family: 2, netns: 4_026_531_840, ..FlowKey::default() };
        let [.., client] = (number % 5).to_be_bytes();
        let [.., high, low] = (32_768 + number / 10).to_be_bytes();
        key.local[..4].copy_from_slice(&[10, 0, 0, 1]);
        key.peer[..4].copy_from_slice(&[10, 0, 1, client]);
        key.peer_port = u16::from_be_bytes([high, low]);
        key.direction = u16::from(number % 10 >= 5);
        key
    }

    #[test]
    fn as_many_as_a_table_is_for_find_room_in_it() {
        const MANY: u32 = 131_072;
        let table = Table::holding(MANY, SEEDS);
        let mut sets = vec![0; table.sets as usize];
        let (mut at_home, mut without_room) = (0, 0);
        let mut taken = vec![false; table.slots() as usize];
        for number in 0..MANY {
            let place = Place::of(&key(number), &table.seeds);
            let slot = place.slot(table.sets);
            at_home += u32::from(!std::mem::replace(&mut taken[slot as usize], true));
            // As the kernel programs do it.
            let room = [slot / WAYS, place.second_set(table.sets)].into_iter().find(|set| sets[*set as usize] < WAYS);
            match room {
                Some(set) => sets[set as usize] += 1,
                None => without_room += 1,
            }
        }
        assert!(without_room <= MANY / 250, "{without_room} of {MANY} found no room");
        assert!(at_home >= MANY / 2, "{at_home} of {MANY} have the slot they prefer");
    }

    #[test]
    fn a_table_has_a_set_at_least_and_no_more_slots_than_can_be_counted() {
        for (directions, sets) in [(0, 1), (1, 1), (12, 1), (13, 2), (131_072, 10_923), (u32::MAX, u32::MAX / WAYS)] {
            let table = Table::holding(directions, SEEDS);
            assert_eq!((table.sets, table.slots()), (sets, sets * WAYS), "for {directions}");
            for number in 0..1000 {
                let place = Place::of(&key(number), &table.seeds);
                assert!(place.slot(table.sets) < table.slots() && place.second_set(table.sets) < table.sets && place.tag() != 0);
            }
        }
    }

    #[test]
    fn keys_that_differ_in_anything_are_told_apart() {
        let one = key(0);
        let mut others = vec![one; 7];
        others[0].local[15] = 1;
        others[1].peer[0] = 1;
        others[2].local_port += 1;
        others[3].peer_port += 1;
        others[4].family = 10;
        others[5].direction ^= 1;
        others[6].netns += 1;
        assert!(one.is(&one));
        for other in others {
            assert!(!one.is(&other), "{other:?}");
            assert_ne!(Place::of(&one, &SEEDS), Place::of(&other, &SEEDS), "{other:?}");
        }
    }
}
