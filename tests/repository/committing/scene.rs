//! A repository in a directory with staging trees, changed and committed without a mount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reelfs::format::record::{Detail, ROOT_OBJECT, Time};
use reelfs::format::staging_policy::StagingPolicy;
use reelfs::id::{ClientName, FileId, Ordinal};
use reelfs::index::Index;
use reelfs::job::commit::{Commit, CommitError, CommitOptions, CommitSummary, FileReport, Outside};
use reelfs::job::walk::Walk;
use reelfs::progress::Progress;
use reelfs::repo::staging::{
    Caller, FileHandle, OpenMode, RenameMode, SetAttributes, SetTime, StagingOptions, StagingTree,
};
use reelfs::repo::{CacheBytes, Repository};
use tempfile::TempDir;

use crate::support::new_id;

/// A clock that goes on when somebody sleeps.
#[derive(Debug)]
pub(super) struct TestOutside {
    nanoseconds: AtomicI64,
}

impl TestOutside {
    #[expect(clippy::disallowed_methods, reason = "tests stand at the edge")]
    pub(super) fn new() -> Arc<Self> {
        // Not far from the system's own clock, by which backing files have their times.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Arc::new(Self { nanoseconds: AtomicI64::new(i64::try_from(now.as_nanos()).unwrap()) })
    }
}

impl Outside for TestOutside {
    fn now(&self) -> Time {
        let now = self.nanoseconds.load(Ordering::Relaxed);
        let nanoseconds = u32::try_from(now.rem_euclid(1_000_000_000)).unwrap();
        Time { seconds: now.div_euclid(1_000_000_000), nanoseconds }
    }

    fn sleep(&self, span: Duration) {
        self.nanoseconds.fetch_add(i64::try_from(span.as_nanos()).unwrap(), Ordering::Relaxed);
    }

    fn new_id(&self) -> FileId {
        new_id()
    }
}

/// A repository with its index.
pub(super) struct Scene {
    pub(super) directory: TempDir,
    pub(super) repository: Arc<Repository>,
    pub(super) index: Option<Index>,
    pub(super) outside: Arc<TestOutside>,
    pub(super) policy: StagingPolicy,
    pub(super) options: CommitOptions,
    pub(super) reports: Mutex<Vec<FileReport>>,
}

pub(super) fn name(text: &str) -> ClientName {
    text.parse().unwrap()
}

pub(super) fn staging_options() -> StagingOptions {
    let mut options = StagingOptions::new(OpenMode::Fresh, b"boot".to_vec());
    options.limits.reserve_bytes = 0;
    options
}

