//! What a set of generations needs to be read elsewhere: every DTF and BDF that their trees lead to.
//!
//! Memory is one bit for each 64 bytes of the DTFs walked, and one id for each DTF and BDF.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::bdf_order;
use super::error::TapeJobError;
use crate::format::page::{ALIGNMENT, Page, PageRef, TreeKind};
use crate::format::record::{Content, Detail, Extent, Inode, Record, Xattrs};
use crate::id::{ClientName, FileId, Ordinal};
use crate::progress::Progress;
use crate::repo::{GenerationId, ReadError, RepoError, Repository};

/// The files that some generations need.
#[derive(Debug, Default)]
pub struct Closure {
    /// DTFs that hold a page of their trees.
    pub dtfs: BTreeSet<Ordinal>,
    /// BDFs that their trees point into, in the order in which copies of the trees, oldest first, come to them. The
    /// BDFs that those are compressed against are not among them: their frames name them.
    pub bdfs: Vec<FileId>,
    /// Whether a list of extended attributes is among what the BDFs hold.
    pub has_lists: bool,
    /// The generations whose trees can be read.
    pub readable: Vec<Ordinal>,
    /// The others, by their index in what was asked for, and why; nothing that only they need is above.
    pub unreadable: Vec<(usize, TapeJobError)>,
}

