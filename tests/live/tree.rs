//! Trees for the tests: places to make them, a copy through the library, and a look at them without it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use reelfs::format::record::{FileKind, Time, XattrList};
use reelfs::live::{
    Attributes, Identity, Metadata, Node, Shortfall, SourceDirectory, Target, TargetDirectory, TargetOptions,
};
use tempfile::TempDir;

/// Tells whether the tests run as root; if not, says what is left out.
pub(crate) fn is_root(left_out: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped, needs root: {left_out}");
    }
    is_root
}

/// A directory on some file system; what is mounted for it is unmounted in the end.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    is_mounted: bool,
    _directory: TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_mounted {
            let done = Command::new("umount").arg("-l").arg(&self.path).status();
            assert!(done.is_ok_and(|status| status.success()), "cannot unmount {}", self.path.display());
        }
    }
}

fn mounted(name: &'static str, kind: &str, options: impl Fn(&Path) -> String) -> Option<Place> {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    for part in ["lower", "upper", "work", "mount"] {
        fs::create_dir(base.join(part)).unwrap();
    }
    let path = base.join("mount");
    let mut command = Command::new("mount");
    command.args(["-t", kind, "-o", &options(base), kind]).arg(&path);
    match command.output() {
        Ok(output) if output.status.success() => {
            Some(Place { name, path, is_mounted: true, _directory: directory })
        }
        other => {
            eprintln!("skipped, cannot mount {kind}: {other:?}");
            None
        }
    }
}

/// A fresh tmpfs, if one can be mounted.
pub(crate) fn tmpfs() -> Option<Place> {
    mounted("tmpfs", "tmpfs", |_| String::from("mode=755"))
}

/// The file system of temporary files, a tmpfs and an overlay, as far as they can be had.
pub(crate) fn places() -> Vec<Place> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let native = Place { name: "native", path, is_mounted: false, _directory: directory };
    let mut places = vec![native];
    if is_root("tests on tmpfs and overlay") {
        places.extend(tmpfs());
        places.extend(mounted("overlay", "overlay", |base| {
            let [lower, upper, work] = ["lower", "upper", "work"].map(|part| base.join(part));
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display())
        }));
    }
    places
}

pub(crate) fn open_target(path: &Path) -> Target {
    Target::open(path, TargetOptions::default()).unwrap()
}

pub(crate) const PLAIN: Metadata<'static> = Metadata {
    permissions: 0o644,
    uid: 0,
    gid: 0,
    mtime: Time { seconds: 1, nanoseconds: 2 },
    atime: Time { seconds: 3, nanoseconds: 4 },
    xattrs: &[],
};

/// Metadata that any user may set.
pub(crate) fn plain() -> Metadata<'static> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Metadata { uid: uid.as_raw(), gid: gid.as_raw(), ..PLAIN }
}

pub(crate) fn metadata<'a>(attributes: &Attributes, xattrs: &'a XattrList) -> Metadata<'a> {
    Metadata {
        permissions: attributes.permissions,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        atime: attributes.atime,
        xattrs,
    }
}

/// A copy of a tree through the library, as backup and restore make it between them.
#[derive(Default)]
pub(crate) struct Copy {
    linked: HashMap<Identity, (TargetDirectory, Vec<u8>, Identity)>,
    pub(crate) shortfalls: Vec<Shortfall>,
}

impl Copy {
    pub(crate) fn tree(&mut self, source: &SourceDirectory, target: &TargetDirectory) {
        for entry in source.scan(None).unwrap().map(Result::unwrap) {
            self.entry(source, target, &entry.name, &entry.attributes.unwrap());
        }
        let (attributes, xattrs) = (source.attributes().unwrap(), source.xattrs().unwrap());
        self.shortfalls.extend(target.set_metadata(&metadata(&attributes, &xattrs)));
    }

