//! Objects that somebody outside holds: how often they were looked up, and where they are in the base.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::index::staging::{FrozenPlace, ObjectRow};

/// One object that was looked up.
#[derive(Debug, Default)]
struct Node {
    lookups: u64,
    place: Option<FrozenPlace>,
    // The object after its last name went, for those who still hold its number.
    unnamed: Option<ObjectRow>,
}

/// All objects that were looked up and not forgotten: bounded by what the kernel holds.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Mutex<HashMap<u64, Node>>,
}

impl Nodes {
    fn with<T>(&self, take: impl FnOnce(&mut HashMap<u64, Node>) -> T) -> T {
        take(&mut self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a look-up, and notes where the object is unless it is found by its number.
    pub(super) fn looked_up(&self, number: u64, place: Option<FrozenPlace>) {
        self.with(|nodes| {
            let node = nodes.entry(number).or_default();
            node.lookups += 1;
            if place.is_some() {
                node.place = place;
            }
        });
    }

    /// Notes where an object is now, if it is held at all.
    pub(super) fn moved(&self, number: u64, place: FrozenPlace) {
        self.with(|nodes| {
            if let Some(node) = nodes.get_mut(&number) {
                node.place = Some(place);
            }
        });
    }

    pub(super) fn place(&self, number: u64) -> Option<FrozenPlace> {
        self.with(|nodes| nodes.get(&number).and_then(|node| node.place.clone()))
    }

    /// Numbers of all objects that are held.
    pub(super) fn held(&self) -> Vec<u64> {
        self.with(|nodes| nodes.keys().copied().collect())
    }

    pub(super) fn is_held(&self, number: u64) -> bool {
        self.with(|nodes| nodes.get(&number).is_some_and(|node| node.lookups > 0))
    }

    /// Keeps an object that has no name any more for as long as it is held.
    pub(super) fn keep_unnamed(&self, number: u64, row: ObjectRow) {
        self.with(|nodes| {
            if let Some(node) = nodes.get_mut(&number) {
                node.unnamed = Some(row);
            }
        });
    }

    pub(super) fn unnamed(&self, number: u64) -> Option<ObjectRow> {
        self.with(|nodes| nodes.get(&number).and_then(|node| node.unnamed.clone()))
    }

    /// Takes look-ups back; returns whether nobody holds the object now.
    pub(super) fn forget(&self, number: u64, count: u64) -> bool {
        self.with(|nodes| {
            let Some(node) = nodes.get_mut(&number) else { return true };
            node.lookups = node.lookups.saturating_sub(count);
            if node.lookups > 0 {
                return false;
            }
            nodes.remove(&number);
            true
        })
    }

    /// Forgets where objects are: the base is another one.
    pub(super) fn clear_places(&self) {
        self.with(|nodes| {
            for node in nodes.values_mut() {
                node.place = None;
                node.unnamed = None;
            }
        });
    }
}
