//! Cartridges of which a part cannot be read: what is left is found and read.

use std::fs;
use std::path::Path;

use reelfs::progress::Progress;
use reelfs::tape::archive::SegmentEntry;
use reelfs::tape::drive::Drive;
use reelfs::tape::reader::{IndexState, VolumeIndex, VolumeReader};
use reelfs::tape::writer::{Place, VolumeWriter};

use crate::lab::{Lab, description, index, noise, object, objects, session, small};

const CAPACITY: u64 = 256 << 20;

/// Where the records and tape marks of a SIMH image are (tape.md, 5.1): offset and length with both words.
fn places(image: &Path) -> Vec<(usize, usize)> {
    let bytes = fs::read(image).expect("an image");
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(word) = bytes.get(at..at + 4) {
        let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
        if word == 0xffff_ffff {
            break;
        }
        let len = (word & 0x0fff_ffff) as usize;
        let whole = if len == 0 { 4 } else { 8 + len.next_multiple_of(2) };
        places.push((at, whole));
        at += whole;
    }
    places
}

/// Makes a block unreadable: class 8, bad data.
fn spoil(image: &Path, loi: u64) {
    let (at, len) = places(image)[usize::try_from(loi).expect("few")];
    let mut bytes = fs::read(image).expect("an image");
    assert!(len > 4, "block {loi} is a tape mark");
    bytes[at + 3] |= 0x80;
    bytes[at + len - 1] |= 0x80;
    fs::write(image, bytes).expect("room");
}

fn is_block(image: &Path, loi: u64) -> bool {
    places(image)[usize::try_from(loi).expect("few")].1 > 4
}

// Two sessions with several parts and commits each; the second one closed, the first too.
fn written(lab: &Lab) -> VolumeIndex {
    let mut drive = lab.labelled();
    let progress = Progress::new();
    let mut closed = None;
    for seed in [21, 22] {
        let mut options = small();
        options.commit_bytes = 3 << 20;
        let mut writer =
            VolumeWriter::append(&mut drive, description(1).volume, session(), options, &progress)
                .expect("ours");
        writer.write(&objects(seed, 10), Place::default(), &progress).expect("written");
        closed = Some(writer.finish(false, &progress).expect("closed"));
    }
    closed.expect("written")
}

// First and last block of each segment.
fn blocks(index: &VolumeIndex) -> Vec<(u64, u64)> {
    let last = |entry: &SegmentEntry| entry.address.plus(entry.len.max(1) - 1).loi;
    index.segments.iter().map(|entry| (entry.address.loi, last(entry))).collect()
}

fn damages(drive: &mut Drive, index: &VolumeIndex) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = VolumeReader::open(drive).expect("ours");
    let totals = reader.verify(index, &Progress::new(), &mut |damage| {
        found.push(damage.name);
    });
    assert_eq!(totals.expect("the drive works").damages, found.len() as u64);
    found
}

#[test]
fn whichever_block_is_lost_only_its_own_segments_are() {
    let base = Lab::new(1, CAPACITY);
    let closed = written(&base);
    let count = u64::try_from(places(&base.image("RL0001L8")).len()).expect("few");
    assert_eq!(count, closed.end_loi);
    for loi in 0..count {
        if !is_block(&base.image("RL0001L8"), loi) {
            continue;
        }
        let lab = base.copy();
        spoil(&lab.image("RL0001L8"), loi);
        let mut drive = lab.ready();
        let found = index(&mut drive);
        assert!(found.segments == closed.segments, "block {loi}: {} segments", found.segments.len());
        let lost = blocks(&closed).into_iter().zip(&closed.segments);
        let lost = lost.filter(|((first, last), entry)| (*first..=*last).contains(&loi) && entry.len > 0);
        let lost: Vec<_> = lost.map(|(_, entry)| entry.file_name()).collect();
        let (lists, segments): (Vec<_>, Vec<_>) =
            damages(&mut drive, &found).into_iter().partition(|name| is_list(name));
        assert_eq!(segments, lost, "block {loi}");
        // No block of a part goes unnoticed, nor one of an index, of which there is one in each commit.
        let is_index = list_in_block(&base.image("RL0001L8"), loi) == Some("index");
        match (loi + 4 >= count, is_index, loi >= closed.segments[0].address.loi) {
            (true, _, _) => assert_eq!(lists, ["closing index"], "block {loi}"),
            (false, true, _) => assert_eq!(lists, ["index"], "block {loi}"),
            (false, false, true) => {
                assert!(!segments.is_empty() || lists == ["MANIFEST"], "block {loi}: {lists:?}");
            }
            (false, false, false) => assert!(lists.is_empty(), "block {loi}: {lists:?}"),
        }
    }
    let mut drive = base.ready();
    let totals =
        VolumeReader::open(&mut drive)
            .expect("ours")
            .verify(&closed, &Progress::new(), &mut |damage| panic!("{damage:?}"));
    let parts = closed.segments.chunk_by(|one, other| one.part == other.part).count() as u64;
    let image = base.image("RL0001L8");
    let indexes = (0..count).filter(|loi| list_in_block(&image, *loi) == Some("index")).count() as u64;
    assert!(indexes >= 6, "{indexes} indexes");
    assert_eq!(totals.expect("sound").lists, parts + indexes, "manifests, and all indexes");
}

