//! Commits: a partial index and a filemark that returns when all is on tape; and the closing index.

use super::VolumeWriter;
use super::out::Fault;
use crate::progress::Progress;
use crate::tape::archive::{
    Coherency, IndexEncoder, IndexHeader, IndexKind, NEXT_VOLUME_NAME, NewEntry, PartKind, SegmentEntry,
    archive_end, entry_len, host_attributes,
};
use crate::tape::drive::DriveError;
use crate::tape::reader::INDEX_PREFIX;

impl VolumeWriter<'_> {
    /// First line of a list that is written now.
    pub(super) fn index_header(&self, kind: IndexKind, number: u64) -> IndexHeader {
        IndexHeader {
            kind,
            number,
            set: self.description.set,
            volume: self.description.volume,
            sequence: self.description.sequence,
            barcode: self.description.barcode.clone(),
            previous_loi: self.index_loi,
            written_seconds: self.now_seconds(),
            session: self.session.text.clone(),
            retain_until_seconds: self.retain_until_seconds,
            is_continued: false,
            lacking: self.lacking.clone(),
        }
    }

    /// Commits: everything before is on tape, and in an index on tape, when this returns.
    pub(super) fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.close_part(progress)?;
        if self.unindexed.is_empty() {
            return Ok(());
        }
        let header = self.index_header(IndexKind::Partial, self.index_number + 1);
        let loi = self.out.loi();
        self.put_index(&header, false, progress)?;
        self.out.commit(1, progress)?;
        self.next_file += 1;
        self.index_number += 1;
        self.index_loi = Some(loi);
        self.index_header = Some(header);
        self.segments.append(&mut self.unindexed);
        self.mark_committed();
        Ok(())
    }

    fn mark_committed(&mut self) {
        self.committed_file = self.next_file;
        self.committed_manifest = self.last_manifest;
        self.recovered_count = 0;
        self.uncommitted_bytes = 0;
        self.committed_at = self.out.drive.clock().now();
        self.is_changed = true;
    }

    // An archive of one entry, the list; a closing one has a note if the set goes on.
    fn put_index(
        &mut self,
        header: &IndexHeader,
        is_closing: bool,
        progress: &Progress,
    ) -> Result<(), Fault> {
        let name = format!("{INDEX_PREFIX}{:08}.jsonl", header.number);
        let mtime_seconds = header.written_seconds;
        let global = self.part_header(PartKind::Index).encode();
        self.out.put(&global, progress)?;
        let segments = if is_closing { std::mem::take(&mut self.segments) } else { Vec::new() };
        let unindexed = std::mem::take(&mut self.unindexed);
        let result = self.put_list(header, &name, segments.iter().chain(&unindexed), progress);
        if is_closing {
            self.segments = segments;
        }
        self.unindexed = unindexed;
        let mut len = global.len() as u64 + result?;
        if header.is_continued {
            let note = format!(
                "This set of cartridges, {}, continues with cartridge {}.\n",
                header.set,
                header.sequence.saturating_add(1)
            );
            let size = note.len() as u64;
            let entry = NewEntry { name: NEXT_VOLUME_NAME, size, mtime_seconds, keywords: Vec::new() };
            let head = entry.encode();
            self.out.put(&head, progress)?;
            self.out.put(note.as_bytes(), progress)?;
            self.out.put_zeros(entry_len(0, size) - size, progress)?;
            len += entry_len(head.len(), size);
        }
        self.out.put_zeros(archive_end(len), progress)
    }

    // The list as an entry, made twice: once for its length. Returns how much it took.
    fn put_list<'e>(
        &mut self,
        header: &IndexHeader,
        name: &str,
        segments: impl Iterator<Item = &'e SegmentEntry> + Clone,
        progress: &Progress,
    ) -> Result<u64, Fault> {
        let (mut encoder, first) = IndexEncoder::new(header);
        let mut size = first.len() as u64;
        for entry in segments.clone() {
            size += encoder.segment(entry).len() as u64;
        }
        size += encoder.end().len() as u64;
        let mtime_seconds = header.written_seconds;
        let head = NewEntry { name, size, mtime_seconds, keywords: Vec::new() }.encode();
        self.out.put(&head, progress)?;
        let (mut encoder, first) = IndexEncoder::new(header);
        self.out.put(first.as_bytes(), progress)?;
        for entry in segments {
            self.out.put(encoder.segment(entry).as_bytes(), progress)?;
        }
        self.out.put(encoder.end().as_bytes(), progress)?;
        self.out.put_zeros(entry_len(0, size) - size, progress)?;
        Ok(entry_len(head.len(), size))
    }

    /// Writes the closing index twice, and what the cartridge's memory tells of it.
    pub(super) fn close_volume(&mut self, is_continued: bool, progress: &Progress) -> Result<(), Fault> {
        let number = self.index_number + 1;
        let header = IndexHeader { is_continued, ..self.index_header(IndexKind::Closing, number) };
        let loi = self.out.loi();
        self.put_index(&header, true, progress)?;
        self.out.filemark(progress)?;
        self.next_file += 1;
        self.put_index(&header, true, progress)?;
        // One filemark: two would make an empty tape file, at which a loop of dd and tar ends.
        self.out.commit(1, progress)?;
        self.next_file += 1;
        self.index_number = number;
        self.index_loi = Some(loi);
        self.index_header = Some(header);
        self.segments.append(&mut self.unindexed);
        self.mark_committed();
        self.is_closed = true;
        self.is_retained_longer = false;
        Ok(())
    }

    /// Tells the cartridge's memory what it is and where the newest index is. It is a cache: everything is on tape by
    /// now, and stays so whatever the drive says.
    pub(super) fn remember(&mut self) {
        let mut written = self.write_memory();
        if let Err(error) = &written
            && error.is_session_lost()
        {
            log::warn!("{error}; writing the cartridge's memory again");
            written = self.out.drive.resync().and_then(|()| self.write_memory());
        }
        if let Err(error) = written {
            log::warn!(
                "the cartridge's memory is not up to date, the next session looks for the index on tape: {error}"
            );
        }
    }

    // What the drive does not take is left out.
    fn write_memory(&mut self) -> Result<(), DriveError> {
        let Some(index_loi) = self.index_loi else {
            return Ok(());
        };
        let mut attributes = host_attributes(&self.description, env!("CARGO_PKG_VERSION"));
        if let Some(change_reference) = self.out.drive.medium()?.change_reference {
            let volume = self.description.volume;
            let coherency =
                Coherency { change_reference, index_number: self.index_number, index_loi, volume };
            attributes.push(coherency.encode());
        }
        let refused = self.out.drive.write_attributes(&attributes)?;
        if refused > 0 {
            log::info!("{}: the cartridge's memory did not take {refused} attributes", self.out.drive.name());
        }
        Ok(())
    }
}
