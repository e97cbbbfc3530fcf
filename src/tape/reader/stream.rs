//! One tape file as an archive: blocks in, entries and content out.

use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::{
    ArchiveError, BlockAddress, BlockRun, Entry, ForeignDescription, Parser, RECORD_LEN, Step,
};
use crate::tape::drive::{AlignedBuffer, Drive, DriveError, Read};

/// Content that is passed over by LOCATE rather than by reading, in blocks.
const SKIP_BLOCKS_MIN: u64 = 64;

/// What comes next in a tape file.
#[derive(Debug)]
pub(in crate::tape) enum Event<'b> {
    /// A global header: the stream's keywords changed.
    Global,
    /// An entry.
    Entry(Box<Entry>),
    /// Content of the entry.
    Content(&'b [u8]),
    /// The archive ends as it should.
    End,
    /// A filemark where the archive should go on.
    Filemark,
    /// The end of data where the archive should go on.
    EndOfData,
}

/// How content was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tape) enum Passed {
    /// All of it is there.
    Whole,
    /// It ends too early, and the tape file too.
    Cut {
        /// Bytes that are missing.
        missing: u64,
        /// What was met there; the drive is behind it. `None` if the drive is in front of it.
        at: Option<Read>,
    },
}

/// Reads one tape file from its first block on.
#[derive(Debug)]
pub(in crate::tape) struct PartStream<'d> {
    drive: &'d mut Drive,
    block: AlignedBuffer,
    // Bytes of the block that are there, and that were taken.
    len: usize,
    taken: usize,
    // Where the next block is, and where in the archive the present one begins.
    next_loi: u64,
    block_offset: u64,
    // Length of the first block.
    block_len: Option<usize>,
    runs: Vec<BlockRun>,
    // Something was passed by LOCATE, as if all blocks had the length of the first one.
    has_jumped: bool,
    // Blocks of another length than the first one are not only at the end.
    is_uneven: bool,
    parser: Parser,
}

impl<'d> PartStream<'d> {
    /// Goes to the first block of a tape file; blocks may have up to `block_len_max` bytes.
    pub(in crate::tape) fn open(
        drive: &'d mut Drive,
        loi: u64,
        block_len_max: usize,
    ) -> Result<Self, TapeError> {
        drive.go_to(loi)?;
        Ok(Self {
            drive,
            block: AlignedBuffer::new(block_len_max),
            len: 0,
            taken: 0,
            next_loi: loi,
            block_offset: 0,
            block_len: None,
            runs: Vec::new(),
            has_jumped: false,
            is_uneven: false,
            parser: Parser::new(),
        })
    }

    /// Goes to a record in the middle of a tape file, such as that behind the content of an entry.
    pub(in crate::tape) fn open_at(
        drive: &'d mut Drive,
        address: BlockAddress,
        block_len_max: usize,
    ) -> Result<Self, TapeError> {
        let mut stream = Self::open(drive, address.loi, block_len_max)?;
        if address.byte > 0 {
            let Read::Block(_) = stream.next_block()? else {
                return Err(stream.damaged(ArchiveError::Cut { structure: "tar archive", offset: 0 }));
            };
            stream.taken = stream.len.min(address.byte as usize);
        }
        Ok(stream)
    }

    /// The same with the block there, `len` bytes, read already.
    pub(in crate::tape) fn go_on(
        drive: &'d mut Drive,
        address: BlockAddress,
        block: AlignedBuffer,
        len: usize,
    ) -> Result<Self, TapeError> {
        let next_loi = address.loi + 1;
        drive.go_to(next_loi)?;
        Ok(Self {
            drive,
            block,
            len,
            taken: len.min(address.byte as usize),
            next_loi,
            block_offset: 0,
            block_len: Some(len),
            runs: Vec::new(),
            has_jumped: false,
            is_uneven: false,
            parser: Parser::new(),
        })
    }

    /// The parser, for global keywords and offsets.
    pub(in crate::tape) fn parser(&self) -> &Parser {
        &self.parser
    }

    /// Length of the blocks so far, 0 before the first.
    pub(in crate::tape) fn block_len(&self) -> usize {
        self.block_len.unwrap_or(0)
    }

    /// Blocks so far, by their lengths.
    pub(in crate::tape) fn runs(&self) -> &[BlockRun] {
        &self.runs
    }

    /// The block that comes next.
    pub(in crate::tape) fn next_loi(&self) -> u64 {
        self.next_loi
    }

    /// Whether places behind something that was passed are wrong: blocks had several lengths after all.
    pub(in crate::tape) fn is_misplaced(&self) -> bool {
        self.has_jumped && self.is_uneven
    }

    /// Whether something was passed on the assumption that all blocks have one length.
    pub(in crate::tape) fn has_jumped(&self) -> bool {
        self.has_jumped
    }

    /// Block and byte of the next record.
    pub(in crate::tape) fn here(&self) -> (u64, u32) {
        if self.taken < self.len {
            (self.next_loi.saturating_sub(1), u32::try_from(self.taken).unwrap_or(u32::MAX))
        } else {
            (self.next_loi, 0)
        }
    }

    /// Wraps an error of the archive with the place of the present block.
    pub(in crate::tape) fn damaged(&self, source: ArchiveError) -> TapeError {
        let loi = self.next_loi.saturating_sub(1);
        TapeError::Archive { device: self.drive.name().to_owned(), loi, source }
    }

