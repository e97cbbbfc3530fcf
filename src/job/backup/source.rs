//! Files of a live tree as sources of what is to be stored.

use std::sync::Arc;

use crate::format::record::XattrList;
use crate::job::store::large::FileRange;
use crate::job::store::record::Described;
use crate::job::store::source::{LargeSource, ReadFile, ReadProblem, SmallSource};
use crate::live::{Attributes, LiveError, SourceDirectory, SourceFile};

/// A small file to be read by a worker.
#[derive(Debug)]
pub(super) struct LiveSmall {
    pub(super) directory: Arc<SourceDirectory>,
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

// A small file that became larger than this meanwhile is kept cut short, and reported as inconsistent.
const READ_LEN_MAX: usize = 8 << 20;

impl LiveSmall {
    // A file that changes while it is read is read once more, then kept as it is and reported.
    fn read_whole(&self) -> Result<ReadFile, LiveError> {
        let mut expected = self.attributes;
        for attempt in 0..2 {
            let source = self.directory.open_file(&self.name, &expected)?;
            let attributes = *source.attributes();
            // A file that grows meanwhile is told by its attributes afterwards.
            let mut bytes =
                vec![0; usize::try_from(attributes.size).unwrap_or(READ_LEN_MAX).min(READ_LEN_MAX)];
            let len = source.read_at(&mut bytes, 0)?;
            bytes.truncate(len);
            let xattrs = source.xattrs()?;
            let now = source.attributes_now()?;
            let consistent = now.is_unchanged_since(&attributes) && len as u64 == attributes.size;
            if consistent || attempt == 1 {
                let described = Described::live_file(&Attributes { size: len as u64, ..now }, xattrs);
                return Ok(ReadFile { bytes, described, inconsistent: !consistent });
            }
            expected = now;
        }
        Err(LiveError::Replaced { path: crate::path::display(&self.name) })
    }
}

impl SmallSource for LiveSmall {
    fn read(&self) -> Result<ReadFile, ReadProblem> {
        Ok(self.read_whole()?)
    }
}

/// A large file that is open.
#[derive(Debug)]
pub(super) struct OpenLarge {
    file: SourceFile,
    xattrs: XattrList,
}

impl OpenLarge {
    pub(super) fn new(file: SourceFile) -> Result<Self, LiveError> {
        let xattrs = file.xattrs()?;
        Ok(Self { file, xattrs })
    }

    pub(super) fn attributes(&self) -> &Attributes {
        self.file.attributes()
    }

    pub(super) fn attributes_now(&self) -> Result<Attributes, LiveError> {
        self.file.attributes_now()
    }

    pub(super) fn has_changed(&self) -> Result<bool, LiveError> {
        Ok(!self.attributes_now()?.is_unchanged_since(self.attributes()))
    }

    pub(super) fn described(&self) -> Described {
        Described::live_file(self.attributes(), self.xattrs.clone())
    }

    pub(super) fn ranges(&self) -> Box<dyn Iterator<Item = Result<FileRange, ReadProblem>> + '_> {
        if self.attributes().may_have_holes() {
            return Box::new(self.file.data_ranges().map(|range| Ok(range?)));
        }
        Box::new(Some(Ok((0, self.attributes().size))).filter(|_| self.attributes().size > 0).into_iter())
    }
}

impl LargeSource for OpenLarge {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadProblem> {
        Ok(self.file.read_at(buffer, offset)?)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_small_file_that_has_grown_large_is_kept_as_far_as_a_chunk_can_go() {
        let source = tempfile::tempdir().expect("a directory");
        let path = source.path().join("log");
        std::fs::write(&path, b"small").expect("writes");
        let directory = Arc::new(SourceDirectory::open_root(source.path()).expect("opens"));
        let attributes = directory.attributes_of(b"log").expect("looks");
        std::fs::File::options().write(true).open(&path).expect("opens").set_len(1 << 42).expect("grows");
        let file = LiveSmall { directory, name: b"log".to_vec(), attributes };
        let read = file.read_whole().expect("reads");
        assert!(read.inconsistent);
        assert_eq!((read.bytes.len(), read.described.size()), (READ_LEN_MAX, READ_LEN_MAX as u64));
    }
}
