//! What differs between two trees, of one client or of two.
//!
//! Two generations of one client share the pages of what did not change. The pages that they do not share
//! tell which directories can differ, and only those and the ones above them are visited: the
//! cost follows the change. Where that cannot be told, the whole trees are walked side by side.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::iter::Peekable;
use std::ops::ControlFlow;

use super::object_set::ObjectSet;
use super::walk::{Walk, WalkError, inode_of};
use crate::format::page::TreeKind;
use crate::format::record::{Detail, FIRST_DIRECTORY_OBJECT, FileKind, Inode, ROOT_OBJECT};
use crate::progress::{Cancelled, Progress};
use crate::repo::generation::Listing;
use crate::repo::{Entry, Generation, Node, ReadError, Repository, tree_changes};

// More changed directories than this are not remembered; the trees are walked instead.
const CHANGED_COUNT_MAX: usize = 1 << 20;
const COMPARED_AT_ONCE: usize = 1 << 20;

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is only in the second tree.
    Added,
    /// It is only in the first tree.
    Removed,
    /// It is of another kind.
    Kind,
    /// Its content differs: a file's bytes, a symbolic link's target, a device's numbers.
    Content,
    /// Only attributes differ.
    Attributes,
}

/// An entry that differs.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Path below the two places that are compared.
    pub path: Vec<u8>,
    /// How it differs.
    pub change: Change,
    /// The object in the first tree.
    pub before: Option<Inode>,
    /// The object in the second tree.
    pub after: Option<Inode>,
    /// What differs in an entry that is in both: `content`, `mode`, `owner`, `mtime`, `xattrs`.
    pub aspects: Vec<&'static str>,
}

/// A place that is compared.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The generation.
    pub generation: &'a Generation,
    /// The object at the place.
    pub node: Node,
    /// The same, as it was read.
    pub inode: &'a Inode,
}

/// What is told of each difference, and of each entry that cannot be read.
pub type Report<'a> = dyn FnMut(Result<Difference, WalkError>) -> ControlFlow<()> + 'a;

/// Compares two places and all below them, until `report` breaks off.
///
/// # Errors
/// [`Cancelled`] if it was asked to stop.
pub fn run(
    repository: &Repository,
    before: Side<'_>,
    after: Side<'_>,
    progress: &Progress,
    report: &mut Report<'_>,
) -> Result<(), Cancelled> {
    let mut comparison = Comparison {
        repository,
        before: before.generation,
        after: after.generation,
        progress,
        report,
        visited: None,
    };
    comparison.visited = comparison.directories_to_visit();
    match comparison.places(before, after) {
        ControlFlow::Break(Some(cancelled)) => Err(cancelled),
        ControlFlow::Break(None) | ControlFlow::Continue(()) => Ok(()),
    }
}

// A break is the caller's wish, or a cancellation.
type Flow = ControlFlow<Option<Cancelled>>;

struct Comparison<'a, 'r> {
    repository: &'a Repository,
    before: &'a Generation,
    after: &'a Generation,
    progress: &'a Progress,
    report: &'a mut Report<'r>,
    // Object ids of directories that can differ below, with all above them; `None`: any can.
    visited: Option<HashSet<u64>>,
}

struct Pair<'a> {
    before: Peekable<Listing<'a>>,
    after: Peekable<Listing<'a>>,
    // Directories of both that came by.
    seen: (ObjectSet, ObjectSet),
    objects: (u64, u64),
    path: Vec<u8>,
}

