//! Where listings go on.

use std::fs;

use reelfs::repo::staging::{
    FIRST_COOKIE, Listing, OpenMode, ROOT, RenameMode, StagingError, StagingTree, cookie_of,
};

use super::commit::commit;
use super::support::{Place, caller, options};
use crate::support::{backup, client};

// The next names, at most so many, and the cookie behind the last.
fn next(tree: &StagingTree, listing: &mut Listing, cookie: u64, count: usize) -> (Vec<String>, u64) {
    let (mut names, mut last) = (Vec::new(), cookie);
    tree.list(listing, cookie, false, &mut |entry| {
        if names.len() == count {
            return false;
        }
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        last = entry.cookie;
        true
    })
    .unwrap();
    (names, last)
}

fn make(tree: &StagingTree, name: &str) {
    tree.create_file(ROOT, name.as_bytes(), 0o644, caller(), None).unwrap();
}

fn place_with_base() -> Place {
    let place = Place::new();
    for name in ["b", "d", "f", "h"] {
        fs::write(place.source().join(name), name).unwrap();
    }
    backup(&place.repository, None, &place.source());
    place
}

#[test]
fn a_listing_goes_on_behind_a_name_whoever_gave_it_out_and_whether_it_is_there() {
    let place = place_with_base();
    let tree = place.create();
    for name in ["a", "c", "e", "g"] {
        make(&tree, name);
    }
    let mut first = tree.open_directory(ROOT).unwrap();
    let (names, cookie) = next(&tree, &mut first, FIRST_COOKIE, 4);
    assert_eq!((names.join(""), cookie), ("abcd".to_owned(), cookie_of(b"d")));
    // Names before and behind come and go, that of the cookie too.
    for name in [b"a", b"d"] {
        tree.unlink(ROOT, name, caller()).unwrap();
    }
    make(&tree, "aa");
    let mut second = tree.open_directory(ROOT).unwrap();
    for listing in [&mut first, &mut second] {
        let (names, _) = next(&tree, listing, cookie, 9);
        assert_eq!(names.join(""), "efgh");
    }
    // A commit changes what is below.
    commit(&place.repository, tree.freeze().unwrap());
    let mut third = tree.open_directory(ROOT).unwrap();
    let (names, _) = next(&tree, &mut third, cookie, 2);
    assert_eq!(names.join(""), "ef");
    let (again, _) = next(&tree, &mut third, cookie, 9);
    assert_eq!(again.join(""), "efgh");
    let (back, _) = next(&tree, &mut third, cookie_of(b"b"), 9);
    assert_eq!(back.join(""), "cefgh");
}

#[test]
fn names_of_the_last_answer_lead_a_listing_of_another_process_on() {
    let place = place_with_base();
    let tree = place.create();
    make(&tree, "c");
    let mut listing = tree.open_directory(ROOT).unwrap();
    let (_, cookie) = next(&tree, &mut listing, FIRST_COOKIE, 1);
    let (names, last) = next(&tree, &mut listing, cookie, 2);
    assert_eq!(names.join(""), "cd");
    let told: Vec<Vec<u8>> = listing.resume_names().map(<[u8]>::to_vec).collect();
    assert_eq!(told, [b"b", b"c", b"d"]);
    for name in [b"b", b"c", b"d"] {
        tree.unlink(ROOT, name, caller()).unwrap();
    }
    drop(tree);
    let tree = take_over(&place);
    let mut listing = tree.open_directory(ROOT).unwrap();
    let refused = tree.list(&mut listing, cookie_of(b"never there"), false, &mut |_| true);
    assert!(matches!(refused, Err(StagingError::Invalid { .. })), "nobody knows of that name");
    told.iter().for_each(|name| listing.remember(name));
    for cookie in [cookie, cookie_of(b"c"), last] {
        told.iter().for_each(|name| listing.remember(name));
        assert_eq!(next(&tree, &mut listing, cookie, 9).0.join(""), "fh");
    }
}

fn take_over(place: &Place) -> StagingTree {
    StagingTree::open(place.repository.clone(), &client(), &options(OpenMode::Takeover)).unwrap()
}

