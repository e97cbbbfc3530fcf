//! BDFs as files: their names, and frames as they are stored.

use super::error::ReadError;
use crate::checksum::crc32;
use crate::format::FormatError;
use crate::format::bdf::{self, Area, BdfHeader};
use crate::format::frame::{FrameHeader, FrameLengths, HEADER_LEN};
use crate::id::{ClientName, FileId};
use crate::storage::{ReadFile, Storage, StorageError};

// Most frames come with one read of this length: one seek on a disk, not two.
const FIRST_READ_LEN: usize = 96 << 10;

/// Name of a BDF.
#[must_use]
pub fn bdf_name(area: Area, client: &str, file: FileId) -> String {
    format!("{}/{client}/{file}.bdf", area.directory())
}

/// All BDFs by their names, with client and area.
///
/// # Errors
/// [`StorageError`] if a directory cannot be listed.
pub fn all_bdfs(storage: &dyn Storage) -> Result<Vec<(FileId, ClientName, Area)>, StorageError> {
    let mut found = Vec::new();
    for area in Area::ALL {
        for directory in storage.list(area.directory())? {
            let Ok(client) = directory.name.parse::<ClientName>() else { continue };
            for entry in storage.list(&format!("{}/{client}", area.directory()))? {
                let id = entry.name.strip_suffix(".bdf").and_then(|id| id.parse().ok());
                found.extend(id.map(|id| (id, client.clone(), area)));
            }
        }
    }
    Ok(found)
}

/// An open BDF whose header was verified.
#[derive(Debug)]
pub struct BdfFile {
    file: Box<dyn ReadFile>,
    header: BdfHeader,
}

impl BdfFile {
    /// Opens a BDF by name and verifies that it is the one with this id, of this repository.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read, is damaged, or is another one.
    pub fn open(
        storage: &dyn Storage,
        repository: FileId,
        name: &str,
        id: FileId,
    ) -> Result<Self, ReadError> {
        let file = storage.open(name)?;
        let format = |source| ReadError::Format { path: file.path().to_owned(), offset: 0, source };
        let mut bytes = [0; bdf::HEADER_LEN];
        file.read_exact_at(&mut bytes, 0)?;
        let header = BdfHeader::decode(&bytes).map_err(format)?;
        for (structure, expected, actual) in
            [("BDF", id, header.file), ("repository of the BDF", repository, header.repository)]
        {
            if expected != actual {
                return Err(format(FormatError::Identity { structure, expected, actual }));
            }
        }
        Ok(Self { file, header })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BdfHeader {
        &self.header
    }

    /// The file's bytes.
    #[must_use]
    pub fn file(&self) -> &dyn ReadFile {
        &*self.file
    }

    /// Reads a frame's header and tables, verified by their checksum, without the payload.
    ///
    /// # Errors
    /// [`ReadError`] if there is no frame at this offset.
    pub fn read_header(&self, offset: u64) -> Result<FrameHeader, ReadError> {
        let format = |source| ReadError::Format { path: self.file.path().to_owned(), offset, source };
        let mut fixed = [0; HEADER_LEN];
        self.file.read_exact_at(&mut fixed, offset)?;
        let lengths = FrameLengths::peek(&fixed).map_err(format)?;
        let mut bytes = fixed.to_vec();
        bytes.resize(HEADER_LEN + lengths.tables_len, 0);
        if let Some(tables) = bytes.get_mut(HEADER_LEN..) {
            self.file.read_exact_at(tables, offset + HEADER_LEN as u64)?;
        }
        FrameHeader::decode(&bytes, self.header.file, offset).map_err(format)
    }

    /// Reads a frame's header and stored payload, verified by their checksums.
    ///
    /// # Errors
    /// [`ReadError`] if there is no whole frame at this offset.
    pub fn read_stored(&self, offset: u64) -> Result<(FrameHeader, Vec<u8>), ReadError> {
        let (header, stored, damage) = self.read_damaged(offset)?;
        damage.map_or(Ok((header, stored)), Err)
    }

    // Returns the stored payload also if its checksum is wrong, with the error: fingerprints tell which of
    // its chunks are good all the same.
    pub(super) fn read_damaged(
        &self,
        offset: u64,
    ) -> Result<(FrameHeader, Vec<u8>, Option<ReadError>), ReadError> {
        let path = || self.file.path().to_owned();
        let format = |source| ReadError::Format { path: path(), offset, source };
        let left = usize::try_from(self.file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; FIRST_READ_LEN.min(left).max(HEADER_LEN)];
        self.file.read_exact_at(&mut bytes, offset)?;
        let mut fixed = [0; HEADER_LEN];
        fixed.copy_from_slice(bytes.get(..HEADER_LEN).unwrap_or(&[0; HEADER_LEN]));
        let lengths = FrameLengths::peek(&fixed).map_err(format)?;
        if lengths.total() > left {
            // Nothing is allocated for what is not there.
            let value = lengths.total() as u64;
            return Err(format(FormatError::Unknown { structure: "frame", field: "length", value }));
        }
        let read = bytes.len();
        bytes.resize(lengths.total(), 0);
        if let Some(rest) = bytes.get_mut(read..)
            && !rest.is_empty()
        {
            self.file.read_exact_at(rest, offset + read as u64)?;
        }
        let header = FrameHeader::decode(&bytes, self.header.file, offset).map_err(format)?;
        let stored = bytes.split_off(HEADER_LEN + lengths.tables_len);
        let computed = crc32(&[&stored]);
        let damage = (computed != header.payload_crc).then(|| {
            let stored = header.payload_crc;
            format(FormatError::Checksum { structure: "frame payload", stored, computed })
        });
        Ok((header, stored, damage))
    }
}
