//! Structures of reelfs-tape(5) against golden bytes in `fixtures/tape`: both ways, each byte changed, cut
//! at each length.
//!
//! Golden files are never changed: a cartridge of today must be readable in thirty years. With
//! `UPDATE_FIXTURES=1` in the environment the test writes those that are missing, and only those.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use reelfs::id::{FileId, Fingerprint};
use reelfs::tape::archive::{
    BlockAddress, Coherency, IndexDecoder, IndexHeader, IndexKind, IndexLine, NewEntry, Parser, PartHeader,
    PartKind, RECORD_LEN, SegmentEntry, Step, VolumeDescription, VolumeLabel, encode_index,
};

use crate::tape_checks;

const SET: FileId = FileId(*b"fixture: a set..");
const VOLUME: FileId = FileId(*b"fixture: volume.");

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tape/v1").join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a fixture has a directory")).expect("fixtures are writable");
        fs::write(&path, bytes).expect("fixtures are writable");
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn part_header() -> PartHeader {
    PartHeader {
        set: SET,
        volume: VOLUME,
        sequence: 2,
        barcode: "RL0002L9".to_owned(),
        part: 5,
        kind: PartKind::Data,
        loi: 70_000,
        previous_index_loi: Some(69_998),
        previous_manifest: Some(BlockAddress { loi: 69_990, byte: 524_287 }),
        written_seconds: 1_795_240_800,
        session: "reelfs tape archive: web1, caf\u{e9}".to_owned(),
    }
}

fn index_header(kind: IndexKind) -> IndexHeader {
    let is_closing = kind == IndexKind::Closing;
    IndexHeader {
        kind,
        number: 7,
        set: SET,
        volume: VOLUME,
        sequence: 2,
        barcode: "RL0002L9".to_owned(),
        previous_loi: (kind != IndexKind::Manifest).then_some(69_998),
        written_seconds: 1_795_240_800,
        session: "nightly \"web1\"".to_owned(),
        retain_until_seconds: is_closing.then_some(1_900_000_000),
        is_continued: is_closing,
        lacking: None,
    }
}

fn segments() -> Vec<SegmentEntry> {
    let entry = |name: &str, segment: u32, len: u64, total: u64| SegmentEntry {
        name: name.into(),
        segment,
        offset: u64::from(segment) << 30,
        len,
        total,
        fingerprint: Fingerprint::of(name.as_bytes()),
        object_fingerprint: None,
        mtime_seconds: -1,
        part: 5,
        address: BlockAddress { loi: 70_000 + u64::from(segment) * 2048, byte: 2560 },
    };
    let mut last = entry("full/web1/aa.bdf", 1, 77, (1 << 30) + 77);
    last.object_fingerprint = Some(Fingerprint::of(b"all of it"));
    vec![
        entry("full/web1/aa.bdf", 0, 1 << 30, (1 << 30) + 77),
        last,
        entry("clients/web1/x \u{e9}.dtf", 0, 0, 0),
    ]
}

fn description() -> VolumeDescription {
    VolumeDescription {
        volume: VOLUME,
        set: SET,
        sequence: 2,
        barcode: "RL0002L9".to_owned(),
        repository: FileId(*b"fixture of repo."),
        pool: "offsite".to_owned(),
        label: "Vault, shelf \"3\"".to_owned(),
        created_seconds: 1_795_233_600,
    }
}

fn coherency() -> Coherency {
    Coherency { change_reference: 41, index_number: 7, index_loi: 70_002, volume: VOLUME }
}

fn entry() -> Vec<u8> {
    let keywords = vec![
        ("REELFS.name", "full/web1/aa.bdf".to_owned()),
        ("REELFS.segment", "1".to_owned()),
        ("REELFS.offset", (1_u64 << 30).to_string()),
        ("REELFS.total", ((1_u64 << 30) + 77).to_string()),
    ];
    NewEntry { name: "full/web1/aa.bdf.00001", size: 77, mtime_seconds: 1_795_000_000, keywords }.encode()
}

