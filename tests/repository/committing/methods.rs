//! RFE, FDA and SFP: which is used, and what each reads and adds.

use std::collections::BTreeSet;
use std::sync::Arc;

use reelfs::format::record::ROOT_OBJECT;
use reelfs::repo::staging::StagingTree;
use reelfs::repo::{CacheBytes, Repository};

use super::faulty::FaultyStorage;
use super::scene::{Scene, Staged, name, staging_options};
use crate::support::random;

/// Changes 1 % of the pages of a file of `size` bytes and commits: what is read and added.
fn pages_of(size: u64) {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    let handle = staged.open("data", true);
    for at in (0..size).step_by(8 << 20) {
        staged.write_at(&handle, at, &random(at, 8 << 20));
    }
    drop(handle);
    scene.commit(&staged);
    drop(staged);
    // Again, with all that is read from BDFs counted.
    let (storage, reads) = FaultyStorage::new(&scene.root(), &scene.root().join("image"));
    let repository = Repository::open_over(&scene.root(), storage, CacheBytes::default()).unwrap();
    scene.repository = Arc::new(repository);
    let staged = scene.reopen("web1");
    let changed: BTreeSet<u64> =
        (0..size / 8192 / 100).map(|number| (number * 7919) % (size / 8192)).collect();
    for page in &changed {
        staged.patch("data", page * 8192, &random(page + 1_000_000, 8192));
    }
    let written = changed.len() as u64 * 8192;
    let read_before = reads.data_read();
    let summary = scene.commit(&staged);
    let data_read = reads.data_read() - read_before;
    println!(
        "{written} bytes written of {size}: {} read from staging, {data_read} from BDFs, {} added",
        summary.read_bytes, summary.added_bytes
    );
    assert_eq!(scene.method("data"), "fda");
    assert_eq!(summary.read_bytes, written, "unwritten bytes are not read");
    // What is read is the footer of the new BDF, for the index.
    assert!(data_read < written / 8, "{data_read} bytes read from BDFs");
    assert!(summary.added_bytes <= written * 3 / 2, "{} added for {written}", summary.added_bytes);
    assert!(summary.added_bytes >= written, "the pages are random");
    let number = staged.number("data");
    let handle = staged.tree.open_file(number, false, false, staged.caller()).unwrap();
    let ordinal = summary.stored.committed.as_ref().unwrap().id.ordinal;
    let generation = scene.repository.generation(ordinal).unwrap();
    let pages = scene.repository.pages();
    let entry = generation.lookup(pages, ROOT_OBJECT, b"data").unwrap().unwrap();
    let inode = entry.inode.unwrap();
    let content = scene.repository.content(&inode).unwrap();
    for at in (0..size).step_by(4 << 20) {
        let read = content.read(at, 4 << 20).unwrap();
        assert!(read == staged.tree.read(&handle, at, 4 << 20).unwrap(), "at byte {at}");
        for page in changed.range(at / 8192..(at + (4 << 20)) / 8192) {
            let from = usize::try_from(page * 8192 - at).unwrap();
            assert!(read[from..from + 8192] == random(page + 1_000_000, 8192), "page {page}");
        }
    }
}

#[test]
fn pages_written_in_place_add_about_themselves_and_nothing_else_is_read() {
    pages_of(64 << 20);
}

#[test]
#[ignore = "a file of a gigabyte"]
fn one_per_cent_of_a_gigabyte_written_in_place_adds_about_itself_and_nothing_else_is_read() {
    pages_of(1 << 30);
}

#[test]
fn an_insertion_near_the_start_of_a_rewritten_file_adds_about_the_insertion() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    let before = random(2, 12 << 20);
    staged.write("data", &before);
    scene.commit(&staged);
    let inserted = random(3, 5000);
    let after = [&before[..100], &inserted, &before[100..]].concat();
    // As rsync does: a new file that takes the name.
    staged.write(".data.Xy12", &after);
    staged.rename(".data.Xy12", "data");
    let summary = scene.commit(&staged);
    assert_eq!(scene.method("data"), "sfp");
    assert_eq!(summary.stored.modified.files, 1, "the same file, modified");
    assert!(summary.added_bytes < 7000, "{} added", summary.added_bytes);
    assert_eq!(scene.read(&summary), staged.seen());
}

