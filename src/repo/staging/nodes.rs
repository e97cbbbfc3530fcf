//! Objects that somebody outside holds: how often they were looked up, and where they are in the base.
//!
//! There are as many as the kernel keeps inodes. Of each one a count is in memory; places are, but for the latest,
//! rows of the database, which nobody needs after the process.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::index::staging::{FrozenPlace, ObjectRow, StagingBatch, StagingStore};

/// Places that stay in memory before they become rows, and rows that are removed together.
const PLACE_COUNT_MAX: usize = 1 << 12;
/// Tables are not made smaller for less.
const SPARE_COUNT: usize = 1 << 12;

/// One object that was looked up.
#[derive(Debug, Default)]
struct Node {
    lookups: u32,
    /// Its place may be in a row.
    has_row: bool,
}

#[derive(Debug, Default)]
struct Held {
    nodes: HashMap<u64, Node>,
    // Of the nodes so many have a row.
    row_count: u64,
    // The latest places, and those before.
    young: HashMap<u64, FrozenPlace>,
    old: HashMap<u64, FrozenPlace>,
    // Objects that were forgotten, but for their rows.
    gone: HashSet<u64>,
    // Objects that nobody has looked up here, which the kernel had looked up before a takeover: where the base was
    // found to have them, the latest ones and those before.
    found: [HashMap<u64, FrozenPlace>; 2],
    // Objects after their last name went, for those who still hold their numbers.
    unnamed: HashMap<u64, ObjectRow>,
}

/// All objects that were looked up and not forgotten: bounded by what the kernel holds.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    held: Mutex<Held>,
}

impl Held {
    fn put_place(&mut self, number: u64, place: FrozenPlace, store: &StagingStore) {
        if self.gone.remove(&number)
            && let Some(node) = self.nodes.get_mut(&number)
        {
            node.has_row = true;
            self.row_count += 1;
        }
        self.young.insert(number, place);
        if self.young.len() < PLACE_COUNT_MAX {
            return;
        }
        let mut batch = StagingBatch::default();
        for (number, place) in &self.old {
            batch.put_place(*number, place);
        }
        if write(store, batch) {
            for number in self.old.keys() {
                if let Some(node) = self.nodes.get_mut(number).filter(|node| !node.has_row) {
                    node.has_row = true;
                    self.row_count += 1;
                }
            }
            self.old.clear();
        }
        let young = std::mem::take(&mut self.young);
        self.old.extend(young);
    }

    fn put_found(&mut self, number: u64, place: FrozenPlace) {
        let [young, old] = &mut self.found;
        old.remove(&number);
        young.insert(number, place);
        if young.len() >= PLACE_COUNT_MAX {
            *old = std::mem::take(young);
        }
    }

    fn drop_rows(&mut self, store: &StagingStore) {
        let mut batch = StagingBatch::default();
        self.gone.iter().for_each(|number| batch.delete_place(*number));
        // Rows that stay are of objects that nobody holds.
        write(store, batch);
        self.gone.clear();
    }

    // What a walk through a large tree took is given back when the kernel has forgotten it.
    fn shrink(&mut self) {
        let len = self.nodes.len();
        if self.nodes.capacity() / 8 > len + SPARE_COUNT {
            self.nodes.shrink_to(len * 2);
        }
    }
}

// A database that takes nothing says so when it matters.
fn write(store: &StagingStore, batch: StagingBatch) -> bool {
    let written = store.write_passing(batch);
    if let Err(error) = &written {
        log::debug!("places of objects stay in memory: {error}");
    }
    written.is_ok()
}

