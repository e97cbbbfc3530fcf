//! A cartridge from label to reading back, over the emulated drive.

use reelfs::progress::Progress;
use reelfs::tape::TapeError;
use reelfs::tape::reader::{Identified, IndexState, VolumeReader, identify};
use reelfs::tape::writer::{Overwrite, label};

use crate::lab::{Lab, archive, check_objects, description, index, objects, session};

const CAPACITY: u64 = 256 << 20;

#[test]
fn objects_written_to_a_cartridge_come_back_in_another_session() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let written = objects(1, 25);
    let closed = archive(&mut drive, 1, &written);
    assert_eq!(closed.state, IndexState::Closed);
    drop(drive);
    let mut drive = lab.ready();
    assert_eq!(identify(&mut drive).expect("readable"), Identified::Ours(Box::new(description(1))));
    let mut found = index(&mut drive);
    // Either copy of the closing index will do.
    found.index_loi = closed.index_loi;
    assert!(found == closed, "another index was found");
    check_objects(&mut drive, &found, &written);
}

#[test]
fn sessions_are_appended_and_all_are_listed() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let mut all = Vec::new();
    for round in 0..3 {
        let more = objects(100 * round, 7);
        archive(&mut drive, 1, &more);
        all.extend(more);
        let found = index(&mut drive);
        assert_eq!(found.state, IndexState::Closed);
        check_objects(&mut drive, &found, &all);
    }
    let by_index = index(&mut drive);
    let scanned = VolumeReader::open(&mut drive).expect("ours").scan(&Progress::new()).expect("scanned");
    assert_eq!(scanned.segments, by_index.segments);
    assert_eq!(scanned.end_loi, by_index.end_loi);
    assert_eq!(scanned.next_file, by_index.next_file);
}

#[test]
fn every_byte_can_be_read_by_offset() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let written = objects(5, 10);
    let closed = archive(&mut drive, 1, &written);
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    for entry in &closed.segments {
        let object = written.iter().find(|object| object.name == entry.name).expect("written");
        let start = usize::try_from(entry.offset).expect("small");
        let whole = &crate::lab::whole(object)[start..start + usize::try_from(entry.len).expect("small")];
        for (start, end) in [(0, whole.len()), (1, 400.min(whole.len())), (whole.len() / 2, whole.len())] {
            let Some(expected) = whole.get(start..end) else { continue };
            let mut buffer = vec![0; expected.len()];
            reader.read_at(entry, start as u64, &mut buffer).expect("there");
            assert!(buffer == expected, "{} from {start} to {end}", object.name);
        }
        let error = reader.read_at(entry, entry.len, &mut [0; 1]);
        assert!(matches!(error, Err(TapeError::Archive { .. })), "{error:?}");
    }
}

#[test]
fn a_whole_cartridge_is_verified_with_one_locate() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let closed = archive(&mut drive, 1, &objects(9, 20));
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    let before = reader.drive().counters().locates;
    let totals = reader.verify(&closed, &Progress::new(), &mut |damage| panic!("{damage:?}")).expect("read");
    assert_eq!((totals.segments, totals.damages), (closed.segments.len() as u64, 0));
    let locates = reader.drive().counters().locates - before;
    // One to the first, and one over the filemarks and indexes between parts.
    assert!(locates <= 12, "{locates} locates");
}

#[test]
fn a_cartridge_is_labelled_anew_only_if_it_is_named() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    archive(&mut drive, 1, &objects(1, 3));
    let again =
        |drive: &mut _, overwrite| label(drive, &description(2), &overwrite, &session(), &Progress::new());
    for overwrite in [Overwrite::Nothing, Overwrite::Named("RL0002L8".to_owned())] {
        let error = again(&mut drive, overwrite);
        assert!(matches!(&error, Err(TapeError::Occupied { name, .. }) if name == "RL0001L8"), "{error:?}");
    }
    again(&mut drive, Overwrite::Named("RL0001L8".to_owned())).expect("it was named");
    let found = index(&mut drive);
    assert_eq!((found.segments.len(), found.state), (0, IndexState::Committed));
}
