//! A fixed number of the latest values.

/// Keeps the latest `N` values; older ones fall out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring<T, const N: usize> {
    slots: [Option<T>; N],
    next: usize,
}

impl<T: Copy, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self { slots: [None; N], next: 0 }
    }
}

impl<T: Copy, const N: usize> Ring<T, N> {
    /// Adds a value.
    pub fn push(&mut self, value: T) {
        if let Some(slot) = self.slots.get_mut(self.next) {
            *slot = Some(value);
        }
        self.next = (self.next + 1).checked_rem(N).unwrap_or(0);
    }

    /// The values, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let (newer, older) = self.slots.split_at(self.next);
        older.iter().chain(newer).flatten()
    }

    /// The latest value.
    pub fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    /// Whether nothing was ever added.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    #[test]
    fn the_latest_stay_in_order() {
        let mut ring = Ring::<u8, 3>::default();
        assert!(ring.is_empty());
        for value in 1..=5 {
            ring.push(value);
        }
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(ring.last(), Some(&5));
    }
}
