//! What is hard: writes that nobody can hold back, processes and machines that stop, no space, many threads.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reelfs::repo::staging::{
    FrozenChange, FrozenContent, FrozenEpoch, FrozenTarget, Limits, OpenMode, ROOT, RenameMode,
    SetAttributes, StagingError, StagingTree, Synced,
};

use super::commit::{commit, write};
use super::support::{Place, caller, file_count, find, names, options, read};
use crate::support::{backup, client, random};

fn content_of(frozen: &FrozenEpoch<'_>, wanted: u64) -> Option<FrozenContent> {
    frozen.changes().find_map(|change| match change.unwrap() {
        FrozenChange::Entry { target: FrozenTarget::Object(object), .. } if object.number == wanted => {
            object.content
        }
        FrozenChange::Linked { file, .. } if file.number == wanted => file.content,
        _ => None,
    })
}

fn open_with(place: &Place, mode: OpenMode, boot: &[u8]) -> StagingTree {
    let options = reelfs::repo::staging::StagingOptions { boot: boot.to_vec(), ..options(mode) };
    StagingTree::open(Arc::clone(&place.repository), &client(), &options).unwrap()
}

#[test]
fn what_the_kernel_writes_directly_is_committed_as_at_the_freeze_and_stays_pending() {
    let place = Place::new();
    let tree = place.create();
    let (entry, handle) = tree.create_file(ROOT, b"log", 0o644, caller(), None).unwrap();
    let backing = tree.begin_passthrough(&handle).unwrap().expect("a new file is plain");
    backing.write_all_at(b"before", 0).unwrap();
    let frozen = tree.freeze().unwrap();
    let content = content_of(&frozen, entry.number()).unwrap();
    assert!(content.open_for_writing && !content.is_moved().unwrap());
    backing.write_all_at(b"after the freeze", 6).unwrap();
    assert_eq!((content.size, content.read(0, 100).unwrap()), (6, b"before".to_vec()));
    drop(content);
    assert_eq!(tree.attributes(entry.number()).unwrap().size, 22);
    commit(&place.repository, frozen);
    // Still the same backing file: a kernel that has it open goes on.
    backing.write_all_at(b"!", 22).unwrap();
    assert_eq!(read(&tree, "log"), b"beforeafter the freeze!");
    assert!(tree.is_changed().unwrap());
    drop(handle);
    commit(&place.repository, tree.freeze().unwrap());
    assert!(!tree.is_changed().unwrap());
    assert_eq!(read(&tree, "log"), b"beforeafter the freeze!");
}

// Has the kernel overwrite and cut a file after a freeze. Returns whether the freeze had it as it was.
fn is_held(place: &Place, tree: &StagingTree, name: &[u8], len: u64) -> bool {
    let (entry, handle) = tree.create_file(ROOT, name, 0o644, caller(), None).unwrap();
    let backing = tree.begin_passthrough(&handle).unwrap().expect("a new file is plain");
    let bytes = random(17, usize::try_from(len).unwrap());
    backing.write_all_at(&bytes, 0).unwrap();
    let status =
        |file: &fs::File| (file.metadata().unwrap().modified().unwrap(), file.metadata().unwrap().len());
    let before = status(&backing);
    let frozen = tree.freeze().unwrap();
    let content = content_of(&frozen, entry.number()).unwrap();
    assert_eq!(status(&backing), before, "a freeze leaves no trace");
    assert!(!content.is_moved().unwrap());
    backing.write_all_at(b"overwritten", 1 << 20).unwrap();
    backing.set_len(2 << 20).unwrap();
    let is_held = !content.is_moved().unwrap();
    if is_held {
        assert_eq!(content.size, len);
        assert!(content.read(0, bytes.len()).unwrap() == bytes);
    }
    drop(content);
    commit(&place.repository, frozen);
    assert_eq!(tree.attributes(entry.number()).unwrap().size, 2 << 20, "staging goes on");
    is_held
}

#[test]
fn what_the_kernel_overwrites_after_the_freeze_is_not_in_it_or_that_is_known() {
    let place = Place::new();
    let tree = place.create();
    // On a busy machine it may take too long, now and then.
    let mut names = (0..20).map(|number| format!("short {number}"));
    let is_ever_held = names.any(|name| is_held(&place, &tree, name.as_bytes(), 5 << 20));
    assert_eq!(is_ever_held, place.holds_writes());
    assert!(!is_held(&place, &tree, b"long", 33 << 20));
}

