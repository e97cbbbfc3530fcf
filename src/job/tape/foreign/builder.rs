//! Makes the table out of the entries of a scan, as they come.
//!
//! It holds some 100 bytes in memory for each name, whatever the length of names.

use std::collections::HashMap;

use super::names::{components, of_piece};
use super::node::{ForeignNode, NodeKind, Piece};
use super::table::{MAGIC, ROOT_NODE, VERSION, hash};
use super::xattrs::{AclName, xattrs};
use crate::checksum::crc32;
use crate::format::record::Time;
use crate::id::Fingerprint;
use crate::storage::{StorageError, WriteFile};
use crate::tape::archive::EntryKind;
use crate::tape::reader::ForeignEntry;

/// Most objects of a cartridge.
const NODE_COUNT_MAX: usize = 1 << 26;
/// Bytes that are written at a time.
const BUFFER_LEN: usize = 256 << 10;
/// Owner of what has a number that Linux does not have.
const NOBODY: u32 = 65534;

#[derive(Debug, Clone, Copy)]
struct NodeRow {
    record: u64,
    name_count: u32,
    is_directory: bool,
}

#[derive(Debug, Clone, Copy)]
struct LinkRow {
    record: u64,
    parent: u32,
    node: u32,
    hash: u32,
    // Another link has taken its name.
    is_gone: bool,
}

/// Counts of a tape file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries that are shown.
    pub shown: u64,
    /// Entries that are not.
    pub left_out: u64,
}

// What there was before the present tape file.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    nodes: usize,
    links: usize,
    directory: Option<u32>,
    counts: Counts,
}

