//! Policy keep-last-safe under random changes, hard links and all, while files are being written.

use std::collections::BTreeSet;

use reelfs::format::staging_policy::Inconsistent;

use super::counting::{Names, Numbers, assert_counts, names, step};
use super::safe::{commit, quick};
use super::scene::Staged;
use crate::support::random;

/// Numbers of the regular files of the newest generation.
fn numbers(names: &Names) -> BTreeSet<u64> {
    names.values().map(|(_, inode)| inode.source_inode).collect()
}

/// Opens files and writes to them, such that they are not safe.
fn write_some(staged: &Staged, choice: &mut Numbers) -> Vec<(String, reelfs::repo::staging::FileHandle)> {
    let files: Vec<String> =
        staged.seen().into_iter().filter(|(_, bytes)| bytes != b"directory").map(|(path, _)| path).collect();
    let mut open = Vec::new();
    for _ in 0..choice.below(4).min(files.len()) {
        let path = &files[choice.below(files.len())];
        if staged.tree.read_link(staged.number(path)).is_err() {
            let handle = staged.open(path, false);
            staged.write_at(&handle, 0, &random(choice.1, 300));
            open.push((path.clone(), handle));
        }
    }
    open
}

#[test]
fn no_file_of_the_base_is_lost_to_one_that_is_not_safe_whatever_is_moved_and_linked() {
    let first = std::env::var("REELFS_KEEPING_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + 8 {
        println!("REELFS_KEEPING_SEED={seed}");
        let mut scene = quick(Inconsistent::KeepLastSafe);
        scene.options.now = true;
        let staged = scene.stage("web1");
        let mut choice = Numbers(seed, 0);
        for round in 0..6 {
            let mut steps: Vec<String> = (0..choice.below(12)).map(|_| step(&staged, &mut choice)).collect();
            let open = write_some(&staged, &mut choice);
            steps.extend(open.iter().map(|(path, _)| format!("being written: {path}")));
            steps.extend((0..choice.below(6)).map(|_| step(&staged, &mut choice)));
            let context = format!("seed {seed}, round {round}: {steps:#?}");
            let (before, seen) = (names(&scene), staged.seen());
            let named: BTreeSet<u64> = seen.keys().map(|path| staged.number(path)).collect();
            let summary = commit(&scene, &staged);
            let after = names(&scene);
            assert_counts(&summary, &before, &after, &context);
            let missing: Vec<_> = numbers(&before)
                .intersection(&named)
                .filter(|number| !numbers(&after).contains(number))
                .copied()
                .collect();
            assert!(missing.is_empty(), "lost: {missing:?} {context} {summary:#?}");
            assert_eq!(staged.seen(), seen, "{context}");
            scene.verify();
            // What is said of a file that waits is true.
            for kept in &summary.kept_back.listed {
                let number = staged.try_number(&kept.path).expect("it has this name");
                if staged.tree.read_link(number).is_ok() {
                    continue;
                }
                let is_told_as_there = kept.reason.ends_with("stays as it last was");
                assert_eq!(is_told_as_there, numbers(&after).contains(&number), "{kept:?} {context}");
            }
            drop(open);
            if choice.below(2) == 0 {
                // A process that was just begun beside may have inherited what was closed, for a moment.
                let mut tries = (0..200).map(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    commit(&scene, &staged)
                });
                assert!(tries.any(|summary| summary.is_complete()), "{context}");
                assert!(!staged.tree.is_changed().unwrap(), "{context}");
                let latest =
                    *scene.repository.generations(&super::scene::name("web1")).unwrap().last().unwrap();
                assert_eq!(scene.read_generation(&scene.root(), latest.ordinal), staged.seen(), "{context}");
                scene.verify();
            }
        }
    }
}
