//! Random trees, and all that can be seen of a tree.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use reelfs::id::Fingerprint;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr,
    mknodat, utimensat,
};

use crate::support::Random;

/// All that can be seen of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    device: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    // Of a directory it is not comparable between file systems.
    link_count: u64,
    // The first path of the same inode.
    link_group: PathBuf,
    target: Option<PathBuf>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Option<Fingerprint>,
    // Offset and length of each run of data.
    data: Vec<(u64, u64)>,
}

/// Walks a tree.
pub(crate) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut groups = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        if metadata.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            // Backwards, because the last is taken first: paths then come in order.
            names.sort_by(|a, b| b.cmp(a));
            todo.extend(names.into_iter().map(|name| path.join(name)));
        }
        let group = groups.entry(metadata.ino()).or_insert_with(|| path.clone()).clone();
        seen.insert(path, see(&full, &metadata, group));
    }
    seen
}

fn see(path: &Path, metadata: &fs::Metadata, link_group: PathBuf) -> Seen {
    let is_directory = metadata.is_dir();
    let content = metadata.is_file().then(|| fs::read(path).unwrap());
    let kind = metadata.file_type();
    Seen {
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: if is_directory { 0 } else { metadata.size() },
        device: if kind.is_block_device() || kind.is_char_device() { metadata.rdev() } else { 0 },
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        ctime: (metadata.ctime(), metadata.ctime_nsec()),
        link_count: if is_directory { 0 } else { metadata.nlink() },
        link_group,
        target: metadata.is_symlink().then(|| fs::read_link(path).unwrap()),
        xattrs: xattrs(path),
        content: content.map(|content| Fingerprint::of(&content)),
        data: if metadata.is_file() { data_runs(path, metadata.size()) } else { Vec::new() },
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = llistxattr(path, &mut names).unwrap();
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}

fn data_runs(path: &Path, size: u64) -> Vec<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).unwrap();
    let mut runs = Vec::new();
    let mut offset = 0;
    while offset < size {
        let Ok(start) = seek(&file, SeekFrom::Data(offset)) else { break };
        let end = seek(&file, SeekFrom::Hole(start)).unwrap();
        runs.push((start, end - start));
        offset = end;
    }
    runs
}

/// Makes a random tree with everything that a file system can hold.
pub(crate) fn grow(root: &Path, random: &mut Random, object_count: u64) {
    let mut directories = vec![root.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    for index in 0..object_count {
        let pick = random.below(directories.len() as u64) as usize;
        let path = directories[pick].join(name(random, index));
        match random.below(20) {
            0..=2 => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            3 => {
                symlink(OsString::from("t".repeat(1 + random.below(4000) as usize)), &path).unwrap();
                files.push(path.clone());
            }
            4 if !files.is_empty() => {
                let existing = &files[random.below(files.len() as u64) as usize];
                fs::hard_link(existing, &path).unwrap();
            }
            5 => {
                special(&path, random);
                files.push(path.clone());
            }
            6 => {
                sparse(&path, random);
                files.push(path.clone());
            }
            _ => {
                let len = [0, 1, 4095, 9000, 70_000, 700_000][random.below(6) as usize];
                let len = random.below(len + 1);
                fs::write(&path, random.bytes(len)).unwrap();
                files.push(path.clone());
            }
        }
        dress(&path, random);
    }
    // Making entries changed the times of directories.
    for directory in directories {
        set_times(&directory, random);
    }
}

fn name(random: &mut Random, index: u64) -> OsString {
    let stem = match random.below(4) {
        0 => b"caf\xc3\xa9 \n".to_vec(),
        1 => b"\xff\xfe\x80".to_vec(),
        2 => vec![b'x'; 240],
        _ => b"plain".to_vec(),
    };
    OsStr::from_bytes(&[&stem[..], format!("-{index}").as_bytes()].concat()).to_owned()
}

fn special(path: &Path, random: &mut Random) {
    let device = rustix::fs::makedev(random.below(4096) as u32, random.below(1 << 20) as u32);
    let kinds = [FileType::CharacterDevice, FileType::BlockDevice, FileType::Fifo, FileType::Socket];
    let kind = kinds[random.below(4) as usize];
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).unwrap();
}

fn sparse(path: &Path, random: &mut Random) {
    let file = fs::File::create(path).unwrap();
    for _ in 0..random.below(4) {
        let data = random.bytes(5000);
        file.write_all_at(&data, random.below(400) << 12).unwrap();
    }
    file.set_len(2 << 20).unwrap();
}

fn dress(path: &Path, random: &mut Random) {
    let metadata = path.symlink_metadata().unwrap();
    let (uid, gid) = (random.below(5) as u32 * 1_000_000_000 / 2, random.below(70_000) as u32);
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
    if !metadata.is_symlink() {
        let mode = random.below(0o10000) as u32;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if random.below(3) == 0 && (metadata.is_file() || metadata.is_dir()) {
        for (name, len) in [("user.a", 0), ("user.long", random.below(3000)), ("trusted.t", 3)] {
            let value = random.bytes(len);
            lsetxattr(path, name, &value, XattrFlags::empty()).unwrap();
        }
    }
    set_times(path, random);
}

fn set_times(path: &Path, random: &mut Random) {
    let seconds = random.below(6_000_000_000) as i64 - 2_000_000_000;
    let time = Timespec { tv_sec: seconds, tv_nsec: random.below(1_000_000_000) as i64 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Asserts that two trees look the same.
pub(crate) fn assert_same(expected: &BTreeMap<PathBuf, Seen>, actual: &BTreeMap<PathBuf, Seen>) {
    let names = |tree: &BTreeMap<PathBuf, Seen>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(actual));
    for (path, seen) in expected {
        assert_eq!(seen, &actual[path], "{}", path.display());
    }
}
