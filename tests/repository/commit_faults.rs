//! A commit that is cut off or refused at any operation leaves the old state or the new one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reelfs::job::backup::{self, BackupOptions};
use reelfs::repo::{GenerationId, Repository};
use reelfs::storage::{Fault, MemoryStorage};
use tempfile::{TempDir, tempdir};

use crate::support::{
    Contents, backup, client, in_memory, inputs, open, random, read_all, try_backup, verify,
};

/// Storage with one generation, the source changed since, and what both generations hold.
struct Scene {
    source: TempDir,
    storage: MemoryStorage,
    contents: [Contents; 2],
}

fn change(root: &Path) {
    fs::write(root.join("dir/changed"), random(21, 30_000)).unwrap();
    fs::write(root.join("new"), random(22, 400_000)).unwrap();
    fs::rename(root.join("dir/old name"), root.join("new name")).unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::create_dir(root.join("made")).unwrap();
    fs::write(root.join("made/file"), b"file").unwrap();
}

fn scene() -> Scene {
    let source = tempdir().unwrap();
    let root = source.path();
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::create_dir_all(root.join("gone/deep")).unwrap();
    fs::write(root.join("dir/changed"), random(20, 30_000)).unwrap();
    fs::write(root.join("dir/old name"), b"renamed").unwrap();
    fs::write(root.join("gone/deep/file"), b"gone").unwrap();
    symlink("dir", root.join("link")).unwrap();
    let (storage, repository) = in_memory();
    let first = backup(&repository, None, root).unwrap();
    let before = read_all(&repository, first).unwrap();
    change(root);
    let trial = open(&storage.after_kill());
    let second = backup(&trial, None, root).unwrap();
    let after = read_all(&trial, second).unwrap();
    assert_ne!(before, after);
    Scene { source, storage, contents: [before, after] }
}

fn generations(repository: &Repository) -> Vec<GenerationId> {
    repository.generations(&client()).unwrap()
}

/// Opens what was left and expects old or new state, whole; then that the next backup works.
// Returns the BDFs that nothing points to.
fn check(scene: &Scene, image: &MemoryStorage, must_be_new: bool, what: &str) -> Vec<String> {
    let repository = open(image);
    let found = generations(&repository);
    assert!(found.len() == 2 || (found.len() == 1 && !must_be_new), "{what}: {found:?}");
    for (id, expected) in found.iter().zip(&scene.contents) {
        assert_eq!(read_all(&repository, *id).unwrap(), *expected, "{what}");
    }
    let next = backup(&repository, None, scene.source.path());
    assert_eq!(next.is_some(), found.len() == 1, "{what}: a backup adds what is missing and no more");
    let last = *generations(&repository).last().unwrap();
    assert_eq!(read_all(&repository, last).unwrap(), scene.contents[1], "{what}");
    let verified = verify(&open(image), None);
    assert!(verified.is_sound(), "{what}: {verified:?}");
    assert_eq!(verified.leftovers, Vec::<String>::new(), "{what}");
    verified.unreferenced
}

#[test]
fn a_commit_that_fails_at_any_operation_leaves_the_old_state_or_the_new_one() {
    let scene = scene();
    let trial = scene.storage.after_kill();
    trial.set_fault(u64::MAX, Fault::Stop);
    backup(&open(&trial), None, scene.source.path()).unwrap();
    let operation_count = trial.operation_count();
    assert!(operation_count > 15, "{operation_count}");
    for number in 1..=operation_count {
        for fault in [Fault::Stop, Fault::Once(libc::EIO), Fault::Full] {
            let what = format!("{fault:?} at operation {number} of {operation_count}");
            let storage = scene.storage.after_kill();
            let repository = open(&storage);
            storage.set_fault(number, fault);
            let options = BackupOptions::default();
            let result = try_backup(&repository, None, scene.source.path(), &options);
            let is_done = result.is_ok();
            if let Ok(summary) = result {
                assert!(summary.is_complete(), "{what}: a refusal of the storage is no skipped file");
            }
            storage.clear_fault();
            let orphans = check(&scene, &storage.after_kill(), is_done, &format!("{what}, killed"));
            assert!(orphans.is_empty(), "{what}, killed: {orphans:?}");
            let orphans = check(&scene, &storage.after_power_loss(), is_done, &format!("{what}, power lost"));
            assert!(orphans.len() <= 1, "{what}, power lost: {orphans:?}");
            if fault != Fault::Stop {
                let seen = generations(&repository).len();
                assert_eq!(seen, if is_done { 2 } else { 1 }, "{what}: failed means not there");
                // The same process tries again, with what it has in its caches.
                backup(&repository, None, scene.source.path());
                let orphans = check(&scene, &storage, true, &format!("{what}, tried again"));
                assert!(orphans.is_empty(), "{what}, tried again: {orphans:?}");
            }
        }
    }
}