impl Scene {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("repository");
        drop(Repository::create(&root, new_id()).unwrap());
        let repository = Arc::new(Repository::open(&root, CacheBytes::default()).unwrap());
        let index = Some(Index::open(&root.join("index")).unwrap());
        Self {
            directory,
            repository,
            index,
            outside: TestOutside::new(),
            policy: StagingPolicy::default(),
            options: CommitOptions::default(),
            reports: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    pub(super) fn stage(&self, client: &str) -> Staged {
        let caller = caller(1_700_000_000);
        let tree = StagingTree::create(
            Arc::clone(&self.repository),
            &name(client),
            &staging_options(),
            caller,
            0o755,
        );
        Staged::new(tree.unwrap())
    }

    pub(super) fn reopen(&self, client: &str) -> Staged {
        let tree = StagingTree::open(Arc::clone(&self.repository), &name(client), &staging_options());
        Staged::new(tree.unwrap())
    }

    pub(super) fn commit_of<'a>(&'a self, staged: &'a Staged, progress: &'a Progress) -> Commit<'a> {
        Commit {
            tree: &staged.tree,
            index: self.index.as_ref(),
            policy: &self.policy,
            options: &self.options,
            outside: Arc::clone(&self.outside) as Arc<dyn Outside>,
            progress,
        }
    }

    pub(super) fn try_commit(&self, staged: &Staged) -> Result<CommitSummary, CommitError> {
        self.reports.lock().unwrap().clear();
        let progress = Progress::new();
        self.commit_of(staged, &progress).run(&mut |report| self.reports.lock().unwrap().push(report.clone()))
    }

    /// Commits and expects a generation.
    pub(super) fn commit(&self, staged: &Staged) -> CommitSummary {
        let summary = self.try_commit(staged).unwrap();
        assert!(summary.stored.committed.is_some(), "{summary:?}");
        assert_eq!(summary.stored.index_problem, None);
        summary
    }

    /// Method that the last commit used for the file at this path.
    pub(super) fn method(&self, path: &str) -> &'static str {
        let reports = self.reports.lock().unwrap();
        let found = reports.iter().find(|report| report.path == path.as_bytes());
        found.unwrap_or_else(|| panic!("no report of {path}: {reports:?}")).method.as_str()
    }

    /// Paths and content of the generation that a commit made, read by a repository opened anew.
    pub(super) fn read(&self, summary: &CommitSummary) -> BTreeMap<String, Vec<u8>> {
        let ordinal = summary.stored.committed.as_ref().unwrap().id.ordinal;
        self.read_generation(&self.root(), ordinal)
    }

    /// Paths and content of a generation of the repository at `root`, opened anew.
    pub(super) fn read_generation(&self, root: &Path, ordinal: Ordinal) -> BTreeMap<String, Vec<u8>> {
        let repository = Repository::open(root, CacheBytes::default()).unwrap();
        let generation = repository.generation(ordinal).unwrap();
        let mut found = BTreeMap::new();
        for walked in Walk::new(&repository, &generation, ROOT_OBJECT, Vec::new()) {
            let walked = walked.unwrap();
            let path = String::from_utf8(walked.path).unwrap();
            let bytes = match &walked.inode.detail {
                Detail::Symlink { target } => target.clone(),
                Detail::Directory { .. } => b"directory".to_vec(),
                _ => repository
                    .content(&walked.inode)
                    .map_or_else(Vec::new, |content| content.read(0, usize::MAX).unwrap()),
            };
            found.insert(path, bytes);
        }
        found
    }

    pub(super) fn verify(&self) {
        let repository = Repository::open(&self.root(), CacheBytes::default()).unwrap();
        let verified = crate::support::verify(&repository, self.index.as_ref());
        assert!(verified.is_sound(), "{verified:?}");
    }
}

pub(super) fn caller(seconds: i64) -> Caller {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Caller { uid, gid, umask: 0, now: Time { seconds, nanoseconds: 0 } }
}

/// A client's staging tree, with calls by path.
pub(super) struct Staged {
    pub(super) tree: StagingTree,
    clock: AtomicI64,
}

static CLOCK: AtomicI64 = AtomicI64::new(1_700_000_000);

impl Staged {
    pub(super) fn new(tree: StagingTree) -> Self {
        Self { tree, clock: AtomicI64::new(CLOCK.fetch_add(10_000, Ordering::Relaxed)) }
    }

    pub(super) fn caller(&self) -> Caller {
        caller(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    /// Number of a path.
    pub(super) fn number(&self, path: &str) -> u64 {
        self.try_number(path).unwrap_or_else(|| panic!("{path} is not there"))
    }

    pub(super) fn try_number(&self, path: &str) -> Option<u64> {
        let mut at = ROOT_OBJECT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let entry = self.tree.lookup(at, part.as_bytes()).ok()?;
            at = entry.number();
        }
        Some(at)
    }

    fn split<'p>(&self, path: &'p str) -> (u64, &'p [u8]) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.number(directory), name.as_bytes())
    }

    pub(super) fn make_directory(&self, path: &str) {
        let (directory, name) = self.split(path);
        self.tree.make_directory(directory, name, 0o755, self.caller()).unwrap();
    }

