//! Finds the files that damage touches, by walking only the parts of trees that lead to it.

use std::collections::{BTreeMap, HashSet};

use super::elsewhere::Elsewhere;
use super::trees::page_number;
use super::{AffectedFile, AffectedGeneration, Run, VerifyError};
use crate::format::page::{Page, PageRef, TreeKind};
use crate::format::record::{
    Content, Detail, Extent, FIRST_DIRECTORY_OBJECT, FIRST_LINKED_OBJECT, FileKind, Inode, ROOT_OBJECT,
    Record, Xattrs, entry_key, split_key,
};
use crate::id::{ClientName, Fingerprint, Ordinal};
use crate::index::Index;
use crate::job::problem::PROBLEM_COUNT_MAX;
use crate::path;
use crate::progress::Cancelled;
use crate::repo::damaged_chunks::{self, DamagedChunks};
use crate::repo::{Generation, GenerationId};
use crate::storage::StorageError;

const RANGE_COUNT_MAX: usize = 16;
// A path of more parts cannot be opened by anybody.
const DEPTH_MAX: usize = 4096;

/// Puts the files of all generations that cannot be read in whole into the summary, and what is damaged of the
/// newest ones on record. In generations that are `lacking`, names of files with several may lead to nothing.
pub(super) fn find(
    run: &Run<'_>,
    index: Option<&Index>,
    generations: &[(ClientName, GenerationId)],
    lacking: &HashSet<Ordinal>,
) -> Result<(), VerifyError> {
    let mut clean = HashSet::new();
    let mut noted = HashSet::new();
    let mut elsewhere = Elsewhere::new(run.repository, index);
    for (client, id) in generations {
        // Without header or footer nothing of a generation can be read; that is told as damage.
        let Ok(generation) = Generation::open(run.repository.pages(), id.ordinal) else { continue };
        let root = generation.footer.root;
        let is_newest = !generations.iter().any(|(of, other)| of == client && other > id);
        let count_before = run.summary().affected_count;
        if is_newest {
            // What older ones share is looked at again, to be put on record.
            clean.clear();
        }
        let mut finder = Finder {
            run,
            client,
            id: *id,
            generation,
            noted: is_newest.then_some(&mut noted),
            elsewhere: &mut elsewhere,
            clean: &mut clean,
            linked: BTreeMap::new(),
        };
        finder.page(root, None, (&entry_key(ROOT_OBJECT, b""), None))?;
        finder.names_of_linked(lacking.contains(&id.ordinal))?;
        let mut summary = run.summary();
        let file_count = summary.affected_count - count_before;
        if file_count > 0 && summary.affected_generations.len() < PROBLEM_COUNT_MAX {
            let (client, generation) = (client.clone(), id.time);
            let affected = AffectedGeneration { client, generation, is_newest, file_count };
            summary.affected_generations.push(affected);
        }
    }
    forget_others(run, &noted);
    Ok(())
}

/// Takes chunks out of the record that were not found damaged now.
pub(super) fn forget_others(run: &Run<'_>, noted: &HashSet<Fingerprint>) {
    if !run.options.read_data || !run.is_all {
        return;
    }
    let storage = &**run.repository.storage();
    let forget = || -> Result<(), StorageError> {
        let record = DamagedChunks::read(storage)?;
        damaged_chunks::forget(storage, record.iter().filter(|chunk| !noted.contains(chunk)))?;
        if record.is_more { damaged_chunks::forget_many(storage) } else { Ok(()) }
    };
    if let Err(error) = forget() {
        log::info!("the record of damaged chunks stays as it is: {error}");
    }
}

/// What cannot be read of a file.
#[derive(Debug, Default)]
struct Unreadable {
    ranges: Vec<(u64, u64)>,
    bytes: u64,
    is_affected: bool,
}

impl Unreadable {
    fn add(&mut self, offset: u64, len: u64) {
        self.is_affected = true;
        self.bytes = self.bytes.saturating_add(len);
        let is_listed = self.ranges.len() < RANGE_COUNT_MAX;
        match self.ranges.last_mut() {
            Some((start, before)) if *start + *before == offset => *before += len,
            _ if is_listed => self.ranges.push((offset, len)),
            _ => {}
        }
    }
}