#[test]
fn the_policy_decides_between_fda_and_sfp() {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("data", &random(4, 4 << 20));
    scene.commit(&staged);
    let change = |seed| {
        // A fifth of the file, less than 2 MB.
        for part in 0..20 {
            staged.patch("data", part * 200_000, &random(seed + part, 40_000));
        }
    };
    change(100);
    scene.commit(&staged);
    assert_eq!(scene.method("data"), "sfp");
    scene.policy.sfp.bytes = 100_000;
    change(200);
    scene.commit(&staged);
    assert_eq!(scene.method("data"), "fda");
    scene.policy.sfp.bytes = 2 << 20;
    scene.policy.sfp.percent = 50;
    change(300);
    let summary = scene.commit(&staged);
    assert_eq!(scene.method("data"), "fda");
    assert_eq!(scene.read(&summary), staged.seen());
}

#[test]
fn after_a_loss_of_power_files_written_in_place_are_read_whole_and_named() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    for path in ["before", "after"] {
        staged.write(path, &random(5, 4 << 20));
    }
    scene.commit(&staged);
    staged.patch("before", 1 << 20, &random(6, 8192));
    // The machine stops, and staging was not closed.
    drop(staged);
    let mut options = staging_options();
    options.boot = b"another boot".to_vec();
    let repository = Arc::clone(&scene.repository);
    let staged = Staged::new(StagingTree::open(repository, &name("web1"), &options).unwrap());
    staged.patch("after", 1 << 20, &random(7, 8192));
    let summary = scene.commit(&staged);
    assert_eq!(scene.method("before"), "sfp", "what is on disk of it is not all that was written, perhaps");
    assert_eq!(scene.method("after"), "fda", "it was written since");
    let named = scene.reports.lock().unwrap().iter().find(|report| report.path == b"before").cloned();
    assert_eq!(named.unwrap().reason, "the record of written regions is not trusted");
    let untrusted: Vec<_> = summary.untrusted.listed.iter().map(|problem| &*problem.path).collect();
    assert_eq!(untrusted, ["before"]);
    assert_eq!(scene.read(&summary), staged.seen());
    // The next one trusts again.
    staged.patch("before", 2 << 20, &random(8, 8192));
    scene.commit(&staged);
    assert_eq!(scene.method("before"), "fda");
    scene.verify();
}

#[test]
fn a_second_client_with_the_same_tree_adds_no_data() {
    let scene = Scene::new();
    let files = [("small", 5000), ("large", 1_000_000), ("d/inner", 60_000)];
    let mut summaries = Vec::new();
    for client in ["web1", "web2"] {
        let staged = scene.stage(client);
        staged.make_directory("d");
        for (number, (path, len)) in (0..).zip(files) {
            staged.write(path, &random(number, len));
            staged.set_mtime(path, 1_600_000_000);
        }
        summaries.push(scene.commit(&staged));
        assert_eq!(scene.read(summaries.last().unwrap()), staged.seen());
    }
    let [first, second] = &summaries[..] else { panic!("two commits") };
    assert!(first.added_bytes > 1_000_000);
    assert_eq!(second.added_bytes, 0);
    assert_eq!(second.stored.redundant.files, 3);
    assert_eq!(second.stored.redundant.bytes, 1_065_000);
    assert_eq!(scene.method("large"), "rfe");
    assert_eq!(scene.method("small"), "rfe");
    scene.verify();
}