fn is_list(name: &str) -> bool {
    matches!(name, "MANIFEST" | "closing index" | "index")
}

// What kind of part begins in a block, if one does.
fn list_in_block(image: &Path, loi: u64) -> Option<&'static str> {
    let (at, len) = places(image)[usize::try_from(loi).expect("few")];
    let bytes = fs::read(image).expect("an image");
    let head = &bytes[at..(at + len).min(at + 4096)];
    let has = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    if has(b"REELFS.kind=index") { Some("index") } else { has(b"REELFS.kind=").then_some("other") }
}

#[test]
fn a_list_that_is_sound_and_tells_something_else_is_noticed() {
    let lab = Lab::new(1, CAPACITY);
    let closed = written(&lab);
    let mut drive = lab.ready();
    let mut names = |index: &VolumeIndex| damages(&mut drive, index);
    assert!(names(&closed).is_empty());
    // An index that knows one segment less of a part, or another time of one.
    let mut shorter = closed.clone();
    let removed = shorter.segments.iter().rposition(|entry| entry.part == closed.segments[0].part);
    let removed = removed.expect("some");
    shorter.segments.remove(removed - 1);
    // The manifest tells it, and so do the index of the commit and both that closed the session.
    assert_eq!(names(&shorter), ["MANIFEST", "index", "index", "index"]);
    let mut other = closed.clone();
    other.segments[0].mtime_seconds += 1;
    assert_eq!(names(&other), ["MANIFEST", "index", "index", "index"]);
}

#[test]
fn without_any_index_and_a_manifest_everything_is_still_found() {
    let lab = Lab::new(1, CAPACITY);
    let closed = written(&lab);
    let image = lab.image("RL0001L8");
    // All parts whose first block says that it is an index, and one manifest.
    let bytes = fs::read(&image).expect("an image");
    let mut spoiled = 0;
    for (loi, (at, len)) in places(&image).into_iter().enumerate() {
        let head = &bytes[at..(at + len).min(at + 4096)];
        if head.windows(17).any(|word| word == b"REELFS.kind=index") {
            spoil(&image, loi as u64);
            spoiled += 1;
        }
    }
    assert!(spoiled >= 6, "{spoiled} indexes");
    let mut drive = lab.ready();
    let found = index(&mut drive);
    assert!(found.segments == closed.segments);
    assert_eq!(found.state, IndexState::Torn);
    let manifest = closed.last_manifest.expect("there is one").loi;
    spoil(&image, manifest);
    drop(drive);
    let mut drive = lab.ready();
    let scanned = VolumeReader::open(&mut drive).expect("ours").scan(&Progress::new()).expect("scanned");
    let lost = blocks(&closed).iter().filter(|(first, last)| (*first..=*last).contains(&manifest)).count();
    // What shares a block with the manifest is lost with it, and what comes after the damage.
    assert!(
        scanned.segments.len() >= closed.segments.len() - lost,
        "{} of {}",
        scanned.segments.len(),
        closed.segments.len()
    );
    assert!(
        scanned
            .segments
            .iter()
            .all(|entry| closed.segments.contains(entry) || entry.object_fingerprint.is_none())
    );
}

#[test]
fn a_tape_cut_off_anywhere_keeps_what_was_committed_and_takes_more() {
    let base = Lab::new(1, CAPACITY);
    let closed = written(&base);
    let all = places(&base.image("RL0001L8"));
    let filemarks: Vec<u64> =
        (0_u64..).zip(&all).filter(|(_, (_, len))| *len == 4).map(|(loi, _)| loi).collect();
    // From behind the self-description on.
    let start = usize::try_from(filemarks[1] + 1).expect("few");
    for (loi, (at, len)) in all.iter().enumerate().skip(start) {
        for cut in [*at, at + len / 2] {
            if *len == 4 && cut != *at {
                continue;
            }
            let lab = base.copy();
            let image = lab.image("RL0001L8");
            let bytes = fs::read(&image).expect("an image");
            fs::write(&image, &bytes[..cut]).expect("room");
            let mut drive = lab.ready();
            let found = index(&mut drive);
            // Every part of which all blocks are there has its manifest.
            let is_whole = |entry: &&SegmentEntry| {
                let end = filemarks.iter().find(|filemark| **filemark >= entry.address.loi);
                end.is_some_and(|filemark| *filemark <= loi as u64)
            };
            let expected: Vec<_> = closed.segments.iter().filter(is_whole).cloned().collect();
            assert!(found.segments == expected, "cut at {loi}, byte {cut}");
            // The cartridge's memory knows of indexes that are gone; all that is listed is whole.
            let told = damages(&mut drive, &found);
            assert!(told.iter().all(|name| name == "index"), "cut at {loi}: {told:?}");
            let more = vec![object("full/web1/more.bdf", noise(3, 700_000))];
            crate::lab::archive(&mut drive, 1, &more);
            let after = index(&mut drive);
            assert_eq!(after.state, IndexState::Closed, "cut at {loi}, byte {cut}");
            assert_eq!(after.segments.len(), found.segments.len() + 1, "cut at {loi}");
            assert!(damages(&mut drive, &after).is_empty(), "cut at {loi}");
        }
    }
}
