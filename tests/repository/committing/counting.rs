//! What a commit counts, against the generation before and the new one, name by name.

use std::collections::{BTreeMap, BTreeSet};

use reelfs::format::record::{FileKind, Inode, ROOT_OBJECT};
use reelfs::job::commit::{CommitSummary, Count};
use reelfs::progress::Progress;
use reelfs::repo::staging::RenameMode;
use reelfs::repo::{CacheBytes, Node, Repository};

use super::scene::{Scene, Staged};
use crate::support::random;

/// A regular file: its object id, or directory and name where it has one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    Linked(u64),
    Named(u64, Vec<u8>),
}

/// Names of regular files, by the directory's object id, so that they move with it.
pub(super) type Names = BTreeMap<(u64, Vec<u8>), (Object, Inode)>;

/// Reads every directory of the newest generation, as the mount does.
pub(super) fn names(scene: &Scene) -> Names {
    let repository = Repository::open(&scene.root(), CacheBytes::default()).unwrap();
    let mut names = Names::new();
    let Some(latest) = repository.generations(&super::scene::name("web1")).unwrap().last().copied() else {
        return names;
    };
    let generation = repository.generation(latest.ordinal).unwrap();
    let pages = repository.pages();
    let mut directories = vec![ROOT_OBJECT];
    while let Some(directory) = directories.pop() {
        for entry in generation.list(pages, directory, None).unwrap() {
            let entry = entry.unwrap();
            let object = match entry.node {
                Node::Object { object, .. } if entry.kind == FileKind::Directory => {
                    directories.push(object);
                    continue;
                }
                _ if entry.kind != FileKind::Regular => continue,
                Node::Object { object, .. } => Object::Linked(object),
                _ => Object::Named(directory, entry.name.clone()),
            };
            let inode = generation.lookup(pages, directory, &entry.name).unwrap().unwrap().inode.unwrap();
            names.insert((directory, entry.name), (object, inode));
        }
    }
    names
}

fn bytes_of<'n>(files: impl Iterator<Item = &'n (Object, Inode)>) -> u64 {
    files.map(|(object, inode)| (object, inode.size())).collect::<BTreeMap<_, _>>().values().sum()
}

/// New, modified, unchanged and removed files, found by comparing all names.
fn expected(before: &Names, after: &Names) -> [Count; 4] {
    let mut counts = [Count::default(); 4];
    let objects_before: BTreeMap<_, _> = before.values().cloned().collect();
    // Of each file the lowest sort that a name has, once the file itself was there before.
    let mut sorts: BTreeMap<&Object, (usize, u64)> = BTreeMap::new();
    for (name, (object, inode)) in after {
        let sort = match before.get(name) {
            None => 0,
            Some(was) if was == &(object.clone(), inode.clone()) => 2,
            Some(_) => 1,
        };
        counts[sort].files += 1;
        let of_file = match objects_before.get(object) {
            Some(was) if matches!(object, Object::Linked(_)) => 1 + usize::from(was == inode),
            _ => sort,
        };
        let known = sorts.entry(object).or_insert((of_file, inode.size()));
        known.0 = known.0.max(of_file);
    }
    for (sort, bytes) in sorts.values() {
        counts[*sort].bytes += bytes;
    }
    let is_held = |name| after.contains_key(name);
    counts[3].files = before.keys().filter(|name| !is_held(*name)).count() as u64;
    let objects_after: BTreeSet<_> = after.values().map(|(object, _)| object).collect();
    let stays: BTreeSet<_> =
        before.iter().filter(|(name, _)| is_held(*name)).map(|(_, (object, _))| object).collect();
    let gone =
        before.values().filter(|(object, _)| !objects_after.contains(object) && !stays.contains(object));
    counts[3].bytes = bytes_of(gone);
    counts
}

/// Compares what a commit or a preview counted.
pub(super) fn assert_counts(summary: &CommitSummary, before: &Names, after: &Names, context: &str) {
    let stored = &summary.stored;
    let counted = [stored.new, stored.modified, stored.unchanged, summary.removed];
    assert_eq!(counted, expected(before, after), "new, modified, unchanged, removed: {context}");
    let held = summary.held_files();
    assert_eq!(held.files, after.len() as u64, "{context}");
    assert_eq!(held.bytes, bytes_of(after.values()), "{context}");
    assert_eq!(before.len() as u64 + stored.new.files - summary.removed.files, held.files, "{context}");
    let stored_files = stored.new.files + stored.modified.files;
    assert!(stored.redundant.files <= stored_files, "{context}: {summary:?}");
}

