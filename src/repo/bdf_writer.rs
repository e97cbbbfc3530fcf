//! Writes BDFs: frames one after the other, then footer and seal, then the final name.

use std::sync::Arc;

use super::error::RepoError;
use super::frames::bdf_name;
use crate::checksum::crc32;
use crate::codec::len_u32;
use crate::format::bdf::{Area, BdfHeader, FRAME_COUNT_MAX, FrameSpan, encode_footer};
use crate::format::frame::{ChunkInfo, ChunkPointer, Codec, FrameHeader};
use crate::format::seal::Seal;
use crate::id::FileId;
use crate::storage::{Storage, WriteFile};

/// A frame ready to be written: everything but its place.
#[derive(Debug, Clone)]
pub struct PreparedFrame {
    /// Coding of the payload.
    pub codec: Codec,
    /// The payload as stored.
    pub stored: Vec<u8>,
    /// Length of the payload decompressed, in bytes.
    pub plain_len: u32,
    /// The chunks in payload order.
    pub chunks: Vec<ChunkInfo>,
    /// The chunks of the prefix; empty in a plain frame.
    pub bases: Vec<ChunkPointer>,
}

/// Where a frame was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// The BDF.
    pub file: FileId,
    /// Offset of the frame's header.
    pub offset: u64,
}

/// A BDF under construction.
///
/// Until [`BdfWriter::finish`] its name ends in `.partial`, and no reader looks at it.
#[derive(Debug)]
pub struct BdfWriter {
    storage: Arc<dyn Storage>,
    file: Box<dyn WriteFile>,
    header: BdfHeader,
    spans: Vec<FrameSpan>,
}

fn partial_name(header: &BdfHeader) -> String {
    format!("{}/{}/{}.partial", header.area.directory(), header.client, header.file)
}

/// Directory of a client's BDFs in an area.
#[must_use]
pub fn area_directory(area: Area, client: &str) -> String {
    format!("{}/{client}", area.directory())
}

impl BdfWriter {
    /// Creates the file and writes its header.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses.
    pub fn create(storage: &Arc<dyn Storage>, header: BdfHeader) -> Result<Self, RepoError> {
        storage.create_directory(&area_directory(header.area, header.client.as_str()))?;
        let mut file = storage.create(&partial_name(&header))?;
        file.append(&header.encode())?;
        Ok(Self { storage: Arc::clone(storage), file, header, spans: Vec::new() })
    }

    /// Identity of the file.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.header.file
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// Never true: a header was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file.is_empty()
    }

    /// Tells whether the footer has no room for another frame.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.spans.len() >= FRAME_COUNT_MAX
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses; the file must then be abandoned.
    pub fn append(&mut self, frame: &PreparedFrame) -> Result<FramePlace, RepoError> {
        let offset = self.file.len();
        let header = FrameHeader {
            codec: frame.codec,
            stored_len: len_u32(frame.stored.len()),
            plain_len: frame.plain_len,
            payload_crc: crc32(&[&frame.stored]),
            chunks: frame.chunks.clone(),
            bases: frame.bases.clone(),
        };
        let mut bytes = header.encode(self.header.file, offset);
        bytes.extend_from_slice(&frame.stored);
        self.file.append(&bytes)?;
        let (len, chunk_count) = (len_u32(bytes.len()), len_u32(frame.chunks.len()));
        self.spans.push(FrameSpan { offset, len, chunk_count });
        Ok(FramePlace { file: self.header.file, offset })
    }

    /// Writes footer and seal, makes all durable and gives the file its final name.
    ///
    /// The name is durable once the directory is synced, which the caller does before it relies on it.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses; the file must then be abandoned.
    pub fn finish(mut self) -> Result<FileId, RepoError> {
        let footer = encode_footer(&self.spans);
        let seal = Seal {
            footer_offset: self.file.len(),
            footer_len: footer.len() as u64,
            file: self.header.file,
            footer_crc: crc32(&[&footer]),
        };
        self.file.append(&footer)?;
        self.file.append(&seal.encode())?;
        self.file.sync()?;
        let name = bdf_name(self.header.area, self.header.client.as_str(), self.header.file);
        self.storage.rename(&partial_name(&self.header), &name)?;
        Ok(self.header.file)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses.
    pub fn abandon(self) -> Result<(), RepoError> {
        Ok(self.storage.remove(&partial_name(&self.header))?)
    }
}
