//! Directories in the order in which their files' data stands on a cartridge: who reads the files as they are listed
//! goes forward.
//!
//! The order is that of a table on disk, so that a listing goes on from any place at once, however many names the
//! directory has. A cookie is the place of a name in the table; those of listings in the order of names are numbers
//! of records, which are larger.

use std::sync::Arc;

use reelfs::id::Ordinal;
use reelfs::job::tape::order::TapeOrder;
use reelfs::repo::{Generation, Node};

use crate::errno::ViewError;
use crate::listing::AFTER_DOT_DOT;
use crate::view::{ListEntry, View};

/// The first number of a record.
const RECORD_MIN: u64 = 1 << 40;
/// Names that are read of the table at a time.
const PIECE_COUNT: usize = 256;

impl View {
    /// The order of a generation's data; `None` where data is found at once, and if the order cannot be known.
    pub(crate) fn order(&self, ordinal: Ordinal) -> Option<Arc<TapeOrder>> {
        self.orders.as_ref()?.order(&self.repository, ordinal)
    }

    /// The order in which a listing comes that goes on after a cookie; `None` if that is the order of names.
    pub(crate) fn listed_order(&self, generation: &Generation, after: u64) -> Option<Arc<TapeOrder>> {
        (after < RECORD_MIN).then(|| self.order(generation.ordinal())).flatten()
    }

    /// Lists a directory in the order of its data, after a cookie.
    pub(crate) fn list_in_order(
        &self,
        (order, generation): (&TapeOrder, &Generation),
        (node, directory): (Node, u64),
        after: u64,
        with_attributes: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let names = order.names(directory)?;
        let mut next = match after.checked_sub(AFTER_DOT_DOT + 1) {
            None => names.start,
            Some(last) if names.contains(&last) => last + 1,
            Some(_) => return Err(ViewError::NoPosition),
        };
        while next < names.end {
            for record in order.records(next..names.end, PIECE_COUNT)? {
                let Some(Node::Entry(address)) = Node::from_number(record) else {
                    return Err(ViewError::NoPosition);
                };
                let entry = generation.entry_at(self.repository.pages(), address);
                let entry = entry.map_err(|error| self.damaged(node, error))?;
                let (attributes, lifetime) = self.entry_attributes(&entry, directory, with_attributes);
                let cookie = AFTER_DOT_DOT + 1 + next;
                if !take(ListEntry { cookie, name: &entry.name, attributes, lifetime }) {
                    return Ok(());
                }
                next += 1;
            }
        }
        Ok(())
    }
}
