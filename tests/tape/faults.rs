//! Faults of drives and of the way to them, while a cartridge is written and read (tape.md, section 7).

use reelfs::emulator::Generation;
use reelfs::progress::Progress;
use reelfs::scsi::LogicalUnit;
use reelfs::tape::drive::{Drive, DriveError};
use reelfs::tape::reader::{IndexState, VolumeIndex, VolumeReader};
use reelfs::tape::writer::{Ended, Overwrite, Place, VolumeWriter, WriterOptions, label};
use reelfs::tape::{Object, TapeError};
use std::time::Duration;

use crate::lab::{
    Fault, Lab, archive, check_objects, description, index, noise, object, objects, session, small,
};

const CAPACITY: u64 = 256 << 20;
const WRITE: u8 = 0x0a;
const FILEMARKS: u8 = 0x10;

// Sense data, fixed format (SPC-4, table 48): code, key, additional length, code and qualifier.
const RESET: Fault = Fault::Sense(&[0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0]);
const MODE_CHANGED: Fault = Fault::Sense(&[0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 1, 0, 0, 0, 0]);
const ABORTED: Fault = Fault::Sense(&[0x70, 0, 0xb, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x47, 0, 0, 0, 0, 0]);
const DONE_ABORTED: Fault =
    Fault::DoneSense(&[0x70, 0, 0xb, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x4b, 0, 0, 0, 0, 0]);
const DEFERRED: Fault = Fault::Sense(&[0x71, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0]);
const DEFERRED_RECOVERED: Fault =
    Fault::Sense(&[0x71, 0, 1, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0]);
