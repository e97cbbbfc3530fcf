//! A POSIX tree in memory, and its comparison with a staging tree.

use std::collections::BTreeMap;

use reelfs::format::record::{FileKind, Time};
use reelfs::repo::staging::{Attributes, ROOT, SeekFrom, StagingError, StagingTree};

use super::support::caller;

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) kind: FileKind,
    /// Number in staging: the same for its life.
    pub(crate) number: u64,
    pub(crate) permissions: u16,
    pub(crate) owner: (u32, u32),
    pub(crate) link_count: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) content: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) entries: BTreeMap<Vec<u8>, usize>,
    pub(crate) parent: usize,
    /// When it was set or seen last; unknown after a change whose time the system chose.
    pub(crate) mtime: Option<Time>,
    pub(crate) ctime: Option<Time>,
}

/// All objects; the first is the root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) objects: BTreeMap<usize, Object>,
    next: usize,
}

impl Model {
    pub(crate) fn add(&mut self, object: Object) -> usize {
        let id = self.next;
        self.next += 1;
        self.objects.insert(id, object);
        id
    }

    pub(crate) fn object(&mut self, id: usize) -> &mut Object {
        self.objects.get_mut(&id).expect("it is in the model")
    }

    /// The object changed: its times are those of now.
    pub(crate) fn changed(&mut self, id: usize, content: bool) {
        let object = self.object(id);
        object.ctime = None;
        if content {
            object.mtime = None;
        }
    }

    pub(crate) fn of_kind(&self, kind: FileKind) -> Vec<usize> {
        self.objects
            .iter()
            .filter(|(_, object)| object.kind == kind && object.link_count > 0)
            .map(|(id, _)| *id)
            .collect()
    }

    /// All names: directory, name, object.
    pub(crate) fn names(&self) -> Vec<(usize, Vec<u8>, usize)> {
        let mut names = Vec::new();
        for (id, object) in &self.objects {
            names.extend(object.entries.iter().map(|(name, below)| (*id, name.clone(), *below)));
        }
        names
    }

    pub(crate) fn is_below(&self, id: usize, above: usize) -> bool {
        let mut at = id;
        loop {
            if at == above {
                return true;
            }
            let parent = self.objects[&at].parent;
            if parent == at {
                return false;
            }
            at = parent;
        }
    }

    /// Takes a name away; the object goes with its last one unless it is open.
    pub(crate) fn unlink(&mut self, directory: usize, name: &[u8], open: &[usize]) {
        let id = self.object(directory).entries.remove(name).expect("the name is there");
        self.changed(directory, true);
        self.changed(id, false);
        let object = self.object(id);
        object.link_count -= 1;
        if object.link_count == 0 && !open.contains(&id) {
            self.objects.remove(&id);
        }
    }

    /// Nobody has anything open any more.
    pub(crate) fn close_all(&mut self) {
        self.objects.retain(|_, object| object.link_count > 0);
    }

    /// Compares everything, and notes times that the system chose.
    pub(crate) fn compare(&mut self, tree: &StagingTree) {
        let reachable = self.names();
        assert_eq!(self.objects[&0].number, ROOT);
        let ids: Vec<usize> = self.objects.keys().copied().collect();
        for id in &ids {
            if self.objects[id].kind == FileKind::Directory {
                self.compare_listing(tree, *id);
            }
        }
        for (directory, name, id) in &reachable {
            let number = self.objects[directory].number;
            let entry = tree.lookup(number, name).unwrap_or_else(|error| {
                panic!("{}: {error}", String::from_utf8_lossy(name));
            });
            assert_eq!(entry.number(), self.objects[id].number, "{}", String::from_utf8_lossy(name));
            self.compare_object(tree, *id, &entry.attributes);
        }
        for id in &ids {
            let number = self.objects[id].number;
            let attributes =
                tree.attributes(number).unwrap_or_else(|error| panic!("object {number}: {error}"));
            self.compare_object(tree, *id, &attributes);
        }
        for (_, _, id) in &reachable {
            tree.forget(self.objects[id].number, 1);
        }
    }