impl<'a> Comparison<'a, '_> {
    fn directories_to_visit(&self) -> Option<HashSet<u64>> {
        if self.before.header.client != self.after.header.client {
            return None;
        }
        let mut changed = HashSet::new();
        let mut is_local = true;
        let (one, other) = (self.before.footer.root, self.after.footer.root);
        let pages = self.repository.pages();
        tree_changes::changed_keys(pages, TreeKind::Directory, one, other, |key| {
            let object = key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            changed.insert(object);
            // A file with several names does not know its directories.
            is_local = object == ROOT_OBJECT || object >= FIRST_DIRECTORY_OBJECT;
            is_local && changed.len() <= CHANGED_COUNT_MAX && self.progress.check().is_ok()
        })
        .ok()?;
        if !is_local || changed.len() > CHANGED_COUNT_MAX {
            return None;
        }
        let mut visited = self.with_all_above(self.before, &changed);
        visited.extend(self.with_all_above(self.after, &changed));
        Some(visited)
    }

    fn with_all_above(&self, generation: &Generation, objects: &HashSet<u64>) -> HashSet<u64> {
        let mut found = HashSet::new();
        for object in objects {
            let mut object = *object;
            // Ends at the root, whose parent is the root, and where another one came by before.
            while found.insert(object) {
                match generation.object(self.repository.pages(), object).map(|inode| inode.detail) {
                    Ok(Detail::Directory { parent }) => object = parent,
                    _ => break,
                }
            }
        }
        found
    }

    fn places(&mut self, before: Side<'_>, after: Side<'_>) -> Flow {
        let (one, other) = (before.inode, after.inode);
        self.objects(b"", one, other)?;
        let mut pairs: Vec<Pair<'a>> = Vec::new();
        match (before.node, after.node) {
            (Node::Object { object, .. }, Node::Object { object: other_object, .. })
                if is_directory(one) && is_directory(other) =>
            {
                pairs.extend(self.pair(object, other_object, Vec::new())?);
            }
            _ => self.below_both(b"", (before.node, one), (after.node, other))?,
        }
        while let Some(pair) = pairs.last_mut() {
            if let Err(cancelled) = self.progress.check() {
                return ControlFlow::Break(Some(cancelled));
            }
            let Some(step) = pair.next() else {
                pairs.pop();
                continue;
            };
            let (objects, path) = (pair.objects, pair.path.clone());
            pairs.extend(self.step(step, objects, path)?);
        }
        ControlFlow::Continue(())
    }

    fn pair(
        &mut self,
        before: u64,
        after: u64,
        path: Vec<u8>,
    ) -> ControlFlow<Option<Cancelled>, Option<Pair<'a>>> {
        if before == after && self.visited.as_ref().is_some_and(|visited| !visited.contains(&before)) {
            return ControlFlow::Continue(None);
        }
        let pages = self.repository.pages();
        let listings = self
            .before
            .list(pages, before, None)
            .and_then(|one| Ok((one, self.after.list(pages, after, None)?)));
        match listings {
            Ok((one, other)) => ControlFlow::Continue(Some(Pair {
                before: one.peekable(),
                after: other.peekable(),
                seen: (ObjectSet::default(), ObjectSet::default()),
                objects: (before, after),
                path,
            })),
            Err(error) => {
                self.unreadable(&path, error)?;
                ControlFlow::Continue(None)
            }
        }
    }

    fn step(
        &mut self,
        step: Step,
        objects: (u64, u64),
        path: Vec<u8>,
    ) -> ControlFlow<Option<Cancelled>, Option<Pair<'a>>> {
        match step {
            Step::Unreadable(error) => self.unreadable(&path, error)?,
            Step::Removed(mut entry) => {
                let path = joined(&path, &entry.name);
                match inode_of(self.repository, &mut entry, objects.0) {
                    Ok(inode) => self.whole(&path, Change::Removed, entry.node, &inode)?,
                    Err(error) => self.unreadable(&path, error)?,
                }
            }
            Step::Added(mut entry) => {
                let path = joined(&path, &entry.name);
                match inode_of(self.repository, &mut entry, objects.1) {
                    Ok(inode) => self.whole(&path, Change::Added, entry.node, &inode)?,
                    Err(error) => self.unreadable(&path, error)?,
                }
            }
            Step::Both(entries) => return self.both(*entries, objects, &path),
        }
        ControlFlow::Continue(None)
    }

    fn both(
        &mut self,
        (mut one, mut other): (Entry, Entry),
        objects: (u64, u64),
        path: &[u8],
    ) -> ControlFlow<Option<Cancelled>, Option<Pair<'a>>> {
        // A record that both generations point to is the same object.
        if one.node == other.node {
            return ControlFlow::Continue(None);
        }
        if let (Node::Object { object, .. }, Node::Object { object: other_object, .. }, Some(visited)) =
            (one.node, other.node, &self.visited)
            && object == other_object
            && !visited.contains(&object)
        {
            return ControlFlow::Continue(None);
        }
        let path = joined(path, &one.name);
        let before = inode_of(self.repository, &mut one, objects.0);
        let after = inode_of(self.repository, &mut other, objects.1);
        let (before, after) = match (before, after) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(error), _) | (_, Err(error)) => {
                self.unreadable(&path, error)?;
                return ControlFlow::Continue(None);
            }
        };
        self.objects(&path, &before, &after)?;
        match (one.node, other.node) {
            (Node::Object { object, .. }, Node::Object { object: other_object, .. })
                if is_directory(&before) && is_directory(&after) =>
            {
                self.pair(object, other_object, path)
            }
            _ => {
                self.below_both(&path, (one.node, &before), (other.node, &after))?;
                ControlFlow::Continue(None)
            }
        }
    }

    // Compares two objects under one name, without what is below them.
    fn objects(&mut self, path: &[u8], before: &Inode, after: &Inode) -> Flow {
        let (change, aspects) = if before.kind() == after.kind() {
            match aspects(self.repository, before, after) {
                Ok(aspects) if aspects.is_empty() => return ControlFlow::Continue(()),
                Ok(aspects) if aspects.contains(&"content") => (Change::Content, aspects),
                Ok(aspects) => (Change::Attributes, aspects),
                Err(error) => return self.unreadable(path, error),
            }
        } else {
            (Change::Kind, Vec::new())
        };
        let (before, after) = (Some(before.clone()), Some(after.clone()));
        self.tell(Ok(Difference { path: path.to_vec(), change, before, after, aspects }))
    }

    // A directory took the place of something else, or the other way round.
    fn below_both(&mut self, path: &[u8], before: (Node, &Inode), after: (Node, &Inode)) -> Flow {
        self.below(path, Change::Removed, before.0, before.1)?;
        self.below(path, Change::Added, after.0, after.1)
    }

    fn whole(&mut self, path: &[u8], change: Change, node: Node, inode: &Inode) -> Flow {
        self.one_sided(path.to_vec(), change, inode.clone())?;
        self.below(path, change, node, inode)
    }

    fn below(&mut self, path: &[u8], change: Change, node: Node, inode: &Inode) -> Flow {
        let (Node::Object { object, .. }, true) = (node, is_directory(inode)) else {
            return ControlFlow::Continue(());
        };
        let generation = if change == Change::Removed { self.before } else { self.after };
        for walked in Walk::new(self.repository, generation, object, path.to_vec()) {
            if let Err(cancelled) = self.progress.check() {
                return ControlFlow::Break(Some(cancelled));
            }
            match walked {
                Ok(walked) => self.one_sided(walked.path, change, walked.inode)?,
                Err(error) => self.tell(Err(error))?,
            }
        }
        ControlFlow::Continue(())
    }

    fn one_sided(&mut self, path: Vec<u8>, change: Change, inode: Inode) -> Flow {
        let (before, after) =
            if change == Change::Removed { (Some(inode), None) } else { (None, Some(inode)) };
        self.tell(Ok(Difference { path, change, before, after, aspects: Vec::new() }))
    }

    fn unreadable(&mut self, path: &[u8], error: ReadError) -> Flow {
        self.tell(Err(WalkError::new(path, error)))
    }

    fn tell(&mut self, told: Result<Difference, WalkError>) -> Flow {
        match (self.report)(told) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(()) => ControlFlow::Break(None),
        }
    }
}

