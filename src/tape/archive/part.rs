//! The global header at the start of each part: which cartridge, which part, where.

use super::entry::encode_global;
use super::pax::Keyword;
use super::{ArchiveError, BLOCK_LEN, FORMAT_VERSION, is_valid_barcode, shown};
use crate::id::FileId;

const STRUCTURE: &str = "global header of a part";

/// A place on a cartridge: a block, and a byte in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockAddress {
    /// Logical object identifier of the block (SSC-4, 4.2.7): blocks and filemarks from the beginning of
    /// the partition, from 0.
    pub loi: u64,
    /// Byte in the block, 0 to [`BLOCK_LEN`] - 1.
    pub byte: u32,
}

impl BlockAddress {
    /// The place `offset` bytes into a part whose first block is `loi`; a part has only full blocks.
    #[must_use]
    pub fn in_part(loi: u64, offset: u64) -> Self {
        let block_len = BLOCK_LEN as u64;
        let byte = u32::try_from(offset % block_len).unwrap_or(0);
        Self { loi: loi.saturating_add(offset / block_len), byte }
    }

    /// The place `len_bytes` further in the same part.
    #[must_use]
    pub fn plus(self, len_bytes: u64) -> Self {
        Self::in_part(self.loi, u64::from(self.byte).saturating_add(len_bytes))
    }
}

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// The self-description.
    Description,
    /// Segments of objects.
    Data,
    /// An index.
    Index,
}

impl PartKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Description, Self::Data, Self::Index];

    /// The word for it on tape.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Data => "data",
            Self::Index => "index",
        }
    }
}

/// First header of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHeader {
    /// Set of cartridges.
    pub set: FileId,
    /// The cartridge's own id, given when it was labelled.
    pub volume: FileId,
    /// Number of the cartridge in its set, from 1.
    pub sequence: u32,
    /// Barcode, or the name given in its place.
    pub barcode: String,
    /// Number of its tape file, from 0 for the label: what `mt asf` takes.
    pub part: u64,
    /// What it holds.
    pub kind: PartKind,
    /// Where its first block was meant to be: elsewhere it is a stray copy.
    pub loi: u64,
    /// First block of the newest index part before.
    pub previous_index_loi: Option<u64>,
    /// Content of the manifest of the data part before.
    pub previous_manifest: Option<BlockAddress>,
    /// Time of writing, seconds since 1970.
    pub written_seconds: i64,
    /// What the part was written for, for people.
    pub session: String,
}

impl PartHeader {
    /// Encodes the header with its keywords.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut keywords = vec![
            ("REELFS.format", FORMAT_VERSION.to_string()),
            ("REELFS.set", self.set.to_string()),
            ("REELFS.volume", self.volume.to_string()),
            ("REELFS.sequence", self.sequence.to_string()),
            ("REELFS.barcode", self.barcode.clone()),
            ("REELFS.part", self.part.to_string()),
            ("REELFS.kind", self.kind.as_str().to_owned()),
            ("REELFS.loi", self.loi.to_string()),
            ("REELFS.written", self.written_seconds.to_string()),
        ];
        if let Some(loi) = self.previous_index_loi {
            keywords.push(("REELFS.previous-index", loi.to_string()));
        }
        if let Some(address) = self.previous_manifest {
            keywords.push(("REELFS.previous-manifest", format!("{}+{}", address.loi, address.byte)));
        }
        if !self.session.is_empty() {
            keywords.push(("REELFS.session", self.session.clone()));
        }
        encode_global(&keywords, self.written_seconds)
    }

    /// Reads the keywords of a global header; `None` if it is not one of ours.
    ///
    /// # Errors
    /// [`ArchiveError`] if it is, and a keyword is missing or wrong.
    pub fn decode(keywords: &[Keyword]) -> Result<Option<Self>, ArchiveError> {
        let find = |name: &str| keywords.iter().rev().find(|keyword| keyword.name == name);
        if find("REELFS.format").is_none() {
            return Ok(None);
        }
        let error = |field: &'static str, expected| ArchiveError::Field {
            structure: STRUCTURE,
            offset: 0,
            field,
            expected,
            found: find(field).map_or_else(|| "missing".to_owned(), |keyword| shown(&keyword.value)),
        };
        let text =
            |name: &'static str| find(name).and_then(|keyword| std::str::from_utf8(&keyword.value).ok());
        let version = text("REELFS.format").and_then(|text| text.parse::<u32>().ok());
        let version = version.ok_or_else(|| error("REELFS.format", "a number"))?;
        if version != FORMAT_VERSION {
            return Err(ArchiveError::Version {
                structure: STRUCTURE,
                found: version,
                expected: FORMAT_VERSION,
            });
        }
        let id = |name: &'static str| {
            text(name).and_then(|text| text.parse().ok()).ok_or_else(|| error(name, "an id"))
        };
        let number = |name: &'static str| {
            text(name).and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| error(name, "a number"))
        };
        let optional = |name: &'static str| {
            if find(name).is_some() { number(name).map(Some) } else { Ok(None) }
        };
        let barcode = text("REELFS.barcode").filter(|text| is_valid_barcode(text));
        let kind = PartKind::ALL.into_iter().find(|kind| text("REELFS.kind") == Some(kind.as_str()));
        let manifest = match text("REELFS.previous-manifest") {
            Some(text) => {
                Some(decode_address(text).ok_or_else(|| error("REELFS.previous-manifest", "block+byte"))?)
            }
            None => None,
        };
        let sequence = number("REELFS.sequence")?;
        let written = text("REELFS.written").and_then(|text| text.parse().ok());
        Ok(Some(Self {
            set: id("REELFS.set")?,
            volume: id("REELFS.volume")?,
            sequence: u32::try_from(sequence).map_err(|_| error("REELFS.sequence", "a number"))?,
            barcode: barcode.ok_or_else(|| error("REELFS.barcode", "a barcode"))?.to_owned(),
            part: number("REELFS.part")?,
            kind: kind.ok_or_else(|| error("REELFS.kind", "description, data or index"))?,
            loi: number("REELFS.loi")?,
            previous_index_loi: optional("REELFS.previous-index")?,
            previous_manifest: manifest,
            written_seconds: written.ok_or_else(|| error("REELFS.written", "seconds"))?,
            session: text("REELFS.session").unwrap_or_default().to_owned(),
        }))
    }
}

fn decode_address(text: &str) -> Option<BlockAddress> {
    let (loi, byte) = text.split_once('+')?;
    let byte = byte.parse::<u32>().ok().filter(|byte| (*byte as usize) < BLOCK_LEN)?;
    Some(BlockAddress { loi: loi.parse().ok()?, byte })
}
