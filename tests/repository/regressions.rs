//! Faults that a review found, each with the input that showed it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use reelfs::format::dtf::Totals;
use reelfs::format::frame::{ChunkPointer, Location};
use reelfs::format::page::{PageRef, TreeKind};
use reelfs::format::record::{Content, Detail, Extent, ROOT_OBJECT, Xattrs, entry_key};
use reelfs::id::{ClientName, FileId, Fingerprint, Ordinal};
use reelfs::index::{Index, IndexBatch};
use reelfs::job::backup::{self, BackupOptions};
use reelfs::job::index::rebuild;
use reelfs::job::restore::RestoreOptions;
use reelfs::progress::Progress;
use reelfs::repo::tree::Tree;
use reelfs::repo::tree_changes::changed_keys;
use reelfs::repo::{CacheBytes, Repository};
use reelfs::storage::{MemoryStorage, Storage};
use tempfile::tempdir;

use crate::sample::{CLIENT, DtfMaker, Records, inode, repository, time};
use crate::support::{
    assert_same, backup, client, in_memory, inputs, look, new_id, open, random, restore, restore_with,
    try_backup, verify,
};

/// A repository with one generation, of which `make` writes the pages and names the root.
fn crafted(make: impl FnOnce(&mut DtfMaker) -> PageRef) -> (Repository, PageRef) {
    let memory = MemoryStorage::new();
    memory.put("reelfs.toml", &repository()["reelfs.toml"]);
    memory.create_directory(&format!("clients/{CLIENT}")).unwrap();
    let mut maker = DtfMaker::new(FileId([7; 16]), 1);
    let root = make(&mut maker);
    memory.put(&format!("clients/{CLIENT}/{}.1.dtf", time(1)), &maker.finish(root, Totals::default()));
    (open(&memory), root)
}

fn reference(page: PageRef) -> Vec<u8> {
    let mut value = Vec::new();
    page.put(&mut value);
    value
}

#[test]
fn a_tree_that_leads_to_the_same_page_again_and_again_is_walked_once() {
    let name = |number: u32| entry_key(ROOT_OBJECT, format!("name {number:04}").as_bytes());
    let (repository, root) = crafted(|maker| {
        let detail = Detail::Directory { parent: ROOT_OBJECT };
        let record = inode(0o755, detail, Xattrs::NONE).encode();
        let mut page = maker.page(0, TreeKind::Directory, &vec![(entry_key(ROOT_OBJECT, b""), record)]);
        // 1000 children each on 14 levels: 10^42 ways to the one leaf.
        for level in 1..15 {
            let first = (entry_key(ROOT_OBJECT, b""), reference(page));
            let more = (0..999).map(|number| (name(number), reference(page)));
            page = maker.page(level, TreeKind::Directory, &std::iter::once(first).chain(more).collect());
        }
        page
    });
    let ordinal = Ordinal::new(1).unwrap();
    let generation = repository.generation(ordinal).unwrap();
    let pages = repository.pages();
    let (good, bad): (Vec<_>, Vec<_>) = generation.records(pages).partition(Result::is_ok);
    assert!(good.len() <= 1 && bad.len() <= 14 * 1000, "{} and {}", good.len(), bad.len());
    let other = PageRef { offset: root.offset - 64, ..root };
    assert!(changed_keys(pages, TreeKind::Directory, root, other, |_| true).is_err());
    let directory = tempdir().unwrap();
    let index = Index::open(&directory.path().join("index")).unwrap();
    assert_eq!(rebuild(&repository, &index, &Progress::new()).unwrap().generation_count, 1);
}

