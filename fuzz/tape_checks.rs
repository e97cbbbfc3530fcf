//! What must hold for any bytes that a cartridge gives.
//!
//! As in `checks.rs`: each function takes bytes and panics if a parser does, or if what it read is not what
//! would be written and read again. The fuzz targets call them with what the fuzzer finds;
//! `tests/tape/archive_format.rs` with golden bytes, damaged in every place.

use reelfs::id::Fingerprint;
use reelfs::tape::archive::{
    ArchiveError, Coherency, IndexDecoder, IndexHeader, IndexLine, Parser, PartHeader, RECORD_LEN,
    Recognised, SegmentEntry, Step, VolumeDescription, VolumeLabel, decode_header, decode_records,
    encode_index, encode_record, recognise,
};

/// A parser's name, and what must hold for it.
pub(crate) type Check = (&'static str, fn(&[u8]));

/// All checks; each has a fuzz target of its name.
pub(crate) const ALL: &[Check] = &[
    ("cartridge_archive", cartridge_archive),
    ("cartridge_index", cartridge_index),
    ("cartridge_label", cartridge_label),
    ("cartridge_memory", cartridge_memory),
    ("pax_records", pax_records),
];

/// The first block of a cartridge, and its description.
pub(crate) fn cartridge_label(data: &[u8]) {
    if let Ok(Some(label)) = VolumeLabel::decode(data) {
        assert_eq!(VolumeLabel::decode(&label.encode()), Ok(Some(label.clone())));
        assert_eq!(recognise(data), Recognised::Ours(label));
    } else {
        let recognised = recognise(data);
        assert!(!matches!(recognised, Recognised::Ours(_)));
        assert!(format!("{recognised:?}").len() < 2000);
    }
    if let Ok(description) = VolumeDescription::decode(data) {
        assert_eq!(VolumeDescription::decode(description.encode().as_bytes()), Ok(description));
    }
}

/// Pax records, as bytes and as the header of a part.
pub(crate) fn pax_records(data: &[u8]) {
    let Ok(keywords) = decode_records(data, 0) else {
        return;
    };
    let mut again = Vec::new();
    for keyword in &keywords {
        encode_record(&mut again, &keyword.name, &keyword.value);
    }
    assert_eq!(decode_records(&again, 0).as_ref(), Ok(&keywords));
    if let Ok(Some(header)) = PartHeader::decode(&keywords) {
        let bytes = header.encode();
        let mut parser = Parser::new();
        for record in bytes.as_chunks::<RECORD_LEN>().0 {
            parser.push(record).expect("what we write can be read");
        }
        assert_eq!(PartHeader::decode(parser.global()), Ok(Some(header)));
    }
}

/// A tar archive: as it is, and with the checksum of every record put right, so that the code behind it is
/// reached.
pub(crate) fn cartridge_archive(data: &[u8]) {
    walk(data, false);
    walk(data, true);
}

fn walk(data: &[u8], mends: bool) {
    let mut parser = Parser::new();
    let mut offset = 0;
    let mut is_skipping = false;
    while let Some(record) = data.get(offset..).and_then(|rest| rest.first_chunk::<RECORD_LEN>()) {
        assert_eq!(parser.offset(), offset as u64);
        let left = parser.data_left();
        if left > 0 && is_skipping {
            let skipped = usize::try_from(parser.skip_content(1 << 20)).expect("at most what was asked for");
            assert!(skipped > 0 && skipped % RECORD_LEN == 0);
            offset += skipped;
            continue;
        }
        let mut record = *record;
        if mends && left == 0 {
            mend(&mut record);
        }
        let _alone = decode_header(&record, 0);
        match parser.push(&record) {
            Err(_) => return,
            Ok(Step::Content(len)) => assert!(len as u64 <= left && len <= RECORD_LEN),
            Ok(Step::Entry(entry)) => {
                assert_eq!(entry.content_offset, offset as u64 + RECORD_LEN as u64);
                assert!(entry.header_offset <= offset as u64);
                assert!(parser.data_left() == 0 || parser.data_left() == entry.size);
                is_skipping = entry.size % 2 == 0;
            }
            Ok(Step::Header | Step::Global | Step::End) => {}
        }
        assert!(parser.global().len() <= 256);
        offset += RECORD_LEN;
    }
}

fn mend(record: &mut [u8; RECORD_LEN]) {
    if record.iter().all(|byte| *byte == 0) {
        return;
    }
    record[148..156].fill(b' ');
    let sum: u64 = record.iter().map(|byte| u64::from(*byte)).sum();
    record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A list: as it is, and with its last line put right.
pub(crate) fn cartridge_index(data: &[u8]) {
    let as_it_is = read(data, 7);
    assert_eq!(as_it_is, read(data, 4096), "the pieces in which bytes come make no difference");
    let count = data.split(|byte| *byte == b'\n').count().saturating_sub(2);
    let end = format!("{{\"segments\":{count},\"blake3\":\"{}\"}}\n", Fingerprint::of(data));
    if let Ok((header, segments)) = read(&[data, end.as_bytes()].concat(), 512) {
        let again = encode_index(&header, &segments);
        assert_eq!(read(again.as_bytes(), 512), Ok((header, segments)));
    }
}

fn read(bytes: &[u8], piece_len: usize) -> Result<(IndexHeader, Vec<SegmentEntry>), ArchiveError> {
    let mut decoder = IndexDecoder::new();
    let mut header = None;
    let mut segments = Vec::new();
    for piece in bytes.chunks(piece_len) {
        decoder.push(piece, |line| match line {
            IndexLine::Header(line) => header = Some(*line),
            IndexLine::Segment(entry) => {
                let name = entry.file_name();
                assert!(
                    !name.starts_with('/') && !name.split('/').any(|part| part == ".." || part.is_empty())
                );
                assert!(entry.offset + entry.len <= entry.total);
                segments.push(*entry);
            }
            IndexLine::End { .. } => {}
        })?;
    }
    decoder.finish()?;
    Ok((header.expect("a list has a header"), segments))
}

/// The attribute of the cartridge's memory that tells where the newest index is.
pub(crate) fn cartridge_memory(data: &[u8]) {
    if let Some(coherency) = Coherency::decode(data) {
        assert_eq!(Coherency::decode(&coherency.encode().value), Some(coherency));
    }
}