#[test]
fn a_full_disk_gets_its_space_back() {
    let scene = scene();
    let names = scene.storage.names();
    for number in 1.. {
        let storage = scene.storage.after_kill();
        storage.set_fault(number, Fault::Full);
        let options = BackupOptions::default();
        if try_backup(&open(&storage), None, scene.source.path(), &options).is_ok() {
            assert!(number > 5, "no operation was refused");
            return;
        }
        assert_eq!(storage.names(), names, "operation {number}");
    }
}

#[test]
fn a_first_backup_that_is_cut_off_leaves_an_empty_repository() {
    let scene = scene();
    let (empty, _) = in_memory();
    for number in 1.. {
        let storage = empty.after_kill();
        storage.set_fault(number, Fault::Stop);
        let options = BackupOptions::default();
        let result = try_backup(&open(&storage), None, scene.source.path(), &options);
        for image in [storage.after_kill(), storage.after_power_loss()] {
            let repository = open(&image);
            let found = generations(&repository);
            assert_eq!(found.len(), usize::from(result.is_ok()).max(found.len()), "operation {number}");
            backup(&repository, None, scene.source.path());
            let last = *generations(&repository).last().unwrap();
            assert_eq!(read_all(&repository, last).unwrap(), scene.contents[1], "operation {number}");
        }
        if result.is_ok() {
            return;
        }
    }
}

#[test]
fn data_of_a_client_whose_writer_was_killed_is_removed_by_the_writer_of_another() {
    let scene = scene();
    for number in 1.. {
        let storage = scene.storage.after_kill();
        storage.set_fault(number, Fault::Stop);
        let result = try_backup(&open(&storage), None, scene.source.path(), &BackupOptions::default());
        storage.clear_fault();
        let left = storage.after_kill();
        let other = "web2".parse().unwrap();
        let small = tempdir().unwrap();
        let options = BackupOptions { always: true, ..BackupOptions::default() };
        let progress = reelfs::progress::Progress::new();
        backup::run(&open(&left), None, &other, small.path(), &options, inputs(), &progress).unwrap();
        let verified = verify(&open(&left), None);
        assert!(verified.is_sound(), "operation {number}: {verified:?}");
        assert!(verified.unreferenced.is_empty(), "operation {number}: {verified:?}");
        check(&scene, &left, result.is_ok(), &format!("operation {number}"));
        if result.is_ok() {
            return;
        }
    }
}

#[test]
fn data_that_a_later_generation_may_need_is_kept() {
    let scene = scene();
    let storage = scene.storage.after_kill();
    let last = generations(&open(&storage)).pop().unwrap();
    // As if its writer had been killed and another had come before this rule was.
    storage.put(&format!("clients/{}/2026-01-01T00-00-00Z.1.partial", client()), b"");
    assert_eq!(last.ordinal.get(), 1);
    backup(&open(&storage), None, scene.source.path()).unwrap();
    let verified = verify(&open(&storage), None);
    assert!(verified.is_sound() && verified.leftovers.is_empty(), "{verified:?}");
}
