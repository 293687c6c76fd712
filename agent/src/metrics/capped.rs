//! A counter for each of many, but not for any number of them.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use prometheus_client::metrics::{counter::Counter, family::Family};

/// The label of one of them.
pub type Label = [(&'static str, String); 1];

/// What all beyond the limit are counted under.
pub const OTHER: &str = "other";

/// The first so many get a counter of their own, for as long as the agent runs: a counter that
/// vanished for another and came back would have lost its past. The rest share [`OTHER`].
#[derive(Debug)]
pub struct Capped<K> {
    name: &'static str,
    limit: usize,
    family: Family<Label, Counter>,
    own: HashMap<K, Counter>,
    other: Option<Counter>,
}

impl<K: Hash + Eq> Capped<K> {
    /// Counters in `family` under the label `name`.
    pub fn new(name: &'static str, limit: usize, family: &Family<Label, Counter>) -> Self {
        Self { name, limit, family: family.clone(), own: HashMap::new(), other: None }
    }

    /// Counts one. Allocates only for one that was not met before.
    pub fn count<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ToString + ?Sized,
    {
        if let Some(counter) = self.own.get(key) {
            counter.inc();
        } else if self.own.len() < self.limit {
            let counter = self.series(key.to_string());
            counter.inc();
            self.own.insert(key.to_owned(), counter);
        } else {
            if self.other.is_none() {
                self.other = Some(self.series(OTHER.to_owned()));
            }
            if let Some(other) = &self.other {
                other.inc();
            }
        }
    }

    fn series(&self, value: String) -> Counter {
        self.family.get_or_create_owned(&[(self.name, value)])
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::family::Family;

    use super::{Capped, OTHER};

    #[test]
    fn beyond_the_limit_all_share_one_counter_and_none_is_lost() {
        let family = Family::default();
        let mut capped: Capped<String> = Capped::new("peer", 2, &family);
        for key in ["a", "b", "c", "a", "d", "c"] {
            capped.count(key);
        }
        let count = |value: &str| family.get_or_create_owned(&[("peer", value.to_owned())]).get();
        assert_eq!((count("a"), count("b"), count(OTHER)), (2, 1, 3));
        assert!(["c", "d"].iter().all(|value| family.get(&[("peer", (*value).to_owned())]).is_none()));
    }
}