#[test]
fn a_freeze_between_the_word_that_the_kernel_may_write_and_its_opening_loses_no_write() {
    let place = Place::new();
    let tree = place.create();
    let (entry, handle) = tree.create_file(ROOT, b"log", 0o644, caller(), None).unwrap();
    let (_, late) = tree.create_file(ROOT, b"late", 0o644, caller(), None).unwrap();
    // The kernel is told of the file, which takes its time.
    let backing = tree.begin_passthrough(&handle).unwrap().unwrap();
    let frozen = tree.freeze().unwrap();
    assert!(content_of(&frozen, entry.number()).unwrap().open_for_writing);
    assert!(tree.begin_passthrough(&late).unwrap().is_none() && !late.is_passthrough());
    let ordinal = write(&place.repository, &frozen, true);
    frozen.finish(ordinal).unwrap();
    while tree.reclaim().unwrap() {}
    backing.write_all_at(b"written after the commit", 0).unwrap();
    assert_eq!(read(&tree, "log"), b"written after the commit");
    // One that it does not take after all is like any other.
    handle.end_passthrough();
    let frozen = tree.freeze().unwrap();
    assert!(!content_of(&frozen, entry.number()).unwrap().open_for_writing);
}

#[test]
fn a_database_and_what_lies_over_a_base_is_never_written_directly() {
    let place = Place::new();
    fs::write(place.source().join("old"), random(3, 10_000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let (_, database) = tree.create_file(ROOT, b"a.sqlite", 0o644, caller(), None).unwrap();
    assert!(database.passthrough().is_none() && database.is_direct());
    let old = tree.open_file(find(&tree, "old"), true, false, caller()).unwrap();
    assert!(old.passthrough().is_none() && !old.is_direct());
    tree.write(&old, 1, b"x", false, caller()).unwrap();
    assert!(old.passthrough().is_none());
    let old = tree.open_file(find(&tree, "old"), true, true, caller()).unwrap();
    assert!(old.passthrough().is_some(), "emptied, nothing lies below");
    let frozen = tree.freeze().unwrap();
    assert!(old.passthrough().is_none(), "a commit reads it");
    drop(frozen);
    assert!(old.passthrough().is_some());
}

#[test]
fn after_a_takeover_numbers_that_were_given_out_still_work() {
    let place = Place::new();
    fs::write(place.source().join("base"), b"base").unwrap();
    fs::hard_link(place.source().join("base"), place.source().join("second")).unwrap();
    fs::create_dir(place.source().join("directory")).unwrap();
    fs::write(place.source().join("directory/untouched"), b"untouched").unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let directory = find(&tree, "directory");
    let untouched = tree.lookup(directory, b"untouched").unwrap().number();
    let (new, handle) = tree.create_file(directory, b"new", 0o644, caller(), None).unwrap();
    tree.write(&handle, 0, b"new", false, caller()).unwrap();
    let (gone, gone_handle) = tree.create_file(ROOT, b"gone", 0o644, caller(), None).unwrap();
    tree.write(&gone_handle, 0, b"open", false, caller()).unwrap();
    tree.unlink(ROOT, b"gone", caller()).unwrap();
    let base = find(&tree, "base");
    // A kill: handles and look-ups are the kernel's from here on.
    drop((tree, handle, gone_handle));
    let tree = open_with(&place, OpenMode::Takeover, b"boot");
    for (number, content) in
        [(untouched, &b"untouched"[..]), (new.number(), b"new"), (gone.number(), b"open"), (base, b"base")]
    {
        let handle = tree.open_file(number, true, false, caller()).unwrap();
        assert_eq!(tree.read(&handle, 0, 100).unwrap(), content);
        tree.write(&handle, 0, b"B", false, caller()).unwrap();
        tree.set_attributes(
            number,
            &SetAttributes { permissions: Some(0o600), ..Default::default() },
            caller(),
        )
        .unwrap();
    }
    assert_eq!(tree.attributes(gone.number()).unwrap().link_count, 0);
    assert_eq!(read(&tree, "directory/untouched"), b"Bntouched");
    assert_eq!(find(&tree, "directory/untouched"), untouched);
    assert_eq!(read(&tree, "second"), b"Base");
    assert!(matches!(tree.attributes((1 << 51) | 12_345), Err(StagingError::Stale { .. })));
    drop(tree);
    let tree = open_with(&place, OpenMode::Fresh, b"boot");
    assert!(matches!(tree.attributes(gone.number()), Err(StagingError::Stale { .. })));
    while tree.reclaim().unwrap() {}
    assert_eq!(file_count(&place.staging().join("data")), 3);
}

#[test]
fn regions_are_not_trusted_after_the_machine_stopped_without_closing() {
    let place = Place::new();
    fs::write(place.source().join("file"), random(4, 100_000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let number = find(&tree, "file");
    let touch = |tree: &StagingTree, offset| {
        let handle = tree.open_file(number, true, false, caller()).unwrap();
        tree.write(&handle, offset, b"touched", false, caller()).unwrap();
    };
    touch(&tree, 10);
    let is_trusted = |tree: &StagingTree| content_of(&tree.freeze().unwrap(), number).unwrap().trusted;
    assert!(is_trusted(&tree));
    drop(tree);
    let tree = open_with(&place, OpenMode::Fresh, b"boot");
    assert!(is_trusted(&tree), "the process was killed, the machine runs on");
    drop(tree);
    let tree = open_with(&place, OpenMode::Fresh, b"another boot");
    assert!(!is_trusted(&tree));
    commit(&place.repository, tree.freeze().unwrap());
    touch(&tree, 50_000);
    assert!(is_trusted(&tree), "written since");
    tree.close().unwrap();
    let tree = open_with(&place, OpenMode::Fresh, b"a third boot");
    assert!(is_trusted(&tree), "it was closed");
}

#[test]
fn a_backing_file_that_power_took_leaves_the_base_and_new_files_empty() {
    let place = Place::new();
    fs::write(place.source().join("old"), random(5, 50_000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let old = tree.open_file(find(&tree, "old"), true, false, caller()).unwrap();
    tree.write(&old, 20_000, b"lost", false, caller()).unwrap();
    let (_, new) = tree.create_file(ROOT, b"new", 0o644, caller(), None).unwrap();
    tree.write(&new, 0, b"lost", false, caller()).unwrap();
    let (_, kept) = tree.create_file(ROOT, b"kept", 0o644, caller(), None).unwrap();
    tree.write(&kept, 0, b"kept", false, caller()).unwrap();
    let kept_number = kept.number();
    tree.sync_object(kept_number, Synced::Data).unwrap();
    drop((tree, old, new, kept));
    let data = place.staging().join("data");
    for group in fs::read_dir(&data).unwrap() {
        for file in fs::read_dir(group.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            if fs::read(&file).unwrap() != b"kept" {
                fs::remove_file(file).unwrap();
            }
        }
    }
    let tree = open_with(&place, OpenMode::Fresh, b"another boot");
    assert_eq!(read(&tree, "old"), random(5, 50_000));
    assert_eq!(read(&tree, "new"), b"");
    assert_eq!(read(&tree, "kept"), b"kept");
    commit(&place.repository, tree.freeze().unwrap());
    assert_eq!(read(&tree, "old"), random(5, 50_000));
}

#[test]
fn a_full_disk_is_told_early_and_a_commit_or_discard_is_still_possible() {
    let place = Place::new();
    let tree = place.create();
    let (_, handle) = tree.create_file(ROOT, b"file", 0o644, caller(), None).unwrap();
    tree.write(&handle, 0, &[1; 100_000], false, caller()).unwrap();
    tree.set_limits(Limits { reserve_bytes: u64::MAX / 2, cap_bytes: u64::MAX });
    let refused = |error| matches!(error, StagingError::NoSpace { .. });
    assert!(tree.write(&handle, 0, b"x", false, caller()).is_err_and(refused));
    assert!(tree.create_file(ROOT, b"other", 0o644, caller(), None).is_err_and(refused));
    assert!(tree.make_directory(ROOT, b"directory", 0o755, caller()).is_err_and(refused));
    assert_eq!(tree.space().unwrap().available_bytes, 0);
    // What frees space, and a commit, go on.
    tree.truncate(handle.number(), 10, caller()).unwrap();
    tree.rename((ROOT, b"file"), (ROOT, b"moved"), RenameMode::Replace, caller()).unwrap();
    commit(&place.repository, tree.freeze().unwrap());
    tree.unlink(ROOT, b"moved", caller()).unwrap();
    tree.discard().unwrap();
    assert_eq!(names(&tree, ROOT), ["moved"]);
    assert_eq!(read(&tree, "moved"), [1; 10]);
}

#[test]
fn a_client_takes_no_more_than_its_cap() {
    let place = Place::new();
    let tree = place.create();
    tree.set_limits(Limits { reserve_bytes: 0, cap_bytes: 1 << 20 });
    let (_, handle) = tree.create_file(ROOT, b"file", 0o644, caller(), None).unwrap();
    let mut written = 0;
    let refusal = loop {
        match tree.write(&handle, written, &[1; 65_536], false, caller()) {
            Ok(()) => written += 65_536,
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, StagingError::NoSpace { what: "cap" }));
    assert!((917_504..=1 << 20).contains(&written), "{written}");
    drop(handle);
    tree.unlink(ROOT, b"file", caller()).unwrap();
    while tree.reclaim().unwrap() {}
    let (_, handle) = tree.create_file(ROOT, b"file", 0o644, caller(), None).unwrap();
    tree.write(&handle, 0, &[1; 65_536], false, caller()).unwrap();
}

#[test]
fn what_a_commit_leaves_out_stays_pending() {
    let place = Place::new();
    fs::write(place.source().join("old"), random(6, 50_000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let number = find(&tree, "old");
    let handle = tree.open_file(number, true, false, caller()).unwrap();
    tree.write(&handle, 5000, b"kept", false, caller()).unwrap();
    let frozen = tree.freeze().unwrap();
    frozen.keep(number).unwrap();
    // Written again before the commit ends: over the frozen layer, which the generation does not have.
    tree.write(&handle, 30_000, b"since", false, caller()).unwrap();
    let ordinal = write(&place.repository, &frozen, true);
    frozen.finish(ordinal).unwrap();
    assert!(tree.is_changed().unwrap());
    let mut expected = random(6, 50_000);
    expected[5000..5004].copy_from_slice(b"kept");
    expected[30_000..30_005].copy_from_slice(b"since");
    assert_eq!(read(&tree, "old"), expected);
    assert_eq!(tree.read(&handle, 0, 60_000).unwrap(), expected);
    drop((tree, handle));
    let tree = place.open();
    assert_eq!(read(&tree, "old"), expected);
    let frozen = tree.freeze().unwrap();
    assert_eq!(content_of(&frozen, number).unwrap().read(0, 60_000).unwrap(), expected);
}

#[test]
fn an_unnamed_file_gets_a_name_and_a_file_without_one_goes_with_its_last_user() {
    let place = Place::new();
    let tree = place.create();
    let (entry, handle) = tree.create_unnamed(ROOT, 0o600, caller()).unwrap();
    tree.write(&handle, 0, b"unnamed", false, caller()).unwrap();
    assert_eq!(tree.attributes(entry.number()).unwrap().link_count, 0);
    commit(&place.repository, tree.freeze().unwrap());
    tree.write(&handle, 7, b"!", false, caller()).unwrap();
    tree.link(entry.number(), ROOT, b"named", caller()).unwrap();
    assert_eq!(read(&tree, "named"), b"unnamed!");
    commit(&place.repository, tree.freeze().unwrap());
    assert_eq!((find(&tree, "named"), read(&tree, "named")), (entry.number(), b"unnamed!".to_vec()));
    let (other, handle) = tree.create_unnamed(ROOT, 0o600, caller()).unwrap();
    tree.forget(other.number(), 1);
    drop(handle);
    while tree.reclaim().unwrap() {}
    assert_eq!(file_count(&place.staging().join("data")), 0);
}

#[test]
fn a_freeze_is_of_one_moment_while_threads_write() {
    let place = Place::new();
    fs::write(place.source().join("base"), vec![0; 1 << 20]).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = Arc::new(place.create());
    let stop = Arc::new(AtomicBool::new(false));
    let base = find(&tree, "base");
    // Each round writes one byte value all over a block, then into the other file: no freeze may see the
    // second without the first.
    let (entry, _) = tree.create_file(ROOT, b"second.db", 0o644, caller(), None).unwrap();
    let second = entry.number();
    let writer = {
        let (tree, stop) = (Arc::clone(&tree), Arc::clone(&stop));
        std::thread::spawn(move || {
            let now = caller();
            let handles = [base, second].map(|number| tree.open_file(number, true, false, now).unwrap());
            let mut round = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                for handle in &handles {
                    tree.write(handle, 8192, &round.to_le_bytes(), false, now).unwrap();
                }
            }
            round
        })
    };
    let value = |frozen: &FrozenEpoch<'_>, number| {
        let bytes =
            content_of(frozen, number).map(|content| content.read(8192, 4).unwrap()).unwrap_or_default();
        bytes.try_into().map_or(0, u32::from_le_bytes)
    };
    for round in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let frozen = tree.freeze().unwrap();
        let (first, then) = (value(&frozen, base), value(&frozen, second));
        if first > 0 && then > 0 {
            assert!(first == then || first == then + 1, "{first}, {then}");
        }
        let again = (value(&frozen, base), value(&frozen, second));
        assert_eq!((first, then), again, "frozen");
        if round % 2 == 0 {
            drop(frozen)
        } else {
            commit(&place.repository, frozen);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let last = writer.join().unwrap();
    assert_eq!(read(&tree, "base")[8192..8196], last.to_le_bytes());
    assert_eq!(read(&tree, "second.db")[8192..8196], last.to_le_bytes());
}

#[test]
fn after_a_takeover_direct_writes_of_the_kernel_are_not_lost_by_a_commit() {
    let place = Place::new();
    let tree = place.create();
    let prepared = tree.prepare_file().unwrap();
    let (entry, handle) = tree.create_file(ROOT, b"log", 0o644, caller(), Some(prepared)).unwrap();
    let backing = tree.begin_passthrough(&handle).unwrap().unwrap();
    backing.write_all_at(b"one ", 0).unwrap();
    drop((tree, handle));
    let tree = open_with(&place, OpenMode::Takeover, b"boot");
    let frozen = tree.freeze().unwrap();
    backing.write_all_at(b"two ", 4).unwrap();
    let ordinal = write(&place.repository, &frozen, true);
    frozen.finish(ordinal).unwrap();
    while tree.reclaim().unwrap() {}
    backing.write_all_at(b"three", 8).unwrap();
    assert_eq!(read(&tree, "log"), b"one two three");
    // The kernel closes the file, and forgets it.
    tree.forget(entry.number(), 1);
    commit(&place.repository, tree.freeze().unwrap());
    assert!(!tree.is_changed().unwrap());
    assert_eq!(read(&tree, "log"), b"one two three");
}

fn only_backing_file(place: &Place) -> fs::File {
    let group = fs::read_dir(place.staging().join("data")).unwrap();
    let mut files: Vec<_> = group.flat_map(|group| fs::read_dir(group.unwrap().path()).unwrap()).collect();
    assert_eq!(files.len(), 1);
    fs::OpenOptions::new().write(true).open(files.remove(0).unwrap().path()).unwrap()
}

#[test]
fn a_truncation_that_a_kill_cut_short_does_not_bring_back_the_base() {
    let place = Place::new();
    fs::write(place.source().join("file"), random(7, 50_000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let number = find(&tree, "file");
    let handle = tree.open_file(number, true, false, caller()).unwrap();
    tree.write(&handle, 45_000, b"x", false, caller()).unwrap();
    drop((tree, handle));
    only_backing_file(&place).set_len(1000).unwrap();
    let tree = place.open();
    assert_eq!(read(&tree, "file"), random(7, 50_000)[..1000]);
    tree.truncate(number, 40_000, caller()).unwrap();
    drop(tree);
    let mut expected = random(7, 50_000)[..1000].to_vec();
    expected.resize(40_000, 0);
    assert_eq!(read(&place.open(), "file"), expected);
}

#[test]
fn a_length_that_power_took_does_not_cut_the_base() {
    let place = Place::new();
    fs::write(place.source().join("file"), random(8, 50_000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let handle = tree.open_file(find(&tree, "file"), true, false, caller()).unwrap();
    tree.write(&handle, 10, b"x", false, caller()).unwrap();
    drop((tree, handle));
    only_backing_file(&place).set_len(0).unwrap();
    let tree = open_with(&place, OpenMode::Fresh, b"another boot");
    assert_eq!(read(&tree, "file"), random(8, 50_000));
}

#[test]
fn a_discard_brings_back_an_open_file_that_was_unlinked() {
    let place = Place::new();
    fs::write(place.source().join("one"), random(9, 5000)).unwrap();
    fs::hard_link(place.source().join("one"), place.source().join("two")).unwrap();
    fs::write(place.source().join("single"), random(10, 5000)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let handles =
        ["one", "single"].map(|name| tree.open_file(find(&tree, name), true, false, caller()).unwrap());
    handles.iter().for_each(|handle| tree.write(handle, 0, b"changed", false, caller()).unwrap());
    ["one", "two", "single"].iter().for_each(|name| {
        tree.unlink(ROOT, name.as_bytes(), caller()).unwrap();
    });
    tree.discard().unwrap();
    assert!(matches!(tree.read(&handles[0], 0, 10), Err(StagingError::Stale { .. })));
    assert_eq!((read(&tree, "two"), read(&tree, "single")), (random(9, 5000), random(10, 5000)));
    drop(handles);
    while tree.reclaim().unwrap() {}
    assert_eq!((read(&tree, "one"), read(&tree, "single")), (random(9, 5000), random(10, 5000)));
    assert!(!tree.is_changed().unwrap());
    assert_eq!(file_count(&place.staging().join("data")), 0);
}
