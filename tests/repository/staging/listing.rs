//! Where listings go on.

use std::fs;

use reelfs::repo::staging::{FIRST_COOKIE, Listing, OpenMode, ROOT, StagingError, StagingTree, cookie_of};

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
    let tree = StagingTree::open(place.repository.clone(), &client(), &options(OpenMode::Takeover)).unwrap();
    let mut listing = tree.open_directory(ROOT).unwrap();
    let refused = tree.list(&mut listing, cookie_of(b"c"), false, &mut |_| true);
    assert!(matches!(refused, Err(StagingError::Invalid { .. })), "nobody knows of that name");
    told.iter().for_each(|name| listing.remember(name));
    for cookie in [cookie, cookie_of(b"c"), last] {
        told.iter().for_each(|name| listing.remember(name));
        assert_eq!(next(&tree, &mut listing, cookie, 9).0.join(""), "fh");
    }
}
