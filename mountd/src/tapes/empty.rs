//! What is shown of a cartridge of ours to which nothing was archived yet: a directory without entries.

use std::io;

use reelfs::format::record::XattrList;

use super::volumes::MADE_FIRST;
use crate::attributes::Attributes;
use crate::errno::ViewError;
use crate::reading::{Disk, Seek};
use crate::shown::Shown;
use crate::view::{Lifetime, ListEntry, ROOT};

const AFTER_DOT: u64 = 1;
const AFTER_DOT_DOT: u64 = 2;

/// A tree of one directory, whose attributes are those of the cartridge.
#[derive(Debug)]
pub(super) struct EmptyView(pub(super) Attributes);

impl EmptyView {
    // All that there is.
    fn directory(&self, number: u64) -> Result<Attributes, ViewError> {
        if number == MADE_FIRST { Ok(self.0) } else { Err(ViewError::NoNumber) }
    }
}

impl Shown for EmptyView {
    fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError> {
        Ok((self.directory(number)?, Lifetime::Unlimited))
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        let own = self.directory(parent)?;
        if name == b"." { Ok((own, Lifetime::Unlimited)) } else { Err(ViewError::NoName) }
    }

    // An archive may be written to it.
    fn keeps_missing_names(&self, _: u64) -> bool {
        false
    }

    fn list(
        &self,
        number: u64,
        after: u64,
        _: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let own = self.directory(number)?;
        for (cookie, name, number) in [(AFTER_DOT, &b"."[..], number), (AFTER_DOT_DOT, b"..", ROOT)] {
            let attributes = Attributes { number, ..own };
            let entry = ListEntry { cookie, name, attributes, lifetime: Lifetime::None };
            if after < cookie && !take(entry) {
                break;
            }
        }
        Ok(())
    }

    fn target(&self, _: u64) -> Result<Vec<u8>, ViewError> {
        Err(ViewError::WrongKind)
    }

    fn read(&self, _: u64, _: u64, _: usize, _: bool, _: u32) -> Result<Option<Vec<u8>>, ViewError> {
        Err(ViewError::WrongKind)
    }

    fn seek(&self, _: u64, _: u64, _: Seek) -> Result<u64, ViewError> {
        Err(ViewError::WrongKind)
    }

    fn xattr(&self, _: u64, _: &[u8]) -> Result<Vec<u8>, ViewError> {
        Err(ViewError::NoXattr)
    }

    fn xattrs(&self, _: u64) -> Result<XattrList, ViewError> {
        Ok(XattrList::new())
    }

    fn is_slow_xattr(&self, _: &[u8]) -> bool {
        false
    }

    fn is_without_xattrs(&self) -> bool {
        true
    }

    fn disk(&self) -> io::Result<Disk> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