/// Previews and commits, and compares both.
fn commit(scene: &Scene, staged: &Staged, context: &str) -> CommitSummary {
    let before = names(scene);
    let progress = Progress::new();
    let preview = scene.commit_of(staged, &progress).preview(&mut |_| {}).unwrap();
    let summary = scene.try_commit(staged).unwrap();
    let after = names(scene);
    assert_counts(&summary, &before, &after, context);
    assert_counts(&preview, &before, &after, &format!("preview, {context}"));
    if let Some(committed) = &summary.stored.committed {
        let totals = committed.totals;
        let held = summary.held_files();
        assert_eq!((totals.file_count, totals.content_bytes), (held.files, held.bytes), "{context}");
    }
    summary
}

/// Numbers that are the same for a seed.
pub(super) struct Numbers(pub(super) u64, pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.1 += 1;
        let bytes = random(self.0 * 1_000_003 + self.1, 8);
        usize::try_from(u64::from_le_bytes(bytes.try_into().unwrap()) % limit as u64).unwrap()
    }
}

/// What a random step may meet.
struct Tree {
    files: Vec<String>,
    directories: Vec<String>,
}

impl Tree {
    fn of(staged: &Staged) -> Self {
        let (mut files, mut directories) = (Vec::new(), vec![String::new()]);
        for (path, bytes) in staged.seen() {
            if bytes == b"directory" { directories.push(path) } else { files.push(path) }
        }
        Self { files, directories }
    }
}

fn exchange(staged: &Staged, one: &str, other: &str) {
    let split = |path: &str| {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        (staged.number(directory), name.as_bytes().to_vec())
    };
    let ((one, one_name), (other, other_name)) = (split(one), split(other));
    let (from, to) = ((one, &one_name[..]), (other, &other_name[..]));
    staged.tree.rename(from, to, RenameMode::Exchange, staged.caller()).unwrap();
}

fn remove_all(staged: &Staged, directory: &str) {
    let prefix = format!("{directory}/");
    let below: Vec<_> = staged.seen().into_iter().filter(|(path, _)| path.starts_with(&prefix)).collect();
    for (path, bytes) in below.into_iter().rev() {
        if bytes == b"directory" { staged.remove_directory(&path) } else { staged.unlink(&path) }
    }
    staged.remove_directory(directory);
}

/// Does one thing to the tree; tells what.
pub(super) fn step(staged: &Staged, numbers: &mut Numbers) -> String {
    let tree = Tree::of(staged);
    let directory = tree.directories[numbers.below(tree.directories.len())].clone();
    let new = |number: usize| format!("{directory}/n{number}").trim_start_matches('/').to_owned();
    let new = new(numbers.below(12));
    let is_free = staged.try_number(&new).is_none();
    let is_file_or_free = is_free || tree.files.contains(&new);
    let len = numbers.below(3000);
    let what = numbers.below(12);
    let is_symlink = |path: &str| staged.tree.read_link(staged.number(path)).is_ok();
    if tree.files.is_empty() || what == 0 {
        if is_free || is_file_or_free && !is_symlink(&new) {
            staged.write(&new, &random(numbers.1, len));
        }
        return format!("write {new}");
    }
    let file = tree.files[numbers.below(tree.files.len())].clone();
    let other = tree.files[numbers.below(tree.files.len())].clone();
    match what {
        1 | 2 if !is_symlink(&file) => staged.patch(&file, 0, &random(numbers.1, len)),
        3 => staged.unlink(&file),
        4..=6 if is_free => staged.link(&file, &new),
        7 if is_file_or_free => staged.rename(&file, &new),
        8 => exchange(staged, &file, &other),
        9 if is_free && tree.directories.len() < 6 => staged.make_directory(&new),
        9 if tree.directories.len() > 1 => match numbers.below(2) {
            0 => remove_all(staged, &tree.directories[1]),
            _ if staged.try_number("moved").is_none() => staged.rename(&tree.directories[1], "moved"),
            _ => {}
        },
        10 if is_free => staged.symlink("nowhere", &new),
        11 => staged.set_permissions(&file, 0o600 + u16::try_from(len % 8).unwrap()),
        _ => {}
    }
    format!("{what} of {file}, {other}, {new}")
}

