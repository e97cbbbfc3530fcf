//! A cartridge from label to reading back, over the emulated drive.

use std::net::TcpListener;
use std::sync::Arc;

use reelfs::emulator::{EmulatedLibrary, IscsiTarget, TargetSettings};
use reelfs::progress::Progress;
use reelfs::scsi::LogicalUnit;
use reelfs::scsi::cdb::ssc::Destination;
use reelfs::scsi::iscsi::Initiator;
use reelfs::scsi::mode::MediumPartition;
use reelfs::tape::TapeError;
use reelfs::tape::archive::Recognised;
use reelfs::tape::reader::{Identified, IndexState, VolumeReader, identify};
use reelfs::tape::writer::{Overwrite, Place, Session, VolumeWriter, label};

use crate::lab::{Lab, archive, check_objects, description, index, objects, session, small};

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

#[test]
fn the_memory_of_the_cartridge_tells_where_the_newest_index_is() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let closed = archive(&mut drive, 1, &objects(1, 10));
    // From the end backwards the second copy of the closing index would be found.
    assert_eq!(index(&mut drive).index_loi, closed.index_loi);
    drop(drive);
    // Something written since: the memory is out of date and is not believed.
    let mut drive = lab.ready();
    drive.locate_end().expect("the end");
    drive.write_block(&vec![0; 524_288]).expect("written");
    drive.write_filemarks(1, true).expect("written");
    drop(drive);
    let found = index(&mut lab.ready());
    assert_eq!((found.state, found.segments.len()), (IndexState::Torn, closed.segments.len()));
    let medium = lab.ready().medium().expect("known");
    assert_eq!((medium.barcode.as_deref(), medium.is_worm), (Some("RL0001L8"), false));
}

// A cartridge of LTFS: two partitions, and a label in the first one.
fn make_ltfs(lab: &Lab) {
    let mut unit = LogicalUnit::new(lab.transport());
    unit.clear_unit_attentions().expect("answers");
    unit.clear_unit_attentions().expect("answers");
    let changed = unit.change_mode_page(MediumPartition::CODE, |page| {
        MediumPartition::set_two_partitions(page, 1, 0xffff);
    });
    assert!(changed.expect("taken"), "the page is there");
    unit.format_medium(1, false).expect("formatted");
    let label = format!("VOL1{:6} {:13}{:13}{:42}4", "LTFS01", "", "LTFS", "");
    for partition in [0, 1] {
        unit.locate(Some(partition), Destination::Object(0)).expect("there");
        unit.write_block(label.as_bytes()).expect("written");
        unit.write_filemarks(1, false).expect("written");
    }
}

#[test]
fn a_cartridge_of_ltfs_is_named_and_left_alone_until_it_is_given_up() {
    let lab = Lab::new(1, 4 << 30);
    lab.load(0);
    drop(lab.ready());
    make_ltfs(&lab);
    let mut drive = lab.ready();
    let found = identify(&mut drive).expect("readable");
    assert_eq!(found, Identified::Foreign(Recognised::Ltfs { serial: "LTFS01".to_owned() }));
    let progress = Progress::new();
    let error = label(&mut drive, &description(1), &Overwrite::Nothing, &session(), &progress);
    assert!(
        matches!(&error, Err(TapeError::Occupied { kind: "LTFS", name, .. }) if name == "LTFS01"),
        "{error:?}"
    );
    let named = Overwrite::Named("LTFS01".to_owned());
    label(&mut drive, &description(1), &named, &session(), &progress).expect("it was named");
    let capacity_mb = drive.medium().expect("known").capacity_mb.expect("told");
    assert!(capacity_mb > 4000, "one partition of {capacity_mb} MB");
    let written = objects(3, 5);
    archive(&mut drive, 1, &written);
    let found = index(&mut drive);
    check_objects(&mut drive, &found, &written);
}

#[test]
fn a_cartridge_under_retention_says_so_before_it_is_labelled_anew() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let progress = Progress::new();
    let until = 1_900_000_000;
    for retain_until_seconds in [Some(until), None, Some(until - 1)] {
        let session = Session { retain_until_seconds, ..session() };
        let mut writer = VolumeWriter::append(&mut drive, description(1).volume, session, small(), &progress)
            .expect("ours");
        writer.write(&objects(1, 2), Place::default(), &progress).expect("written");
        writer.finish(false, &progress).expect("closed");
    }
    let error = label(&mut drive, &description(2), &Overwrite::Nothing, &session(), &progress);
    let Err(TapeError::Occupied { retain_until_seconds, .. }) = error else { panic!("{error:?}") };
    assert_eq!(retain_until_seconds, Some(until));
}

#[test]
fn a_cartridge_goes_over_iscsi_as_it_goes_in_process() {
    let lab = Lab::new(1, CAPACITY);
    drop(lab.labelled());
    let written = objects(6, 12);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let name = "iqn.2026-11.invalid.reelfs:cartridge";
    let target_settings =
        TargetSettings { name: name.to_owned(), initiator: None, target: None, random: Arc::new(|| [7; 16]) };
    let library = EmulatedLibrary::open(&lab.directory.path().join("library"), lab.time.clone());
    let target =
        IscsiTarget::start(library.expect("a library"), target_settings, listener).expect("a target");
    let address = format!("iscsi://{}/{name}/1", target.address()).parse().expect("an address");
    let initiator = Initiator::connect(&address, &crate::conformance::settings()).expect("a session");
    let mut drive = lab.drive_over(Box::new(initiator));
    drive.wait_ready(&Progress::new()).expect("ready");
    let closed = archive(&mut drive, 1, &written);
    check_objects(&mut drive, &closed, &written);
    drop(drive);
    let mut drive = lab.ready();
    assert!(index(&mut drive).segments == closed.segments);
}

#[test]
fn the_sessions_of_a_cartridge_are_told_with_what_each_has_written() {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let progress = Progress::new();
    let mut written = Vec::new();
    for (number, text) in [(1, "web1, full"), (2, "web1, full"), (3, "db-2")] {
        let mut options = small();
        options.commit_bytes = 1 << 20;
        let session = Session { text: text.to_owned(), now_seconds: 1_795_240_800 + number, ..session() };
        let mut writer = VolumeWriter::append(&mut drive, description(1).volume, session, options, &progress)
            .expect("ours");
        let before = writer.committed().len();
        writer
            .write(&objects(u64::try_from(number).expect("positive"), 10), Place::default(), &progress)
            .expect("written");
        let new = &writer.committed()[before..];
        written.push((
            text,
            new.len() as u64,
            new.iter().map(|segment| segment.len).sum::<u64>(),
            number != 3,
        ));
        // The last one is cut short: it has no closing index.
        if number != 3 {
            writer.finish(false, &progress).expect("closed");
        }
    }
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    let index = reader.index(&progress).expect("an index");
    let sessions = reader.sessions(&index, &progress).expect("sessions");
    let told: Vec<_> = sessions
        .iter()
        .map(|session| (session.text.as_str(), session.segments, session.bytes, session.is_closed))
        .collect();
    assert_eq!(told, written);
    assert!(sessions.iter().all(|session| session.commits >= 2), "{sessions:?}");
    assert!(sessions.is_sorted_by_key(|session| session.index_loi));
}