#[test]
fn a_separator_below_the_first_key_of_its_child_hides_no_extent() {
    let value = |len: u64| {
        let location = Location { file: FileId([1; 16]), frame: 128, start: 0 };
        let chunk = ChunkPointer { fingerprint: Fingerprint::of(b"x"), len: 1 << 20, location };
        let mut value = Vec::new();
        Extent { offset: 0, len, skip: 0, chunk }.put_value(&mut value);
        value
    };
    let key = |offset: u64| Extent::key(offset).to_vec();
    let (repository, root) = crafted(|maker| {
        let left = maker.page(0, TreeKind::Extents, &vec![(key(0), value(10)), (key(10), value(90))]);
        let right = maker.page(0, TreeKind::Extents, &vec![(key(200), value(10))]);
        let children: Records = vec![(key(0), reference(left)), (key(50), reference(right))];
        maker.page(1, TreeKind::Extents, &children)
    });
    let tree = Tree::new(repository.pages(), root, TreeKind::Extents);
    let floor = |offset: u64| tree.floor(&key(offset)).unwrap().map(|found| found.key().to_vec());
    assert_eq!(floor(60), Some(key(10)));
    assert_eq!(floor(5), Some(key(0)));
    assert_eq!(floor(200), Some(key(200)));
    let record = inode(
        0o600,
        Detail::Regular { size: 300, signature: None, content: Content::Tree { root, allocated: 110 } },
        Xattrs::NONE,
    );
    let reelfs::format::record::Record::Inode(inode) = record else { unreachable!() };
    let content = repository.content(&inode).unwrap();
    assert_eq!(content.seek_data(60).unwrap(), Some(60));
    assert!(content.read(60, 10).is_err(), "its chunk is missing, and zeros would be wrong");
}

#[test]
fn a_message_and_a_source_path_that_are_too_long_do_not_spoil_the_generation() {
    let source = tempdir().unwrap();
    fs::write(source.path().join("file"), b"content").unwrap();
    let (memory, repository) = in_memory();
    let options = BackupOptions { message: "m".repeat(5000), ..BackupOptions::default() };
    let summary = try_backup(&repository, None, source.path(), &options).unwrap();
    let id = summary.committed.unwrap().id;
    let generation = open(&memory).generation(id.ordinal).unwrap();
    assert_eq!(generation.footer.message.len(), 4096);
}

#[test]
fn a_number_that_was_asked_for_too_early_is_found_when_it_is_there() {
    let source = tempdir().unwrap();
    fs::write(source.path().join("file"), b"content").unwrap();
    let (memory, repository) = in_memory();
    let early = open(&memory);
    let ordinal = Ordinal::new(1).unwrap();
    assert!(early.generation(ordinal).is_err());
    assert_eq!(backup(&repository, None, source.path()).unwrap().ordinal, ordinal);
    assert!(early.generation(ordinal).is_ok());
}

#[test]
fn data_of_a_client_that_is_gone_serves_the_others() {
    let source = tempdir().unwrap();
    fs::write(source.path().join("file"), random(31, 300_000)).unwrap();
    let directory = tempdir().unwrap();
    let root = directory.path().join("repository");
    let repository = Repository::create(&root, new_id()).unwrap();
    let index = Index::open(&root.join("index")).unwrap();
    let run = |client: &str| {
        let client: ClientName = client.parse().unwrap();
        let options = BackupOptions::default();
        let progress = Progress::new();
        backup::run(&repository, Some(&index), &client, source.path(), &options, inputs(), &progress).unwrap()
    };
    run("first");
    let second = run("second").committed.unwrap();
    assert!(second.bdfs.is_empty(), "all was stored already");
    fs::remove_dir_all(root.join("clients/first")).unwrap();
    let repository = Repository::open(&root, CacheBytes::default()).unwrap();
    restore(&repository, second.id, &directory.path().join("target"));
}

#[test]
fn an_index_with_a_wrong_length_shortens_no_file() {
    let source = tempdir().unwrap();
    let content = random(32, 50_000);
    fs::write(source.path().join("file"), &content).unwrap();
    let (_, repository) = in_memory();
    let directory = tempdir().unwrap();
    let index = Index::open(&directory.path().join("index")).unwrap();
    backup(&repository, Some(&index), source.path()).unwrap();
    let found = index.chunk(&Fingerprint::of(&content)).unwrap().unwrap();
    let mut batch = IndexBatch::default();
    index.put_chunk(&mut batch, &ChunkPointer { len: 1000, ..found }).unwrap();
    index.write(batch).unwrap();
    fs::rename(source.path().join("file"), source.path().join("renamed")).unwrap();
    let second = backup(&repository, Some(&index), source.path()).unwrap();
    let target = directory.path().join("target");
    restore(&repository, second, &target);
    assert_eq!(fs::read(target.join("renamed")).unwrap(), content);
}

