//! A set of object ids, small for ids that are near each other, as those of one directory's subdirectories
//! are.

use std::collections::BTreeMap;

/// A set of object ids. Neighbouring ids take about two bits each, a single one 16 bytes.
#[derive(Debug, Default)]
pub(crate) struct ObjectSet {
    // By id / 64, a bit for each of 64 ids.
    blocks: BTreeMap<u64, u64>,
}

impl ObjectSet {
    /// Adds an id; tells whether it is new.
    pub(crate) fn insert(&mut self, object: u64) -> bool {
        let block = self.blocks.entry(object / 64).or_default();
        let bit = 1 << (object % 64);
        let is_new = *block & bit == 0;
        *block |= bit;
        is_new
    }

    /// Tells whether an id was added.
    pub(crate) fn contains(&self, object: u64) -> bool {
        self.blocks.get(&(object / 64)).is_some_and(|block| block & 1 << (object % 64) != 0)
    }

    /// All ids in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().flat_map(|(high, block)| {
            (0..64).filter(move |low| block & 1 << low != 0).map(move |low| high * 64 + low)
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_id_is_new_once() {
        let mut set = ObjectSet::default();
        for object in [1, 0, 63, 64, 1 << 39, (1 << 40) - 1] {
            assert!(set.insert(object), "{object}");
            assert!(!set.insert(object), "{object}");
        }
        assert!(set.insert(2) && set.insert(65));
        assert!(set.contains(65) && !set.contains(66) && !set.contains(1 << 38));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 63, 64, 65, 1 << 39, (1 << 40) - 1]);
    }
}
