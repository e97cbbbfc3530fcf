//! Reading a whole cartridge and comparing it with its index: segments, and the other lists of them.

use std::sync::atomic::Ordering;

use super::identify::is_damage;
use super::list::{IndexPart, load_index};
use super::stream::{Event, PartStream};
use super::{VolumeIndex, VolumeReader};
use crate::progress::Progress;
use crate::scsi::mam::attribute_id;
use crate::tape::TapeError;
use crate::tape::archive::{
    BLOCK_LEN, CHECKSUMS_NAME, Coherency, IndexDecoder, IndexKind, IndexLine, MANIFEST_NAME, SegmentEntry,
    checksums_of, entry_len,
};
use crate::tape::drive::{AlignedBuffer, DriveError, Read};

/// Something that cannot be read, or is not what the index says.
#[derive(Debug)]
pub struct Damage {
    /// Name of the entry on the cartridge, or of the list.
    pub name: String,
    /// Block at which it begins.
    pub loi: u64,
    /// What is wrong.
    pub error: TapeError,
}

/// What a verification went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyTotals {
    /// Segments read.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Manifests, earlier indexes and copies of the closing index that were compared with the newest index.
    pub lists: u64,
    /// Segments and lists that are damaged.
    pub damages: u64,
}

/// What stands where another copy of the closing index may be.
enum Copy {
    Same(IndexPart),
    Damaged(TapeError),
    Other,
}