    fn compare_listing(&self, tree: &StagingTree, id: usize) {
        let object = &self.objects[&id];
        let mut listing = tree.open_directory(object.number).unwrap();
        let mut found = Vec::new();
        let mut cookie = 0;
        // In small pieces, as a kernel asks.
        loop {
            let mut taken = 0;
            let before = cookie;
            tree.list(&mut listing, cookie, false, &mut |entry| {
                if taken == 7 {
                    return false;
                }
                taken += 1;
                cookie = entry.cookie;
                found.push((entry.name.to_vec(), entry.number, entry.kind));
                true
            })
            .unwrap();
            if cookie == before {
                break;
            }
        }
        let expected: Vec<_> = object
            .entries
            .iter()
            .map(|(name, id)| (name.clone(), self.objects[id].number, self.objects[id].kind))
            .collect();
        assert_eq!(found, expected, "directory {}", object.number);
    }

    fn compare_object(&mut self, tree: &StagingTree, id: usize, attributes: &Attributes) {
        let parent = self.objects.get(&self.objects[&id].parent).map_or(0, |parent| parent.number);
        let object = self.object(id);
        let number = object.number;
        let actual = (
            attributes.number,
            attributes.kind,
            attributes.permissions,
            (attributes.uid, attributes.gid),
            attributes.link_count,
            attributes.device,
        );
        let link_count = if object.kind == FileKind::Directory { 1 } else { object.link_count };
        let expected = (number, object.kind, object.permissions, object.owner, link_count, object.device);
        assert_eq!(actual, expected, "object {number}");
        assert_eq!(*object.mtime.get_or_insert(attributes.mtime), attributes.mtime, "mtime of {number}");
        assert_eq!(*object.ctime.get_or_insert(attributes.ctime), attributes.ctime, "ctime of {number}");
        let xattrs: BTreeMap<_, _> = tree.xattrs(number).unwrap().into_iter().collect();
        assert_eq!(xattrs, object.xattrs, "object {number}");
        match object.kind {
            FileKind::Regular => {
                assert_eq!(attributes.size, object.content.len() as u64, "size of {number}");
                compare_content(tree, number, &object.content);
            }
            FileKind::Symlink => assert_eq!(tree.read_link(number).unwrap(), object.target),
            FileKind::Directory => assert_eq!(tree.parent(number).unwrap(), parent, "parent of {number}"),
            _ => {}
        }
    }
}

/// Compares a file byte by byte; what is a hole must be zeros, and each byte lies in one or the other.
pub(crate) fn compare_content(tree: &StagingTree, number: u64, expected: &[u8]) {
    let handle = tree.open_file(number, false, false, caller()).unwrap();
    let actual = tree.read(&handle, 0, expected.len() + 1).unwrap();
    if let Some(at) = (0..expected.len().max(actual.len())).find(|at| actual.get(*at) != expected.get(*at)) {
        panic!(
            "file {number}: byte {at} is {:?}, not {:?} (lengths {} and {})",
            actual.get(at),
            expected.get(at),
            actual.len(),
            expected.len()
        );
    }
    let size = expected.len() as u64;
    let mut position = 0;
    while position < size {
        let data = match tree.seek(&handle, SeekFrom::Data(position)) {
            Ok(data) => data,
            Err(StagingError::NoSegment) => size,
            Err(error) => panic!("file {number}: {error}"),
        };
        assert!(data >= position && data <= size);
        let range = usize::try_from(position).unwrap()..usize::try_from(data).unwrap();
        assert!(expected[range].iter().all(|byte| *byte == 0), "file {number}: data in a hole before {data}");
        if data == size {
            break;
        }
        position = tree.seek(&handle, SeekFrom::Hole(data)).unwrap();
        assert!(position > data && position <= size, "file {number}: {position}");
    }
}
