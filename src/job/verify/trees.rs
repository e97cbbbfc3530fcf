//! Verifies trees of pages, each page once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::facts::{Facts, token};
use super::pointers::Pointers;
use super::{Run, VerifyError, dtf};
use crate::format::dtf::DtfFooter;
use crate::format::frame::ChunkPointer;
use crate::format::page::{ALIGNMENT, Page, PageRef, TreeKind};
use crate::format::record::{
    Content, Detail, Extent, FIRST_DIRECTORY_OBJECT, FileKind, Inode, ROOT_OBJECT, Record, Xattrs, entry_key,
    split_key,
};
use crate::id::{ClientName, FileId, Ordinal};
use crate::progress::Cancelled;
use crate::repo::{GenerationId, catalog};

/// What all trees together lead to.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// BDFs that they point to.
    pub(super) referenced: HashSet<FileId>,
    /// Generations of which names of files with several may lead to nothing.
    pub(super) lacking: HashSet<Ordinal>,
}

/// Verifies all trees.
pub(super) fn verify(
    run: &Run<'_>,
    generations: &[(ClientName, GenerationId)],
) -> Result<Verified, VerifyError> {
    let pointers = Pointers::new(run);
    let mut trees = Trees { run, known: HashMap::new(), pointers, lacking: HashSet::new() };
    for (client, generation) in generations {
        trees.generation(client, *generation)?;
        run.summary().generation_count += 1;
        run.progress.add(1, 0);
    }
    Ok(Verified { referenced: trees.pointers.referenced, lacking: trees.lacking })
}

/// A page's place as one number.
pub(super) fn page_number(at: PageRef) -> u64 {
    (u64::from(at.ordinal.get()) << 32) | (at.offset / ALIGNMENT)
}

struct Trees<'a> {
    run: &'a Run<'a>,
    // What was found of each page; none if it cannot be read.
    known: HashMap<u64, Option<Arc<Facts>>>,
    pointers: Pointers<'a>,
    lacking: HashSet<Ordinal>,
}

