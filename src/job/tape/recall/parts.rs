//! Where on a cartridge there is content, and how it is cut into runs.

use super::super::extents::ExtentKey;
use crate::id::FileId;

/// Most bytes of a run: a drive reads them faster than it finds a place.
pub(super) const RUN_BYTES: u64 = 16 << 20;

/// Blocks of one length without a filemark between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// First block.
    pub(super) first: u64,
    /// Behind the last block.
    pub(super) end: u64,
    /// Length of each in bytes, but for the last one, which may be shorter.
    pub(super) block_len: u32,
}

/// What is read at a time: blocks of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The cartridge, and the first block.
    pub(super) key: ExtentKey,
    /// Number of blocks.
    pub(super) blocks: u64,
    /// Length of each in bytes.
    pub(super) block_len: u32,
}

impl Run {
    /// Behind the last block.
    pub(super) fn end(&self) -> u64 {
        self.key.first_loi + self.blocks
    }

    /// Bytes, if the last block is a whole one.
    pub(super) fn len_bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_len)
    }
}

/// The parts of a cartridge, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts(Vec<Part>);

impl Parts {
    pub(super) fn new(mut parts: Vec<Part>) -> Self {
        parts.retain(|part| part.first < part.end && part.block_len > 0);
        parts.sort_unstable_by_key(|part| part.first);
        Self(parts)
    }

    /// The run that holds a block. Runs begin at multiples of their length, so that they are the same whoever asks.
    pub(super) fn run(&self, volume: FileId, loi: u64) -> Option<Run> {
        let index = self.0.partition_point(|part| part.first <= loi).checked_sub(1)?;
        let part = self.0.get(index).filter(|part| loi < part.end)?;
        let blocks = (RUN_BYTES / u64::from(part.block_len)).max(1);
        let aligned = loi - loi % blocks;
        let first_loi = aligned.max(part.first);
        let end = (aligned + blocks).min(part.end);
        let key = ExtentKey { volume, first_loi };
        Some(Run { key, blocks: end - first_loi, block_len: part.block_len })
    }

    /// Where the next part behind a place begins.
    pub(super) fn next_first(&self, loi: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|part| part.first < loi)).map(|part| part.first)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn runs_are_aligned_and_never_cross_the_end_of_a_part() {
        let part = |first, end, block_len| Part { first, end, block_len };
        let parts = Parts::new(vec![part(900, 1000, 10_240), part(5, 70, 512 << 10), part(80, 81, 8 << 20)]);
        let volume = FileId([1; 16]);
        let run = |loi| parts.run(volume, loi).map(|run| (run.key.first_loi, run.end(), run.block_len));
        assert_eq!(run(5), Some((5, 32, 512 << 10)));
        assert_eq!(run(31), Some((5, 32, 512 << 10)));
        assert_eq!(run(32), Some((32, 64, 512 << 10)));
        assert_eq!(run(69), Some((64, 70, 512 << 10)));
        assert_eq!([4, 70, 79, 81, 1000].map(run), [None; 5]);
        assert_eq!(run(80), Some((80, 81, 8 << 20)));
        assert_eq!(run(950), Some((900, 1000, 10_240)));
        assert_eq!(
            (parts.next_first(70), parts.next_first(80), parts.next_first(901)),
            (Some(80), Some(80), None)
        );
    }
}
