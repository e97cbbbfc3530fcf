//! Damage: found wherever it is, told by name, lived with, and healed by the next backup.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use reelfs::format::record::{FIRST_LINKED_OBJECT, ROOT_OBJECT, entry_key};
use reelfs::index::Index;
use reelfs::job::backup::BackupOptions;
use reelfs::job::restore::RestoreOptions;
use reelfs::progress::Progress;
use reelfs::repo::damaged_chunks::DamagedChunks;
use reelfs::repo::{GenerationId, Node};
use reelfs::storage::{MemoryStorage, Storage};
use tempfile::tempdir;

use crate::support::{
    Contents, backup, client, in_memory, open, random, read_all, restore, restore_with, try_backup, verify,
};

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/below")).unwrap();
    fs::write(root.join("dir/text"), "a line of text\n".repeat(300)).unwrap();
    fs::write(root.join("dir/below/one"), b"one").unwrap();
    fs::write(root.join("two"), random(5, 2000)).unwrap();
    fs::hard_link(root.join("two"), root.join("dir/two as well")).unwrap();
    symlink("two", root.join("link")).unwrap();
}

/// Two generations, the second with a change in place.
fn make_repository() -> (MemoryStorage, Vec<GenerationId>) {
    let source = tempdir().unwrap();
    make_tree(source.path());
    let (memory, repository) = in_memory();
    let first = backup(&repository, None, source.path()).unwrap();
    let mut text = fs::read(source.path().join("dir/text")).unwrap();
    text[1000] = b'!';
    fs::write(source.path().join("dir/text"), text).unwrap();
    let second = backup(&repository, None, source.path()).unwrap();
    (memory, vec![first, second])
}

/// Reads everything of damaged storage: what is read must be right. Returns whether anything was wrong.
fn check_reading(memory: &MemoryStorage, generations: &[GenerationId], expected: &[Contents]) -> bool {
    let repository = open(memory);
    let mut is_wrong = false;
    for (generation, expected) in generations.iter().zip(expected) {
        match read_all(&repository, *generation) {
            Err(_) => is_wrong = true,
            Ok(contents) => {
                assert_eq!(contents.len(), expected.len());
                for (actual, expected) in contents.iter().zip(expected) {
                    assert_eq!(actual.0, expected.0);
                    match &actual.1 {
                        Ok(_) => assert_eq!(actual.1, expected.1),
                        Err(_) => is_wrong = true,
                    }
                }
            }
        }
    }
    is_wrong
}

fn sealed_files(memory: &MemoryStorage) -> Vec<String> {
    let is_sealed = |name: &String| name.ends_with(".dtf") || name.ends_with(".bdf");
    memory.names().into_iter().filter(is_sealed).collect()
}

#[test]
fn every_flipped_bit_is_found_and_no_wrong_byte_is_read() {
    let (memory, generations) = make_repository();
    let sound = open(&memory);
    assert_eq!(verify(&sound, None).damages, []);
    let expected: Vec<_> = generations.iter().map(|id| read_all(&sound, *id).unwrap()).collect();
    let mut flip_count = 0;
    for name in sealed_files(&memory) {
        let bytes = memory.contents(&name).unwrap();
        for offset in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 1 << (offset % 8);
            memory.put(&name, &damaged);
            check_reading(&memory, &generations, &expected);
            let found = verify(&open(&memory), None);
            assert!(!found.is_sound(), "{name}: a flip at byte {offset} is not found");
            flip_count += 1;
        }
        memory.put(&name, &bytes);
    }
    assert!(flip_count > 4000, "only {flip_count} bytes");
    assert!(verify(&open(&memory), None).is_sound());
}

#[test]
fn files_that_are_cut_emptied_zeroed_or_gone_are_found() {
    let (memory, generations) = make_repository();
    let sound = open(&memory);
    let expected: Vec<_> = generations.iter().map(|id| read_all(&sound, *id).unwrap()).collect();
    for name in sealed_files(&memory) {
        let bytes = memory.contents(&name).unwrap();
        let mut damages: Vec<Vec<u8>> = vec![Vec::new(), vec![0; bytes.len()], [&bytes[..], b"x"].concat()];
        damages.extend((1..16).map(|part| bytes[..bytes.len() * part / 16].to_vec()));
        // A sector that never reached the disk.
        damages.extend((0..bytes.len() / 512).map(|sector| {
            let mut torn = bytes.clone();
            torn[sector * 512..(sector + 1) * 512].fill(0);
            torn
        }));
        for damaged in damages {
            if damaged == bytes {
                continue;
            }
            memory.put(&name, &damaged);
            check_reading(&memory, &generations, &expected);
            assert!(!verify(&open(&memory), None).is_sound(), "{name}: {} bytes", damaged.len());
        }
        memory.put(&name, &bytes);
        let copy = memory.after_kill();
        reelfs::storage::Storage::remove(&copy, &name).unwrap();
        assert!(!verify(&open(&copy), None).is_sound(), "{name} is missing");
    }
}