/// Finds what these generations need; they should be in order of time, the oldest first. `check` is asked about each DTF
/// whether it can be read whole.
///
/// # Errors
/// [`TapeJobError`] if the operation is asked to stop, or `check` fails otherwise than by the repository.
pub fn of_generations(
    repository: &Repository,
    generations: &[(ClientName, GenerationId)],
    check: &mut dyn FnMut(Ordinal) -> Result<(), TapeJobError>,
    progress: &Progress,
) -> Result<Closure, TapeJobError> {
    let mut walk = Walk::new(repository, progress);
    let mut closure = Closure::default();
    for (index, (_, generation)) in generations.iter().enumerate() {
        let found = walk.generation(generation.ordinal).map_err(TapeJobError::from);
        let new = || walk.dtfs.iter().filter(|ordinal| !closure.dtfs.contains(ordinal));
        match found.and_then(|()| new().try_for_each(|ordinal| check(*ordinal))) {
            Ok(()) => {
                closure.dtfs.append(&mut walk.dtfs);
                walk.bdfs.extend(&walk.bdfs_in_order);
                walk.sort_bdfs(generation.ordinal)?;
                closure.bdfs.append(&mut walk.bdfs_in_order);
                closure.has_lists |= walk.has_lists;
                closure.readable.push(generation.ordinal);
            }
            Err(TapeJobError::Repo(RepoError::Cancelled(cancelled))) => return Err(cancelled.into()),
            Err(error @ TapeJobError::Repo(_)) => {
                // A later generation that shares what is damaged has to meet it again.
                walk.seen = Seen::default();
                closure.unreadable.push((index, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(closure)
}

/// Goes through generations for the lists of extended attributes that their trees do not hold themselves; a page that
/// several share is looked at once.
#[derive(Debug)]
pub(super) struct ListWalk<'a>(Walk<'a>);

impl<'a> ListWalk<'a> {
    pub(super) fn new(repository: &'a Repository, progress: &'a Progress) -> Self {
        Self(Walk { only_lists: true, ..Walk::new(repository, progress) })
    }

    /// Calls `found` with the extents of each list, page by page.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be read, or if the operation is asked to stop.
    pub(super) fn generation<E: From<RepoError>>(
        &mut self,
        ordinal: Ordinal,
        found: &mut dyn FnMut(&Extent) -> Result<(), E>,
    ) -> Result<(), E> {
        let walk = &mut self.0;
        let generation = walk.repository.generation(ordinal).map_err(RepoError::from)?;
        let mut left = VecDeque::from([(generation.footer.root, None)]);
        while let Some((at, level_above)) = left.pop_front() {
            walk.step(at, level_above, TreeKind::Directory, &mut left)?;
            for extent in walk.listed.drain(..) {
                found(&extent)?;
            }
        }
        Ok(())
    }
}

/// Pages that were met: a bit for each place where one can begin.
#[derive(Debug, Default)]
struct Seen(BTreeMap<Ordinal, Vec<u64>>);

impl Seen {
    // Notes a page; tells whether it is a new one.
    fn insert(&mut self, at: PageRef) -> bool {
        let place = at.offset / ALIGNMENT;
        let word = usize::try_from(place / 64).unwrap_or(usize::MAX);
        let bits = self.0.entry(at.ordinal).or_default();
        if bits.len() <= word {
            bits.resize(word.saturating_add(1), 0);
        }
        let Some(bits) = bits.get_mut(word) else { return false };
        let is_new = *bits & 1 << (place % 64) == 0;
        *bits |= 1 << (place % 64);
        is_new
    }
}

#[derive(Debug)]
struct Walk<'a> {
    repository: &'a Repository,
    progress: &'a Progress,
    seen: Seen,
    // BDFs of earlier generations.
    bdfs: HashSet<FileId>,
    // What the generation that is walked adds.
    dtfs: BTreeSet<Ordinal>,
    bdfs_in_order: Vec<FileId>,
    new_bdfs: HashSet<FileId>,
    has_lists: bool,
    only_lists: bool,
    // Extents of the lists of the last page, if those are wanted.
    listed: Vec<Extent>,
}

impl<'a> Walk<'a> {
    fn new(repository: &'a Repository, progress: &'a Progress) -> Self {
        Self {
            repository,
            progress,
            seen: Seen::default(),
            bdfs: HashSet::new(),
            dtfs: BTreeSet::new(),
            bdfs_in_order: Vec::new(),
            new_bdfs: HashSet::new(),
            has_lists: false,
            only_lists: false,
            listed: Vec::new(),
        }
    }

    fn generation(&mut self, ordinal: Ordinal) -> Result<(), RepoError> {
        self.dtfs = BTreeSet::from([ordinal]);
        self.bdfs_in_order.clear();
        self.new_bdfs.clear();
        self.has_lists = false;
        let root = self.repository.generation(ordinal)?.footer.root;
        self.tree(root, TreeKind::Directory)
    }

    // Any order is right.
    fn sort_bdfs(&mut self, ordinal: Ordinal) -> Result<(), TapeJobError> {
        if self.bdfs_in_order.len() < 2 {
            return Ok(());
        }
        match bdf_order::sort(self.repository, ordinal, &mut self.bdfs_in_order, self.progress) {
            Err(RepoError::Cancelled(cancelled)) => Err(cancelled.into()),
            Err(error) => {
                log::debug!("BDFs in the order of keys: {}", crate::job::chain(&error));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn tree(&mut self, root: PageRef, kind: TreeKind) -> Result<(), RepoError> {
        let mut left = VecDeque::from([(root, None)]);
        while let Some((at, level_above)) = left.pop_front() {
            self.step(at, level_above, kind, &mut left)?;
        }
        Ok(())
    }

    // One page; what is below it comes to the front of what is left.
    fn step(
        &mut self,
        at: PageRef,
        level_above: Option<u8>,
        kind: TreeKind,
        left: &mut VecDeque<(PageRef, Option<u8>)>,
    ) -> Result<(), RepoError> {
        self.dtfs.insert(at.ordinal);
        // The bitmap grows with offsets, so that no offset beyond the file must get into it.
        if at.offset >= self.repository.pages().dtf(at.ordinal)?.len() {
            return Err(mismatch(at, "offset beyond the end of the file").into());
        }
        if !self.seen.insert(at) {
            return Ok(());
        }
        self.progress.check()?;
        let page = self.repository.pages().page(at)?;
        if page.tree() != kind || level_above.is_some_and(|above: u8| page.level() >= above) {
            return Err(mismatch(at, "kind of tree or level").into());
        }
        self.dtfs.extend(page.base().map(|base| base.ordinal));
        self.page(at, &page, left)
    }

    fn page(
        &mut self,
        at: PageRef,
        page: &Page,
        left: &mut VecDeque<(PageRef, Option<u8>)>,
    ) -> Result<(), RepoError> {
        let damaged =
            |source| ReadError::Format { path: format!("DTF {}", at.ordinal), offset: at.offset, source };
        if page.level() > 0 {
            // Before what waits already: depth first, so that few pages wait, and in order of keys.
            for slot in (0..page.len()).rev() {
                left.push_front((page.child(slot).map_err(damaged)?, Some(page.level())));
            }
            return Ok(());
        }
        for (key, value) in page.records_from(0) {
            match page.tree() {
                TreeKind::Extents => self.extent(&Extent::decode(key, value).map_err(damaged)?),
                TreeKind::Directory => {
                    if let Record::Inode(inode) = Record::decode(value).map_err(damaged)? {
                        self.inode(&inode)?;
                    }
                }
            }
        }
        Ok(())
    }

    // Recursion is one step deep: a tree of extents leads to no inode.
    fn inode(&mut self, inode: &Inode) -> Result<(), RepoError> {
        if let Xattrs::Stored { extents, .. } = &inode.xattrs {
            self.has_lists = true;
            if self.only_lists {
                self.listed.extend_from_slice(extents);
            } else {
                extents.iter().for_each(|extent| self.extent(extent));
            }
        }
        if self.only_lists {
            return Ok(());
        }
        match &inode.detail {
            Detail::Regular { content: Content::Inline(extents), .. } => {
                extents.iter().for_each(|extent| self.extent(extent));
            }
            Detail::Regular { content: Content::Tree { root, .. }, .. } => {
                self.tree(*root, TreeKind::Extents)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn extent(&mut self, extent: &Extent) {
        let file = extent.chunk.location.file;
        if !self.bdfs.contains(&file) && self.new_bdfs.insert(file) {
            self.bdfs_in_order.push(file);
        }
    }
}

fn mismatch(at: PageRef, what: &'static str) -> ReadError {
    ReadError::PageMismatch { ordinal: at.ordinal, offset: at.offset, what }
}
