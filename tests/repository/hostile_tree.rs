//! Trees that no writer makes: directories that are named twice, that lie in themselves, or that are said to be
//! something else. Every way through them must end, and soon.

use std::fs;
use std::ops::ControlFlow;

use reelfs::format::record::{Content, Detail, FileKind, ROOT_OBJECT, Record};
use reelfs::job::backup::BackupOptions;
use reelfs::job::diff::{self, Side};
use reelfs::job::restore::RestoreOptions;
use reelfs::job::walk::Walk;
use reelfs::progress::Progress;
use reelfs::repo::{GenerationId, Repository};
use tempfile::tempdir;

use crate::chain::{DEPTH, chain, directory, record};
use crate::support::{
    assert_same, client, in_memory, inputs, look, restore, restore_with, try_backup, verify,
};

/// Every way to read a tree ends, sees each directory at most once, and says that something is wrong.
fn assert_bounded(repository: &Repository, generation: GenerationId) {
    let opened = repository.generation(generation.ordinal).unwrap();
    let walked: Vec<_> = Walk::new(repository, &opened, ROOT_OBJECT, Vec::new()).collect();
    assert!(walked.len() as u64 <= 4 * DEPTH, "{}", walked.len());
    assert!(walked.iter().any(Result::is_err));
    let target = tempdir().unwrap();
    let made = target.path().join("made");
    let summary = restore_with(repository, generation, "", &made, &RestoreOptions::default());
    assert!(!summary.is_complete() && summary.directory_count <= DEPTH + 1, "{summary:?}");
    assert_eq!(look(&made).len() as u64, summary.directory_count + summary.files.files);
    assert!(!verify(repository, None).is_sound());

    let source = tempdir().unwrap();
    let empty =
        try_backup(repository, None, source.path(), &BackupOptions { full: true, ..Default::default() });
    let empty = repository.generation(empty.unwrap().committed.unwrap().id.ordinal).unwrap();
    for (one, other) in [(&opened, &empty), (&empty, &opened)] {
        let inodes = [one, other].map(|side| repository.inode(side.root()).unwrap());
        let mut count = 0;
        let sides = [(one, &inodes[0]), (other, &inodes[1])].map(|(generation, inode)| Side {
            generation,
            node: generation.root(),
            inode,
        });
        diff::run(repository, sides[0], sides[1], &Progress::new(), &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(count <= 4 * DEPTH, "{count}");
    }
}

#[test]
fn a_directory_with_two_names_in_its_parent_is_entered_by_one() {
    let (_, repository) = in_memory();
    let generation = chain(&repository, &client(), inputs(), |_, _, below| {
        vec![("a", directory(below)), ("b", directory(below))]
    });
    assert_bounded(&repository, generation);
}

#[test]
fn a_directory_that_lies_in_itself_or_below_itself_is_not_entered_again() {
    let (_, repository) = in_memory();
    let generation = chain(&repository, &client(), inputs(), |object, above, below| {
        let mut entries = vec![("a", directory(below))];
        if object != ROOT_OBJECT {
            entries.push(("b", directory(object)));
        }
        if above != ROOT_OBJECT {
            entries.push(("c", directory(above)));
        }
        entries
    });
    assert_bounded(&repository, generation);
}

#[test]
fn a_directory_that_is_said_to_be_a_file_is_neither() {
    let (_, repository) = in_memory();
    let generation = chain(&repository, &client(), inputs(), |_, _, below| {
        vec![
            ("a", directory(below)),
            ("b", Record::Link { kind: FileKind::Regular, object: below }),
            ("c", Record::Link { kind: FileKind::Fifo, object: below }),
        ]
    });
    assert_bounded(&repository, generation);
}

#[test]
fn the_root_directory_is_no_entry() {
    let link = Record::Link { kind: FileKind::Directory, object: ROOT_OBJECT };
    assert!(Record::decode(&link.encode()).is_err());
}

#[test]
fn a_backup_onto_a_tree_whose_directories_have_two_names_saves_what_is_there() {
    let (memory, repository) = in_memory();
    let file = || record(Detail::Regular { size: 0, signature: None, content: Content::Inline(Vec::new()) });
    chain(&repository, &client(), inputs(), |_, _, below| {
        vec![("a", directory(below)), ("b", directory(below)), ("file", file())]
    });
    let source = tempdir().unwrap();
    let make = |path: &str| {
        fs::create_dir_all(source.path().join(path)).unwrap();
        fs::write(source.path().join(path).join("file"), path).unwrap();
    };
    // Both names are there, then the first one goes, and comes back as another directory.
    for path in ["a/a/a", "a/b", "b/a/b"] {
        make(path);
    }
    for step in 0..3 {
        match step {
            0 => {}
            1 => fs::remove_dir_all(source.path().join("a")).unwrap(),
            _ => make("a/b/a"),
        }
        let made = try_backup(&repository, None, source.path(), &BackupOptions::default()).unwrap();
        let target = tempdir().unwrap();
        restore(&crate::support::open(&memory), made.committed.unwrap().id, target.path());
        assert_same(target.path(), &look(source.path()));
    }
}