/// The table under construction.
pub struct Builder<'a> {
    target: &'a mut dyn WriteFile,
    number_of: &'a dyn Fn(AclName<'_>) -> Option<u32>,
    scanned: Time,
    buffer: Vec<u8>,
    written: u64,
    nodes: Vec<NodeRow>,
    links: Vec<LinkRow>,
    by_name: HashMap<[u8; 16], u32>,
    mark: Mark,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl<'a> Builder<'a> {
    /// Begins; `number_of` knows users and groups of access lists.
    ///
    /// # Errors
    /// [`StorageError`] if the file cannot be written.
    pub fn new(
        target: &'a mut dyn WriteFile,
        number_of: &'a dyn Fn(AclName<'_>) -> Option<u32>,
        scanned: Time,
    ) -> Result<Self, StorageError> {
        let mut builder = Self {
            target,
            number_of,
            scanned,
            buffer: Vec::new(),
            written: 0,
            nodes: Vec::new(),
            links: Vec::new(),
            by_name: HashMap::new(),
            mark: Mark::default(),
        };
        builder.add_node(&ForeignNode::implied(0, ROOT_NODE, scanned))?;
        builder.begin_file();
        Ok(builder)
    }

    fn begin_file(&mut self) {
        self.mark = Mark {
            nodes: self.nodes.len(),
            links: self.links.len(),
            directory: None,
            counts: Counts::default(),
        };
    }

    /// Forgets what was told of the present tape file.
    pub fn again(&mut self) {
        self.nodes.truncate(self.mark.nodes);
        self.links.truncate(self.mark.links);
        let links = self.mark.links;
        self.by_name.retain(|_, link| (*link as usize) < links);
        self.begin_file();
    }

    /// Ends the present tape file; returns its counts.
    pub fn end_file(&mut self) -> Counts {
        let counts = self.mark.counts;
        self.begin_file();
        counts
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// [`StorageError`] if the file cannot be written.
    pub fn entry(&mut self, found: &ForeignEntry) -> Result<(), StorageError> {
        let is_shown = self.take(found)?;
        let counts = &mut self.mark.counts;
        *(if is_shown { &mut counts.shown } else { &mut counts.left_out }) += 1;
        Ok(())
    }

    fn take(&mut self, found: &ForeignEntry) -> Result<bool, StorageError> {
        let entry = &found.entry;
        if matches!(entry.kind, EntryKind::Other(b'V' | b'N')) || self.nodes.len() >= NODE_COUNT_MAX {
            return Ok(false);
        }
        let name = shown_name(found);
        let Some(parts) = components(&name) else { return Ok(false) };
        let directory = match self.mark.directory {
            Some(directory) => directory,
            None => {
                let name = format!("{:04}", found.file);
                let made = self.directory(ROOT_NODE, name.as_bytes(), found.file)?;
                *self.mark.directory.insert(made)
            }
        };
        let Some((last, above)) = parts.split_last() else {
            // `./`: the directory itself.
            return self.describe_directory(directory, directory, found);
        };
        let mut parent = directory;
        for part in above {
            parent = self.directory(parent, part, found.file)?;
        }
        if entry.kind == EntryKind::HardLink
            && let Some(target) = self.find(directory, &entry.link)
            && !self.is_directory(target)
        {
            return self.link(parent, last, target).map(|()| true);
        }
        let Some(kind) = kind_of(found) else { return Ok(false) };
        if kind == NodeKind::Directory {
            let own = self.directory(parent, last, found.file)?;
            return self.describe_directory(own, parent, found);
        }
        let node = self.add_node(&self.node(found, parent, kind))?;
        self.link(parent, last, node).map(|()| true)
    }

    fn node(&self, found: &ForeignEntry, parent: u32, kind: NodeKind) -> ForeignNode {
        let entry = &found.entry;
        let owner = |number: u64| u32::try_from(number).ok().filter(|id| *id != u32::MAX).unwrap_or(NOBODY);
        ForeignNode {
            file: found.file,
            parent,
            permissions: u16::try_from(entry.mode & 0o7777).unwrap_or(0),
            uid: owner(entry.uid),
            gid: owner(entry.gid),
            mtime: Time { seconds: entry.mtime_seconds, nanoseconds: entry.mtime_nanoseconds },
            kind,
            xattrs: xattrs(&entry.keywords, self.number_of),
        }
    }

    fn describe_directory(
        &mut self,
        own: u32,
        parent: u32,
        found: &ForeignEntry,
    ) -> Result<bool, StorageError> {
        if !matches!(found.entry.kind, EntryKind::Directory | EntryKind::Other(b'D')) {
            return Ok(false);
        }
        let parent = if own == parent { ROOT_NODE } else { parent };
        let record = self.put_node(own, &self.node(found, parent, NodeKind::Directory))?;
        if let Some(row) = self.nodes.get_mut(own as usize) {
            row.record = record;
        }
        Ok(true)
    }

    fn is_directory(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|row| row.is_directory)
    }

    // The directory of this name; what has the name and is none gives way, as the later entry counts.
    fn directory(&mut self, parent: u32, name: &[u8], file: u64) -> Result<u32, StorageError> {
        if let Some(link) =
            self.by_name.get(&key(parent, name)).and_then(|link| self.links.get(*link as usize))
            && self.is_directory(link.node)
        {
            return Ok(link.node);
        }
        let node = self.add_node(&ForeignNode::implied(file, parent, self.scanned))?;
        self.link(parent, name, node)?;
        Ok(node)
    }

    // What a path of the present tape file leads to now.
    fn find(&self, directory: u32, path: &[u8]) -> Option<u32> {
        let mut node = directory;
        for part in components(path)? {
            let link = *self.by_name.get(&key(node, part))?;
            node = self.links.get(link as usize)?.node;
        }
        Some(node)
    }

    fn link(&mut self, parent: u32, name: &[u8], node: u32) -> Result<(), StorageError> {
        let key = key(parent, name);
        if let Some(before) = self.by_name.get(&key).and_then(|link| self.links.get_mut(*link as usize)) {
            if before.node == node {
                return Ok(());
            }
            before.is_gone = true;
            let before = before.node;
            if let Some(row) = self.nodes.get_mut(before as usize) {
                row.name_count = row.name_count.saturating_sub(1);
            }
        }
        let record = self.put(&[&node.to_le_bytes(), &parent.to_le_bytes(), name])?;
        let index = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        self.links.push(LinkRow { record, parent, node, hash: hash(name), is_gone: false });
        self.by_name.insert(key, index);
        if let Some(row) = self.nodes.get_mut(node as usize) {
            row.name_count = row.name_count.saturating_add(1);
        }
        Ok(())
    }

    fn add_node(&mut self, node: &ForeignNode) -> Result<u32, StorageError> {
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let record = self.put_node(number, node)?;
        let is_directory = node.kind == NodeKind::Directory;
        self.nodes.push(NodeRow { record, name_count: 0, is_directory });
        Ok(number)
    }

    fn put_node(&mut self, number: u32, node: &ForeignNode) -> Result<u64, StorageError> {
        self.put(&[&number.to_le_bytes(), &node.encode()])
    }

    // Appends a record; returns its offset.
    fn put(&mut self, parts: &[&[u8]]) -> Result<u64, StorageError> {
        let offset = self.written + self.buffer.len() as u64;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.append(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes())?;
        self.append(&crc32(parts).to_le_bytes())?;
        for part in parts {
            self.append(part)?;
        }
        Ok(offset)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_LEN {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.target.append(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left: how nodes and names are found. Returns the number of nodes.
    ///
    /// # Errors
    /// [`StorageError`] if the file cannot be written.
    pub fn finish(mut self) -> Result<u32, StorageError> {
        self.by_name = HashMap::new();
        let mut links = std::mem::take(&mut self.links);
        links.retain(|link| !link.is_gone);
        // Within a directory they keep the order of the tape.
        links.sort_by_key(|link| link.parent);
        let nodes = std::mem::take(&mut self.nodes);
        let at_nodes = self.written + self.buffer.len() as u64;
        let mut first = 0;
        for (number, row) in (0_u32..).zip(&nodes) {
            let count = links.iter().skip(first).take_while(|link| link.parent == number).count();
            let fields = [u32::try_from(first).unwrap_or(0), u32::try_from(count).unwrap_or(0)];
            let mut bytes = row.record.to_le_bytes().to_vec();
            for field in [row.name_count.max(1), fields[0], fields[1]] {
                bytes.extend(field.to_le_bytes());
            }
            let crc = crc32(&[&bytes]);
            bytes.extend(crc.to_le_bytes());
            self.append(&bytes)?;
            first += count;
        }
        let at_links = self.written + self.buffer.len() as u64;
        for link in &links {
            self.append(&link.record.to_le_bytes())?;
        }
        let at_hashes = self.written + self.buffer.len() as u64;
        let mut hashes: Vec<(u32, u32, u32)> =
            (0_u32..).zip(&links).map(|(index, link)| (link.parent, link.hash, index)).collect();
        hashes.sort_unstable();
        for (_, hash, index) in hashes {
            self.append(&hash.to_le_bytes())?;
            self.append(&index.to_le_bytes())?;
        }
        let node_count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let link_count = u32::try_from(links.len()).unwrap_or(u32::MAX);
        let mut trailer = MAGIC.to_vec();
        for field in [VERSION, node_count, link_count, 0] {
            trailer.extend(field.to_le_bytes());
        }
        for field in [at_nodes, at_links, at_hashes] {
            trailer.extend(field.to_le_bytes());
        }
        let crc = crc32(&[&trailer]);
        trailer.extend(crc.to_le_bytes());
        self.append(&trailer)?;
        self.flush()?;
        Ok(node_count)
    }
}

fn key(parent: u32, name: &[u8]) -> [u8; 16] {
    let fingerprint = Fingerprint::of(&[&parent.to_le_bytes(), name].concat());
    fingerprint.0.first_chunk().copied().unwrap_or_default()
}

fn is_file(found: &ForeignEntry) -> bool {
    found.entry.kind == EntryKind::File
}

// A piece of a file does not have the name of the file.
fn shown_name(found: &ForeignEntry) -> Vec<u8> {
    let entry = &found.entry;
    let (from, total) = match entry.continued {
        Some(continued) => continued,
        None if is_file(found) && found.available_bytes < entry.size => (0, entry.size),
        None => return entry.name.clone(),
    };
    of_piece(&entry.name, from, from.saturating_add(found.available_bytes), total)
}

// `None` for what is nothing in a file system.
fn kind_of(found: &ForeignEntry) -> Option<NodeKind> {
    let entry = &found.entry;
    let (major, minor) = entry.device;
    Some(match entry.kind {
        EntryKind::Directory | EntryKind::Other(b'D') => NodeKind::Directory,
        EntryKind::Symlink => NodeKind::Symlink { target: entry.link.clone() },
        EntryKind::Other(b'3') => NodeKind::Device { is_block: false, major, minor },
        EntryKind::Other(b'4') => NodeKind::Device { is_block: true, major, minor },
        EntryKind::Other(b'6') => NodeKind::Fifo,
        // A link to nothing, unless it brings the content itself.
        EntryKind::HardLink if entry.size == 0 => return None,
        // Letters are vendors' own; other digits are files (POSIX.1-2017, pax, typeflag).
        EntryKind::Other(letter) if !letter.is_ascii_digit() => return None,
        EntryKind::File | EntryKind::HardLink | EntryKind::Other(_) => regular(found),
    })
}

fn regular(found: &ForeignEntry) -> NodeKind {
    let entry = &found.entry;
    let is_whole = entry.continued.is_none() && found.available_bytes >= entry.size;
    let content = found.offset;
    match &entry.sparse {
        Some(sparse) if is_whole => {
            let pieces = sparse.pieces.iter().map(|(offset, len)| Piece { offset: *offset, len: *len });
            NodeKind::Regular { size: sparse.size, content, pieces: pieces.collect() }
        }
        _ => {
            let size = found.available_bytes.min(entry.size);
            NodeKind::Regular { size, content, pieces: vec![Piece { offset: 0, len: size }] }
        }
    }
}

#[cfg(test)]
mod test {
    use super::super::table::{ForeignTree, Link};
    use super::*;
    use crate::storage::{LocalStorage, Storage as _};
    use crate::tape::archive::{NewEntry, Parser, RECORD_LEN, Step};

    fn entries(names: &[&str]) -> Vec<ForeignEntry> {
        let entry = |name: &&str| {
            let bytes = NewEntry { name, size: 3, mtime_seconds: 9, keywords: Vec::new() }.encode();
            let mut parser = Parser::new();
            let steps = bytes.as_chunks::<RECORD_LEN>().0.iter().map(|record| parser.push(record).unwrap());
            let Some(Step::Entry(entry)) = steps.last() else { panic!("{name}") };
            ForeignEntry {
                file: 0,
                loi: 0,
                byte: 0,
                block_len: 512,
                offset: 512,
                available_bytes: 3,
                entry: *entry,
            }
        };
        names.iter().map(entry).collect()
    }

    fn build(storage: &LocalStorage, names: &[&str]) -> ForeignTree {
        let mut file = storage.create("tree").unwrap();
        let mut builder = Builder::new(&mut *file, &|_| None, Time::default()).unwrap();
        for entry in entries(&["void", "etc/void"]) {
            builder.entry(&entry).unwrap();
        }
        builder.again();
        for entry in entries(names) {
            builder.entry(&entry).unwrap();
        }
        builder.finish().unwrap();
        drop(file);
        ForeignTree::open(storage.open("tree").unwrap()).unwrap()
    }

    fn list(tree: &ForeignTree, directory: u32) -> Vec<Link> {
        let mut found = Vec::new();
        tree.list(directory, 0, &mut |_, link| {
            found.push(link);
            Ok(true)
        })
        .unwrap();
        found
    }

    #[test]
    fn names_are_listed_in_the_order_of_the_tape_and_found() {
        let directory = tempfile::tempdir().unwrap();
        let tree = build(&LocalStorage::new(directory.path()), &["z", "a/2", "a/1", "m", "z"]);
        let [top] = &list(&tree, ROOT_NODE)[..] else { panic!("one archive") };
        assert_eq!(top.name, b"0000");
        let names = |node| list(&tree, node).into_iter().map(|link| link.name).collect::<Vec<_>>();
        assert_eq!(names(top.node), [&b"a"[..], b"m", b"z"]);
        let a = tree.lookup(top.node, b"a").unwrap().unwrap();
        assert_eq!(names(a), [b"2", b"1"]);
        assert_eq!(tree.node(a).unwrap().0.parent, top.node);
        assert!(tree.lookup(a, b"2").unwrap() < tree.lookup(a, b"1").unwrap());
        assert_eq!(tree.lookup(a, b"3").unwrap(), None);
        assert_eq!(tree.lookup(top.node, b"void").unwrap(), None);
    }

    #[test]
    fn every_changed_byte_is_noticed_or_without_effect_and_a_cut_table_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let storage = LocalStorage::new(directory.path());
        let whole = build(&storage, &["a/1", "b"]);
        let seen = |tree: &ForeignTree| {
            let mut seen = Vec::new();
            for node in 0..tree.node_count().min(100) {
                let names = |tree: &ForeignTree| {
                    let mut names = Vec::new();
                    tree.list(node, 0, &mut |_, link| {
                        names.push(link);
                        Ok(true)
                    })
                    .map(|()| names)
                };
                seen.push((tree.node(node).ok(), names(tree).ok()));
                let _found = tree.lookup(node, b"b");
            }
            seen
        };
        let expected = seen(&whole);
        let path = directory.path().join("tree");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            std::fs::write(&path, &changed).unwrap();
            if let Ok(tree) = ForeignTree::open(storage.open("tree").unwrap()) {
                for (found, good) in seen(&tree).iter().zip(&expected) {
                    assert!(found.0.is_none() || found.0 == good.0, "byte {at}");
                    let is_part =
                        |names: &Vec<Link>| names.iter().all(|link| good.1.as_ref().unwrap().contains(link));
                    assert!(found.1.as_ref().is_none_or(is_part), "byte {at}");
                }
            }
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(ForeignTree::open(storage.open("tree").unwrap()).is_err(), "cut at {at}");
        }
    }
}