impl VolumeReader<'_> {
    /// Reads every segment in the order of the tape and compares its fingerprint, the manifest of each part behind
    /// its segments, the indexes between parts, both copies of the closing index, and what the cartridge's memory knows; tells of each that is damaged and goes on.
    ///
    /// # Errors
    /// [`TapeError`] if the drive failed, or `progress` was cancelled.
    pub fn verify(
        &mut self,
        index: &VolumeIndex,
        progress: &Progress,
        found: &mut dyn FnMut(Damage),
    ) -> Result<VerifyTotals, TapeError> {
        let mut totals = VerifyTotals::default();
        progress.add_total(index.segments.len() as u64, index.segments.iter().map(|entry| entry.len).sum());
        let mut parts = index.segments.chunk_by(|one, other| one.part == other.part).peekable();
        while let Some(part) = parts.next() {
            for segment in part {
                let result = self.copy(segment, progress, |bytes| {
                    progress.done_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    Ok::<(), TapeError>(())
                });
                progress.add(1, 0);
                totals.segments += 1;
                totals.bytes += segment.len;
                totals.take(result, &segment.file_name(), segment.address.loi, found)?;
            }
            let (Some(last), result) = (part.last(), self.check_manifest(part, progress)) else { continue };
            totals.lists += u64::from(!matches!(result, Ok(false)));
            totals.take(result.map(drop), MANIFEST_NAME, last.address.plus(last.len).loi, found)?;
            let next = parts.peek().and_then(|part| part.first()).map(|entry| entry.part);
            self.check_indexes(index, (last.part, next), progress, &mut totals, found)?;
        }
        self.check_closing_index(index, progress, &mut totals, found)?;
        self.check_memory(index, &mut totals, found)?;
        Ok(totals)
    }

    // Compares what the part behind its segments says of them; `false` if the part was given up before its lists.
    fn check_manifest(&mut self, part: &[SegmentEntry], progress: &Progress) -> Result<bool, TapeError> {
        let Some(last) = part.last() else { return Ok(false) };
        let lists = last.address.plus(entry_len(0, last.len));
        let device = self.drive.name().to_owned();
        let differs = |list| TapeError::ListDiffers { device: device.clone(), list, loi: lists.loi };
        let mut stream = match self.cached.take() {
            // They begin in the block in which the segment ends.
            Some((loi, len)) if loi == lists.loi => {
                let block = std::mem::replace(&mut self.block, AlignedBuffer::new(BLOCK_LEN));
                PartStream::go_on(self.drive, lists, block, len)?
            }
            _ => PartStream::open_at(self.drive, lists, BLOCK_LEN)?,
        };
        let (mut checksums, mut has_checksums) = (Vec::new(), false);
        let mut manifest: Option<(IndexDecoder, Vec<SegmentEntry>)> = None;
        let checksums_expected = checksums_of(part);
        loop {
            let mut damage = None;
            match stream.next(progress)? {
                Event::Entry(entry) if entry.name == CHECKSUMS_NAME.as_bytes() => has_checksums = true,
                Event::Entry(entry) if entry.name == MANIFEST_NAME.as_bytes() && has_checksums => {
                    manifest = Some((IndexDecoder::new(), Vec::new()));
                }
                // A segment that no index has: the tape ended in it.
                Event::Entry(_) | Event::Global => break,
                Event::Content(bytes) => match &mut manifest {
                    Some((decoder, listed)) => {
                        let pushed = decoder.push(bytes, |line| {
                            if let IndexLine::Segment(entry) = line {
                                listed.push(*entry);
                            }
                        });
                        damage = pushed.err();
                    }
                    None if checksums.len() <= checksums_expected.len() => checksums.extend_from_slice(bytes),
                    None => {}
                },
                Event::End | Event::Filemark | Event::EndOfData => break,
            }
            if let Some(source) = damage {
                return Err(stream.damaged(source));
            }
        }
        let Some((decoder, listed)) = manifest else {
            return if has_checksums { Err(differs("no manifest")) } else { Ok(false) };
        };
        decoder.finish().map_err(|source| stream.damaged(source))?;
        if listed != part {
            return Err(differs("the manifest"));
        }
        if checksums != checksums_expected.as_bytes() {
            return Err(differs("the list of checksums"));
        }
        Ok(true)
    }

    // The indexes behind a part and before the next one, partial ones and those that closed earlier sessions: what
    // they list must be what the newest index says. The tape goes forward only.
    fn check_indexes(
        &mut self,
        index: &VolumeIndex,
        (part, next): (u64, Option<u64>),
        progress: &Progress,
        totals: &mut VerifyTotals,
        found: &mut dyn FnMut(Damage),
    ) -> Result<(), TapeError> {
        let here = self.drive.position()?;
        let Some(mut file) = here.file.filter(|file| *file == part || *file == part + 1) else {
            return Ok(());
        };
        if file == part && next.is_none_or(|next| next > part + 1) {
            if !self.pass_filemark(here.loi)? {
                return Ok(());
            }
            file += 1;
        }
        while next.is_none_or(|next| file < next) {
            let loi = self.drive.position()?.loi;
            let newest = index.header.as_ref().filter(|header| header.kind == IndexKind::Closing);
            let result = match load_index(self.drive, loi, self.description.volume, progress) {
                // Looked at with its other copy, afterwards.
                Ok(Some(list)) if newest.is_some_and(|header| header.number == list.index.number) => {
                    return Ok(());
                }
                Ok(Some(list)) => self.check_listed(index, &list, loi),
                Ok(None) => return Ok(()),
                Err(error) if is_damage(&error) => {
                    // Without a filemark behind it, it was cut short.
                    if !self.is_ended(loi)? {
                        return Ok(());
                    }
                    let copies = match newest {
                        Some(header) if next.is_none() => self.closing_copies(header.number, progress)?,
                        _ => 0,
                    };
                    if copies == 1 {
                        // The other copy of that one; it is told with it.
                        return Ok(());
                    }
                    totals.lists += 1;
                    totals.take(Err(error), "index", loi, found)?;
                    if copies == 2 {
                        return Ok(());
                    }
                    file += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            totals.lists += 1;
            totals.take(result, "index", loi, found)?;
            file += 1;
        }
        Ok(())
    }

    // Past the filemark that ends a part, by reading: the tape goes on.
    fn pass_filemark(&mut self, loi: u64) -> Result<bool, TapeError> {
        let mut block = AlignedBuffer::new(BLOCK_LEN);
        loop {
            match self.drive.read_block(block.as_mut_slice()).map_err(TapeError::from) {
                Ok(Read::Block(_)) => {}
                Ok(Read::Filemark) => return Ok(true),
                Ok(Read::EndOfData) => return Ok(false),
                Err(error) if is_damage(&error) => return self.is_ended(loi),
                Err(error) => return Err(error),
            }
        }
    }

    // Copies of the closing index that come next, as far as they can be read; with none of them nothing moves.
    fn closing_copies(&mut self, number: u64, progress: &Progress) -> Result<u32, TapeError> {
        let start = self.drive.here()?;
        let (mut loi, mut count) = (start, 0);
        while count < 2
            && let Copy::Same(list) = self.closing_index_at(loi, number, progress)?
        {
            (loi, count) = (list.end_loi, count + 1);
        }
        if count == 0 {
            self.drive.go_to(start)?;
        }
        Ok(count)
    }

    fn check_listed(&self, index: &VolumeIndex, list: &IndexPart, loi: u64) -> Result<(), TapeError> {
        let place = |entry: &SegmentEntry| (entry.address.loi, entry.address.byte);
        let is_known = |entry: &SegmentEntry| {
            let at = index.segments.binary_search_by_key(&place(entry), place);
            at.is_ok_and(|at| index.segments.get(at) == Some(entry))
        };
        if list.segments.iter().all(is_known) {
            return Ok(());
        }
        let device = self.drive.name().to_owned();
        Err(TapeError::ListDiffers { device, list: "an earlier index", loi })
    }

    // The closing index is there twice, in neighbouring tape files; either may be the one that was found.
    fn check_closing_index(
        &mut self,
        index: &VolumeIndex,
        progress: &Progress,
        totals: &mut VerifyTotals,
        found: &mut dyn FnMut(Damage),
    ) -> Result<(), TapeError> {
        let header = index.header.as_ref().filter(|header| header.kind == IndexKind::Closing);
        let (Some(header), Some(loi)) = (header, index.index_loi) else { return Ok(()) };
        let own = match self.closing_index_at(loi, header.number, progress)? {
            Copy::Same(own) => own,
            Copy::Damaged(error) => return totals.take(Err(error), "closing index", loi, found),
            Copy::Other => return Ok(()),
        };
        totals.lists += 1;
        self.drive.go_to(loi)?;
        let before = match self.drive.space_filemarks(-2)? {
            true => self.drive.here()? + 1,
            false => return Ok(()),
        };
        let after = own.end_loi;
        let copies = (
            self.closing_index_at(before, header.number, progress)?,
            self.closing_index_at(after, header.number, progress)?,
        );
        let (other, loi) = match copies {
            (Copy::Same(other), _) => (Ok(other), before),
            (_, Copy::Same(other)) => (Ok(other), after),
            (_, Copy::Damaged(error)) if self.is_ended(after)? => (Err(error), after),
            (Copy::Damaged(error), Copy::Other) => (Err(error), before),
            // The session was cut short in the second one, or between the two.
            (_, Copy::Damaged(_)) | (Copy::Other, Copy::Other) => return Ok(()),
        };
        totals.lists += 1;
        let device = self.drive.name().to_owned();
        let differs = TapeError::ListDiffers { device, list: "the other closing index", loi };
        let result =
            other.and_then(|other| if other.segments == own.segments { Ok(()) } else { Err(differs) });
        totals.take(result, "closing index", loi, found)
    }

    // The memory is told of each closing index behind it: one that it knows was on the tape.
    fn check_memory(
        &mut self,
        index: &VolumeIndex,
        totals: &mut VerifyTotals,
        found: &mut dyn FnMut(Damage),
    ) -> Result<(), TapeError> {
        let value = self.drive.attribute(attribute_id::VOLUME_COHERENCY)?;
        let coherency = value.and_then(|attribute| Coherency::decode(&attribute.value));
        let newest = index.header.as_ref().map_or(0, |header| header.number);
        let is_lost =
            |known: &Coherency| known.volume == self.description.volume && known.index_number > newest;
        let Some(known) = coherency.filter(is_lost) else { return Ok(()) };
        let (expected, loi) = (known.index_number, known.index_loi);
        let device = self.drive.name().to_owned();
        let lost = TapeError::IndexLost { device, expected, loi, found: newest };
        totals.take(Err(lost), "index", loi, found)
    }

    // Whether a tape file that cannot be read has its filemark.
    fn is_ended(&mut self, loi: u64) -> Result<bool, TapeError> {
        let passed = match self.drive.go_to(loi) {
            Ok(()) => self.drive.space_filemarks(1),
            Err(error) => Err(error),
        };
        match passed.map_err(TapeError::from) {
            Err(TapeError::Drive(DriveError::NoEndOfData { .. } | DriveError::BeyondEnd { .. })) => Ok(false),
            Err(error) if is_damage(&error) => Ok(true),
            other => other,
        }
    }

    fn closing_index_at(&mut self, loi: u64, number: u64, progress: &Progress) -> Result<Copy, TapeError> {
        match load_index(self.drive, loi, self.description.volume, progress) {
            Ok(Some(part)) if part.index.kind == IndexKind::Closing && part.index.number == number => {
                Ok(Copy::Same(part))
            }
            Ok(_) => Ok(Copy::Other),
            Err(error) if is_damage(&error) => Ok(Copy::Damaged(error)),
            Err(error) => Err(error),
        }
    }
}

impl VerifyTotals {
    // Counts and tells damage; any other error ends everything.
    fn take(
        &mut self,
        result: Result<(), TapeError>,
        name: &str,
        loi: u64,
        found: &mut dyn FnMut(Damage),
    ) -> Result<(), TapeError> {
        match result {
            Err(error) if is_damage(&error) => {
                self.damages += 1;
                found(Damage { name: name.to_owned(), loi, error });
                Ok(())
            }
            other => other,
        }
    }
}