impl Trees<'_> {
    fn generation(&mut self, client: &ClientName, generation: GenerationId) -> Result<(), Cancelled> {
        let name = catalog::dtf_name(client, generation);
        let footer = match self.open(generation.ordinal) {
            Ok(footer) => footer,
            Err(what) => {
                self.run.damage(&name, 0, what);
                return Ok(());
            }
        };
        let Some(facts) = self.page(footer.root, None)? else { return Ok(()) };
        if facts.is_partial || facts.links != 0 {
            self.lacking.insert(generation.ordinal);
        }
        for what in faults(&facts, &footer) {
            self.run.damage(&name, footer.root.offset, what);
        }
        Ok(())
    }

    // Not through the repository, whose open generations were read earlier.
    fn open(&self, ordinal: Ordinal) -> Result<DtfFooter, String> {
        let dtf = self.run.repository.pages().dtf(ordinal).map_err(|error| crate::job::chain(&error))?;
        dtf::verify(self.run, &dtf);
        dtf.footer().map_err(|error| crate::job::chain(&error))
    }

    fn damage(&self, at: PageRef, what: String) {
        let path = self.run.repository.pages().dtf(at.ordinal).map(|dtf| dtf.path().to_owned());
        let path = path.unwrap_or_else(|_| format!("DTF {}", at.ordinal));
        self.run.damage(&path, at.offset, what);
    }

    // Recursion is bounded: levels fall, are 15 at most, and a leaf of extents leads nowhere.
    fn page(&mut self, at: PageRef, level_above: Option<u8>) -> Result<Option<Arc<Facts>>, Cancelled> {
        // A page that is not one level below must not be followed: it could be this one again.
        let is_below = |level: u8| level_above.is_none_or(|above| level + 1 == above);
        if let Some(known) = self.known.get(&page_number(at)).cloned() {
            let unreadable = known.is_none();
            let known = known.filter(|facts| is_below(facts.level));
            if known.is_none() && !unreadable {
                self.damage(at, "the page is not on the level below".to_owned());
            }
            return Ok(known);
        }
        self.run.progress.check()?;
        let page = match self.run.repository.pages().page(at) {
            Ok(page) => page,
            Err(error) => {
                self.damage(at, crate::job::chain(&error));
                self.known.insert(page_number(at), None);
                return Ok(None);
            }
        };
        if !is_below(page.level()) {
            self.damage(at, "the page is not on the level below".to_owned());
            return Ok(None);
        }
        let mut facts = Facts::new(page.tree(), page.level());
        match (page.level(), page.tree()) {
            (0, TreeKind::Directory) => self.entries(at, &page, &mut facts)?,
            (0, TreeKind::Extents) => self.extents(at, &page, &mut facts),
            _ => self.children(at, &page, &mut facts)?,
        }
        let facts = Some(Arc::new(facts));
        self.known.insert(page_number(at), facts.clone());
        self.run.summary().page_count += 1;
        Ok(facts)
    }

    fn children(&mut self, at: PageRef, page: &Page, facts: &mut Facts) -> Result<(), Cancelled> {
        let mut before: Option<Arc<Facts>> = None;
        for slot in 0..page.len() {
            let (child, bound) = (page.child(slot), page.record(slot).map_or(&[][..], |(key, _)| key));
            let child_at = match child {
                Ok(child_at) => child_at,
                Err(error) => {
                    self.damage(at, crate::job::chain(&error));
                    facts.is_partial = true;
                    continue;
                }
            };
            let Some(child) = self.page(child_at, Some(page.level()))? else {
                facts.is_partial = true;
                before = None;
                continue;
            };
            if child.tree != page.tree() {
                self.damage(at, format!("child {slot} is of another kind of tree"));
            }
            let next = page.record(slot + 1).map(|(key, _)| key);
            if *child.first < *bound || next.is_some_and(|next| *child.last >= *next) {
                self.damage(at, format!("keys of child {slot} are not between their separators"));
            }
            if let Some(what) = before.as_ref().and_then(|before| fault_between(before, &child)) {
                self.damage(at, format!("child {slot}: {what}"));
            }
            if slot == 0 {
                facts.first = child.first.clone();
            }
            facts.last = child.last.clone();
            facts.add(&child);
            before = Some(child);
        }
        Ok(())
    }

    fn entries(&mut self, at: PageRef, page: &Page, facts: &mut Facts) -> Result<(), Cancelled> {
        let mut object_before = None;
        for (slot, (key, value)) in page.records_from(0).enumerate() {
            if slot == 0 {
                facts.first = key.into();
            }
            facts.last = key.into();
            let (object, name, record) = match (split_key(key), Record::decode(value)) {
                (Ok((object, name)), Ok(record)) => (object, name, record),
                (Err(error), _) | (_, Err(error)) => {
                    self.damage(at, format!("record {slot}: {}", crate::job::chain(&error)));
                    facts.is_partial = true;
                    continue;
                }
            };
            if object_before.is_some_and(|before| before != object) && !name.is_empty() {
                self.damage(at, format!("record {slot}: directory {object} is not in the tree"));
            }
            object_before = Some(object);
            facts.totals = facts.totals.plus(record.totals(name));
            if let Err(what) = self.record(object, name, &record, facts)? {
                self.damage(at, format!("record {slot}: {what}"));
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        object: u64,
        name: &[u8],
        record: &Record,
        facts: &mut Facts,
    ) -> Result<Result<(), String>, Cancelled> {
        let inode = match record {
            Record::Link { .. } if name.is_empty() => return Ok(Err("an object is a link".to_owned())),
            Record::Link { kind: FileKind::Directory, object: below } => {
                facts.directories = facts.directories.wrapping_add(token(*below, object));
                return Ok(Ok(()));
            }
            Record::Link { object: linked, kind } => {
                facts.links = facts.links.wrapping_add(token(*linked, kind.code().into()));
                return Ok(Ok(()));
            }
            Record::Inode(inode) => inode,
        };
        match &inode.detail {
            Detail::Directory { parent } if name.is_empty() => {
                // The root is its own parent and has no link.
                if object == ROOT_OBJECT && *parent != ROOT_OBJECT {
                    return Ok(Err("the root has a parent".to_owned()));
                }
                if object != ROOT_OBJECT {
                    facts.directories = facts.directories.wrapping_sub(token(object, *parent));
                }
            }
            Detail::Directory { .. } => return Ok(Err("a directory without an object id".to_owned())),
            _ if name.is_empty() => {
                let sum = token(object, inode.kind().code().into()).wrapping_mul(inode.link_count.into());
                facts.links = facts.links.wrapping_sub(sum);
                facts.linked_max = facts.linked_max.max(object);
                if object >= FIRST_DIRECTORY_OBJECT {
                    return Ok(Err("a file has the object id of a directory".to_owned()));
                }
            }
            _ if inode.link_count != 1 => {
                return Ok(Err("a file without an object id has several names".into()));
            }
            _ => {}
        }
        self.inode(inode)
    }

    fn inode(&mut self, inode: &Inode) -> Result<Result<(), String>, Cancelled> {
        let mut result = Ok(());
        if let Xattrs::Stored { len, extents } = &inode.xattrs {
            let covered: u64 = extents.iter().map(|extent| extent.len).sum();
            if covered != *len {
                result = Err(format!("{covered} of {len} bytes of extended attributes are stored"));
            }
            result = self.pointers(extents).and(result);
        }
        match &inode.detail {
            Detail::Regular { content: Content::Inline(extents), .. } => {
                result = self.pointers(extents).and(result);
            }
            Detail::Regular { content: Content::Tree { root, allocated }, size, .. } => {
                let Some(facts) = self.page(*root, None)? else { return Ok(result) };
                if facts.tree != TreeKind::Extents {
                    return Ok(Err("the list of extents is none".to_owned()));
                }
                if !facts.is_partial && (facts.end > *size || facts.allocated != *allocated) {
                    result = Err(format!(
                        "extents cover {} bytes up to {}, expected {allocated} up to {size}",
                        facts.allocated, facts.end
                    ));
                }
            }
            _ => {}
        }
        Ok(result)
    }

    fn extents(&mut self, at: PageRef, page: &Page, facts: &mut Facts) {
        for (slot, (key, value)) in page.records_from(0).enumerate() {
            if slot == 0 {
                facts.first = key.into();
            }
            facts.last = key.into();
            let extent = match Extent::decode(key, value) {
                Ok(extent) => extent,
                Err(error) => {
                    self.damage(at, format!("record {slot}: {}", crate::job::chain(&error)));
                    facts.is_partial = true;
                    continue;
                }
            };
            if extent.offset < facts.end {
                self.damage(at, format!("record {slot}: extents overlap"));
            }
            facts.end = extent.offset + extent.len;
            facts.allocated = facts.allocated.saturating_add(extent.len);
            if let Err(what) = self.pointer(&extent.chunk) {
                self.damage(at, format!("record {slot}: {what}"));
            }
        }
    }

    fn pointers(&mut self, extents: &[Extent]) -> Result<(), String> {
        let mut result = Ok(());
        for extent in extents {
            // All are looked at; the last fault stands for them.
            result = self.pointer(&extent.chunk).and(result);
        }
        result
    }

    fn pointer(&mut self, chunk: &ChunkPointer) -> Result<(), String> {
        self.pointers.verify(chunk)
    }
}

// What is wrong between two neighbours, if both can be read.
fn fault_between(before: &Facts, after: &Facts) -> Option<&'static str> {
    if before.tree == TreeKind::Extents {
        let begin = after.first.first_chunk().map_or(0, |key| u64::from_be_bytes(*key));
        return (begin < before.end).then_some("extents overlap");
    }
    let (Ok((last, _)), Ok((first, name))) = (split_key(&before.last), split_key(&after.first)) else {
        return None;
    };
    (first != last && !name.is_empty()).then_some("its first directory is not in the tree")
}

// What is wrong with a whole tree.
fn faults(facts: &Facts, footer: &DtfFooter) -> Vec<String> {
    let mut faults = Vec::new();
    if facts.tree != TreeKind::Directory {
        faults.push("the root page is of another kind of tree".to_owned());
    }
    if facts.is_partial {
        return faults;
    }
    if *facts.first != entry_key(ROOT_OBJECT, b"")[..] {
        faults.push("the root directory is missing".to_owned());
    }
    if facts.totals != footer.totals {
        faults.push(format!("the tree has {:?}, its footer says {:?}", facts.totals, footer.totals));
    }
    if facts.directories != 0 {
        faults.push("not every directory has one entry, in its parent".to_owned());
    }
    if facts.links != 0 {
        faults.push("not every file with several names has as many as it says".to_owned());
    }
    let directory_max = split_key(&facts.last).map_or(0, |(object, _)| object);
    if facts.linked_max >= footer.next_linked || directory_max >= footer.next_directory {
        faults.push("an object id is in use that is to be given out again".to_owned());
    }
    faults
}
