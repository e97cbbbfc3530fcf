//! What is looked at one by one, in counts.

use std::fs;
use std::sync::Arc;

use reelfs::repo::staging::{Limits, OpenMode, ROOT, StagingError, StagingTree};

use super::commit::commit;
use super::support::{Place, caller, find, options};
use crate::support::{backup, client, random};

#[test]
fn at_the_cap_no_refused_write_looks_at_all_files() {
    let place = Place::new();
    let tree = place.create();
    for number in 0..400 {
        let name = format!("file{number}");
        let (_, handle) = tree.create_file(ROOT, name.as_bytes(), 0o644, caller(), None).unwrap();
        tree.write(&handle, 0, &random(number, 5000), false, caller()).unwrap();
    }
    // What was found while there was no cap is not what is known of later.
    tree.pending().unwrap();
    let (_, early) = tree.create_file(ROOT, b"early", 0o644, caller(), None).unwrap();
    tree.write(&early, 0, &[1; 1 << 20], false, caller()).unwrap();
    let looks_before = tree.looks().backing_files;
    let cap_bytes = 5 << 20;
    tree.set_limits(Limits { reserve_bytes: 0, cap_bytes });
    let (_, handle) = tree.create_file(ROOT, b"large", 0o644, caller(), None).unwrap();
    let mut written = 0;
    let mut refused_count = 0;
    while refused_count < 500 {
        match tree.write(&handle, written, &[1; 4096], false, caller()) {
            Ok(()) => written += 4096,
            Err(StagingError::NoSpace { what: "cap" }) => refused_count += 1,
            Err(error) => panic!("{error}"),
        }
        tree.space().unwrap();
    }
    let looks = tree.looks().backing_files - looks_before;
    assert!((400..5 * 402).contains(&looks), "{looks} looks at files for {refused_count} refused writes");
    let taken = || tree.pending().unwrap().backing_bytes;
    assert!((cap_bytes - 65_536..=cap_bytes).contains(&taken()), "{} bytes", taken());
    // Each way to give back is seen at once.
    tree.truncate(handle.number(), 4096, caller()).unwrap();
    assert!(tree.space().unwrap().available_bytes > written - 65_536);
    tree.write(&handle, 0, &[1; 65_536], false, caller()).unwrap();
    for number in 0..300 {
        tree.unlink(ROOT, format!("file{number}").as_bytes(), caller()).unwrap();
    }
    while tree.reclaim().unwrap() {}
    let available = tree.space().unwrap().available_bytes;
    assert!(available > written + 200 * 8192 - (1 << 17), "{available}");
    // What is written over again and again takes nothing, however much it is.
    for _ in 0..100 {
        tree.write(&handle, 0, &[2; 1 << 20], false, caller()).unwrap();
    }
    // The thread that watches puts right what was added up wrong, and comes to rest.
    for _ in 0..10 {
        tree.watch_space().unwrap();
    }
    let looks = tree.looks().backing_files;
    tree.watch_space().unwrap();
    assert_eq!(tree.looks().backing_files, looks);
    let available = tree.space().unwrap().available_bytes;
    assert!(available.abs_diff(cap_bytes - taken()) <= 8192, "{available}, {} taken", taken());
}

#[test]
fn no_name_that_is_made_at_the_cap_waits_for_a_look_at_all_files() {
    let place = Place::new();
    let tree = place.create();
    let (_, handle) = tree.create_file(ROOT, b"file", 0o644, caller(), None).unwrap();
    let cap_bytes = 4 << 20;
    tree.set_limits(Limits { reserve_bytes: 0, cap_bytes });
    // What takes nothing, as it is written over again and again, is added up until somebody looks.
    let write_over = || tree.write(&handle, 0, &[1; 65_536], false, caller()).unwrap();
    while !tree.must_look(65_536) {
        write_over();
    }
    let looks = || tree.looks().backing_files;
    let before = looks();
    for number in 0..100 {
        tree.make_directory(ROOT, format!("directory{number}").as_bytes(), 0o755, caller()).unwrap();
        tree.make_symlink(ROOT, format!("link{number}").as_bytes(), b"nowhere", caller()).unwrap();
    }
    assert_eq!(looks(), before, "no name was looked for");
    assert!(tree.must_look(65_536), "it is as unknown as before");
    write_over();
    assert!(looks() > before, "a write looks before it is refused");
    assert!(!tree.must_look(65_536));
    // Where it is known that there is no room, no name is made.
    let mut at = 0;
    while tree.write(&handle, at, &[1; 65_536], false, caller()).is_ok() {
        at += 65_536;
    }
    let small = (0..1 << 20).map_while(|_| {
        let written = tree.write(&handle, at, &[1; 4096], false, caller());
        at += 4096;
        written.ok()
    });
    assert!(small.count() < 100);
    let refused = (0..100).find_map(|number| {
        tree.make_directory(ROOT, format!("more{number}").as_bytes(), 0o755, caller()).err()
    });
    assert!(matches!(refused, Some(StagingError::NoSpace { what: "cap" })), "{refused:?}");
}