#[test]
fn a_truncated_file_and_one_with_new_holes_keep_what_is_left_as_pointers() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("cut", &random(5, 8 << 20));
    staged.write("longer", &random(6, 8 << 20));
    scene.commit(&staged);
    staged.truncate("cut", 3_000_001);
    staged.truncate("longer", 9 << 20);
    let summary = scene.commit(&staged);
    assert_eq!(scene.method("cut"), "fda");
    assert!(summary.read_bytes <= 8192, "{}", summary.read_bytes);
    assert!(summary.added_bytes <= 16_384, "{}", summary.added_bytes);
    let seen = staged.seen();
    assert_eq!(scene.read(&summary), seen);
    assert_eq!(seen["longer"].len(), 9 << 20);
    scene.verify();
}

#[test]
fn counts_tell_new_modified_unchanged_and_removed_files() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    for number in 0..10 {
        staged.write(&format!("file{number}"), &random(number, 1000));
    }
    scene.commit(&staged);
    staged.write("file0", &random(100, 2000));
    staged.unlink("file1");
    staged.rename("file2", "renamed");
    staged.write("new", &random(101, 500));
    let summary = scene.commit(&staged);
    let stored = &summary.stored;
    assert_eq!((stored.new.files, stored.new.bytes), (2, 1500), "a new one, and a renamed one");
    assert_eq!((stored.modified.files, stored.modified.bytes), (1, 2000));
    assert_eq!((stored.unchanged.files, stored.unchanged.bytes), (7, 7000));
    assert_eq!((stored.redundant.files, stored.redundant.bytes), (1, 1000), "the renamed one");
    assert_eq!((summary.removed.files, summary.removed.bytes), (2, 2000));
    // A directory and a link are no files; one that a link or a directory replaced is gone; bytes go with the last name.
    staged.make_directory("directory");
    staged.symlink("nowhere", "link");
    staged.link("file3", "file3 too");
    staged.link("file3", "file3 again");
    scene.commit(&staged);
    staged.remove_directory("directory");
    staged.unlink("link");
    staged.unlink("file3 again");
    let summary = scene.commit(&staged);
    assert_eq!((summary.removed.files, summary.removed.bytes), (1, 0));
    staged.unlink("file4");
    staged.symlink("nowhere", "file4");
    staged.unlink("file5");
    staged.make_directory("file5");
    staged.unlink("file3");
    staged.unlink("file3 too");
    let summary = scene.commit(&staged);
    assert_eq!((summary.removed.files, summary.removed.bytes), (4, 3000));
}

#[test]
fn a_preview_tells_what_the_commit_adds_and_writes_nothing() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("first", &random(7, 300_000));
    scene.commit(&staged);
    staged.write("second", &random(8, 700_000));
    staged.unlink("first");
    let data = || super::scene::stored_len(&scene.root().join("delta"));
    let before = data();
    let progress = reelfs::progress::Progress::new();
    let preview = scene.commit_of(&staged, &progress).preview(&mut |_| {}).unwrap();
    assert_eq!(data(), before);
    assert!(preview.stored.committed.is_none());
    assert_eq!(preview.stored.new.files, 1);
    assert_eq!(preview.removed.files, 1);
    let summary = scene.commit(&staged);
    assert_eq!(summary.added_bytes, preview.added_bytes);
    assert_eq!(scene.read(&summary), staged.seen());
}

#[test]
fn a_preview_of_a_file_in_very_many_pieces_tells_what_the_commit_adds() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    let handle = staged.open("pieces", true);
    // More than a list of extents keeps in memory.
    for piece in 0..5000 {
        staged.write_at(&handle, piece * 8192, &random(piece, 4096));
    }
    drop(handle);
    let progress = reelfs::progress::Progress::new();
    let names = || std::fs::read_dir(scene.root()).unwrap().count();
    let before = names();
    let preview = scene.commit_of(&staged, &progress).preview(&mut |_| {}).unwrap();
    assert_eq!(names(), before);
    let summary = scene.commit(&staged);
    assert_eq!(summary.added_bytes, preview.added_bytes);
    assert_eq!(scene.read(&summary), staged.seen());
}
