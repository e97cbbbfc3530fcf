//! Files with many layers: how few bytes are copied, and that what was hidden stays so.

use std::fs;

use reelfs::repo::staging::{AllocateMode, FrozenChange, FrozenEpoch, FrozenTarget, ROOT, SegmentKind};

use super::commit::write;
use super::driver::Random;
use super::support::{Place, caller, find, read};
use crate::support::{backup, random};

#[test]
fn a_file_that_is_written_after_many_freezes_is_never_copied_as_a_whole() {
    let place = Place::new();
    let len = 24 << 20;
    fs::write(place.source().join("data"), random(1, len)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let (_, made) = tree.create_file(ROOT, b"made", 0o644, caller(), None).unwrap();
    let mut expected = [random(1, len), random(2, len)];
    tree.write(&made, 0, &expected[1], false, caller()).unwrap();
    let data = tree.open_file(find(&tree, "data"), true, false, caller()).unwrap();
    let before = tree.pending().unwrap().backing_bytes;
    for round in 0..40 {
        let frozen = tree.freeze().unwrap();
        for (file, handle) in [&data, &made].into_iter().enumerate() {
            let at = usize::try_from((round * 7919 % 5000) * 4096).unwrap();
            let bytes = random(round, 8192);
            expected[file][at..at + 8192].copy_from_slice(&bytes);
            tree.write(handle, at as u64, &bytes, false, caller()).unwrap();
        }
        // A commit that fails, or a preview.
        frozen.abandon().unwrap();
        while tree.reclaim().unwrap() {}
        let added = tree.pending().unwrap().backing_bytes - before;
        assert!(added <= (round + 2) * 8192 * 4, "{added} bytes after {round} rounds");
    }
    assert!(read(&tree, "data") == expected[0] && read(&tree, "made") == expected[1]);
    // What is not from the base is not more than was written.
    let frozen = tree.freeze().unwrap();
    let written: u64 = frozen
        .changes()
        .filter_map(|change| match change.unwrap() {
            FrozenChange::Entry { name, target: FrozenTarget::Object(object), .. } if name == b"data" => {
                object.content
            }
            _ => None,
        })
        .flat_map(|content| content.segments().map(Result::unwrap).collect::<Vec<_>>())
        .filter(|segment| segment.kind == SegmentKind::Written)
        .map(|segment| segment.len)
        .sum();
    assert!((8192..=40 * 8192).contains(&written), "{written}");
}

#[test]
fn layers_that_become_one_hide_what_they_hid() {
    for seed in 0..6 {
        println!("seed {seed}");
        let place = Place::new();
        let len = 600_000;
        fs::write(place.source().join("data"), random(seed, len)).unwrap();
        backup(&place.repository, None, &place.source());
        let tree = place.create();
        let number = find(&tree, "data");
        let handle = tree.open_file(number, true, false, caller()).unwrap();
        let mut expected = random(seed, len);
        let mut numbers = Random::new(seed);
        let mut frozen: Option<FrozenEpoch<'_>> = None;
        for round in 0..160 {
            let (from, count) = (numbers.below(expected.len()), 1 + numbers.below(60_000));
            let upto = (from + count).min(expected.len());
            match numbers.below(6) {
                0 => {
                    let size = numbers.below(len * 5 / 4) + 1;
                    tree.truncate(number, size as u64, caller()).unwrap();
                    expected.resize(size, 0);
                }
                1 => {
                    let mode = AllocateMode::Punch;
                    tree.allocate(&handle, from as u64, count as u64, mode, caller()).unwrap();
                    expected[from..upto].fill(0);
                }
                _ => {
                    let bytes = random(round, count.min(9000));
                    tree.write(&handle, from as u64, &bytes, false, caller()).unwrap();
                    expected.resize(expected.len().max(from + bytes.len()), 0);
                    expected[from..from + bytes.len()].copy_from_slice(&bytes);
                }
            }
            match (frozen.take(), numbers.below(24)) {
                (Some(commit), 0) => {
                    let ordinal = write(&place.repository, &commit, true);
                    commit.finish(ordinal).unwrap();
                    while tree.reclaim().unwrap() {}
                }
                (kept, 1..8) => frozen = kept,
                (failed, _) => {
                    drop(failed);
                    frozen = Some(tree.freeze().unwrap());
                }
            }
            assert!(read(&tree, "data") == expected, "round {round}");
        }
    }
}