    /// Reads on to the next event.
    pub(in crate::tape) fn next(&mut self, progress: &Progress) -> Result<Event<'_>, TapeError> {
        loop {
            if self.taken >= self.len {
                progress.check()?;
                match self.next_block()? {
                    Read::Block(_) => {}
                    Read::Filemark => return Ok(Event::Filemark),
                    Read::EndOfData => return Ok(Event::EndOfData),
                }
            }
            if self.parser.data_left() > 0 {
                let (start, len) = self.take_content();
                return Ok(Event::Content(self.block.as_slice().get(start..start + len).unwrap_or_default()));
            }
            let block = self.block.as_slice().get(..self.len).unwrap_or_default();
            let record = block.get(self.taken..).and_then(|rest| rest.first_chunk::<RECORD_LEN>());
            let Some(record) = record else {
                let offset = self.parser.offset();
                return Err(self.damaged(ArchiveError::Cut { structure: "tar archive", offset }));
            };
            let step = self.parser.push(record);
            self.taken += RECORD_LEN;
            match step.map_err(|source| self.damaged(source))? {
                Step::Header | Step::Content(_) => {}
                Step::Global => return Ok(Event::Global),
                Step::Entry(entry) => return Ok(Event::Entry(entry)),
                Step::End => return Ok(Event::End),
            }
        }
    }

    // Takes what the present block has of the content; returns where it is, without padding.
    fn take_content(&mut self) -> (usize, usize) {
        let start = self.taken;
        let here = self.len - start;
        let valid = usize::try_from(self.parser.data_left()).unwrap_or(usize::MAX).min(here);
        let skipped = self.parser.skip_content(here as u64);
        self.taken += usize::try_from(skipped).unwrap_or(here);
        if skipped == 0 {
            // Less than a record is left: the block has no valid length.
            self.taken = self.len;
        }
        (start, valid)
    }

    /// Passes over the content of the present entry, by LOCATE if there is much of it.
    pub(in crate::tape) fn skip_content(&mut self) -> Result<(), TapeError> {
        let here = (self.len - self.taken) as u64;
        self.taken += usize::try_from(self.parser.skip_content(here)).unwrap_or(0);
        let block_len = self.block_len.unwrap_or(0) as u64;
        let blocks = self.parser.content_left().checked_div(block_len).unwrap_or(0);
        if self.taken == self.len && blocks >= SKIP_BLOCKS_MIN && self.runs.len() <= 1 {
            self.drive.seek(self.next_loi.saturating_add(blocks))?;
            self.parser.skip_content(blocks * block_len);
            self.next_loi += blocks;
            self.block_offset += blocks * block_len;
            self.has_jumped = true;
        }
        Ok(())
    }

    /// Passes over the content of the present entry of an archive of another program; with `is_exact` block by block,
    /// so that their lengths are known.
    pub(in crate::tape) fn pass_content(
        &mut self,
        is_exact: bool,
        progress: &Progress,
    ) -> Result<Passed, TapeError> {
        if !is_exact {
            match self.skip_content() {
                Err(TapeError::Drive(DriveError::BeyondEnd { .. })) => {
                    return self.find_end().map(|missing| Passed::Cut { missing, at: None });
                }
                skipped => skipped?,
            }
        }
        // What is left in this block or lies in the next ones; an event ends it.
        while self.parser.data_left() > 0 {
            let left = self.parser.data_left();
            let at = match self.next(progress)? {
                Event::Filemark => Read::Filemark,
                Event::EndOfData => Read::EndOfData,
                _ => continue,
            };
            return Ok(Passed::Cut { missing: left, at: Some(at) });
        }
        Ok(Passed::Whole)
    }

    // The content goes on behind the end of data: finds the last block, and returns how much is missing.
    fn find_end(&mut self) -> Result<u64, TapeError> {
        let mut end = self.drive.seek_end()?.loi;
        if self.drive.space_filemarks(-1)? && self.drive.here()?.saturating_add(1) == end {
            end -= 1;
        }
        let blocks = end.saturating_sub(self.next_loi);
        let there = blocks.saturating_mul(self.block_len.unwrap_or(0) as u64);
        self.next_loi = end;
        Ok(self.parser.data_left().saturating_sub(there))
    }

    /// Goes behind the filemark that ends the tape file; `false` if data ends without one.
    pub(in crate::tape) fn finish(self) -> Result<bool, TapeError> {
        Ok(self.drive.space_filemarks(1)?)
    }

    fn next_block(&mut self) -> Result<Read, TapeError> {
        self.block_offset += self.len as u64;
        self.len = 0;
        self.taken = 0;
        let read = self.drive.read_block(self.block.as_mut_slice())?;
        if read != Read::EndOfData {
            self.next_loi += 1;
        }
        if let Read::Block(len) = read {
            self.len = len;
            self.block_len.get_or_insert(len);
            self.is_uneven |= self.runs.len() > 1;
            let block_len = u32::try_from(len).unwrap_or(u32::MAX);
            let is_same = self.runs.last().is_some_and(|run| run.block_len == block_len);
            if !is_same && self.runs.len() <= ForeignDescription::RUN_COUNT_MAX {
                self.runs.push(BlockRun { offset: self.block_offset, loi: self.next_loi - 1, block_len });
            }
        }
        Ok(read)
    }
}