#[test]
fn a_file_whose_extent_tree_is_damaged_is_backed_up_anew() {
    let source = tempdir().unwrap();
    let file = source.path().join("file");
    fs::write(&file, random(33, 2 << 20)).unwrap();
    let (memory, repository) = in_memory();
    let first = backup(&repository, None, source.path()).unwrap();
    let generation = repository.generation(first.ordinal).unwrap();
    let entry = generation.lookup(repository.pages(), ROOT_OBJECT, b"file").unwrap().unwrap();
    let Detail::Regular { content: Content::Tree { root, .. }, .. } = entry.inode.unwrap().detail else {
        panic!("a file of so many chunks has an extent tree");
    };
    let name = memory.names().into_iter().find(|name| name.ends_with(".dtf")).unwrap();
    let mut bytes = memory.contents(&name).unwrap();
    bytes[usize::try_from(root.offset).unwrap() + 100] ^= 1;
    memory.put(&name, &bytes);
    fs::write(&file, random(34, 2 << 20)).unwrap();
    let repository = open(&memory);
    let second = backup(&repository, None, source.path()).unwrap();
    let target = tempdir().unwrap();
    restore(&repository, second, target.path());
    assert_eq!(fs::read(target.path().join("file")).unwrap(), random(34, 2 << 20));
}

