//! A commit costs what changed, not what exists.

use std::time::Instant;

use super::scene::Scene;
use crate::commit_cost::{fill, name};
use crate::support::random;

/// Stages so many changes on a directory of so many files and commits them; returns the length of the DTF.
fn commit_changes(count: u64, changes: u64) -> u64 {
    let scene = Scene::new();
    fill(&scene.repository, count);
    let started = Instant::now();
    let staged = scene.stage("web1");
    let opened = started.elapsed();
    for number in 0..changes {
        let file = String::from_utf8(name(number * (count / changes))).unwrap();
        staged.write(&format!("directory/{file}"), &random(number, 3000));
    }
    let started = Instant::now();
    let summary = scene.commit(&staged);
    println!(
        "{changes} of {count} files: opened in {opened:?}, committed in {:?}, {} bytes of tree, {} of data",
        started.elapsed(),
        summary.stored.committed.as_ref().unwrap().dtf_bytes,
        summary.added_bytes
    );
    assert_eq!((summary.stored.modified.files, summary.read_bytes), (changes, changes * 3000));
    assert_eq!(summary.stored.unchanged.files, count - changes);
    summary.stored.committed.unwrap().dtf_bytes
}

#[test]
fn a_hundred_changed_files_among_many_cost_what_they_are() {
    assert!(commit_changes(100_000, 100) < 2 << 20);
}

#[test]
#[ignore = "a million files"]
fn a_hundred_changed_files_among_a_million_cost_what_they_are() {
    assert!(commit_changes(1_000_000, 100) < 2 << 20);
}
