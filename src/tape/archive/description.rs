//! The second tape file: what the cartridge is, how to read it, and a program that does.

use serde::{Deserialize, Serialize};

use super::{ArchiveError, BLOCK_LEN, FORMAT_VERSION, SEGMENT_LEN_MAX, is_valid_barcode};
use crate::id::FileId;

/// Name of the entry with the [`VolumeDescription`].
pub(in crate::tape) const VOLUME_JSON_NAME: &str = "VOLUME.json";
/// Longest such entry that is read, in bytes.
pub(in crate::tape) const VOLUME_JSON_LEN_MAX: u64 = 64 * 1024;

const STRUCTURE: &str = "VOLUME.json";
const README: &str = include_str!("README.txt");
const READER: &[u8] = include_bytes!("../../../tools/reader/reelfs_reader.py");
const PAGES: [(&str, &[u8]); 5] = [
    ("format/reelfs-tape.5", include_bytes!("../../../man/reelfs-tape.5")),
    ("format/reelfs.5", include_bytes!("../../../man/reelfs.5")),
    ("format/reelfs.toml.5", include_bytes!("../../../man/reelfs.toml.5")),
    ("format/dtf.5", include_bytes!("../../../man/dtf.5")),
    ("format/bdf.5", include_bytes!("../../../man/bdf.5")),
];

/// What a cartridge is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDescription {
    /// The cartridge's own id: 128 random bits, new with each label.
    pub volume: FileId,
    /// Set of cartridges: that of the first one.
    pub set: FileId,
    /// Number of the cartridge in its set, from 1.
    pub sequence: u32,
    /// Barcode, or the name given in its place.
    pub barcode: String,
    /// Repository that it was labelled for.
    pub repository: FileId,
    /// Pool of cartridges, for people.
    pub pool: String,
    /// What the label shows, for people.
    pub label: String,
    /// Time of labelling, seconds since 1970.
    pub created_seconds: i64,
}

#[derive(Serialize, Deserialize)]
struct VolumeJson {
    reelfs_tape: u32,
    volume: String,
    set: String,
    sequence: u32,
    barcode: String,
    repository: String,
    #[serde(default)]
    pool: String,
    #[serde(default)]
    label: String,
    created: i64,
    block_bytes: u64,
    segment_bytes_max: u64,
}

impl VolumeDescription {
    /// In place of the repository, if the cartridge does not tell it any more.
    pub const NO_REPOSITORY: FileId = FileId([0; 16]);

    /// Whether repository, pool and text are known, and not only what each part of the cartridge repeats.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.repository != Self::NO_REPOSITORY
    }

    /// Encodes the content of `VOLUME.json`.
    ///
    /// # Panics
    /// Never: texts and numbers can be written as JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        let json = VolumeJson {
            reelfs_tape: FORMAT_VERSION,
            volume: self.volume.to_string(),
            set: self.set.to_string(),
            sequence: self.sequence,
            barcode: self.barcode.clone(),
            repository: self.repository.to_string(),
            pool: self.pool.clone(),
            label: self.label.clone(),
            created: self.created_seconds,
            block_bytes: BLOCK_LEN as u64,
            segment_bytes_max: SEGMENT_LEN_MAX,
        };
        serde_json::to_string_pretty(&json).expect("texts and numbers can be written as JSON") + "\n"
    }

    /// Decodes the content of `VOLUME.json`.
    ///
    /// # Errors
    /// [`ArchiveError`] if it is not such a content.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let error = |reason: String| ArchiveError::Line { structure: STRUCTURE, line: 1, reason };
        let json: VolumeJson = serde_json::from_slice(bytes).map_err(|source| error(source.to_string()))?;
        if json.reelfs_tape != FORMAT_VERSION {
            return Err(ArchiveError::Version {
                structure: STRUCTURE,
                found: json.reelfs_tape,
                expected: FORMAT_VERSION,
            });
        }
        let id = |text: &str| text.parse().map_err(|source: crate::id::NameError| error(source.to_string()));
        if !is_valid_barcode(&json.barcode) || json.sequence == 0 || json.block_bytes != BLOCK_LEN as u64 {
            return Err(error("barcode, sequence or block_bytes is out of range".to_owned()));
        }
        Ok(Self {
            volume: id(&json.volume)?,
            set: id(&json.set)?,
            sequence: json.sequence,
            barcode: json.barcode,
            repository: id(&json.repository)?,
            pool: json.pool,
            label: json.label,
            created_seconds: json.created,
        })
    }
}

/// One file of the second tape file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptionFile {
    /// Name in the archive.
    pub name: &'static str,
    /// Content.
    pub content: Vec<u8>,
}

/// The files that describe a cartridge, in their order.
#[must_use]
pub fn description_files(volume: &VolumeDescription) -> Vec<DescriptionFile> {
    let readme = README.replace("@BARCODE@", &volume.barcode);
    let mut files = vec![
        DescriptionFile { name: "README", content: readme.into_bytes() },
        DescriptionFile { name: VOLUME_JSON_NAME, content: volume.encode().into_bytes() },
        DescriptionFile { name: "reelfs_reader.py", content: READER.to_vec() },
    ];
    files.extend(PAGES.map(|(name, content)| DescriptionFile { name, content: content.to_vec() }));
    files
}