#[test]
fn records_behind_a_file_that_waits_to_be_read_come_in_order() {
    let source = tempdir().unwrap();
    let directory = source.path().join("directory");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a first"), b"small").unwrap();
    // More than wait in the queue at a time.
    for number in 0..17_000 {
        symlink("target", directory.join(format!("link {number:05}"))).unwrap();
    }
    fs::write(directory.join("z last"), b"small, too").unwrap();
    let (_, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    let target = tempdir().unwrap();
    restore(&repository, generation, target.path());
    assert_eq!(look(target.path()).len(), 17_004);
}

const FEW_DESCRIPTORS: &str = "REELFS_TEST_FEW_DESCRIPTORS";

#[test]
fn many_directories_of_one_small_file_need_few_descriptors() {
    let test = std::env::current_exe().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256 && exec \"$0\" --exact regressions::runs_with_few_descriptors"]);
    let output = shell.arg(test).env(FEW_DESCRIPTORS, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn runs_with_few_descriptors() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return;
    }
    let source = tempdir().unwrap();
    for number in 0..1500 {
        let directory = source.path().join(format!("{number}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("file"), format!("{number}")).unwrap();
    }
    let (_, repository) = in_memory();
    let options = BackupOptions { worker_count: 2, ..BackupOptions::default() };
    let summary = try_backup(&repository, None, source.path(), &options).unwrap();
    assert!(summary.is_complete(), "{} failed: {:?}", summary.failed_count, summary.failed.first());
    let target = tempdir().unwrap();
    let generation = summary.committed.unwrap().id;
    let options = RestoreOptions::default();
    let restored = restore_with(&repository, generation, "1499", target.path(), &options);
    assert_eq!(restored.files.files, 1);
}

#[test]
fn files_that_gain_and_lose_names_are_what_they_are_in_each_generation() {
    let source = tempdir().unwrap();
    let root = source.path();
    let (_, repository) = in_memory();
    let mut kept = Vec::new();
    let mut step = |change: &dyn Fn()| {
        change();
        let generation = backup(&repository, None, root).unwrap();
        kept.push((generation, look(root)));
    };
    step(&|| {
        fs::create_dir(root.join("b")).unwrap();
        fs::write(root.join("a"), b"one").unwrap();
        fs::write(root.join("other"), random(40, 200_000)).unwrap();
    });
    step(&|| {
        fs::hard_link(root.join("a"), root.join("b/a")).unwrap();
        fs::hard_link(root.join("other"), root.join("b/other")).unwrap();
        fs::hard_link(root.join("other"), root.join("b/third")).unwrap();
    });
    // A name that comes first in the walk; one that goes; another file by a name of the group.
    step(&|| {
        fs::hard_link(root.join("b/third"), root.join("0")).unwrap();
        fs::remove_file(root.join("a")).unwrap();
        fs::remove_file(root.join("b/other")).unwrap();
        fs::write(root.join("b/other"), b"another").unwrap();
        fs::hard_link(root.join("b/other"), root.join("b/another")).unwrap();
    });
    step(&|| {
        fs::remove_file(root.join("0")).unwrap();
        fs::remove_file(root.join("b/third")).unwrap();
        fs::remove_file(root.join("b/another")).unwrap();
    });
    // A directory takes the name of a linked file, and a linked file that of a directory.
    step(&|| {
        fs::hard_link(root.join("other"), root.join("x")).unwrap();
        fs::remove_file(root.join("b/a")).unwrap();
        fs::create_dir_all(root.join("b/a/deep/er")).unwrap();
        fs::hard_link(root.join("x"), root.join("b/a/deep/er/x")).unwrap();
    });
    step(&|| {
        fs::rename(root.join("b/a/deep/er/x"), root.join("y")).unwrap();
        fs::remove_dir_all(root.join("b")).unwrap();
        fs::rename(root.join("y"), root.join("b")).unwrap();
    });
    step(&|| fs::remove_file(root.join("b")).unwrap());
    for (generation, expected) in kept {
        let target = tempdir().unwrap();
        restore(&repository, generation, target.path());
        assert_same(target.path(), &expected);
        let found = repository.generation(generation.ordinal).unwrap();
        let objects = found.records(repository.pages()).filter(|record| {
            let key = record.as_ref().unwrap().key().to_vec();
            key.len() == 8 && key[..] > 1_u64.to_be_bytes()[..] && key[..] < (1_u64 << 39).to_be_bytes()[..]
        });
        assert_eq!(objects.count() as u64, found.footer.totals.linked_count);
    }
    assert!(verify(&repository, None).is_sound());
}

#[test]
fn files_of_sizes_around_the_limits_come_back() {
    let source = tempdir().unwrap();
    let (_, repository) = in_memory();
    let target = tempdir().unwrap();
    for (round, shift) in [(0, 0), (1, 1)] {
        for size in [0, 1, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 256 << 10, (256 << 10) + 1] {
            fs::write(source.path().join(format!("r{size}")), random(50 + shift, size)).unwrap();
            fs::write(source.path().join(format!("s{size}")), random(50 + shift, size)).unwrap();
            let sparse = fs::File::create(source.path().join(format!("h{size}"))).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&sparse, b"x", size as u64).unwrap();
            sparse.set_len((size as u64 + 1) * 40).unwrap();
        }
        fs::File::create(source.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
        let generation = backup(&repository, None, source.path()).unwrap();
        // The large hole would take long to be compared.
        fs::remove_file(source.path().join("hole")).unwrap();
        let made = target.path().join(format!("{round}"));
        restore_with(&repository, generation, "", &made, &RestoreOptions::default());
        assert_eq!(fs::metadata(made.join("hole")).unwrap().len(), 1 << 40);
        fs::remove_file(made.join("hole")).unwrap();
        for (path, _) in look(source.path()).iter().filter(|(path, _)| path.as_os_str() != "") {
            assert!(fs::read(made.join(path)).unwrap() == fs::read(source.path().join(path)).unwrap());
        }
    }
}

#[test]
fn a_generation_that_was_missing_when_it_was_asked_for_is_found_once_it_has_come() {
    let source = tempdir().unwrap();
    fs::write(source.path().join("file"), b"content").unwrap();
    let (memory, reader) = in_memory();
    let writer = open(&memory);
    let first = Ordinal::new(1).unwrap();
    assert!(reader.generation(first).is_err() && writer.generation(first).is_err());
    let made = backup(&writer, None, source.path()).unwrap();
    assert_eq!(made.ordinal, first);
    assert!(writer.generation(first).is_ok(), "by who made it");
    assert_eq!(reader.generations(&client()).unwrap(), [made]);
    assert!(reader.generation(first).is_ok(), "by who listed it");
}
