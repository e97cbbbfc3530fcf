//! Directories in the order in which their files' data stands on a cartridge: who reads the files as they are listed
//! goes forward.
//!
//! First come names without data, then files by the place of their first byte, then directories by name. Where a
//! directory has very many names they stay in the order of names: the order is made for the whole directory at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reelfs::format::record::FileKind;
use reelfs::id::FileId;
use reelfs::repo::node::RecordAddress;
use reelfs::repo::{Entry, Generation, Node, ReadError};

use crate::view::View;

/// Most names of a directory that are put in order.
const NAME_COUNT_MAX: usize = 1 << 16;
/// Directories whose order is kept: those that are being listed.
const KEPT_COUNT: usize = 16;

/// Where BDFs begin, and the orders that were made last.
#[derive(Debug)]
pub(crate) struct DataOrder {
    places: HashMap<FileId, u64>,
    // The latest at the end.
    kept: Mutex<Vec<(Node, Order)>>,
}

/// The entries of a directory; `None` stands for the order of names.
pub(crate) type Order = Option<Arc<[RecordAddress]>>;

/// What a name is sorted by: its kind, then the place of its data.
type Key = (u8, u64, u64, u32);

const WITHOUT_DATA: Key = (0, 0, 0, 0);
const DIRECTORY: Key = (2, 0, 0, 0);

impl DataOrder {
    /// Takes the places of BDFs.
    pub(crate) fn new(places: HashMap<FileId, u64>) -> Self {
        Self { places, kept: Mutex::default() }
    }
}

impl View {
    /// The entries of a directory in the order of their data; `None` if they come in the order of names.
    pub(crate) fn data_order(&self, node: Node, generation: &Generation, directory: u64) -> Order {
        let order = self.data_order.as_ref()?;
        let kept = || order.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = kept().iter().find(|(known, _)| *known == node) {
            return found.clone();
        }
        // A directory of which a part cannot be read is listed by name, as far as it goes.
        let made = self.make_order(order, generation, directory).ok().flatten();
        let mut kept = kept();
        if kept.len() >= KEPT_COUNT {
            kept.remove(0);
        }
        kept.push((node, made.clone()));
        made
    }

    fn make_order(
        &self,
        order: &DataOrder,
        generation: &Generation,
        directory: u64,
    ) -> Result<Order, ReadError> {
        let mut keys = Vec::new();
        for entry in generation.list(self.repository.pages(), directory, None)? {
            if keys.len() >= NAME_COUNT_MAX {
                return Ok(None);
            }
            let entry = entry?;
            keys.push((self.data_key(order, &entry, directory)?, entry.address));
        }
        // Names with the same key stay as they are.
        keys.sort_by_key(|(key, _)| *key);
        Ok(Some(keys.into_iter().map(|(_, address)| address).collect()))
    }

    fn data_key(&self, order: &DataOrder, entry: &Entry, directory: u64) -> Result<Key, ReadError> {
        match entry.kind {
            FileKind::Directory => return Ok(DIRECTORY),
            FileKind::Regular => {}
            _ => return Ok(WITHOUT_DATA),
        }
        let inode = self.entry_inode(entry, directory)?;
        let first = self.repository.content(&inode).and_then(|content| content.extents_from(0).next());
        let Some(extent) = first.transpose()? else { return Ok(WITHOUT_DATA) };
        let location = extent.chunk.location;
        let place = order.places.get(&location.file).copied().unwrap_or(u64::MAX);
        Ok((1, place, location.frame, location.start))
    }
}