#[test]
fn a_last_generation_cut_at_any_byte_leaves_the_earlier_one_whole() {
    let (memory, generations) = make_repository();
    let sound = open(&memory);
    let first = generations[0];
    let expected = read_all(&sound, first).unwrap();
    let before = |name: &String| name.contains(".1.dtf") || name.starts_with("full/");
    for name in sealed_files(&memory).into_iter().filter(|name| !before(name)) {
        let bytes = memory.contents(&name).unwrap();
        for len in 0..bytes.len() {
            memory.put(&name, &bytes[..len]);
            let is_wrong = check_reading(&memory, &[first], std::slice::from_ref(&expected));
            assert!(!is_wrong, "{name}: a cut at byte {len} costs the first generation");
        }
        memory.put(&name, &bytes);
    }
}

#[test]
fn files_in_each_others_place_are_found() {
    let (memory, generations) = make_repository();
    let sound = open(&memory);
    let expected: Vec<_> = generations.iter().map(|id| read_all(&sound, *id).unwrap()).collect();
    let names = sealed_files(&memory);
    for one in &names {
        for other in names.iter().filter(|other| *other != one) {
            let copy = memory.after_kill();
            copy.put(one, &memory.contents(other).unwrap());
            check_reading(&copy, &generations, &expected);
            assert!(!verify(&open(&copy), None).is_sound(), "{one} holds {other}");
        }
    }
}

#[test]
fn an_unknown_format_version_is_refused_by_name() {
    let (memory, generations) = make_repository();
    for name in sealed_files(&memory) {
        let copy = memory.after_kill();
        let mut bytes = memory.contents(&name).unwrap();
        let header_len = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        bytes[8] = 2;
        let crc = reelfs::checksum::crc32(&[&bytes[..header_len - 4]]);
        bytes[header_len - 4..header_len].copy_from_slice(&crc.to_le_bytes());
        copy.put(&name, &bytes);
        let found = verify(&open(&copy), None);
        let is_told = found.damages.iter().any(|damage| damage.what.contains("format version 2"));
        assert!(is_told, "{name}: {:?}", found.damages);
    }
    assert_eq!(generations.len(), 2);
}

// Flips a byte in the middle of the data of the BDF that holds `needle` as it is.
fn damage_data(memory: &MemoryStorage, needle: &[u8]) -> String {
    for name in sealed_files(memory) {
        let mut bytes = memory.contents(&name).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at + needle.len() / 2] ^= 0x10;
            memory.put(&name, &bytes);
            return name;
        }
    }
    panic!("no BDF holds the data");
}

#[test]
fn damage_is_told_with_generation_path_and_range_and_the_rest_is_restored() {
    let source = tempdir().unwrap();
    fs::create_dir(source.path().join("dir")).unwrap();
    let large = random(7, 2 << 20);
    fs::write(source.path().join("dir/large"), &large).unwrap();
    fs::hard_link(source.path().join("dir/large"), source.path().join("dir/second")).unwrap();
    fs::write(source.path().join("other"), random(8, 100_000)).unwrap();
    let (memory, repository) = in_memory();
    let first = backup(&repository, None, source.path()).unwrap();
    fs::write(source.path().join("new"), b"new").unwrap();
    let second = backup(&repository, None, source.path()).unwrap();
    damage_data(&memory, &large[1_000_000..1_000_100]);
    let repository = open(&memory);
    let found = verify(&repository, None);
    assert!(found.damage_count > 0);
    let mut told: Vec<_> =
        found.affected.iter().map(|file| (file.generation, file.path.as_str(), file.ranges.len())).collect();
    told.sort();
    let expected =
        [first, second].map(|id| [(id.time, "/dir/large", 1), (id.time, "/dir/second", 1)]).concat();
    assert_eq!(told, expected);
    let (offset, len) = found.affected[0].ranges[0];
    assert!(offset <= 1_000_050 && 1_000_050 < offset + len && len <= 512 << 10, "{offset}+{len}");

    let target = tempdir().unwrap();
    let options = RestoreOptions { salvage: true, verify: true, ..RestoreOptions::default() };
    let summary = restore_with(&repository, second, "", target.path(), &options);
    assert_eq!((summary.damaged_count, summary.failed.count), (2, 0), "{summary:?}");
    assert_eq!(summary.damaged[0].ranges, [(offset, len)]);
    assert!(!target.path().join("dir/large").exists());
    let salvaged = fs::read(target.path().join("dir/large.damaged")).unwrap();
    let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + len).unwrap());
    assert_eq!((&salvaged[..start], &salvaged[end..]), (&large[..start], &large[end..]));
    assert!(salvaged[start..end].iter().all(|byte| *byte == 0));
    assert_eq!(fs::read(target.path().join("other")).unwrap(), random(8, 100_000));
    assert_eq!(fs::read(target.path().join("new")).unwrap(), b"new");
}