const WRITE_ERROR: Fault = Fault::Sense(&[0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0]);
const OVERFLOW: Fault = Fault::Sense(&[0x70, 0, 0x4d, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
const CLEAN_ME: Fault = Fault::DoneSense(&[0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0x17, 0, 0, 0, 0]);

// Writes all objects through a transport with a fault; returns how that ended and the index.
fn write_with(
    lab: &Lab,
    fault: Fault,
    code: u8,
    at: u64,
    objects: &Vec<Object>,
) -> (Ended, Place, VolumeIndex, u64) {
    let (transport, script) = lab.faulty(fault, Some(code), at);
    let mut drive = lab.drive_over(transport);
    let progress = Progress::new();
    drive.wait_ready(&progress).expect("ready");
    let mut options = small();
    options.commit_bytes = 3 << 20;
    let mut writer = VolumeWriter::append(&mut drive, description(1).volume, session(), options, &progress)
        .expect("the cartridge can be written");
    let (ended, place) = writer.write(objects, Place::default(), &progress).expect("no error of the host");
    let closed = writer.finish(false, &progress).expect("closed");
    let struck = script.lock().expect("no panic").struck;
    (ended, place, closed, struck)
}

#[test]
fn a_fault_that_leaves_the_tape_alone_leaves_no_trace() {
    let base = Lab::new(1, CAPACITY);
    drop(base.labelled());
    let objects = objects(11, 12);
    let memory = [Fault::NoMemory, Fault::DoneNoMemory];
    let late = [Fault::Timeout, Fault::DoneTimeout];
    let told = [RESET, MODE_CHANGED, ABORTED, DONE_ABORTED, DEFERRED_RECOVERED, CLEAN_ME];
    for fault in memory.into_iter().chain(late).chain(told) {
        for (code, at) in [(WRITE, 0), (WRITE, 1), (WRITE, 9), (FILEMARKS, 0), (FILEMARKS, 2), (FILEMARKS, 3)]
        {
            let lab = base.copy();
            let (ended, _, closed, struck) = write_with(&lab, fault, code, at, &objects);
            let case = format!("{fault:?} at {code:02x}h {at}");
            assert!(matches!(ended, Ended::Done), "{case}: {ended:?}");
            assert_eq!((struck, closed.state), (1, IndexState::Closed), "{case}");
            let mut drive = lab.ready();
            let found = index(&mut drive);
            assert!(found.segments == closed.segments, "{case}");
            check_objects(&mut drive, &found, &objects);
        }
    }
}

#[test]
fn an_error_of_the_medium_ends_the_cartridge_at_its_last_commit() {
    let base = Lab::new(2, CAPACITY);
    drop(base.labelled());
    let objects = objects(12, 12);
    for fault in [DEFERRED, WRITE_ERROR, OVERFLOW] {
        for (code, at) in
            [(WRITE, 0), (WRITE, 9), (WRITE, 15), (FILEMARKS, 1), (FILEMARKS, 3), (FILEMARKS, 5)]
        {
            let lab = base.copy();
            let case = format!("{fault:?} at {code:02x}h {at}");
            let (ended, place, closed, struck) = write_with(&lab, fault, code, at, &objects);
            assert_eq!(struck, 1, "{case}");
            match ended {
                Ended::Lost(error) => assert!(error.is_volume_lost() && fault != OVERFLOW, "{case}: {error}"),
                Ended::Full => assert_eq!(fault, OVERFLOW, "{case}"),
                Ended::Unreadable(error) => panic!("{case}: {error}"),
                // It struck the closing index: the partial ones have it all.
                Ended::Done => {
                    assert_eq!(closed.state, IndexState::Torn, "{case}");
                    let mut drive = lab.ready();
                    let found = index(&mut drive);
                    check_objects(&mut drive, &found, &objects);
                    continue;
                }
            }
            // What is before the place is on this cartridge, the rest goes to the next one.
            let mut drive = lab.ready();
            let first = index(&mut drive);
            drop(drive);
            lab.unload(0);
            lab.load(1);
            let mut drive = lab.ready();
            let progress = Progress::new();
            label(&mut drive, &description(2), &Overwrite::Nothing, &session(), &progress).expect("blank");
            let mut writer =
                VolumeWriter::append(&mut drive, description(2).volume, session(), small(), &progress)
                    .expect("ours");
            let (ended, _) = writer.write(&objects, place.clone(), &progress).expect("written");
            assert!(matches!(ended, Ended::Done), "{case}");
            let second = writer.finish(false, &progress).expect("closed");
            let listed = |object: &Object| {
                let of = |index: &VolumeIndex| {
                    let of_it = index.segments.iter().filter(|entry| entry.name == object.name);
                    of_it.map(|entry| entry.segment).collect::<Vec<_>>()
                };
                let (first, second) = (of(&first), of(&second));
                let mut all: Vec<_> = first.into_iter().chain(second).collect();
                all.sort_unstable();
                all.dedup();
                all.len() as u64 == object.len.div_ceil(small().segment_bytes).max(1)
            };
            assert!(objects.iter().all(listed), "{case}: something is on neither cartridge");
            let before = objects.iter().take(usize::try_from(place.object).expect("few"));
            for object in before {
                assert!(
                    first.segments.iter().any(|entry| entry.name == object.name),
                    "{case}: {}",
                    object.name
                );
            }
        }
    }
}

#[test]
fn what_is_voided_by_a_torn_session_is_written_again_behind_it() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let objects = objects(13, 12);
    let progress = Progress::new();
    // Two blocks of a part that nobody ended: another process died there.
    drive.locate_end().expect("the end");
    drive.write_block(&vec![7; 524_288]).expect("written");
    drive.write_block(&vec![8; 524_288]).expect("written");
    drop(drive);
    let mut drive = lab.ready();
    let found = index(&mut drive);
    assert_eq!((found.state, found.needs_filemark), (IndexState::Torn, true));
    archive(&mut drive, 1, &objects);
    let found = index(&mut drive);
    assert_eq!(found.state, IndexState::Closed);
    check_objects(&mut drive, &found, &objects);
    let scanned = VolumeReader::open(&mut drive).expect("ours").scan(&progress).expect("scanned");
    assert!(scanned.segments == found.segments);
}

#[test]
fn a_tape_that_somebody_else_moved_is_not_written() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let image = std::fs::read(lab.image("RL0001L8")).expect("an image");
    drive.locate_end().expect("the end");
    drive.write_block(&[1; 1024]).expect("written");
    let other = lab.library.transport_as(1, "another program").expect("a drive");
    let mut other = LogicalUnit::new(Box::new(other));
    other.clear_unit_attentions().expect("answers");
    other.rewind(false).expect("rewound");
    lab.time.advance(Duration::from_secs(2));
    let error = drive.write_block(&[2; 1024]);
    assert!(
        matches!(
            error,
            Err(DriveError::PositionMoved { expected: 31, found: Some(0), .. })
                | Err(DriveError::PositionMoved { found: Some(0), .. })
        ),
        "{error:?}"
    );
    let now = std::fs::read(lab.image("RL0001L8")).expect("an image");
    assert!(now.starts_with(&image[..image.len() - 4]), "the label was overwritten");
}

#[test]
fn a_writer_finds_back_when_somebody_moved_the_tape_between_two_bursts() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let progress = Progress::new();
    let (first, second) = (objects(14, 5), objects(15, 5));
    let mut writer =
        VolumeWriter::append(&mut drive, description(1).volume, session(), small(), &progress).expect("ours");
    writer.write(&first, Place::default(), &progress).expect("written");
    let other = lab.library.transport_as(1, "another program").expect("a drive");
    let mut other = LogicalUnit::new(Box::new(other));
    other.clear_unit_attentions().expect("answers");
    other.rewind(false).expect("rewound");
    let (ended, _) = writer.write(&second, Place::default(), &progress).expect("written");
    assert!(matches!(ended, Ended::Done));
    let closed = writer.finish(false, &progress).expect("closed");
    let all: Vec<_> = first.into_iter().chain(second).collect();
    check_objects(&mut drive, &closed, &all);
}

