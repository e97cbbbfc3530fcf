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
    }
}
