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