impl Nodes {
    fn with<T>(&self, take: impl FnOnce(&mut Held) -> T) -> T {
        take(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a look-up, and notes where the object is unless it is found by its number.
    pub(super) fn looked_up(&self, number: u64, place: Option<FrozenPlace>, store: &StagingStore) {
        self.with(|held| {
            let node = held.nodes.entry(number).or_default();
            node.lookups = node.lookups.saturating_add(1);
            if let Some(place) = place {
                held.put_place(number, place, store);
            }
        });
    }

    /// Notes where an object is now, if it is held at all.
    pub(super) fn moved(&self, number: u64, place: FrozenPlace, store: &StagingStore) {
        self.with(|held| {
            if held.nodes.contains_key(&number) {
                held.put_place(number, place, store);
            } else if held.found.iter().any(|found| found.contains_key(&number)) {
                held.put_found(number, place);
            }
        });
    }

    /// Notes where an object was found in a search; it is not held as far as this process knows.
    pub(super) fn found(&self, number: u64, place: FrozenPlace, store: &StagingStore) {
        self.with(|held| match held.nodes.contains_key(&number) {
            true => held.put_place(number, place, store),
            false => held.put_found(number, place),
        });
    }

    /// Where a held object was seen last, if that is known.
    pub(super) fn place(&self, number: u64, store: &StagingStore) -> Option<FrozenPlace> {
        let has_row = self.with(|held| {
            let tables = [&held.young, &held.old].into_iter().chain(&held.found);
            let found = tables.into_iter().find_map(|table| table.get(&number)).cloned();
            let node = held.nodes.get(&number).filter(|_| found.is_none());
            found.ok_or_else(|| node.is_some_and(|node| node.has_row))
        });
        match has_row {
            Ok(place) => Some(place),
            Err(true) => store.place(number).ok().flatten(),
            Err(false) => None,
        }
    }

    /// Numbers of all objects that are held.
    pub(super) fn held(&self) -> Vec<u64> {
        self.with(|held| held.nodes.keys().copied().collect())
    }

    pub(super) fn is_held(&self, number: u64) -> bool {
        self.with(|held| held.nodes.get(&number).is_some_and(|node| node.lookups > 0))
    }

    /// Keeps an object that has no name any more for as long as it is held.
    pub(super) fn keep_unnamed(&self, number: u64, row: ObjectRow) {
        self.with(|held| {
            if held.nodes.contains_key(&number) {
                held.unnamed.insert(number, row);
            }
        });
    }

    pub(super) fn unnamed(&self, number: u64) -> Option<ObjectRow> {
        self.with(|held| held.unnamed.get(&number).cloned())
    }

    /// Takes look-ups back; returns whether nobody holds the object now.
    pub(super) fn forget(&self, number: u64, count: u64, store: &StagingStore) -> bool {
        self.with(|held| {
            held.found.iter_mut().for_each(|found| drop(found.remove(&number)));
            let Some(node) = held.nodes.get_mut(&number) else { return true };
            // Counted no further, it is held for good.
            if node.lookups < u32::MAX {
                node.lookups = u32::try_from(u64::from(node.lookups).saturating_sub(count)).unwrap_or(0);
            }
            if node.lookups > 0 {
                return false;
            }
            if held.nodes.remove(&number).is_some_and(|node| node.has_row) {
                held.row_count -= 1;
                held.gone.insert(number);
            }
            held.young.remove(&number);
            held.old.remove(&number);
            held.unnamed.remove(&number);
            if held.gone.len() >= PLACE_COUNT_MAX {
                held.drop_rows(store);
            }
            held.shrink();
            true
        })
    }

    /// Count of rows.
    pub(super) fn row_count(&self) -> u64 {
        self.with(|held| held.row_count + held.gone.len() as u64)
    }

    /// Forgets where objects are: the base is another one.
    pub(super) fn clear_places(&self, store: &StagingStore) {
        self.with(|held| {
            held.young.clear();
            held.old.clear();
            held.gone.clear();
            held.found = Default::default();
            held.unnamed.clear();
            held.row_count = 0;
            held.nodes.values_mut().for_each(|node| node.has_row = false);
        });
        if let Err(error) = store.delete_places() {
            log::debug!("rows of places stay until the next opening: {error}");
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::index::staging::Home;

    fn opened() -> (tempfile::TempDir, StagingStore, Nodes) {
        let place = tempfile::tempdir().expect("a directory");
        let store = StagingStore::open(&place.path().join("meta")).expect("opens");
        (place, store, Nodes::default())
    }

    fn at(number: u64) -> FrozenPlace {
        FrozenPlace::Entry(Home::new(number / 100, number.to_string().as_bytes()))
    }

    #[test]
    fn an_object_is_where_it_was_seen_last_until_nobody_holds_it() {
        let (_place, store, nodes) = opened();
        for place in [at(1), FrozenPlace::Linked(1 << 40)] {
            nodes.looked_up(5, Some(place.clone()), &store);
            assert_eq!(nodes.place(5, &store), Some(place));
        }
        nodes.looked_up(5, None, &store);
        assert_eq!(nodes.place(5, &store), Some(FrozenPlace::Linked(1 << 40)));
        nodes.moved(5, at(2), &store);
        nodes.moved(6, at(2), &store);
        assert_eq!(nodes.place(5, &store), Some(at(2)));
        assert_eq!(nodes.place(6, &store), None, "nobody holds it");
        assert!(!nodes.forget(5, 2, &store) && nodes.is_held(5));
        assert!(nodes.forget(5, 1, &store) && !nodes.is_held(5));
        assert_eq!(nodes.place(5, &store), None);
    }

    #[test]
    fn places_of_many_objects_are_rows_that_go_with_the_objects() {
        let (_place, store, nodes) = opened();
        let count = 5 * PLACE_COUNT_MAX as u64;
        (0..count).for_each(|number| nodes.looked_up(number, Some(at(number)), &store));
        assert!(nodes.with(|held| held.young.len() + held.old.len()) <= 2 * PLACE_COUNT_MAX);
        assert!(size_of::<(u64, Node)>() <= 16);
        assert_eq!(store.place(3).expect("reads"), Some(at(3)));
        nodes.moved(3, at(999), &store);
        assert_eq!(nodes.place(3, &store), Some(at(999)), "what is in memory is newer");
        assert!((0..count).filter(|number| *number != 3).all(|n| nodes.place(n, &store) == Some(at(n))));
        assert!((10..count).all(|number| nodes.forget(number, 1, &store)));
        let left = (0..count).filter(|number| store.place(*number).expect("reads").is_some()).count();
        assert!(left < 2 * PLACE_COUNT_MAX, "{left} rows");
        assert!(nodes.with(|held| held.nodes.capacity()) < 8 * (SPARE_COUNT + 16));
        // An object that comes back before its row went keeps its new place.
        nodes.looked_up(20, Some(at(7)), &store);
        (11..19).for_each(|number| nodes.looked_up(number, Some(at(number)), &store));
        assert_eq!(nodes.place(20, &store), Some(at(7)));
        nodes.clear_places(&store);
        assert!((0..count).all(|number| nodes.place(number, &store).is_none()));
        assert!((0..count).all(|number| store.place(number).expect("reads").is_none()));
        assert!(nodes.is_held(9) && nodes.is_held(20), "it is only where they are that is not known");
    }

    #[test]
    fn where_objects_were_found_that_nobody_has_looked_up_is_known_of_the_latest_ones() {
        let (_place, store, nodes) = opened();
        let count = 5 * PLACE_COUNT_MAX as u64;
        (0..count).for_each(|number| nodes.found(number, at(number), &store));
        assert!(nodes.with(|held| held.found.iter().map(HashMap::len).sum::<usize>()) <= 2 * PLACE_COUNT_MAX);
        assert_eq!(nodes.place(0, &store), None);
        let last = count - 1;
        assert_eq!(nodes.place(last, &store), Some(at(last)));
        nodes.moved(last, at(1), &store);
        assert_eq!(nodes.place(last, &store), Some(at(1)));
        assert!(!nodes.is_held(last) && nodes.forget(last, 1, &store));
        assert_eq!(nodes.place(last, &store), None);
    }
}
