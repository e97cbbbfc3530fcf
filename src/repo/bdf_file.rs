//! BDFs as files: their names, and frames as they are stored.

use std::cell::Cell;
use std::ops::Range;

use super::error::ReadError;
use crate::checksum::crc32;
use crate::format::FormatError;
use crate::format::bdf::{self, Area, BdfHeader};
use crate::format::frame::{FrameHeader, FrameLengths, HEADER_LEN};
use crate::id::{ClientName, FileId};
use crate::storage::{ReadFile, Storage, StorageError};

// Most frames come with one read of this length: one seek on a disk, not two.
const FIRST_READ_LEN: usize = 96 << 10;
// A hint is believed up to this length.
const HINTED_READ_LEN_MAX: usize = 384 << 10;
// A buffer that grew beyond this is not kept.
const BUFFER_LEN_MAX: usize = 1 << 20;

thread_local! {
    // What was read last by this thread: new memory for each frame costs as much as a tenth of reading it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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
        self.with_stored(offset, None, |header, stored, damage| match damage {
            Some(damage) => Err(damage),
            None => Ok((header, stored.to_vec())),
        })
    }

    // Hands out the stored payload also if its checksum is wrong, with the error: fingerprints tell which of
    // its chunks are good all the same. `next` is where the next frame may begin: a hint that saves a read.
    pub(super) fn with_stored<T>(
        &self,
        offset: u64,
        next: Option<u64>,
        take: impl FnOnce(FrameHeader, &[u8], Option<ReadError>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        // Taken out, not borrowed: a frame may need others for its bases.
        let mut buffer = BUFFER.take();
        let taken = self.read_frame(offset, next, &mut buffer).and_then(|(header, stored)| {
            let stored = buffer.get(stored).unwrap_or_default();
            let computed = crc32(&[stored]);
            let damage = (computed != header.payload_crc).then(|| ReadError::Format {
                path: self.file.path().to_owned(),
                offset,
                source: FormatError::Checksum {
                    structure: "frame payload",
                    stored: header.payload_crc,
                    computed,
                },
            });
            take(header, stored, damage)
        });
        if buffer.len() <= BUFFER_LEN_MAX {
            BUFFER.set(buffer);
        }
        taken
    }

    // Returns the header and where in the buffer the stored payload is.
    fn read_frame(
        &self,
        offset: u64,
        next: Option<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<(FrameHeader, Range<usize>), ReadError> {
        let format = |source| ReadError::Format { path: self.file.path().to_owned(), offset, source };
        let left = usize::try_from(self.file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let hinted = next.and_then(|next| usize::try_from(next.checked_sub(offset)?).ok());
        let first = hinted.filter(|len| *len <= HINTED_READ_LEN_MAX).unwrap_or(FIRST_READ_LEN);
        let first = first.min(left).max(HEADER_LEN);
        self.file.read_exact_at(grown(buffer, first, 0), offset)?;
        let mut fixed = [0; HEADER_LEN];
        fixed.copy_from_slice(buffer.get(..HEADER_LEN).unwrap_or(&[0; HEADER_LEN]));
        let lengths = FrameLengths::peek(&fixed).map_err(format)?;
        let total = lengths.total();
        if total > left {
            // Nothing is allocated for what is not there.
            let value = total as u64;
            return Err(format(FormatError::Unknown { structure: "frame", field: "length", value }));
        }
        if total > first {
            self.file.read_exact_at(grown(buffer, total, first), offset + first as u64)?;
        }
        let tables_end = HEADER_LEN + lengths.tables_len;
        let head = buffer.get(..tables_end).unwrap_or_default();
        let header = FrameHeader::decode(head, self.header.file, offset).map_err(format)?;
        Ok((header, tables_end..total))
    }
}

// The bytes from `start` to `len` of a buffer that is at least so long then; it is never made shorter, which
// saves filling it with zeros again.
fn grown(buffer: &mut Vec<u8>, len: usize, start: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer.get_mut(start..len).unwrap_or_default()
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use super::*;
    use crate::format::frame::{ChunkInfo, Codec};
    use crate::id::{Fingerprint, Ordinal};
    use crate::repo::bdf_writer::{BdfWriter, PreparedFrame};
    use crate::storage::MemoryStorage;

    fn write(storage: &Arc<dyn Storage>, payloads: &[&[u8]]) -> (BdfFile, Vec<u64>) {
        let (file, repository) = (FileId([1; 16]), FileId([2; 16]));
        let client: ClientName = "web1".parse().expect("a name");
        let (area, ordinal) = (Area::Full, Ordinal::new(1).expect("in range"));
        let header = BdfHeader { file, repository, area, client, ordinal, written_seconds: 0 };
        let mut writer = BdfWriter::create(storage, header).expect("creates");
        let offsets = payloads.iter().map(|payload| {
            let len = u32::try_from(payload.len()).expect("short");
            let chunks = vec![ChunkInfo { len, fingerprint: Fingerprint::of(payload) }];
            let (codec, stored) = (Codec::Raw, payload.to_vec());
            let frame = PreparedFrame { codec, stored, plain_len: len, chunks, bases: Vec::new() };
            writer.append(&frame).expect("writes").offset
        });
        let offsets = offsets.collect();
        writer.finish().expect("finishes");
        let name = bdf_name(area, "web1", file);
        (BdfFile::open(&**storage, repository, &name, file).expect("opens"), offsets)
    }

    #[test]
    fn a_wrong_hint_where_a_frame_ends_changes_nothing_that_is_read() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let payloads = [vec![b'a'; 200_000], vec![b'b'; 10], vec![b'c'; 150_000]];
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let (bdf, offsets) = write(&storage, &payloads);
        for (offset, expected) in offsets.iter().zip(&payloads) {
            let beyond = [0, 1, 71, 72, 100, 118, 119, 200_108, 300_000, 400_000, 1 << 40, u64::MAX - offset];
            let hints = beyond.map(|len| Some(offset + len));
            for hint in hints.into_iter().chain([None, Some(0)]) {
                let read = bdf.with_stored(*offset, hint, |_, stored, damage| {
                    assert!(damage.is_none(), "{hint:?}");
                    Ok(stored.to_vec())
                });
                assert!(read.expect("reads") == **expected, "{hint:?}");
            }
        }
    }
}