#[test]
fn setting_a_length_tells_beforehand_whether_it_copies_layers() {
    let place = Place::new();
    let tree = place.create();
    let (entry, handle) = tree.create_file(ROOT, b"file", 0o644, caller(), None).unwrap();
    let number = entry.number();
    tree.write(&handle, 0, &random(1, 1 << 20), false, caller()).unwrap();
    let mut expected = random(1, 1 << 20);
    let mut round = 0;
    // A commit is being made, and those before it failed.
    let frozen = loop {
        assert!(!tree.copies_for_length(number, 500_000));
        let frozen = tree.freeze().unwrap();
        if tree.copies_for_length(number, 500_000) {
            break frozen;
        }
        let bytes = random(round, 4096);
        tree.write(&handle, round * 8192, &bytes, false, caller()).unwrap();
        let at = usize::try_from(round * 8192).unwrap();
        expected[at..at + 4096].copy_from_slice(&bytes);
        assert!(!tree.copies_for_length(number, 500_000), "it was written since the freeze");
        frozen.abandon().unwrap();
        round += 1;
        assert!(round < 100, "a file has few layers");
    };
    assert!(round > 2, "only one with many layers is copied");
    assert!(!tree.copies_for_length(number, 0), "nothing is left to copy");
    // Whether somebody has it open or not.
    drop(handle);
    assert!(tree.copies_for_length(number, 500_000));
    tree.truncate(number, 500_000, caller()).unwrap();
    assert!(!tree.copies_for_length(number, 400_000), "it has been");
    let handle = tree.open_file(number, false, false, caller()).unwrap();
    assert!(tree.read(&handle, 0, 1 << 20).unwrap() == expected[..500_000]);
    frozen.abandon().unwrap();
}

#[test]
fn after_a_takeover_the_base_is_searched_for_no_name_that_can_be_looked_up_and_once_for_all_others() {
    let place = Place::new();
    let count = 300;
    for number in 0..count {
        fs::write(place.source().join(format!("file{number}")), random(number, 100)).unwrap();
    }
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let numbers: Vec<u64> = (0..count).map(|number| find(&tree, &format!("file{number}"))).collect();
    drop(tree);
    let repository = Arc::clone(&place.repository);
    let tree = StagingTree::open(repository, &client(), &options(OpenMode::Takeover)).unwrap();
    let open = |number: u64| tree.open_file(number, false, false, caller()).unwrap();
    for (index, number) in numbers[..100].iter().enumerate() {
        assert!(tree.must_search(*number).unwrap());
        // The kernel looks the name up again.
        assert_eq!(tree.lookup(ROOT, format!("file{index}").as_bytes()).unwrap().number(), *number);
        assert!(!tree.must_search(*number).unwrap());
        open(*number);
    }
    assert_eq!(tree.looks().base_records, 0);
    // Of what was open only the numbers are known.
    tree.search_all(&numbers[100..200]).unwrap();
    let once = tree.looks().base_records;
    assert!((1..=count + 1).contains(&once), "{once}");
    for number in &numbers[100..200] {
        assert_eq!(tree.read(&open(*number), 0, 200).unwrap().len(), 100);
        tree.attributes(*number).unwrap();
    }
    assert_eq!(tree.looks().base_records, once);
    // One by one, what was found is known as well.
    open(numbers[200]);
    let twice = tree.looks().base_records;
    assert!(twice > once);
    open(numbers[200]);
    tree.attributes(numbers[200]).unwrap();
    assert_eq!(tree.looks().base_records, twice);
    // It moves, and is found where it is then.
    tree.rename((ROOT, b"file200"), (ROOT, b"moved"), reelfs::repo::staging::RenameMode::Replace, caller())
        .unwrap();
    open(numbers[200]);
    assert_eq!(tree.looks().base_records, twice);
}

#[test]
fn after_a_takeover_files_that_were_committed_are_not_searched_for_who_may_still_write_them() {
    let place = Place::new();
    let tree = place.create();
    for number in 0..200 {
        let name = format!("file{number}");
        let (_, handle) = tree.create_file(ROOT, name.as_bytes(), 0o644, caller(), None).unwrap();
        tree.write(&handle, 0, b"content", false, caller()).unwrap();
        // Its note stays until there are enough of them to be removed together.
        tree.begin_passthrough(&handle).unwrap().unwrap();
    }
    commit(&place.repository, tree.freeze().unwrap());
    drop(tree);
    let repository = Arc::clone(&place.repository);
    let tree = StagingTree::open(repository, &client(), &options(OpenMode::Takeover)).unwrap();
    assert_eq!(tree.writers().unwrap().len(), 0);
    assert_eq!(tree.looks().base_records, 0);
}