struct Finder<'a, 'e> {
    run: &'a Run<'a>,
    client: &'a ClientName,
    id: GenerationId,
    generation: Generation,
    // Of a client's newest generation: the chunks that were put on record.
    noted: Option<&'a mut HashSet<Fingerprint>>,
    elsewhere: &'a mut Elsewhere<'e>,
    // Pages below which nothing is damaged, in whichever generation.
    clean: &'a mut HashSet<u64>,
    // Files with several names that are affected; their names are elsewhere.
    linked: BTreeMap<u64, Unreadable>,
}

impl Finder<'_, '_> {
    // Tells whether anything below is affected; keys there are from the first on, and below the second if there is one.
    fn page(
        &mut self,
        at: PageRef,
        level_above: Option<u8>,
        (first_key, end_key): (&[u8], Option<&[u8]>),
    ) -> Result<bool, Cancelled> {
        if self.clean.contains(&page_number(at)) {
            return Ok(false);
        }
        self.run.progress.check()?;
        let page = match self.run.repository.pages().page(at) {
            // Levels fall, so that this ends.
            Ok(page)
                if page.tree() == TreeKind::Directory
                    && level_above.is_none_or(|above| page.level() + 1 == above) =>
            {
                page
            }
            _ => {
                let object = |key| split_key(key).map_or(ROOT_OBJECT, |(object, _)| object);
                let is_linked = |object| (FIRST_LINKED_OBJECT..FIRST_DIRECTORY_OBJECT).contains(&object);
                let first = object(first_key);
                // Files with several names have these elsewhere. Of all else the names are in the page; the directory
                // that it begins with is all that is known.
                if !is_linked(first) || !end_key.is_some_and(|end| is_linked(object(end))) {
                    self.report(first, b"", Unreadable::default());
                }
                return Ok(true);
            }
        };
        let is_affected = if page.level() == 0 { self.leaf(&page)? } else { self.children(&page, end_key)? };
        if !is_affected {
            self.clean.insert(page_number(at));
        }
        Ok(is_affected)
    }

    fn children(&mut self, page: &Page, end_key: Option<&[u8]>) -> Result<bool, Cancelled> {
        let mut is_affected = false;
        for slot in 0..page.len() {
            let (Ok(child), Some((key, _))) = (page.child(slot), page.record(slot)) else {
                is_affected = true;
                continue;
            };
            let end_key = page.record(slot + 1).map(|(key, _)| key).or(end_key);
            is_affected |= self.page(child, Some(page.level()), (key, end_key))?;
        }
        Ok(is_affected)
    }

    fn leaf(&mut self, page: &Page) -> Result<bool, Cancelled> {
        let mut is_affected = false;
        for (key, value) in page.records_from(0) {
            let (Ok((object, name)), record) = (split_key(key), Record::decode(value)) else { continue };
            let unreadable = match record {
                Ok(Record::Link { .. }) => continue,
                Ok(Record::Inode(inode)) => {
                    let unreadable = self.unreadable(&inode)?;
                    if name.is_empty() && inode.kind() != FileKind::Directory {
                        if unreadable.is_affected {
                            is_affected = true;
                            self.linked.insert(object, unreadable);
                        }
                        continue;
                    }
                    unreadable
                }
                Err(_) => Unreadable { is_affected: true, ..Unreadable::default() },
            };
            if unreadable.is_affected {
                is_affected = true;
                self.report(object, name, unreadable);
            }
        }
        Ok(is_affected)
    }

    fn unreadable(&mut self, inode: &Inode) -> Result<Unreadable, Cancelled> {
        let mut unreadable = Unreadable::default();
        if let Xattrs::Stored { extents, .. } = &inode.xattrs {
            let mut of_xattrs = Unreadable::default();
            self.extents(extents.iter().copied(), &mut of_xattrs);
            unreadable.is_affected = of_xattrs.is_affected;
        }
        let Detail::Regular { size, content, .. } = &inode.detail else { return Ok(unreadable) };
        match content {
            Content::Inline(extents) => self.extents(extents.iter().copied(), &mut unreadable),
            Content::Tree { root, .. } if self.clean.contains(&page_number(*root)) => {}
            Content::Tree { root, .. } => {
                self.run.progress.check()?;
                let reader = self.run.repository.content(inode);
                let mut end = 0;
                let extents = reader.iter().flat_map(|reader| reader.extents_from(0));
                let mut readable = Vec::new();
                for extent in extents {
                    match extent {
                        Ok(extent) => {
                            end = extent.offset + extent.len;
                            readable.push(extent);
                        }
                        Err(_) => {
                            self.extents(readable.drain(..), &mut unreadable);
                            unreadable.add(end, size.saturating_sub(end));
                        }
                    }
                    if readable.len() >= 4096 {
                        self.extents(readable.drain(..), &mut unreadable);
                    }
                }
                self.extents(readable.into_iter(), &mut unreadable);
                if !unreadable.is_affected {
                    self.clean.insert(page_number(*root));
                }
            }
        }
        Ok(unreadable)
    }