    /// Opens a file for writing, created if it is not there.
    pub(super) fn open(&self, path: &str, truncate: bool) -> FileHandle {
        match self.try_number(path) {
            Some(number) => self.tree.open_file(number, true, truncate, self.caller()).unwrap(),
            None => {
                let (directory, name) = self.split(path);
                self.tree.create_file(directory, name, 0o644, self.caller(), None).unwrap().1
            }
        }
    }

    pub(super) fn write_at(&self, handle: &FileHandle, offset: u64, bytes: &[u8]) {
        self.tree.write(handle, offset, bytes, false, self.caller()).unwrap();
    }

    /// Writes a whole file.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let handle = self.open(path, true);
        for (index, piece) in bytes.chunks(1 << 20).enumerate() {
            self.write_at(&handle, (index as u64) << 20, piece);
        }
    }

    /// Writes in place.
    pub(super) fn patch(&self, path: &str, offset: u64, bytes: &[u8]) {
        let handle = self.open(path, false);
        self.write_at(&handle, offset, bytes);
    }

    pub(super) fn unlink(&self, path: &str) {
        let (directory, name) = self.split(path);
        self.tree.unlink(directory, name, self.caller()).unwrap();
    }

    pub(super) fn remove_directory(&self, path: &str) {
        let (directory, name) = self.split(path);
        self.tree.remove_directory(directory, name, self.caller()).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        let (from, to) = (self.split(from), self.split(to));
        self.tree.rename(from, to, RenameMode::Replace, self.caller()).unwrap();
    }

    pub(super) fn link(&self, from: &str, to: &str) {
        let (directory, name) = self.split(to);
        self.tree.link(self.number(from), directory, name, self.caller()).unwrap();
    }

    pub(super) fn symlink(&self, target: &str, path: &str) {
        let (directory, name) = self.split(path);
        self.tree.make_symlink(directory, name, target.as_bytes(), self.caller()).unwrap();
    }

    pub(super) fn set_mtime(&self, path: &str, seconds: i64) {
        let mtime = Some(SetTime::At(Time { seconds, nanoseconds: 5 }));
        let set = SetAttributes { mtime, ..SetAttributes::default() };
        self.tree.set_attributes(self.number(path), &set, self.caller()).unwrap();
    }

    pub(super) fn set_permissions(&self, path: &str, permissions: u16) {
        let set = SetAttributes { permissions: Some(permissions), ..SetAttributes::default() };
        self.tree.set_attributes(self.number(path), &set, self.caller()).unwrap();
    }

    pub(super) fn truncate(&self, path: &str, size: u64) {
        self.tree.truncate(self.number(path), size, self.caller()).unwrap();
    }

    /// Paths and content as the tree shows them.
    pub(super) fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut pending = vec![(String::new(), ROOT_OBJECT)];
        while let Some((path, directory)) = pending.pop() {
            let mut entries = Vec::new();
            let mut listing = self.tree.open_directory(directory).unwrap();
            let mut take = |entry: reelfs::repo::staging::Listed<'_>| {
                entries.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.number, entry.kind));
                true
            };
            self.tree.list(&mut listing, 0, true, &mut take).unwrap();
            for (entry, number, kind) in entries {
                let path = if path.is_empty() { entry } else { format!("{path}/{entry}") };
                let bytes = match kind {
                    reelfs::format::record::FileKind::Directory => {
                        pending.push((path.clone(), number));
                        b"directory".to_vec()
                    }
                    reelfs::format::record::FileKind::Symlink => self.tree.read_link(number).unwrap(),
                    _ => {
                        let handle = self.tree.open_file(number, false, false, self.caller()).unwrap();
                        let size = self.tree.attributes(number).unwrap().size;
                        self.tree.read(&handle, 0, usize::try_from(size).unwrap()).unwrap()
                    }
                };
                found.insert(path, bytes);
            }
        }
        found
    }
}

/// Bytes of all files below a directory.
pub(super) fn stored_len(root: &Path) -> u64 {
    let mut len = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                pending.push(entry.path());
            } else {
                len += metadata.len();
            }
        }
    }
    len
}
