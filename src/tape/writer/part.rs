//! Data parts: segments, their checksums, their list.

use super::VolumeWriter;
use super::out::Fault;
use super::ring::{Begin, End};
use crate::progress::Progress;
use crate::tape::archive::{
    BlockAddress, CHECKSUMS_NAME, IndexEncoder, IndexHeader, IndexKind, MANIFEST_NAME, NewEntry, PartHeader,
    PartKind, SegmentEntry, archive_end, checksums_of, entry_len, segment_file_name,
};

/// A data part that is being written.
#[derive(Debug)]
pub(super) struct OpenPart {
    /// Number of its tape file.
    number: u64,
    /// First block.
    loi: u64,
    /// Bytes so far, headers and padding included.
    len: u64,
    /// Its whole segments.
    segments: Vec<SegmentEntry>,
    /// The segment that is being written.
    present: Option<SegmentEntry>,
}

impl OpenPart {
    /// Whether no segment is under way.
    pub(super) fn is_between_segments(&self) -> bool {
        self.present.is_none()
    }
}

impl VolumeWriter<'_> {
    /// Header of a part that begins now.
    pub(super) fn part_header(&self, kind: PartKind) -> PartHeader {
        PartHeader {
            set: self.description.set,
            volume: self.description.volume,
            sequence: self.description.sequence,
            barcode: self.description.barcode.clone(),
            part: self.next_file,
            kind,
            loi: self.out.loi(),
            previous_index_loi: self.index_loi,
            previous_manifest: self.last_manifest,
            written_seconds: self.now_seconds(),
            session: self.session.text.clone(),
        }
    }

    /// Begins a segment, in a new part if there is none or the present one is long.
    pub(super) fn begin_segment(&mut self, begin: &Begin, progress: &Progress) -> Result<(), Fault> {
        let part_bytes = self.options.part_bytes;
        let is_long =
            |part: &OpenPart| !part.segments.is_empty() && part.len.saturating_add(begin.len) > part_bytes;
        if self.part.as_ref().is_some_and(is_long) {
            self.close_part(progress)?;
        }
        let name = segment_file_name(&begin.object.name, begin.segment, begin.len < begin.object.len);
        let mut keywords = vec![
            ("REELFS.name", begin.object.name.to_string()),
            ("REELFS.segment", begin.segment.to_string()),
            ("REELFS.offset", begin.offset.to_string()),
            ("REELFS.total", begin.object.len.to_string()),
        ];
        if let Some(fingerprint) = begin.object.fingerprint {
            keywords.push(("REELFS.blake3", fingerprint.to_string()));
        }
        let mtime_seconds = begin.object.mtime_seconds;
        let header = NewEntry { name: &name, size: begin.len, mtime_seconds, keywords }.encode();
        let mut part = match self.part.take() {
            Some(part) => part,
            None => self.open_part(progress)?,
        };
        self.out.put(&header, progress)?;
        part.len += header.len() as u64;
        part.present = Some(SegmentEntry {
            name: begin.object.name.clone(),
            segment: begin.segment,
            offset: begin.offset,
            len: begin.len,
            total: begin.object.len,
            fingerprint: crate::id::Fingerprint::NONE,
            object_fingerprint: None,
            mtime_seconds,
            part: part.number,
            address: BlockAddress::in_part(part.loi, part.len),
        });
        part.len += entry_len(0, begin.len);
        self.part = Some(part);
        Ok(())
    }

    fn open_part(&mut self, progress: &Progress) -> Result<OpenPart, Fault> {
        let header = self.part_header(PartKind::Data);
        let bytes = header.encode();
        self.out.put(&bytes, progress)?;
        let len = bytes.len() as u64;
        Ok(OpenPart { number: header.part, loi: header.loi, len, segments: Vec::new(), present: None })
    }

    /// Ends a segment: pads it, and adds it to the lists.
    pub(super) fn end_segment(&mut self, end: &End, progress: &Progress) -> Result<(), Fault> {
        let Some(part) = &mut self.part else {
            return Ok(());
        };
        let Some(mut entry) = part.present.take() else {
            return Ok(());
        };
        entry.fingerprint = end.fingerprint;
        entry.object_fingerprint = end.object_fingerprint;
        let padding = entry_len(0, entry.len) - entry.len;
        self.uncommitted_bytes += entry.len;
        self.unindexed.push(entry.clone());
        part.segments.push(entry);
        self.out.put_zeros(padding, progress)
    }

    /// Ends the part with its checksums and its manifest; without segments there is none.
    pub(super) fn close_part(&mut self, progress: &Progress) -> Result<(), Fault> {
        let Some(mut part) = self.part.take() else {
            return Ok(());
        };
        let checksums = checksums_of(&part.segments);
        self.put_file(&mut part, CHECKSUMS_NAME, checksums.as_bytes(), progress)?;
        let list = self.manifest(&part);
        let address = self.put_file(&mut part, MANIFEST_NAME, list.as_bytes(), progress)?;
        self.out.put_zeros(archive_end(part.len), progress)?;
        self.out.filemark(progress)?;
        self.next_file += 1;
        self.last_manifest = Some(address);
        Ok(())
    }

    fn manifest(&self, part: &OpenPart) -> String {
        let header = self.index_header(IndexKind::Manifest, part.number);
        let header = IndexHeader { previous_loi: None, lacking: None, ..header };
        let (mut encoder, mut list) = IndexEncoder::new(&header);
        for entry in &part.segments {
            list.push_str(&encoder.segment(entry));
        }
        list.push_str(&encoder.end());
        list
    }

    // Writes a small file into a part; returns where its content is.
    fn put_file(
        &mut self,
        part: &mut OpenPart,
        name: &str,
        content: &[u8],
        progress: &Progress,
    ) -> Result<BlockAddress, Fault> {
        let size = content.len() as u64;
        let mtime_seconds = self.now_seconds();
        let header = NewEntry { name, size, mtime_seconds, keywords: Vec::new() }.encode();
        self.out.put(&header, progress)?;
        part.len += header.len() as u64;
        let address = BlockAddress::in_part(part.loi, part.len);
        self.out.put(content, progress)?;
        self.out.put_zeros(entry_len(0, size) - size, progress)?;
        part.len += entry_len(0, size);
        Ok(address)
    }

    /// Gives the part up in the middle of a segment: its whole segments stay in the lists, and a filemark
    /// keeps what follows apart.
    pub(super) fn abandon_part(&mut self, progress: &Progress) -> Result<(), Fault> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        self.out.drop_pending();
        // A segment whose last bytes were still in memory is not on tape.
        let written_end = BlockAddress { loi: self.out.loi(), byte: 0 };
        let is_on_tape = |entry: &SegmentEntry| entry.address.plus(entry.len) <= written_end;
        self.unindexed.retain(|entry| entry.part != part.number || is_on_tape(entry));
        if self.out.loi() > part.loi {
            self.out.filemark(progress)?;
            self.next_file += 1;
        }
        Ok(())
    }
}
