//! Reading the lists on a cartridge: indexes and manifests; and making one where it is lost.

use std::sync::Arc;

use super::identify::{is_damage, is_in_place};
use super::stream::{Event, PartStream};
use crate::id::{FileId, FingerprintHasher};
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::{
    ArchiveError, BLOCK_LEN, BlockAddress, Entry, IndexDecoder, IndexHeader, IndexLine, MANIFEST_NAME,
    PartHeader, PartKind, SegmentEntry, is_valid_object_name,
};
use crate::tape::drive::{AlignedBuffer, Drive, Read};

/// Start of the name of an index entry.
pub(in crate::tape) const INDEX_PREFIX: &str = "IDX-";

/// An index part.
#[derive(Debug)]
pub(super) struct IndexPart {
    /// Its global header.
    pub(super) header: PartHeader,
    /// First line of the list.
    pub(super) index: Box<IndexHeader>,
    /// The list.
    pub(super) segments: Vec<SegmentEntry>,
    /// Number of the tape file.
    pub(super) part: u64,
    /// Behind its filemark.
    pub(super) end_loi: u64,
}

// What a list has told so far.
#[derive(Default)]
struct Collected {
    header: Option<Box<IndexHeader>>,
    segments: Vec<SegmentEntry>,
    is_ended: bool,
}

impl Collected {
    fn take(&mut self, line: IndexLine) {
        match line {
            IndexLine::Header(header) => self.header = Some(header),
            IndexLine::Segment(entry) => self.segments.push(*entry),
            IndexLine::End { .. } => self.is_ended = true,
        }
    }
}

/// Reads the index part that begins at `loi`; `None` if there is none.
pub(super) fn load_index(
    drive: &mut Drive,
    loi: u64,
    volume: FileId,
    progress: &Progress,
) -> Result<Option<IndexPart>, TapeError> {
    let mut stream = PartStream::open(drive, loi, BLOCK_LEN)?;
    let Event::Global = stream.next(progress)? else {
        return Ok(None);
    };
    let header = PartHeader::decode(stream.parser().global()).map_err(|source| stream.damaged(source))?;
    let header = header.filter(|header| header.kind == PartKind::Index && is_in_place(header, volume, loi));
    let Some(header) = header else {
        return Ok(None);
    };
    let mut decoder = IndexDecoder::new();
    let mut collected = Collected::default();
    let mut is_wanted = false;
    loop {
        let mut damage = None;
        match stream.next(progress)? {
            Event::Global => {}
            Event::Entry(entry) => is_wanted = entry.name.starts_with(INDEX_PREFIX.as_bytes()),
            Event::Content(bytes) if is_wanted => {
                damage = decoder.push(bytes, |line| collected.take(line)).err();
            }
            Event::Content(_) => {}
            Event::End | Event::Filemark | Event::EndOfData => break,
        }
        if let Some(source) = damage {
            return Err(stream.damaged(source));
        }
    }
    decoder.finish().map_err(|source| stream.damaged(source))?;
    let Some(index) = collected.header.filter(|index| index.volume == volume) else {
        return Ok(None);
    };
    if !stream.finish()? {
        return Ok(None);
    }
    let end_loi = drive.here()?;
    Ok(Some(IndexPart { part: header.part, header, index, segments: collected.segments, end_loi }))
}

