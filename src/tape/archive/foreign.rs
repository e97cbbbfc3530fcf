//! What one scan found out of a cartridge of another program: whose it is, its tape files, and where their blocks are.
//!
//! It is kept as JSON in the catalogue, never on the cartridge.

use serde::{Deserialize, Serialize};

use super::ArchiveError;
use crate::id::FileId;

const STRUCTURE: &str = "FOREIGN.json";
const VERSION: u32 = 1;
/// Most changes of the length of blocks in one tape file.
const RUN_COUNT_MAX: usize = 1 << 16;

/// Blocks of one length that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRun {
    /// Offset of the first one in the tape file, in bytes.
    pub offset: u64,
    /// Logical object identifier of the first one.
    pub loi: u64,
    /// Length of each in bytes; the last one of a tape file may be shorter.
    pub block_len: u32,
}

/// What a tape file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignState {
    /// A whole archive.
    Whole,
    /// An archive that ends before its end: it goes on on another volume, or was interrupted.
    Cut,
    /// An archive of which a part cannot be read.
    Damaged,
    /// No archive that can be read.
    Other,
}

impl ForeignState {
    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
            Self::Damaged => "damaged",
            Self::Other => "other",
        }
    }
}

/// A tape file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignFile {
    /// Number, from 0: what `mt fsf` counts.
    pub number: u64,
    /// First block.
    pub first_loi: u64,
    /// Behind the last block: the filemark, or the end of data.
    pub end_loi: u64,
    /// What it is.
    pub state: ForeignState,
    /// Entries in it that are shown.
    pub entry_count: u64,
    /// Entries that are not shown: their names lead out of the archive, or they are links to nothing.
    pub left_out_count: u64,
    /// Its blocks, by their lengths.
    pub blocks: Vec<BlockRun>,
}

impl ForeignFile {
    /// Block and byte in it of an offset in the tape file; `None` if there is no block so far.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<(u64, u32)> {
        let index = self.blocks.partition_point(|run| run.offset <= offset).checked_sub(1)?;
        let run = self.blocks.get(index)?;
        let block_len = u64::from(run.block_len);
        let loi = run.loi.checked_add((offset - run.offset).checked_div(block_len)?)?;
        let byte = u32::try_from((offset - run.offset) % block_len).ok()?;
        (loi < self.end_loi).then_some((loi, byte))
    }
}

/// A cartridge of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDescription {
    /// What it is known by: made from its first block and its serial number.
    pub volume: FileId,
    /// Barcode on the outside; empty if it has none.
    pub barcode: String,
    /// Whose it is, in a word or two: `tar`, `LTFS`.
    pub kind: String,
    /// What the other program calls it; empty if it has no name.
    pub name: String,
    /// When it was scanned, seconds since 1970.
    pub scanned_seconds: i64,
    /// Its tape files, if it is one that can be read.
    pub files: Vec<ForeignFile>,
}

#[derive(Serialize, Deserialize)]
struct ForeignJson {
    reelfs_foreign: u32,
    volume: String,
    barcode: String,
    kind: String,
    #[serde(default)]
    name: String,
    scanned: i64,
    #[serde(default)]
    files: Vec<ForeignFile>,
}

impl ForeignDescription {
    /// Encodes it.
    ///
    /// # Panics
    /// Never: texts and numbers can be written as JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        let json = ForeignJson {
            reelfs_foreign: VERSION,
            volume: self.volume.to_string(),
            barcode: self.barcode.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            scanned: self.scanned_seconds,
            files: self.files.clone(),
        };
        serde_json::to_string(&json).expect("texts and numbers can be written as JSON") + "\n"
    }

    /// Decodes it.
    ///
    /// # Errors
    /// [`ArchiveError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let error = |reason: String| ArchiveError::Line { structure: STRUCTURE, line: 1, reason };
        let json: ForeignJson = serde_json::from_slice(bytes).map_err(|source| error(source.to_string()))?;
        if json.reelfs_foreign != VERSION {
            let (found, expected) = (json.reelfs_foreign, VERSION);
            return Err(ArchiveError::Version { structure: STRUCTURE, found, expected });
        }
        for file in &json.files {
            let rises = |pair: &[BlockRun]| match pair {
                [one, next] => one.offset < next.offset && one.loi < next.loi,
                _ => true,
            };
            let is_good = file.blocks.len() <= RUN_COUNT_MAX
                && file.first_loi <= file.end_loi
                && file.blocks.iter().all(|run| run.block_len > 0 && run.loi >= file.first_loi)
                && file.blocks.windows(2).all(rises);
            if !is_good {
                return Err(error(format!("tape file {}: blocks are out of order", file.number)));
            }
        }
        Ok(Self {
            volume: json.volume.parse().map_err(|source: crate::id::NameError| error(source.to_string()))?,
            barcode: json.barcode,
            kind: json.kind,
            name: json.name,
            scanned_seconds: json.scanned,
            files: json.files,
        })
    }

    /// Most changes of the length of blocks in one tape file that are kept.
    pub(in crate::tape) const RUN_COUNT_MAX: usize = RUN_COUNT_MAX;
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_description_comes_back_and_offsets_lead_to_blocks() {
        let run = |offset, loi, block_len| BlockRun { offset, loi, block_len };
        let file = ForeignFile {
            number: 3,
            first_loi: 10,
            end_loi: 40,
            state: ForeignState::Cut,
            entry_count: 7,
            left_out_count: 1,
            blocks: vec![run(0, 10, 10_240), run(20_480, 12, 512), run(20_992, 13, 10_240)],
        };
        for (offset, place) in [
            (0, Some((10, 0))),
            (10_239, Some((10, 10_239))),
            (20_480, Some((12, 0))),
            (20_992 + 10_240 * 26, Some((39, 0))),
            (20_992 + 10_240 * 27, None),
        ] {
            assert_eq!(file.address(offset), place, "{offset}");
        }
        let mut description = ForeignDescription {
            volume: FileId([9; 16]),
            barcode: "ABC123L8".to_owned(),
            kind: "tar".to_owned(),
            name: String::new(),
            scanned_seconds: 1_795_233_600,
            files: vec![file],
        };
        assert_eq!(ForeignDescription::decode(description.encode().as_bytes()), Ok(description.clone()));
        description.files[0].blocks[1].loi = 10;
        assert!(ForeignDescription::decode(description.encode().as_bytes()).is_err());
        assert!(ForeignDescription::decode(b"{}").is_err());
    }
}