enum Step {
    Removed(Box<Entry>),
    Added(Box<Entry>),
    Both(Box<(Entry, Entry)>),
    Unreadable(ReadError),
}

impl Pair<'_> {
    fn next(&mut self) -> Option<Step> {
        for side in [&mut self.before, &mut self.after] {
            if let Some(Err(error)) = side.next_if(Result::is_err) {
                return Some(Step::Unreadable(error));
            }
        }
        let order = match (self.before.peek(), self.after.peek()) {
            (Some(Ok(one)), Some(Ok(other))) => one.name.cmp(&other.name),
            (Some(Ok(_)), _) => Ordering::Less,
            (_, Some(Ok(_))) => Ordering::Greater,
            _ => return None,
        };
        let one = if order.is_le() { self.before.next()?.ok() } else { None };
        let other = if order.is_ge() { self.after.next()?.ok() } else { None };
        for (entry, seen) in [(&one, &mut self.seen.0), (&other, &mut self.seen.1)] {
            if let Some(Entry { kind: FileKind::Directory, node: Node::Object { object, .. }, .. }) = entry
                && !seen.insert(*object)
            {
                return Some(Step::Unreadable(ReadError::DirectoryElsewhere { object: *object }));
            }
        }
        match (one, other) {
            (Some(one), Some(other)) => Some(Step::Both(Box::new((one, other)))),
            (Some(one), None) => Some(Step::Removed(Box::new(one))),
            (None, Some(other)) => Some(Step::Added(Box::new(other))),
            (None, None) => None,
        }
    }
}

fn is_directory(inode: &Inode) -> bool {
    inode.kind() == FileKind::Directory
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

/// Tells what differs in two objects of one kind.
fn aspects(repository: &Repository, before: &Inode, after: &Inode) -> Result<Vec<&'static str>, ReadError> {
    let mut aspects = Vec::new();
    if !has_same_content(repository, before, after)? {
        aspects.push("content");
    }
    if before.permissions != after.permissions {
        aspects.push("mode");
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        aspects.push("owner");
    }
    if before.mtime != after.mtime {
        aspects.push("mtime");
    }
    if before.xattrs != after.xattrs && repository.xattrs(before)? != repository.xattrs(after)? {
        aspects.push("xattrs");
    }
    Ok(aspects)
}

fn has_same_content(repository: &Repository, before: &Inode, after: &Inode) -> Result<bool, ReadError> {
    match (&before.detail, &after.detail) {
        (Detail::Directory { .. }, Detail::Directory { .. }) => Ok(true),
        (
            Detail::Regular { size, signature, content, .. },
            Detail::Regular { size: other_size, signature: other_signature, content: other_content, .. },
        ) => {
            if size != other_size {
                return Ok(false);
            }
            match (signature, other_signature) {
                (Some(one), Some(other)) => Ok(one == other),
                _ if content == other_content => Ok(true),
                _ => has_same_bytes(repository, before, after, *size),
            }
        }
        (one, other) => Ok(one == other),
    }
}

fn has_same_bytes(
    repository: &Repository,
    before: &Inode,
    after: &Inode,
    size: u64,
) -> Result<bool, ReadError> {
    let (Some(one), Some(other)) = (repository.content(before), repository.content(after)) else {
        return Ok(false);
    };
    let mut offset = 0;
    while offset < size {
        if one.read(offset, COMPARED_AT_ONCE)? != other.read(offset, COMPARED_AT_ONCE)? {
            return Ok(false);
        }
        offset += COMPARED_AT_ONCE as u64;
    }
    Ok(true)
}
