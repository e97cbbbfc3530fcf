//! Archive runs that end anywhere, and what the next session makes of the cartridge.

use std::collections::BTreeSet;

use reelfs::progress::Progress;
use reelfs::tape::reader::{IndexState, VolumeReader};
use reelfs::tape::writer::{Ended, Place, VolumeWriter};
use reelfs::tape::{Object, TapeError};

use crate::lab::{Fault, Lab, archive, content, description, index, object, objects, session, small, whole};

const CAPACITY: u64 = 256 << 20;

// A session as it would be in a process that may die.
fn run(drive: &mut reelfs::tape::drive::Drive, objects: &Vec<Object>) -> Result<(), TapeError> {
    let progress = Progress::new();
    let mut options = small();
    options.commit_bytes = 3 << 20;
    let mut writer = VolumeWriter::append(drive, description(1).volume, session(), options, &progress)?;
    let (ended, _) = writer.write(objects, Place::default(), &progress)?;
    if let Ended::Lost(error) = ended {
        return Err(error.into());
    }
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    writer.finish(false, &progress).map(drop)
}

fn few() -> Vec<Object> {
    objects(7, 12)
}

// Names whose all segments are listed, each with the content that it must have.
fn check_listed(lab: &Lab, may_be_there: &[Object]) -> BTreeSet<String> {
    let mut drive = lab.ready();
    let found = index(&mut drive);
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    let mut complete = BTreeSet::new();
    for entry in &found.segments {
        let object = may_be_there.iter().find(|object| object.name == entry.name).expect("written");
        let start = usize::try_from(entry.offset).expect("small");
        let expected = &whole(object)[start..start + usize::try_from(entry.len).expect("small")];
        assert!(content(&mut reader, entry) == expected, "{} {}", entry.name, entry.segment);
        if entry.is_last() {
            complete.insert(entry.name.to_string());
        }
    }
    complete
}

#[test]
fn a_run_killed_at_any_command_loses_nothing_that_was_committed() {
    let base = Lab::new(1, CAPACITY);
    let mut drive = base.labelled();
    let before = vec![object("full/web1/before.bdf", crate::lab::noise(1, 700_000))];
    archive(&mut drive, 1, &before);
    drop(drive);
    let (objects, later) = (few(), vec![object("full/web1/later.bdf", crate::lab::noise(2, 600_000))]);
    let all: Vec<_> = before.iter().chain(&objects).chain(&later).cloned().collect();
    let mut killed = 0;
    let mut most = 0;
    for at in 0.. {
        let lab = base.copy();
        let (transport, script) = lab.faulty(Fault::Killed, None, at);
        let session = reelfs::tape::drive::Drive::open(transport, lab.time.clone(), Default::default());
        if let Ok(mut drive) = session {
            let result = run(&mut drive, &objects);
            drop(drive);
            if result.is_ok() {
                // Killed when everything was done, or where it does not matter.
                assert_eq!(check_listed(&lab, &all).len(), objects.len() + 1, "command {at}");
            }
        }
        if script.lock().expect("no panic").struck == 0 {
            break;
        }
        killed += 1;
        let listed = check_listed(&lab, &all);
        assert!(listed.contains("full/web1/before.bdf"), "command {at}: {listed:?}");
        // What is committed only grows with the commands that were done.
        assert!(listed.len() >= most, "command {at}: {listed:?}");
        most = most.max(listed.len());
        let mut drive = lab.ready();
        archive(&mut drive, 1, &later);
        let found = index(&mut drive);
        assert_eq!(found.state, IndexState::Closed, "command {at}");
        drop(drive);
        let after = check_listed(&lab, &all);
        assert!(after.is_superset(&listed) && after.contains("full/web1/later.bdf"), "command {at}");
    }
    assert!(killed > 80, "{killed} commands");
    assert_eq!(most, objects.len() + 1);
}

#[test]
fn the_catalogue_is_rebuilt_without_any_index() {
    let base = Lab::new(1, CAPACITY);
    let mut drive = base.labelled();
    run(&mut drive, &few()).expect("written");
    let by_index = index(&mut drive);
    let scanned = VolumeReader::open(&mut drive).expect("ours").scan(&Progress::new()).expect("scanned");
    assert!(scanned.segments == by_index.segments);
    assert_eq!(scanned.state, IndexState::Closed);
}
