//! What is seen in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// Mode, time of change, and bytes or target of all that is below a directory.
pub(crate) type Tree = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

/// Looks at all that is below a directory.
pub(crate) fn look(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mut bytes = Vec::new();
            if metadata.is_dir() {
                left.push(path.clone());
            } else if metadata.is_symlink() {
                bytes = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            } else {
                bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            let name = path.strip_prefix(root).unwrap().to_owned();
            found.insert(name, (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), bytes));
        }
    }
    found
}

/// Expects the same, and says where it is not.
pub(crate) fn assert_same(expected: &Tree, actual: &Tree, what: &str) {
    for path in expected.keys().chain(actual.keys()) {
        let (expected, actual) = (expected.get(path), actual.get(path));
        let short = |seen: Option<&(u32, i64, i64, Vec<u8>)>| {
            seen.map(|(mode, seconds, nanoseconds, bytes)| {
                let sum = bytes.iter().fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
                format!("mode {mode:o}, time {seconds}.{nanoseconds:09}, {} bytes, sum {sum:x}", bytes.len())
            })
        };
        assert!(
            expected == actual,
            "{what}: {}: expected {:?}, found {:?}",
            path.display(),
            short(expected),
            short(actual)
        );
    }
}

/// Makes a tree of small files and a few larger ones.
pub(crate) fn grow(root: &Path, random: &mut Random, file_count: u64) {
    for number in 0..file_count {
        let directory = root.join(format!("d{}", number % 5));
        fs::create_dir_all(&directory).unwrap();
        let len = if number % 10 == 0 { random.below(90_000) } else { random.below(3000) };
        fs::write(directory.join(format!("f{number}")), random.bytes(len as usize)).unwrap();
    }
    std::os::unix::fs::symlink("d0/f0", root.join("link")).unwrap();
}