#[test]
fn counts_are_those_of_a_comparison_of_both_generations_name_by_name() {
    let first = std::env::var("REELFS_COUNT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + 24 {
        println!("REELFS_COUNT_SEED={seed}");
        let scene = Scene::new();
        let staged = scene.stage("web1");
        let mut numbers = Numbers(seed, 0);
        for round in 0..8 {
            let steps: Vec<String> =
                (0..1 + numbers.below(25)).map(|_| step(&staged, &mut numbers)).collect();
            commit(&scene, &staged, &format!("seed {seed}, round {round}: {steps:#?}"));
        }
        scene.verify();
    }
}

#[test]
fn names_of_a_file_with_several_are_counted_and_its_bytes_once() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.make_directory("d");
    staged.write("one", &random(1, 1000));
    staged.write("d/two", &random(2, 100));
    let count = |files, bytes| Count { files, bytes };
    commit(&scene, &staged, "two files");
    staged.link("one", "d/also one");
    staged.link("one", "d/one again");
    let summary = commit(&scene, &staged, "two more names");
    assert_eq!(summary.stored.new, count(2, 0));
    assert_eq!(summary.stored.modified, count(1, 1000), "it has other names");
    assert_eq!(summary.stored.unchanged, count(1, 100));
    assert_eq!(summary.stored.redundant, count(3, 1000), "of three names nothing was stored");
    staged.patch("one", 0, b"modified");
    assert_eq!(staged.tree.pending().unwrap().entry_count, 3, "all its names differ");
    staged.unlink("d/also one");
    assert_eq!(staged.tree.pending().unwrap().entry_count, 3, "one of them is gone");
    let summary = commit(&scene, &staged, "one name less, and modified");
    assert_eq!((summary.stored.modified, summary.removed), (count(2, 1000), count(1, 0)));
    // As programs do that write a new file and rename it: both names lead elsewhere.
    staged.write("tmp", &random(3, 500));
    staged.rename("tmp", "one");
    staged.unlink("d/one again");
    staged.link("one", "d/one again");
    let summary = commit(&scene, &staged, "replaced");
    assert_eq!((summary.stored.modified, summary.removed), (count(2, 500), count(0, 0)));
    assert_eq!(summary.stored.new, count(0, 0));
    staged.rename("d", "e");
    let summary = commit(&scene, &staged, "a directory renamed");
    assert_eq!(summary.stored.unchanged, count(3, 600));
    assert_eq!((summary.stored.new, summary.removed), (count(0, 0), count(0, 0)));
    remove_all(&staged, "e");
    let summary = commit(&scene, &staged, "a directory removed with a name of two");
    assert_eq!((summary.stored.modified, summary.removed), (count(1, 500), count(2, 100)));
    staged.unlink("one");
    let summary = commit(&scene, &staged, "the last name");
    assert_eq!(summary.removed, count(1, 500));
}

#[test]
fn a_file_with_several_names_is_told_by_the_first_of_its_paths() {
    let mut scene = Scene::new();
    scene.options.tell_paths = true;
    let staged = scene.stage("web1");
    for directory in ["b", "a", "a/c"] {
        staged.make_directory(directory);
    }
    staged.write("z", &random(1, 1000));
    staged.link("z", "b/file");
    staged.link("z", "a/c/file");
    let told = |staged: &Staged| {
        commit(&scene, staged, "linked");
        // Those of the preview are dropped, those of the commit are kept.
        let paths: Vec<_> = scene.reports.lock().unwrap().iter().map(|report| report.path.clone()).collect();
        paths.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(told(&staged), ["a/c/file"]);
    staged.patch("z", 0, b"no name was changed");
    assert_eq!(told(&staged), ["a/c/file"]);
    staged.rename("a", "d");
    staged.patch("z", 0, b"the directory has another");
    assert_eq!(told(&staged), ["b/file"]);
    staged.unlink("b/file");
    staged.link("z", "d/also");
    assert_eq!(told(&staged), ["d/also"]);
    staged.patch("z", 0, b"and now?");
    staged.rename("d/also", "y");
    assert_eq!(told(&staged), ["d/c/file"]);
    // Whoever does not ask for paths is told what is not as it should be by one all the same.
    scene.options.tell_paths = false;
    scene.options.now = true;
    let handle = staged.open("z", false);
    staged.write_at(&handle, 0, b"being written");
    let summary = commit(&scene, &staged, "open");
    let marked: Vec<_> = summary.inconsistent.listed.iter().map(|problem| &*problem.path).collect();
    assert_eq!(marked, ["d/c/file"]);
}