#[test]
fn a_listing_goes_on_behind_a_name_that_a_process_before_removed() {
    let place = place_with_base();
    let tree = place.create();
    for name in ["a", "c", "e", "g"] {
        make(&tree, name);
    }
    next(&tree, &mut tree.open_directory(ROOT).unwrap(), FIRST_COOKIE, 9);
    tree.unlink(ROOT, b"d", caller()).unwrap();
    tree.unlink(ROOT, b"e", caller()).unwrap();
    tree.rename((ROOT, b"c"), (ROOT, b"z"), RenameMode::Replace, caller()).unwrap();
    // Void now is what said that the base had the name.
    commit(&place.repository, tree.freeze().unwrap());
    while tree.reclaim().unwrap() {}
    drop(tree);
    for mode in [OpenMode::Takeover, OpenMode::Fresh] {
        let tree = StagingTree::open(place.repository.clone(), &client(), &options(mode)).unwrap();
        for (behind, rest) in [("c", "fghz"), ("d", "fghz"), ("e", "fghz"), ("g", "hz")] {
            let mut listing = tree.open_directory(ROOT).unwrap();
            assert_eq!(next(&tree, &mut listing, cookie_of(behind.as_bytes()), 9).0.join(""), rest);
        }
        tree.close().unwrap();
    }
}

#[test]
fn of_names_that_were_removed_the_latest_are_remembered_and_no_more() {
    const COUNT_MAX: usize = 1 << 15;
    let place = Place::new();
    let mut tree = place.create();
    let name = |index: usize| format!("{index:06}");
    make(&tree, "zzz");
    next(&tree, &mut tree.open_directory(ROOT).unwrap(), FIRST_COOKIE, 9);
    let goes_on = |tree: &StagingTree, name: &str| {
        let mut listing = tree.open_directory(ROOT).unwrap();
        tree.list(&mut listing, cookie_of(name.as_bytes()), false, &mut |entry| {
            assert_eq!(entry.name, b"zzz");
            true
        })
        .is_ok()
    };
    for index in 0..COUNT_MAX + 10 {
        make(&tree, &name(index));
        tree.unlink(ROOT, name(index).as_bytes(), caller()).unwrap();
        if index == COUNT_MAX - 10 {
            // What is removed again is as new.
            for _ in 0..2 {
                make(&tree, &name(0));
                tree.unlink(ROOT, name(0).as_bytes(), caller()).unwrap();
            }
            drop(tree);
            tree = take_over(&place);
        }
    }
    for _ in 0..2 {
        for index in [0, 11, 12, COUNT_MAX / 2, COUNT_MAX + 9] {
            assert!(goes_on(&tree, &name(index)), "{index}");
        }
        for index in [1, 9, 10] {
            assert!(!goes_on(&tree, &name(index)), "{index}");
        }
        drop(tree);
        tree = take_over(&place);
    }
}

#[test]
fn names_are_remembered_where_a_listing_may_go_on_behind_them_and_nowhere_else() {
    const LISTED_COUNT_MAX: u64 = 1 << 12;
    let place = Place::new();
    let tree = place.create();
    let remembers = |tree: &StagingTree, directory: u64| {
        tree.create_file(directory, b"name", 0o644, caller(), None).unwrap();
        tree.unlink(directory, b"name", caller()).unwrap();
        let mut listing = tree.open_directory(directory).unwrap();
        tree.list(&mut listing, cookie_of(b"name"), false, &mut |_| true).is_ok()
    };
    let list = |tree: &StagingTree, directory: u64| {
        next(tree, &mut tree.open_directory(directory).unwrap(), FIRST_COOKIE, 9);
    };
    let directory =
        |name: &str| tree.make_directory(ROOT, name.as_bytes(), 0o755, caller()).unwrap().number();
    let (first, second) = (directory("first"), directory("second"));
    list(&tree, first);
    assert!(remembers(&tree, first) && !remembers(&tree, second));
    for index in 0..=LISTED_COUNT_MAX {
        list(&tree, directory(&index.to_string()));
    }
    let third = directory("third");
    assert!(remembers(&tree, third), "too many were listed to know which");
    drop(tree);
    let tree = take_over(&place);
    assert!(remembers(&tree, second), "the process before may have listed it");
}
