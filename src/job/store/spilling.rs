//! Tables of which so many entries as fit are in memory; the others wait in the job's scratch.

use std::collections::BTreeMap;
use std::path::Path;

use crate::index::{IndexError, Scratch};
use crate::repo::Repository;

/// Directory of a writer's scratch, in the repository's.
const SCRATCH: &str = "scratch";

/// Begins the scratch of a job that holds the writer lock; a repository that is in no directory has none.
///
/// # Errors
/// [`IndexError`] if what a killed job left cannot be removed.
pub(in crate::job) fn scratch(repository: &Repository) -> Result<Option<Scratch>, IndexError> {
    let root: Option<&Path> = repository.root();
    root.map(|root| Scratch::new(&root.join(SCRATCH))).transpose()
}

/// What an entry is outside of memory.
pub(in crate::job) trait Spilled: Sized {
    /// Encodes it.
    fn encode(&self) -> Vec<u8>;
    /// Decodes what was encoded; `None` if it is not that.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Entries by key. Without a scratch all of them stay in memory.
#[derive(Debug)]
pub(in crate::job) struct SpillingMap<'a, V> {
    // Begins the keys of this map in the scratch, which has several.
    letter: u8,
    scratch: Option<&'a Scratch>,
    count_max: usize,
    recent: BTreeMap<Vec<u8>, V>,
    has_spilled: bool,
}

impl<'a, V: Spilled> SpillingMap<'a, V> {
    /// Starts empty; up to `count_max` entries stay in memory.
    pub(in crate::job) fn new(letter: u8, scratch: Option<&'a Scratch>, count_max: usize) -> Self {
        Self { letter, scratch, count_max, recent: BTreeMap::new(), has_spilled: false }
    }

    /// Takes the whole map out and leaves an empty one.
    pub(in crate::job) fn emptied(&mut self) -> Self {
        let empty = Self::new(self.letter, self.scratch, self.count_max);
        std::mem::replace(self, empty)
    }

    /// Puts an entry in the place of one with the same key.
    pub(in crate::job) fn put(&mut self, key: &[u8], value: V) -> Result<(), IndexError> {
        if let Some(scratch) = self.scratch
            && self.recent.len() >= self.count_max
        {
            let letter = self.letter;
            let rows = std::mem::take(&mut self.recent).into_iter();
            scratch.write(rows.map(|(key, value)| (row_key(letter, &key), Some(value.encode()))))?;
            self.has_spilled = true;
        }
        self.recent.insert(key.to_vec(), value);
        Ok(())
    }

    /// Takes an entry out.
    pub(in crate::job) fn take(&mut self, key: &[u8]) -> Result<Option<V>, IndexError> {
        if let Some(found) = self.recent.remove(key) {
            if self.has_spilled {
                self.remove_spilled(key)?;
            }
            return Ok(Some(found));
        }
        let found = self.spilled(key)?;
        if found.is_some() {
            self.remove_spilled(key)?;
        }
        Ok(found)
    }

    /// Looks at an entry.
    pub(in crate::job) fn look<T>(
        &self,
        key: &[u8],
        look: impl FnOnce(&V) -> T,
    ) -> Result<Option<T>, IndexError> {
        match self.recent.get(key) {
            Some(found) => Ok(Some(look(found))),
            None => Ok(self.spilled(key)?.as_ref().map(look)),
        }
    }

    /// Takes all entries out and hands them to `take` in order of keys.
    pub(in crate::job) fn drain<E: From<IndexError>>(
        &mut self,
        mut take: impl FnMut(&[u8], V) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut recent = std::mem::take(&mut self.recent).into_iter().peekable();
        let prefix = [self.letter];
        let spilled = self.scratch.filter(|_| self.has_spilled).into_iter();
        for row in spilled.flat_map(|scratch| scratch.rows(&prefix)) {
            let (key, value) = row?;
            while let Some((key, value)) = recent.next_if(|(recent, _)| *recent < key) {
                take(&key, value)?;
            }
            // An entry that came again is newer in memory.
            match recent.next_if(|(recent, _)| *recent == key) {
                Some((key, value)) => take(&key, value)?,
                None => take(&key, decoded(&value)?)?,
            }
        }
        recent.try_for_each(|(key, value)| take(&key, value))
    }

    fn spilled(&self, key: &[u8]) -> Result<Option<V>, IndexError> {
        let Some(scratch) = self.scratch.filter(|_| self.has_spilled) else { return Ok(None) };
        scratch.get(&row_key(self.letter, key))?.map(|value| decoded(&value)).transpose()
    }

    fn remove_spilled(&self, key: &[u8]) -> Result<(), IndexError> {
        self.scratch.map_or(Ok(()), |scratch| scratch.write([(row_key(self.letter, key), None)]))
    }
}

fn row_key(letter: u8, key: &[u8]) -> Vec<u8> {
    [&[letter], key].concat()
}

fn decoded<V: Spilled>(bytes: &[u8]) -> Result<V, IndexError> {
    V::decode(bytes).ok_or(IndexError::Row)
}

#[cfg(test)]
mod test {
    use super::*;

    impl Spilled for u64 {
        fn encode(&self) -> Vec<u8> {
            self.to_le_bytes().to_vec()
        }

        fn decode(bytes: &[u8]) -> Option<Self> {
            bytes.try_into().ok().map(Self::from_le_bytes)
        }
    }

    #[test]
    fn a_map_that_spills_is_as_one_that_does_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let scratch = Scratch::new(&directory.path().join("scratch")).expect("begins");
        let mut other = SpillingMap::new(b'p', Some(&scratch), 1);
        other.put(b"a", 1_u64).expect("puts");
        other.put(b"b", 2).expect("puts");
        let mut map = SpillingMap::new(b'o', Some(&scratch), 10);
        let mut model = BTreeMap::new();
        let mut state = 1_u64;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = ((state >> 33) % 300).to_be_bytes();
            if state >> 40 & 1 == 0 {
                map.put(&key, step).expect("puts");
                model.insert(key, step);
            } else {
                assert_eq!(map.take(&key).expect("takes"), model.remove(&key), "step {step}");
            }
        }
        assert!(map.has_spilled && model.len() > 50);
        let mut drained = Vec::new();
        map.drain::<IndexError>(|key, value| {
            drained.push((key.to_vec(), value));
            Ok(())
        })
        .expect("drains");
        let expected = model.into_iter().map(|(key, value)| (key.to_vec(), value));
        assert_eq!(drained, expected.collect::<Vec<_>>());
    }
}