    fn extents(&mut self, extents: impl Iterator<Item = Extent>, unreadable: &mut Unreadable) {
        let bad: Vec<Extent> = {
            let bad = self.run.bad();
            extents.filter(|extent| bad.is_bad(&extent.chunk)).collect()
        };
        for extent in bad {
            self.note(&extent.chunk.fingerprint);
            if self.elsewhere.has(&extent.chunk) {
                self.run.summary().healed_count += 1;
            } else {
                unreadable.add(extent.offset, extent.len);
            }
        }
    }

    // Also of what can be read elsewhere: the next backup then points there.
    fn note(&mut self, fingerprint: &Fingerprint) {
        let Some(noted) = &mut self.noted else { return };
        if noted.contains(fingerprint) {
            return;
        }
        let storage = &**self.run.repository.storage();
        match damaged_chunks::note(storage, fingerprint, noted.len()) {
            Ok(()) => drop(noted.insert(*fingerprint)),
            Err(error) => log::info!("a damaged chunk is not put on record: {error}"),
        }
    }

    // The names of a file with several are links somewhere in the tree: only then is all of it walked.
    fn names_of_linked(&mut self, is_lacking: bool) -> Result<(), Cancelled> {
        if self.linked.is_empty() && !is_lacking {
            return Ok(());
        }
        let pages = self.run.repository.pages();
        for found in self.generation.records(pages) {
            self.run.progress.check()?;
            let Ok(found) = found else { continue };
            let (Ok((directory, name)), Ok(Record::Link { object, kind })) =
                (split_key(found.key()), Record::decode(found.value()))
            else {
                continue;
            };
            if kind == FileKind::Directory {
                continue;
            }
            if is_lacking && self.generation.object(pages, object).is_err() {
                self.report(directory, name, Unreadable { is_affected: true, ..Unreadable::default() });
                continue;
            }
            if let Some(unreadable) = self.linked.get(&object) {
                let Unreadable { ranges, bytes, .. } = unreadable;
                let copy = Unreadable { ranges: ranges.clone(), bytes: *bytes, is_affected: true };
                self.report(directory, name, copy);
            }
        }
        Ok(())
    }

    fn report(&self, directory: u64, name: &[u8], unreadable: Unreadable) {
        let mut summary = self.run.summary();
        summary.affected_count += 1;
        if summary.affected.len() >= PROBLEM_COUNT_MAX {
            return;
        }
        let mut bytes = self.path(directory);
        if !name.is_empty() || bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        summary.affected.push(AffectedFile {
            client: self.client.clone(),
            generation: self.id.time,
            path: path::display(&bytes),
            ranges: unreadable.ranges,
            bytes: unreadable.bytes,
        });
    }

    // Path of a directory, as far up as it can be read.
    fn path(&self, directory: u64) -> Vec<u8> {
        let pages = self.run.repository.pages();
        let mut parts = Vec::new();
        let mut object = directory;
        while object != ROOT_OBJECT && parts.len() < DEPTH_MAX {
            let parent = match self.generation.object(pages, object).map(|inode| inode.detail) {
                Ok(Detail::Directory { parent }) => parent,
                _ => break,
            };
            let name = self.name_in(parent, object);
            parts.push(name.unwrap_or_else(|| format!("?{object}").into_bytes()));
            object = parent;
        }
        parts.reverse();
        parts.iter().flat_map(|part| [&b"/"[..], part]).collect::<Vec<_>>().concat()
    }

    fn name_in(&self, parent: u64, object: u64) -> Option<Vec<u8>> {
        let pages = self.run.repository.pages();
        let listing = self.generation.list(pages, parent, None).ok()?;
        let mut entries = listing.filter_map(Result::ok);
        let is_it = |node: crate::repo::Node| matches!(node, crate::repo::Node::Object { object: found, .. } if found == object);
        entries.find(|entry| is_it(entry.node)).map(|entry| entry.name)
    }
}