    fn entry(
        &mut self,
        source: &SourceDirectory,
        target: &TargetDirectory,
        name: &[u8],
        attributes: &Attributes,
    ) {
        let xattrs = source.xattrs_of(name).unwrap();
        let metadata = metadata(attributes, &xattrs);
        let placed = match attributes.kind {
            FileKind::Directory => {
                let directory = source.open_directory(name).unwrap();
                return self.tree(&directory, &target.create_directory(name).unwrap());
            }
            FileKind::Regular => return self.file(source, target, name, attributes),
            FileKind::Symlink => target.create_symlink(name, &source.read_symlink(name).unwrap(), &metadata),
            FileKind::CharacterDevice => {
                target.create_node(name, Node::CharacterDevice(attributes.special), &metadata)
            }
            FileKind::BlockDevice => {
                target.create_node(name, Node::BlockDevice(attributes.special), &metadata)
            }
            FileKind::Fifo => target.create_node(name, Node::Fifo, &metadata),
            FileKind::Socket => target.create_node(name, Node::Socket, &metadata),
        };
        self.shortfalls.extend(placed.unwrap().shortfalls);
    }

    fn file(
        &mut self,
        source: &SourceDirectory,
        target: &TargetDirectory,
        name: &[u8],
        attributes: &Attributes,
    ) {
        if let Some((directory, first, identity)) = self.linked.get(&attributes.identity()) {
            return target.link(name, directory, first, *identity).unwrap();
        }
        let file = source.open_file(name, attributes).unwrap();
        let written = target.create_file(name).unwrap();
        for range in file.data_ranges() {
            let (offset, len) = range.unwrap();
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            assert_eq!(file.read_at(&mut bytes, offset).unwrap(), bytes.len());
            written.write_at(&bytes, offset).unwrap();
        }
        written.set_len(attributes.size).unwrap();
        let xattrs = file.xattrs().unwrap();
        assert_eq!(xattrs, source.xattrs_of(name).unwrap(), "both ways to read attributes agree");
        assert!(file.attributes_now().unwrap().is_unchanged_since(attributes));
        let placed = written.commit(&metadata(attributes, &xattrs)).unwrap();
        if attributes.link_count > 1 {
            let first = (target.clone(), name.to_vec(), placed.identity.unwrap());
            self.linked.insert(attributes.identity(), first);
        }
        self.shortfalls.extend(placed.shortfalls);
    }
}

/// What the system says about an object, found out without the library.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    atime: Option<(i64, i64)>,
    device: u64,
    size: u64,
    blocks: u64,
    link_count: u64,
    content: Vec<u8>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    same_as: Option<PathBuf>,
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or_default();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            value.truncate(len);
            (OsStr::from_bytes(name).to_owned(), value)
        })
        .collect()
}

/// Reads a file without changing its access time.
fn read_quietly(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let mut file = File::options().read(true).custom_flags(libc::O_NOATIME).open(path).unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}

/// Looks at all objects of a tree whose paths the system accepts.
pub(crate) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut first_names = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = root.join(&relative);
        let found = fs::symlink_metadata(&path).unwrap();
        let content = if found.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else if found.is_file() {
            read_quietly(&path)
        } else {
            Vec::new()
        };
        if found.is_dir() {
            let mut below: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| relative.join(entry.unwrap().file_name())).collect();
            below.sort();
            pending.extend(below);
        }
        let same_as =
            first_names.entry((found.dev(), found.ino())).or_insert_with(|| relative.clone()).clone();
        let is_directory = found.is_dir();
        let object = Seen {
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            mtime: (found.mtime(), found.mtime_nsec()),
            // Looking at a directory changes it.
            atime: found.is_file().then(|| (found.atime(), found.atime_nsec())),
            device: found.rdev(),
            size: if is_directory { 0 } else { found.size() },
            blocks: if found.is_file() { found.blocks() } else { 0 },
            link_count: found.nlink(),
            content,
            xattrs: xattrs(&path),
            same_as: (same_as != relative).then_some(same_as),
        };
        seen.insert(relative, object);
    }
    seen
}
