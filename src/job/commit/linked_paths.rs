//! Paths of files with several names: of all their paths the first.

use super::error::CommitError;
use super::paths::Paths;
use crate::index::Scratch;
use crate::job::store::StoreError;
use crate::job::store::spilling::{Spilled, SpillingMap};
use crate::repo::staging::{FrozenEpoch, StagingError, StagingTree};

// Paths in memory at once.
const PATH_COUNT_MAX: usize = 1 << 14;

#[derive(Debug)]
struct FirstPath(Vec<u8>);

impl Spilled for FirstPath {
    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.to_vec()))
    }
}

/// First paths by object id, found when one is asked for: for them all changed names, and perhaps the whole base, are
/// looked at.
#[derive(Debug)]
pub(super) struct LinkedPaths<'a> {
    known: SpillingMap<'a, FirstPath>,
    is_read: bool,
}

impl<'a> LinkedPaths<'a> {
    pub(super) fn new(scratch: Option<&'a Scratch>) -> Self {
        Self { known: SpillingMap::new(b'f', scratch, PATH_COUNT_MAX), is_read: false }
    }

    /// Path from the client's root of a changed file, by its object id; none if its names cannot be read.
    pub(super) fn of(
        &mut self,
        (tree, frozen): (&StagingTree, &FrozenEpoch<'_>),
        object: u64,
    ) -> Result<Option<Vec<u8>>, CommitError> {
        if !self.is_read {
            self.is_read = true;
            self.read(tree, frozen)?;
        }
        let found = self.known.look(&object.to_be_bytes(), |first| first.0.clone());
        Ok(found.map_err(StoreError::from)?)
    }

    fn read(&mut self, tree: &StagingTree, frozen: &FrozenEpoch<'_>) -> Result<(), CommitError> {
        let mut paths = Paths::new(tree);
        let read = frozen.linked_names(|object, directory, name| {
            let key = object.to_be_bytes();
            let path = paths.of(directory, name);
            let is_later = self.known.look(&key, |first| first.0 <= path)?.unwrap_or_default();
            if !is_later {
                self.known.put(&key, FirstPath(path))?;
            }
            Ok::<_, Unread>(())
        });
        read.map_err(|unread| match unread {
            Unread::Staging(source) => super::staging_error(tree, source),
            Unread::Store(error) => error.into(),
        })
    }
}

// Why paths were not found.
enum Unread {
    Staging(StagingError),
    Store(StoreError),
}

impl From<StagingError> for Unread {
    fn from(error: StagingError) -> Self {
        Self::Staging(error)
    }
}

impl From<crate::index::IndexError> for Unread {
    fn from(error: crate::index::IndexError) -> Self {
        Self::Store(error.into())
    }
}