#[test]
fn frames_read_by_other_threads_leave_damage_where_it_is() {
    let source = tempdir().unwrap();
    let large = random(11, 3 << 20);
    fs::write(source.path().join("large"), &large).unwrap();
    let (memory, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    damage_data(&memory, &large[1_500_000..1_500_100]);
    let damaged = verify(&open(&memory), None).affected[0].ranges.clone();
    let [(damaged_offset, damaged_len)] = damaged[..] else { panic!("{damaged:?}") };
    for read_len in [10_000, 64 << 10, 1 << 20, 3 << 20] {
        let repository = open(&memory);
        repository.frames().start_read_ahead(2);
        let opened = repository.generation(generation.ordinal).unwrap();
        let root = reelfs::format::record::ROOT_OBJECT;
        let entry = opened.lookup(repository.pages(), root, b"large").unwrap().unwrap();
        let inode = match entry.inode {
            Some(inode) => inode,
            None => repository.inode(entry.node).unwrap(),
        };
        let content = repository.content(&inode).unwrap();
        for (index, expected) in large.chunks(read_len).enumerate() {
            let offset = (index * read_len) as u64;
            let is_damaged =
                offset < damaged_offset + damaged_len && damaged_offset < offset + expected.len() as u64;
            match content.read(offset, read_len) {
                Ok(bytes) => assert!(bytes == expected && !is_damaged, "{read_len} at {offset}"),
                Err(error) => assert!(error.is_damage() && is_damaged, "{read_len} at {offset}: {error}"),
            }
        }
    }
}

#[test]
fn the_next_backup_that_reads_the_file_heals_also_old_generations() {
    let source = tempdir().unwrap();
    let (small, large) = (random(9, 50_000), random(10, 1 << 20));
    fs::write(source.path().join("small"), &small).unwrap();
    fs::write(source.path().join("large"), &large).unwrap();
    let (memory, repository) = in_memory();
    let index_directory = tempdir().unwrap();
    let index = Arc::new(Index::open(index_directory.path()).unwrap());
    let first = backup(&repository, Some(&index), source.path()).unwrap();
    damage_data(&memory, &small[..64]);
    damage_data(&memory, &large[500_000..500_064]);
    let found = verify(&open(&memory), Some(&index));
    assert!(!found.is_sound());
    assert!(found.removed_from_index >= 2, "{found:?}");

    // The same content by the same name and under another one: RFE must not bring the damage back.
    fs::copy(source.path().join("small"), source.path().join("copy")).unwrap();
    let repository = open(&memory);
    let options = BackupOptions { checksum: true, ..BackupOptions::default() };
    let summary = try_backup(&repository, Some(&index), source.path(), &options).unwrap();
    let second = summary.committed.unwrap().id;
    let target = tempdir().unwrap();
    restore(&repository, second, target.path());
    for (name, content) in [("small", &small), ("copy", &small), ("large", &large)] {
        assert_eq!(fs::read(target.path().join(name)).unwrap(), *content, "{name}");
    }
    let options = RestoreOptions::default();
    let old = restore_with(&open(&memory), first, "", &target.path().join("old"), &options);
    assert_eq!(old.damaged_count, 2, "without the index nobody knows of another place");
    let repository = open(&memory);
    repository.set_chunk_locator(index.clone());
    restore(&repository, first, &target.path().join("healed"));
    assert_eq!(fs::read(target.path().join("healed/large")).unwrap(), large);
}

#[test]
fn the_next_backup_heals_what_is_known_to_be_damaged_though_nothing_changed() {
    let source = tempdir().unwrap();
    let (small, large, huge) = (random(9, 50_000), random(10, 1 << 20), random(11, 6 << 20));
    for (name, content) in [("small", &small), ("large", &large), ("huge", &huge)] {
        fs::write(source.path().join(name), content).unwrap();
    }
    fs::write(source.path().join("fine"), b"fine").unwrap();
    let (memory, repository) = in_memory();
    let index_directory = tempdir().unwrap();
    let index = Arc::new(Index::open(index_directory.path()).unwrap());
    let first = backup(&repository, Some(&index), source.path()).unwrap();
    damage_data(&memory, &small[..64]);
    damage_data(&memory, &large[500_000..500_064]);
    damage_data(&memory, &huge[5_000_000..5_000_064]);
    // Two are found by verification, and one again by a reader.
    let found = verify(&open(&memory), Some(&index));
    assert_eq!((found.affected_count, found.healed_count), (3, 0), "{found:?}");
    let affected = &found.affected_generations[..];
    assert!(affected.len() == 1 && affected[0].is_newest && affected[0].file_count == 3, "{affected:?}");
    assert_eq!(DamagedChunks::read(&memory).unwrap().iter().count(), 3);
    let noted: Vec<_> = memory.names().into_iter().filter(|name| name.starts_with("damaged/")).collect();
    for name in noted {
        memory.remove(&name).unwrap();
    }
    let _contents = read_all(&open(&memory), first).unwrap();
    assert_eq!(DamagedChunks::read(&memory).unwrap().iter().count(), 3);

    let repository = open(&memory);
    let summary = try_backup(&repository, Some(&index), source.path(), &BackupOptions::default()).unwrap();
    assert_eq!((summary.modified.files, summary.unchanged.files), (3, 1), "{summary:?}");
    let second = summary.committed.unwrap();
    assert!(second.added_bytes < 2 << 20, "only damaged chunks are stored: {}", second.added_bytes);
    let target = tempdir().unwrap();
    restore(&open(&memory), second.id, &target.path().join("second"));
    assert_eq!(fs::read(target.path().join("second/huge")).unwrap(), huge);
    assert!(DamagedChunks::read(&memory).unwrap().is_empty(), "all was healed");
    assert_eq!(backup(&open(&memory), Some(&index), source.path()), None, "nothing is read again");

    // With the index nobody is affected any more; without it the old generation, and only that.
    let found = verify(&open(&memory), Some(&index));
    assert!(!found.is_sound());
    assert_eq!((found.affected_count, found.healed_count), (0, 3), "{found:?}");
    let found = verify(&open(&memory), None);
    assert_eq!(found.affected_count, 3);
    assert!(found.affected.iter().all(|file| file.generation == first.time));
    assert!(!found.affected_generations[0].is_newest);
    // An index that is made again knows the good copies.
    let rebuilt = Arc::new(Index::open(&index_directory.path().join("rebuilt")).unwrap());
    reelfs::job::index::rebuild(&open(&memory), &rebuilt, &Progress::new()).unwrap();
    assert_eq!(verify(&open(&memory), Some(&rebuilt)).affected_count, 0);
    let repository = open(&memory);
    repository.set_chunk_locator(rebuilt);
    restore(&repository, first, &target.path().join("first"));
}

#[test]
fn a_backup_onto_a_damaged_tree_makes_a_baseline_of_its_own() {
    let source = tempdir().unwrap();
    make_tree(source.path());
    for number in 0..900 {
        fs::write(source.path().join(format!("dir/file-{number:04}")), random(number, 40)).unwrap();
    }
    let (memory, repository) = in_memory();
    backup(&repository, None, source.path()).unwrap();
    fs::write(source.path().join("two"), b"changed").unwrap();
    let name = sealed_files(&memory).into_iter().find(|name| name.ends_with(".dtf")).unwrap();
    let bytes = memory.contents(&name).unwrap();
    let (_, sound) = in_memory();
    let expected = backup(&sound, None, source.path()).unwrap();
    let expected = read_all(&sound, expected).unwrap();
    let mut fallback_count = 0;
    // Header, pages, footer and seal.
    for offset in (20..bytes.len()).step_by(bytes.len() / 12).chain([bytes.len() - 70, bytes.len() - 10]) {
        let copy = memory.after_kill();
        let mut damaged = bytes.clone();
        damaged[offset] ^= 4;
        copy.put(&name, &damaged);
        let summary = try_backup(&open(&copy), None, source.path(), &BackupOptions::default()).unwrap();
        let made = summary.committed.unwrap().id;
        if summary.baseline_reason.is_some() {
            fallback_count += 1;
            assert_eq!(summary.new.files, 903);
            // It stands alone.
            copy.remove(&name).unwrap();
        }
        assert!(read_all(&open(&copy), made).unwrap() == expected);
        assert_eq!(backup(&open(&copy), None, source.path()), None, "the next one builds on it");
    }
    assert!(fallback_count > 8, "{fallback_count}");
}

#[test]
fn leftovers_and_unused_data_are_no_damage() {
    let (memory, _) = make_repository();
    let names = sealed_files(&memory);
    let bdf = names.iter().find(|name| name.ends_with(".bdf")).unwrap();
    memory.put(&format!("clients/{}/x.partial", client()), b"half");
    let dtfs: Vec<_> = names.iter().filter(|name| name.ends_with(".dtf")).collect();
    for name in dtfs {
        // Removed on purpose.
        let removed = name.replace(".dtf", ".removed");
        reelfs::storage::Storage::rename(&memory, name, &removed).unwrap();
    }
    let found = verify(&open(&memory), None);
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.leftovers.len(), 1);
    assert!(found.unreferenced.contains(bdf));
}