/// Writes objects to as many cartridges of 24 MiB as they need; what each holds in the end, read again and verified.
fn spanned(objects: &Vec<Object>, options: &WriterOptions) -> Vec<VolumeIndex> {
    let lab = Lab::shaped(|shape| {
        let mut shape = shape.with_cartridges(6, Generation::Lto8, Some(24 << 20));
        for cartridge in &mut shape.cartridges {
            // Eight blocks; real ones have fifty at least.
            cartridge.early_warning_bytes = Some(4 << 20);
        }
        shape
    });
    let progress = Progress::new();
    let mut place = Place::default();
    let mut found = Vec::new();
    for slot in 0..6 {
        lab.load(slot);
        let mut drive = lab.ready();
        let number = u32::from(slot) + 1;
        label(&mut drive, &description(number), &Overwrite::Nothing, &session(), &progress).expect("blank");
        let volume = description(number).volume;
        let mut writer =
            VolumeWriter::append(&mut drive, volume, session(), options.clone(), &progress).expect("ours");
        let (ended, next) = writer.write(objects, place, &progress).expect("written");
        let is_full = matches!(ended, Ended::Full);
        assert!(is_full || matches!(ended, Ended::Done), "{ended:?}");
        let closed = writer.finish(is_full, &progress).expect("closed");
        assert_eq!(closed.state, IndexState::Closed, "cartridge {number} has its closing index");
        assert_eq!(closed.header.as_ref().expect("written").is_continued, is_full);
        let again = index(&mut drive);
        let mut reader = VolumeReader::open(&mut drive).expect("ours");
        let totals = reader.verify(&again, &progress, &mut |damage| panic!("{damage:?}")).expect("read");
        assert_eq!(totals.segments, closed.segments.len() as u64);
        found.push(again);
        place = next;
        drop(drive);
        lab.unload(slot);
        if !is_full {
            return found;
        }
    }
    panic!("six cartridges are not enough");
}

/// Checks that every object is whole, over cartridges too.
fn check_whole(objects: &[Object], cartridges: &[VolumeIndex]) {
    for object in objects {
        let all = cartridges.iter().flat_map(|index| &index.segments);
        let segments: Vec<_> = all.filter(|entry| entry.name == object.name).collect();
        let mut end = 0;
        for (number, entry) in (0..).zip(&segments) {
            assert_eq!((entry.segment, entry.offset, entry.total), (number, end, object.len));
            end += entry.len;
        }
        assert_eq!(end, object.len, "{}", object.name);
        assert_eq!(segments.last().expect("some").object_fingerprint, object.fingerprint);
    }
}

#[test]
fn a_set_spans_cartridges_and_no_segment_does() {
    let objects: Vec<_> = (0..40)
        .map(|number| object(&format!("full/web1/{number:02}.bdf"), noise(number, 1_300_000)))
        .chain([object("full/web1/large.bdf", noise(99, 9_000_000))])
        .collect();
    let cartridges = spanned(&objects, &small());
    assert!(cartridges.len() >= 3, "{} cartridges", cartridges.len());
    check_whole(&objects, &cartridges);
}

#[test]
fn a_segment_is_cut_to_what_is_left_on_a_cartridge() {
    // Longer than a cartridge, and than what an index and early warning leave of one.
    let objects = vec![
        object("full/web1/1.bdf", noise(1, 5_000_000)),
        object("full/web1/2.bdf", noise(2, 40_000_000)),
        object("full/web1/3.bdf", noise(3, 5_000_000)),
    ];
    let options = WriterOptions { segment_bytes: 64 << 20, ..small() };
    let cartridges = spanned(&objects, &options);
    check_whole(&objects, &cartridges);
    assert!(cartridges.len() <= 4, "{} cartridges", cartridges.len());
    for index in cartridges.split_last().expect("some").1 {
        let bytes: u64 = index.segments.iter().map(|entry| entry.len).sum();
        assert!(bytes > 13 << 20, "only {bytes} bytes of 24 MiB");
    }
}

#[test]
fn a_write_protected_or_another_cartridge_is_refused() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let progress = Progress::new();
    let error = VolumeWriter::append(&mut drive, description(2).volume, session(), small(), &progress);
    assert!(matches!(error, Err(TapeError::WrongVolume { .. })), "{error:?}");
}

#[test]
fn a_source_that_changed_or_fails_stops_the_run_and_the_cartridge_stays_whole() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let progress = Progress::new();
    let mut objects = objects(16, 12);
    objects[9].fingerprint = Some(reelfs::id::Fingerprint::NONE);
    let mut writer =
        VolumeWriter::append(&mut drive, description(1).volume, session(), small(), &progress).expect("ours");
    let (ended, place) = writer.write(&objects, Place::default(), &progress).expect("the drive works");
    let is_told =
        |error: &TapeError| matches!(error, TapeError::Object { name, .. } if name.ends_with("-009.bdf"));
    assert!(matches!(&ended, Ended::Unreadable(error) if is_told(error)), "{ended:?}");
    assert_eq!(place.object, 9);
    writer.finish(false, &progress).expect("closed");
    let found = index(&mut drive);
    assert_eq!(found.state, IndexState::Closed);
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    let totals = reader.verify(&found, &progress, &mut |damage| panic!("{damage:?}")).expect("read");
    assert!(totals.segments >= 8, "{totals:?}");
    let mut drive: Drive = drive;
    archive(&mut drive, 1, &vec![object("full/web1/later.bdf", noise(1, 100))]);
    assert_eq!(index(&mut drive).state, IndexState::Closed);
}