/// Reads the list whose content begins at a place.
pub(super) fn load_list(
    drive: &mut Drive,
    address: BlockAddress,
    progress: &Progress,
) -> Result<Vec<SegmentEntry>, TapeError> {
    drive.go_to(address.loi)?;
    let mut block = AlignedBuffer::new(BLOCK_LEN);
    let mut decoder = IndexDecoder::new();
    let mut collected = Collected::default();
    let mut skip = address.byte as usize;
    let mut loi = address.loi;
    let cut = |loi, device: &str| TapeError::Archive {
        device: device.to_owned(),
        loi,
        source: ArchiveError::Cut { structure: "manifest", offset: 0 },
    };
    while !collected.is_ended {
        progress.check()?;
        let Read::Block(len) = drive.read_block(block.as_mut_slice())? else {
            return Err(cut(loi, drive.name()));
        };
        let bytes = block.as_slice().get(skip..len).unwrap_or_default();
        // What follows the last line is no part of the list.
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let pushed = decoder.push(line, |line| collected.take(line));
            pushed.map_err(|source| TapeError::Archive { device: drive.name().to_owned(), loi, source })?;
            if collected.is_ended {
                break;
            }
        }
        skip = 0;
        loi += 1;
    }
    decoder.finish().map_err(|source| TapeError::Archive { device: drive.name().to_owned(), loi, source })?;
    Ok(collected.segments)
}

/// Looks for the manifest of the data part at `loi` from header to header; `None` if there is none.
pub(super) fn find_manifest(
    drive: &mut Drive,
    loi: u64,
    progress: &Progress,
) -> Result<Option<(BlockAddress, Vec<SegmentEntry>)>, TapeError> {
    let mut stream = PartStream::open(drive, loi, BLOCK_LEN)?;
    let address = loop {
        match stream.next(progress)? {
            Event::Entry(entry) if entry.name == MANIFEST_NAME.as_bytes() => {
                break BlockAddress::in_part(loi, entry.content_offset);
            }
            Event::Entry(_) => stream.skip_content()?,
            Event::Global | Event::Content(_) => {}
            Event::End | Event::Filemark | Event::EndOfData => return Ok(None),
        }
    };
    let list = load_list(drive, address, progress)?;
    Ok(Some((address, list)))
}

/// Reads a data part that has lost its manifest, as far as it can be read, and makes the list anew.
pub(super) fn rebuild_part(
    drive: &mut Drive,
    loi: u64,
    part: u64,
    progress: &Progress,
) -> Result<Vec<SegmentEntry>, TapeError> {
    let mut segments = Vec::new();
    let mut present: Option<(SegmentEntry, FingerprintHasher)> = None;
    let mut stream = PartStream::open(drive, loi, BLOCK_LEN)?;
    loop {
        match stream.next(progress) {
            Ok(Event::Global) => {}
            Ok(Event::Entry(entry)) => {
                present = segment_of(&entry, loi, part).map(|found| (found, FingerprintHasher::default()));
            }
            Ok(Event::Content(bytes)) => {
                if let Some((_, hasher)) = &mut present {
                    hasher.update(bytes);
                }
            }
            Ok(Event::End | Event::Filemark | Event::EndOfData) => break,
            Err(error) if is_damage(&error) => {
                log::warn!("{error}; what follows in this part is left out");
                break;
            }
            Err(error) => return Err(error),
        }
        if stream.parser().data_left() == 0
            && let Some((mut entry, hasher)) = present.take()
        {
            entry.fingerprint = hasher.finish();
            if entry.len == entry.total {
                entry.object_fingerprint = Some(entry.fingerprint);
            }
            segments.push(entry);
        }
    }
    Ok(segments)
}

// The segment that an entry is, by its keywords; `None` if it is none.
fn segment_of(entry: &Entry, part_loi: u64, part: u64) -> Option<SegmentEntry> {
    let text = |name: &str| std::str::from_utf8(entry.keyword(name)?).ok();
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let name = text("REELFS.name")?;
    let (offset, total) = (number("REELFS.offset")?, number("REELFS.total")?);
    let is_within = offset.checked_add(entry.size).is_some_and(|end| end <= total);
    if !is_valid_object_name(name) || !is_within {
        return None;
    }
    Some(SegmentEntry {
        name: Arc::from(name),
        segment: u32::try_from(number("REELFS.segment")?).ok()?,
        offset,
        len: entry.size,
        total,
        fingerprint: crate::id::Fingerprint::NONE,
        object_fingerprint: None,
        mtime_seconds: entry.mtime_seconds,
        part,
        address: BlockAddress::in_part(part_loi, entry.content_offset),
    })
}