#[test]
fn a_missing_tree_file_is_told_by_the_generations_that_point_into_it() {
    let source = tempdir().unwrap();
    for number in 0..3000 {
        fs::write(source.path().join(format!("file-{number:04}")), random(number, 40)).unwrap();
    }
    let (memory, repository) = in_memory();
    backup(&repository, None, source.path()).unwrap();
    fs::write(source.path().join("file-0000"), b"changed").unwrap();
    let second = backup(&repository, None, source.path()).unwrap();
    let first = sealed_files(&memory).into_iter().find(|name| name.ends_with(".1.dtf")).unwrap();
    reelfs::storage::Storage::remove(&memory, &first).unwrap();
    let repository = open(&memory);
    let found = verify(&repository, None);
    assert!(found.damage_count > 1, "{found:?}");
    assert!(found.affected_count > 1 && found.affected.iter().all(|file| file.generation == second.time));
    // What the second generation holds itself is readable.
    let target = tempdir().unwrap();
    let summary = restore_with(&repository, second, "", target.path(), &RestoreOptions::default());
    assert!(summary.failed.count > 0);
    assert_eq!(fs::read(target.path().join("file-0000")).unwrap(), b"changed");
}

#[test]
fn names_of_files_with_several_whose_records_cannot_be_read_are_affected_each() {
    let source = tempdir().unwrap();
    fs::create_dir(source.path().join("dir")).unwrap();
    for number in 0..3000 {
        let name = source.path().join(format!("file-{number:04}"));
        fs::write(&name, random(number, 40)).unwrap();
        fs::hard_link(&name, source.path().join(format!("dir/link-{number:04}"))).unwrap();
    }
    let (memory, repository) = in_memory();
    let made = backup(&repository, None, source.path()).unwrap();
    let generation = repository.generation(made.ordinal).unwrap();
    // A page between others, with nothing but such records.
    let object = generation.footer.next_linked / 2;
    let found = generation.tree(repository.pages()).get(&entry_key(object, b"")).unwrap().unwrap();
    let name = sealed_files(&memory).into_iter().find(|name| name.ends_with(".dtf")).unwrap();
    let mut bytes = memory.contents(&name).unwrap();
    bytes[usize::try_from(found.address().offset).unwrap() + 40] ^= 1;
    memory.put(&name, &bytes);
    let repository = open(&memory);
    let generation = repository.generation(made.ordinal).unwrap();
    let pages = repository.pages();
    let lost = (FIRST_LINKED_OBJECT..generation.footer.next_linked)
        .filter(|object| generation.object(pages, *object).is_err());
    let lost: HashSet<u64> = lost.collect();
    assert!((10..2000).contains(&lost.len()), "{}", lost.len());
    let summary = verify(&open(&memory), None);
    assert!(!summary.is_sound());
    assert_eq!(summary.affected_count, 2 * lost.len() as u64, "both names of each");
    // Those that are listed are those that lead to one of them.
    for file in &summary.affected {
        let path = file.path.trim_start_matches('/');
        let directory = generation.lookup(pages, ROOT_OBJECT, b"dir").unwrap().unwrap().node;
        let (directory, name) = match (path.strip_prefix("dir/"), directory) {
            (Some(name), Node::Object { object, .. }) => (object, name),
            _ => (ROOT_OBJECT, path),
        };
        let mut listing = generation.list_from(pages, directory, name.as_bytes());
        let entry = listing.next().unwrap().unwrap();
        let is_lost = matches!(entry.node, Node::Object { object, .. } if lost.contains(&object));
        assert!(entry.name == name.as_bytes() && is_lost, "{path}");
    }
}