/// Name of the fixture, name of its check, bytes.
fn cases() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let list = |kind| encode_index(&index_header(kind), &segments()).into_bytes();
    vec![
        ("volume-label.bin", "cartridge_label", VolumeLabel::new("RL0002L9").encode().to_vec()),
        ("volume.json", "cartridge_label", description().encode().into_bytes()),
        ("part-header.bin", "cartridge_archive", part_header().encode()),
        ("segment-header.bin", "cartridge_archive", entry()),
        ("manifest.jsonl", "cartridge_index", list(IndexKind::Manifest)),
        ("index-partial.jsonl", "cartridge_index", list(IndexKind::Partial)),
        ("index-closing.jsonl", "cartridge_index", list(IndexKind::Closing)),
        ("coherency.bin", "cartridge_memory", coherency().encode().value),
    ]
}

fn check(name: &str) -> fn(&[u8]) {
    tape_checks::ALL.iter().find(|(known, _)| *known == name).expect("every case has a check").1
}

fn push(bytes: &[u8]) -> (Parser, Vec<Step>) {
    let mut parser = Parser::new();
    let records = bytes.as_chunks::<RECORD_LEN>().0.iter();
    let steps = records.map(|record| parser.push(record).expect("golden")).collect();
    (parser, steps)
}

#[test]
fn golden_bytes_of_cartridges_are_written_and_read() {
    for (name, _, bytes) in cases() {
        assert!(golden(name, &bytes) == bytes, "{name} is written in another way than before");
    }
    let read = |name| golden(name, &[]);
    let label = VolumeLabel { serial: "RL0002".to_owned() };
    assert_eq!(VolumeLabel::decode(&read("volume-label.bin")), Ok(Some(label)));
    assert_eq!(VolumeDescription::decode(&read("volume.json")), Ok(description()));
    assert_eq!(PartHeader::decode(push(&read("part-header.bin")).0.global()), Ok(Some(part_header())));
    let (_, steps) = push(&read("segment-header.bin"));
    let Some(Step::Entry(entry)) = steps.last() else { panic!("{steps:?}") };
    assert_eq!((&entry.name[..], entry.size), (&b"full/web1/aa.bdf.00001"[..], 77));
    assert_eq!(entry.keyword("REELFS.total"), Some(&b"1073741901"[..]));
    assert_eq!(Coherency::decode(&read("coherency.bin")), Some(coherency()));
    for (name, kind) in [
        ("manifest.jsonl", IndexKind::Manifest),
        ("index-partial.jsonl", IndexKind::Partial),
        ("index-closing.jsonl", IndexKind::Closing),
    ] {
        let mut lines = Vec::new();
        let mut decoder = IndexDecoder::new();
        decoder.push(&read(name), |line| lines.push(line)).expect("golden");
        decoder.finish().expect("golden");
        assert_eq!(lines.first(), Some(&IndexLine::Header(Box::new(index_header(kind)))));
        let found = lines.iter().filter_map(|line| {
            if let IndexLine::Segment(entry) = line { Some(SegmentEntry::clone(entry)) } else { None }
        });
        assert_eq!(found.collect::<Vec<_>>(), segments());
    }
}

#[test]
fn golden_bytes_cut_or_changed_anywhere_hold_every_check() {
    for (_, name, bytes) in cases() {
        for len in 0..bytes.len() {
            check(name)(&bytes[..len]);
        }
        for at in 0..bytes.len() {
            for value in [0, b'0', b'9', b'=', b'\n', 0xff, bytes[at] ^ 1] {
                let mut changed = bytes.clone();
                changed[at] = value;
                check(name)(&changed);
            }
        }
    }
}

#[test]
fn what_fuzzing_has_found_before_holds_now() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz");
    for (name, check) in tape_checks::ALL {
        for entry in fs::read_dir(fixtures.join(name)).into_iter().flatten() {
            check(&fs::read(entry.expect("fixtures are readable").path()).expect("fixtures are readable"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_hold_every_check_of_cartridges(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        for (_, check) in tape_checks::ALL {
            check(&bytes);
        }
    }

    #[test]
    fn golden_bytes_of_cartridges_changed_at_random_hold_every_check(
        index in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let cases = cases();
        let (_, name, bytes) = index.get(&cases);
        let mut bytes = bytes.clone();
        for (place, byte) in changes {
            *place.get_mut(&mut bytes) = byte;
        }
        check(name)(&bytes);
    }
}
