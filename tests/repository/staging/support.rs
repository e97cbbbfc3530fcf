//! A repository on disk with a client whose staging is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelfs::format::record::Time;
use reelfs::repo::Repository;
use reelfs::repo::staging::{Caller, Limits, OpenMode, StagingOptions, StagingTree};
use reelfs::storage::write_hold::WriteHold;
use tempfile::TempDir;

use crate::support::{client, new_id};

/// Who does it, now by the clock that files are stamped with.
pub(crate) fn caller() -> Caller {
    let now = rustix_now();

    Caller { uid: 0, gid: 0, umask: 0, now }
}

// The library has no clock; a file that is written tells the time.
fn rustix_now() -> Time {
    use std::os::unix::fs::MetadataExt;
    let file = tempfile::tempfile().unwrap();
    let metadata = file.metadata().unwrap();
    Time { seconds: metadata.mtime(), nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap() }
}

pub(crate) fn options(mode: OpenMode) -> StagingOptions {
    StagingOptions {
        limits: Limits { reserve_bytes: 0, cap_bytes: u64::MAX },
        ..StagingOptions::new(mode, b"boot".to_vec())
    }
}

/// A repository in a directory of its own.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) repository: Arc<Repository>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("repository");
        let repository = Arc::new(Repository::create(&root, new_id()).unwrap());
        Self { directory, root, repository }
    }

    /// Tells whether files can be held here, so that nobody writes them for a moment.
    pub(crate) fn holds_writes(&self) -> bool {
        let path = self.directory.path().join("held");
        std::fs::write(&path, "held").unwrap();
        let file = Arc::new(std::fs::File::open(&path).unwrap());
        let mut holds = (0..20).map(|_| WriteHold::begin(std::slice::from_ref(&file)));
        holds.any(|hold| hold.is_ok_and(|hold| hold.is_held(0)))
    }

    pub(crate) fn source(&self) -> PathBuf {
        let source = self.directory.path().join("source");
        std::fs::create_dir_all(&source).unwrap();
        source
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging").join(client().as_str())
    }

    pub(crate) fn create(&self) -> StagingTree {
        let options = options(OpenMode::Fresh);
        StagingTree::create(Arc::clone(&self.repository), &client(), &options, caller(), 0o755).unwrap()
    }

    pub(crate) fn open(&self) -> StagingTree {
        StagingTree::open(Arc::clone(&self.repository), &client(), &options(OpenMode::Fresh)).unwrap()
    }
}

/// Finds an object by a path below the root.
pub(crate) fn find(tree: &StagingTree, path: &str) -> u64 {
    let mut number = reelfs::repo::staging::ROOT;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let entry = tree.lookup(number, name.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"));
        number = entry.number();
        tree.forget(number, 1);
    }
    number
}

/// Reads a file whole.
pub(crate) fn read(tree: &StagingTree, path: &str) -> Vec<u8> {
    let number = find(tree, path);
    let handle = tree.open_file(number, false, false, caller()).unwrap();
    let len = usize::try_from(tree.attributes(number).unwrap().size).unwrap();
    let bytes = tree.read(&handle, 0, len + 10).unwrap();
    assert_eq!(bytes.len(), len, "{path}");
    bytes
}

/// Names of a directory in the order in which they are listed.
pub(crate) fn names(tree: &StagingTree, directory: u64) -> Vec<String> {
    let mut listing = tree.open_directory(directory).unwrap();
    let mut names = Vec::new();
    tree.list(&mut listing, 0, false, &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    })
    .unwrap();
    names
}

/// Bytes on disk below a directory.
pub(crate) fn file_count(directory: &Path) -> usize {
    let mut count = 0;
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    count
}
