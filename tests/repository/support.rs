//! What the tests share.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reelfs::format::record::Detail;
use reelfs::id::{ClientName, FileId, Fingerprint, GenerationTime};
use reelfs::index::Index;
use reelfs::job::backup::{self, BackupError, BackupOptions, BackupSummary};
use reelfs::job::restore::{self, RestoreOptions, RestoreSummary};
use reelfs::job::verify::{self, VerifyOptions, VerifySummary};
use reelfs::progress::Progress;
use reelfs::repo::generation_writer::WriterInputs;
use reelfs::repo::{CacheBytes, GenerationId, Node, ReadError, Repository};
use reelfs::storage::{MemoryStorage, Storage};

static ID_COUNT: AtomicU64 = AtomicU64::new(1);

/// A file id that no other one is equal to.
pub(crate) fn new_id() -> FileId {
    let number = ID_COUNT.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 16];
    id.copy_from_slice(&Fingerprint::of(&number.to_le_bytes()).0[..16]);
    FileId(id)
}

/// What a writer is given from outside.
pub(crate) fn inputs() -> WriterInputs {
    let now = GenerationTime::from_seconds(1_795_233_600).unwrap();
    WriterInputs { now, new_id: Box::new(new_id) }
}

pub(crate) fn client() -> ClientName {
    "web1".parse().unwrap()
}

/// A repository in memory.
pub(crate) fn in_memory() -> (MemoryStorage, Repository) {
    let memory = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    Repository::initialise(&storage, new_id()).unwrap();
    let repository = open(&memory);
    (memory, repository)
}

/// Opens a repository anew, with nothing in its caches.
pub(crate) fn open(memory: &MemoryStorage) -> Repository {
    Repository::open_storage(Arc::new(memory.clone()), CacheBytes::default()).unwrap()
}

pub(crate) fn try_backup(
    repository: &Repository,
    index: Option<&Index>,
    source: &Path,
    options: &BackupOptions,
) -> Result<BackupSummary, BackupError> {
    backup::run(repository, index, &client(), source, options, inputs(), &Progress::new())
}

/// Backs up and expects that all was saved.
pub(crate) fn backup(repository: &Repository, index: Option<&Index>, source: &Path) -> Option<GenerationId> {
    let summary = try_backup(repository, index, source, &BackupOptions::default()).unwrap();
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(summary.index_problem, None);
    summary.committed.map(|committed| committed.id)
}

pub(crate) fn restore_with(
    repository: &Repository,
    generation: GenerationId,
    path: &str,
    target: &Path,
    options: &RestoreOptions,
) -> RestoreSummary {
    restore::run(repository, generation.ordinal, path.as_bytes(), target, options, &Progress::new()).unwrap()
}

/// Restores all of a generation, verified, and expects that all came back.
pub(crate) fn restore(repository: &Repository, generation: GenerationId, target: &Path) -> RestoreSummary {
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let summary = restore_with(repository, generation, "", target, &options);
    assert!(summary.is_complete(), "{summary:?}");
    summary
}

/// What the system says about an object, found out without the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    size: u64,
    has_holes: bool,
    link_count: u64,
    content: Fingerprint,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    same_as: Option<PathBuf>,
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or_default();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect()
}

/// Looks at all objects of a tree.
pub(crate) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let found = fs::symlink_metadata(&path).unwrap();
        let kind = found.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            let mut below: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| relative.join(entry.unwrap().file_name())).collect();
            below.sort();
            below.reverse();
            pending.extend(below);
        }
        let first = first_names.entry((found.dev(), found.ino())).or_insert_with(|| relative.clone()).clone();
        let object = Seen {
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            mtime: (found.mtime(), found.mtime_nsec()),
            device: if kind.is_char_device() || kind.is_block_device() { found.rdev() } else { 0 },
            size: if kind.is_dir() { 0 } else { found.size() },
            has_holes: kind.is_file() && found.blocks() * 512 + 65_536 < found.size(),
            link_count: if kind.is_dir() { 0 } else { found.nlink() },
            content: Fingerprint::of(&content),
            xattrs: xattrs(&path),
            same_as: (first != relative).then_some(first),
        };
        seen.insert(relative, object);
    }
    seen
}

/// Compares two trees and tells of the first differences.
pub(crate) fn assert_same(actual: &Path, expected: &BTreeMap<PathBuf, Seen>) {
    let actual = look(actual);
    let mut differences = Vec::new();
    for path in actual.keys().chain(expected.keys()) {
        if actual.get(path) != expected.get(path) {
            differences.push(format!("{path:?}: {:?}\nexpected: {:?}", actual.get(path), expected.get(path)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Bytes that no compressor makes smaller, always the same for a seed.
pub(crate) fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Everything that can be read of a generation: paths, attributes and content.
pub(crate) type Contents = Vec<(Vec<u8>, Result<String, String>)>;

pub(crate) fn read_all(repository: &Repository, generation: GenerationId) -> Result<Contents, ReadError> {
    let opened = repository.generation(generation.ordinal)?;
    let mut found = Vec::new();
    let mut pending = vec![(Vec::new(), reelfs::format::record::ROOT_OBJECT)];
    while let Some((path, object)) = pending.pop() {
        assert!(found.len() < 1000, "a damaged tree must not grow");
        for entry in opened.list(repository.pages(), object, None)? {
            let entry = entry?;
            let path = [&path[..], b"/", &entry.name].concat();
            let mut inode = match (entry.inode, entry.node) {
                (Some(inode), _) => inode,
                (None, node) => repository.inode(node)?,
            };
            if let (Detail::Directory { .. }, Node::Object { object, .. }) = (&inode.detail, entry.node) {
                pending.push((path.clone(), object));
            }
            let content = match repository.content(&inode) {
                None => Ok(Vec::new()),
                Some(content) => content.read(0, usize::MAX).map_err(|error| error.to_string()),
            };
            // Where the bytes are is not what they are, and reading them changes the time of access.
            inode.atime = Default::default();
            if let Detail::Regular { content, .. } = &mut inode.detail {
                *content = reelfs::format::record::Content::Inline(Vec::new());
            }
            found.push((path, content.map(|content| format!("{inode:?} {content:?}"))));
        }
    }
    Ok(found)
}

/// Verifies everything.
pub(crate) fn verify(repository: &Repository, index: Option<&Index>) -> VerifySummary {
    verify::run(repository, index, &[], &VerifyOptions::default(), &Progress::new()).unwrap()
}
