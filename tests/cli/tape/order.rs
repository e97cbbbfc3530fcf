//! Inode numbers of a mounted cartridge, and listings of its directories: both go along the tape.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelfs::id::FileId;
use reelfs::job::tape::catalogue::{CATALOGUE, Catalogue};
use reelfs::job::tape::sets::{MetadataFrom, VolumeSet};
use reelfs::job::tape::storage::BlockReader;
use reelfs::repo::{CacheBytes, Generation, Node, Repository};
use reelfs::tape::archive::BlockAddress;

use super::mounting::Mounted;
use super::{MIB, Vault};
use crate::random::Random;

#[derive(Debug)]
struct NoDrive;

impl BlockReader for NoDrive {
    fn read(&self, _: FileId, _: BlockAddress, _: &mut [u8]) -> std::io::Result<()> {
        panic!("a tape was moved")
    }
}

/// Data of three generations, links over directories, names without data, a directory of links, and one of directories.
fn archived() -> Vault {
    let vault = Vault::new(2, 256 * MIB);
    let mut numbers = Random(0x5eed_0015);
    let sandbox = &vault.sandbox;
    for round in 0..3 {
        for index in (0..400).step_by(1 + round * 5) {
            let len = usize::try_from(numbers.below(40_000)).unwrap();
            sandbox.write(&format!("home/{}/{}/file-{index:04}", index % 5, index % 7), numbers.bytes(len));
        }
        sandbox.write(&format!("z-{round}/large"), numbers.bytes(5_000_000));
        sandbox.write(&format!("a-{round}/large"), numbers.bytes(1_000_000));
        sandbox.write(&format!("home/1/empty-{round}"), "");
        let link = sandbox.source().join(format!("links/{round}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::hard_link(sandbox.source().join("home/3/1/file-0008"), link).unwrap();
        let symlink = sandbox.source().join(format!("home/symlink-{round}"));
        std::os::unix::fs::symlink("nowhere", symlink).unwrap();
        fs::create_dir_all(sandbox.source().join(format!("nothing/{round}/at/all"))).unwrap();
        sandbox.backup(&[]);
    }
    vault.archive(&["--client", "web1", "--generations", "all"]);
    vault
}

/// What becomes of the file of a table.
type Damage = fn(&Path);

type Places = BTreeMap<PathBuf, Option<(u64, u64, u32)>>;

// Where the data of each file of the newest generation begins; absent for what has none.
fn places(vault: &Vault) -> Places {
    let catalogue = Catalogue::new(&vault.sandbox.repository().join(CATALOGUE));
    let set = VolumeSet::all(&catalogue, &mut |error| panic!("{error}")).unwrap().remove(0);
    let (bdfs, newest) = (set.data_places(), set.generations().into_values().next().unwrap().pop().unwrap());
    let repository =
        set.open(&catalogue, Arc::new(NoDrive), CacheBytes::default(), MetadataFrom::Kept).unwrap();
    let generation = repository.generation(newest.ordinal).unwrap();
    let mut places = Places::new();
    collect(&repository, &generation, 1, Path::new(""), &bdfs, &mut places);
    places
}

fn collect(
    repository: &Repository,
    generation: &Generation,
    directory: u64,
    path: &Path,
    bdfs: &std::collections::HashMap<FileId, u64>,
    places: &mut Places,
) {
    for entry in generation.list(repository.pages(), directory, None).unwrap() {
        let entry = entry.unwrap();
        let path = path.join(String::from_utf8(entry.name.clone()).unwrap());
        let inode = repository.inode(entry.node).unwrap();
        let first = repository.content(&inode).and_then(|content| content.extents_from(0).next());
        let location = first.map(|extent| extent.unwrap().chunk.location);
        let place = location.map(|location| (bdfs[&location.file], location.frame, location.start));
        if inode.kind() == reelfs::format::record::FileKind::Directory {
            let Node::Object { object, .. } = entry.node else { panic!("{path:?}") };
            collect(repository, generation, object, &path, bdfs, places);
        }
        places.insert(path, place);
    }
}

/// Number of each name by `stat`; that of the listing must be the same, and the listing in the order of numbers.
fn numbers(root: &Path) -> BTreeMap<PathBuf, u64> {
    let mut numbers = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let mut last = 0;
        for entry in fs::read_dir(root.join(&directory)).unwrap().map(Result::unwrap) {
            let found = entry.path().symlink_metadata().unwrap();
            assert_eq!(found.ino(), entry.ino(), "{}", entry.path().display());
            assert!(entry.ino() >= last, "{}: {} after {last}", entry.path().display(), entry.ino());
            last = entry.ino();
            let path = directory.join(entry.file_name());
            numbers.insert(path.clone(), entry.ino());
            if found.is_dir() {
                waiting.push(path);
            }
        }
    }
    numbers
}

fn tables(mounted: &Mounted) -> Vec<PathBuf> {
    let directory = mounted.vault.sandbox.repository().join(CATALOGUE).join("orders");
    let paths = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    paths.filter(|path| path.file_name().unwrap() != "lock").collect()
}

#[test]
fn inode_numbers_of_a_generation_ascend_along_the_tape_and_listings_with_them() {
    let mounted = Mounted::over(archived(), "");
    mounted.lose_data();
    let (places, numbers) = (places(&mounted.vault), numbers(&mounted.latest()));
    assert_eq!(places.keys().collect::<Vec<_>>(), numbers.keys().collect::<Vec<_>>());
    // All of the generation, whatever directory it is in; the same number stands for the same file.
    let mut files: Vec<_> =
        places.iter().filter_map(|(path, place)| Some(((*place)?, numbers[path], path))).collect();
    files.sort();
    assert!(files.len() > 400);
    for pair in files.windows(2) {
        let [(place, number, path), (next_place, next_number, next_path)] = pair else { unreachable!() };
        assert!(number <= next_number, "{path:?} at {place:?} and {next_path:?} at {next_place:?}");
    }
    let first_with_data = files.first().unwrap().1;
    for (path, place) in &places {
        let found = mounted.latest().join(path).symlink_metadata().unwrap();
        let below =
            || files.iter().filter(|(_, _, file)| file.starts_with(path)).map(|(_, number, _)| *number);
        match (found.is_dir(), place, below().min()) {
            (true, _, Some(first)) => assert!(numbers[path] < first, "{path:?} comes before what is in it"),
            (false, Some(_), _) => {}
            _ => assert!(numbers[path] < first_with_data, "{path:?} has no data"),
        }
    }
    let mut by_number: BTreeMap<u64, Vec<&PathBuf>> = BTreeMap::new();
    numbers.iter().for_each(|(path, number)| by_number.entry(*number).or_default().push(path));
    let shared: Vec<_> = by_number.into_values().filter(|paths| paths.len() > 1).collect();
    let names = ["home/3/1/file-0008", "links/0", "links/1", "links/2"].map(PathBuf::from);
    assert_eq!(shared, [names.iter().collect::<Vec<_>>()]);
}

#[test]
fn inode_numbers_hold_whatever_becomes_of_the_server_and_of_the_tables() {
    let mut mounted = Mounted::over(archived(), "");
    let expected = numbers(&mounted.latest());
    let older = {
        let mut generations: Vec<_> = fs::read_dir(mounted.latest().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        generations.sort();
        generations.remove(0)
    };
    let expected_older = numbers(&older);
    assert!(expected.values().all(|number| !expected_older.values().any(|other| other == number)));
    assert_eq!(tables(&mounted).len(), 2, "one was made by the archive, the other when it was listed");
    let mut open = fs::read_dir(mounted.latest().join("home/1")).unwrap();
    let taken: Vec<_> = open.by_ref().take(2).map(|entry| entry.unwrap().file_name()).collect();
    mounted.kill_server();
    assert_eq!(numbers(&mounted.latest()), expected, "another server took over");
    let all = taken.into_iter().chain(open.map(|entry| entry.unwrap().file_name()));
    let listed: Vec<_> = all.collect();
    assert_eq!(listed.len(), fs::read_dir(mounted.latest().join("home/1")).unwrap().count());
    // What a page of the kernel has it does not ask for again: each of these is a mount of its own.
    let damages: [(&str, Damage); 4] = [
        ("as they are", |_| {}),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("a byte changed", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[1000] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("cut", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
    ];
    for (what, damage) in damages {
        mounted.unmount();
        tables(&mounted).iter().for_each(|path| damage(path));
        let vault = mounted.into_vault();
        mounted = Mounted::over(vault, "");
        assert_eq!(numbers(&mounted.latest()), expected, "{what}");
        assert_eq!(numbers(&older), expected_older, "{what}");
        assert_eq!(tables(&mounted).len(), 2, "{what}");
    }
    // Open tables may be removed at any time, and a server that takes over makes them again.
    tables(&mounted).iter().for_each(|path| fs::remove_file(path).unwrap());
    mounted.kill_server();
    assert_eq!(numbers(&mounted.latest()), expected);
    // Where the catalogue takes no table, one without a name does.
    mounted.unmount();
    let directory = mounted.vault.sandbox.repository().join(CATALOGUE).join("orders");
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "in the way").unwrap();
    let vault = mounted.into_vault();
    let mounted = Mounted::over(vault, "");
    assert_eq!(numbers(&mounted.latest()), expected);
    mounted.kill_server();
    assert_eq!(numbers(&older), expected_older);
}

#[test]
fn numbers_are_the_same_after_a_scan_into_an_empty_catalogue() {
    let mut mounted = Mounted::over(archived(), "");
    let table = |mounted: &Mounted| fs::read(&tables(mounted)[0]).unwrap();
    let (before, count) = (table(&mounted), numbers(&mounted.latest()).len());
    mounted.unmount();
    fs::remove_dir_all(mounted.vault.sandbox.repository().join(CATALOGUE)).unwrap();
    mounted.vault.good(&["scan", "RL0001L8"]);
    assert!(table(&mounted) == before, "the scan makes the table of the newest generation, too");
    let vault = mounted.into_vault();
    let mounted = Mounted::over(vault, "");
    assert_eq!(numbers(&mounted.latest()).len(), count);
}

#[test]
fn a_directory_of_any_length_is_listed_along_the_tape_and_goes_on_from_any_place() {
    let vault = Vault::new(1, 256 * MIB);
    let mut numbers = Random(0x5eed_0016);
    let count = 66_000;
    for index in 0..count {
        // Names in another order than that of the data: a backup stores small files by name.
        vault.sandbox.write(&format!("many/{:08x}", numbers.below(1 << 32)), format!("{index}"));
    }
    vault.sandbox.backup(&[]);
    let again: Vec<_> = fs::read_dir(vault.sandbox.source().join("many")).unwrap().take(500).collect();
    for (index, entry) in again.into_iter().enumerate() {
        fs::write(entry.unwrap().path(), format!("changed {index}")).unwrap();
    }
    vault.sandbox.backup(&[]);
    vault.archive(&["--client", "web1", "--generations", "all"]);
    let mounted = Mounted::over(vault, "");
    let script = "import os, ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
libc.readdir64.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
d = libc.opendir(sys.argv[1].encode())
def names(limit):
    out = []
    while len(out) < limit:
        e = libc.readdir64(d)
        if not e: break
        ino = ctypes.c_uint64.from_address(e).value
        name = ctypes.string_at(e + 19)
        if name not in (b'.', b'..'): out.append((ino, name))
    return out
all = names(1 << 30)
assert [i for i, _ in all] == sorted(i for i, _ in all), 'order'
assert len(set(all)) == len(all), 'twice'
libc.seekdir(d, 0)
for skip in (1, 300, 65535, 65537):
    libc.seekdir(d, 0)
    start = len(names(skip))
    at = libc.telldir(d)
    expected = names(20)
    libc.seekdir(d, 0); names(5)
    libc.seekdir(d, at)
    assert names(20) == expected == all[skip:skip + 20], skip
print(len(all))
";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(mounted.latest().join("many"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed: usize = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert_eq!(listed, fs::read_dir(mounted.vault.sandbox.source().join("many")).unwrap().count());
    assert!(listed > 1 << 16, "{listed}");
}
