//! Verifies a DTF as a file: that every byte of it is accounted for, pages in use or not.

use super::Run;
use crate::format::dtf::HEADER_LEN;
use crate::format::page::{self, ALIGNMENT, PageHeader};
use crate::repo::pages::{DtfFile, read_sealed};

/// Verifies seal, checksums of all pages, and that nothing is between them.
pub(super) fn verify(run: &Run<'_>, dtf: &DtfFile) {
    let (file, path) = (dtf.file(), dtf.path());
    // Whether the footer is sound is told by those who open the generation.
    let Ok((seal, _)) = read_sealed(file, dtf.header().file) else { return };
    let mut offset = HEADER_LEN as u64;
    while offset < seal.footer_offset {
        let begin = offset.next_multiple_of(ALIGNMENT);
        let end = begin.min(seal.footer_offset);
        let mut padding = vec![0; usize::try_from(end - offset).unwrap_or_default()];
        if file.read_exact_at(&mut padding, offset).is_err() || padding.iter().any(|byte| *byte != 0) {
            run.damage(path, offset, "there is something between two pages".to_owned());
        }
        if begin >= seal.footer_offset {
            return;
        }
        match page_len(dtf, begin) {
            Ok(len) => offset = begin + len,
            Err(what) => {
                run.damage(path, begin, what);
                // The length is not to be trusted; what else is wrong with this file shows when its
                // pages are read from the tree.
                return;
            }
        }
    }
}

fn page_len(dtf: &DtfFile, offset: u64) -> Result<u64, String> {
    let read = |buffer: &mut [u8]| {
        dtf.file().read_exact_at(buffer, offset).map_err(|error| crate::job::chain(&error))
    };
    let mut fixed = [0; page::HEADER_LEN];
    read(&mut fixed)?;
    let stored_len = PageHeader::peek_stored_len(&fixed).map_err(|error| crate::job::chain(&error))?;
    let mut bytes = vec![0; page::HEADER_LEN + stored_len as usize];
    read(&mut bytes)?;
    PageHeader::decode(&bytes, dtf.header().file, offset).map_err(|error| crate::job::chain(&error))?;
    Ok(bytes.len() as u64)
}
