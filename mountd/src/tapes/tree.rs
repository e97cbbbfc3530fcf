//! What is shown of cartridges: a directory of barcodes, and below each the view of its set.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reelfs::format::record::{Time, XattrList};
use reelfs::id::{FileId, Ordinal};
use reelfs::job::tape::catalogue::Catalogue;
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::order::TapeOrder;
use reelfs::job::tape::recall::while_wanted;
use reelfs::job::tape::storage::BlockReader;
use reelfs::repo::{CacheBytes, Node};

use super::asker;
use super::numbers::{Numbers, Place, What};
use super::places::Places;
use super::refusal;
use super::volumes::{Inputs, Snapshot, Volume};
use crate::attributes::{Attributes, OwnerMap};
use crate::errno::ViewError;
use crate::reading::{Disk, Seek, disk_of};
use crate::shown::Shown;
use crate::view::{CLIENTS, Lifetime, ListEntry, ROOT};

const AFTER_DOT: u64 = 1;
const AFTER_DOT_DOT: u64 = 2;
const SELINUX_LABEL: &[u8] = b"security.selinux";
const XATTR_PREFIX: &[u8] = b"user.reelfs.";
const KIND: &[u8] = b"user.reelfs.kind";
const BARCODE: &[u8] = b"user.reelfs.barcode";
const SLOT: &[u8] = b"user.reelfs.slot";
const STATE: &[u8] = b"user.reelfs.state";

/// What is shown, and how.
#[derive(Debug)]
pub(crate) struct TapesOptions {
    /// The catalogue.
    pub(crate) catalogue: Catalogue,
    /// The library in which cartridges are looked for.
    pub(crate) library: Option<LibraryAddress>,
    /// What devices are used with.
    pub(crate) inputs: LibraryInputs,
    /// Brings back data.
    pub(crate) reader: Arc<dyn BlockReader>,
    /// Programs that must not move a tape; absent: those that are known to read everything.
    pub(crate) refused: Option<Vec<String>>,
    /// Whom everything is shown to belong to.
    pub(crate) owners: OwnerMap,
    /// Caches of each set.
    pub(crate) cache: CacheBytes,
    /// The present time.
    pub(crate) started: Time,
}

/// The tree of cartridges.
#[derive(Debug)]
pub(crate) struct TapeTree {
    inputs: Inputs,
    places: Places,
    numbers: Numbers,
    refused: Vec<String>,
    snapshot: Mutex<Arc<Snapshot>>,
    // Barcodes in the library, as they were seen last.
    present: Mutex<Vec<String>>,
    // Cartridges were listed since then.
    is_asked_for: AtomicBool,
}

/// A place on a cartridge: the cartridge, the view of its set and the number in it.
struct Inner<'a> {
    volume: &'a Volume,
    view: &'a dyn Shown,
    number: u64,
}

impl TapeTree {
    pub(crate) fn new(options: TapesOptions) -> Self {
        let TapesOptions { catalogue, library, inputs, reader, refused, owners, cache, started } = options;
        let numbers = Numbers::new(catalogue.root());
        let snapshot = Mutex::new(Arc::new(Snapshot::read(&catalogue, &[])));
        let default = || refusal::DEFAULT.iter().map(|name| (*name).to_owned()).collect();
        Self {
            inputs: Inputs { catalogue, reader, owners, cache, started },
            places: Places::new(library, inputs),
            numbers,
            refused: refused.unwrap_or_else(default),
            snapshot,
            present: Mutex::default(),
            is_asked_for: AtomicBool::new(true),
        }
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.inputs.catalogue
    }

    /// Reads the catalogue again; returns what was known before and what is known now.
    pub(super) fn refresh(&self) -> (Arc<Snapshot>, Arc<Snapshot>) {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Arc::new(Snapshot::read(&self.inputs.catalogue, &present));
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::replace(&mut *snapshot, Arc::clone(&now)), now)
    }

    /// Looks what is in the library if somebody listed cartridges since the last look; tells whether it changed.
    pub(super) fn look(&self) -> bool {
        if !self.is_asked_for.swap(false, Ordering::Relaxed) {
            return false;
        }
        let now = self.places.barcodes();
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed = *present != now;
        *present = now;
        is_changed
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // The cartridge that an inode number belongs to, and the number in its view.
    fn volume(&self, number: u64) -> Result<(Arc<Volume>, u64), ViewError> {
        let Place { volume, what } = self.numbers.place(number).ok_or(ViewError::NoNumber)?;
        let volume = self.snapshot().get(volume).cloned().ok_or(ViewError::NoNumber)?;
        let number = match what {
            What::Number(number) => number,
            What::Rank { ordinal, order, rank } => {
                let known = volume.order(&self.inputs, ordinal).filter(|known| known.identity() == order);
                known.ok_or(ViewError::NoNumber)?.node(rank)?.ok_or(ViewError::NoNumber)?
            }
        };
        Ok((volume, number))
    }

    // The order of the generation in which a directory is; of a client's directory there is none.
    fn order(&self, volume: &Volume, directory: u64) -> Option<(Ordinal, Arc<TapeOrder>)> {
        match Node::from_number(directory)? {
            Node::Object { ordinal, .. } => Some((ordinal, volume.order(&self.inputs, ordinal)?)),
            Node::Entry(_) | Node::Synthetic(_) => None,
        }
    }

    // Runs something on what an inode number of a cartridge stands for.
    fn inside<T>(
        &self,
        number: u64,
        act: impl FnOnce(&Inner<'_>) -> Result<T, ViewError>,
    ) -> Result<T, ViewError> {
        let (volume, number) = self.volume(number)?;
        let view = volume.view(&self.inputs)?;
        act(&Inner { volume: &volume, view, number })
    }

    // The inode number of what a view knows by another one, in a directory of this order.
    fn outer(
        &self,
        volume: FileId,
        order: Option<&(Ordinal, Arc<TapeOrder>)>,
        number: u64,
    ) -> Result<u64, ViewError> {
        if number == ROOT {
            return Ok(ROOT);
        }
        if let Some((ordinal, order)) = order
            && let Some(rank) = order.rank(number)?
        {
            return Ok(self.numbers.ranked(volume, *ordinal, order.identity(), rank)?);
        }
        Ok(self.numbers.outer(volume, number)?)
    }

    fn root(&self) -> Attributes {
        let newest = self.snapshot().after(None).map(|(_, volume)| volume.created).max();
        let root = Attributes::directory(ROOT, 0o755, newest.unwrap_or(self.inputs.started));
        self.inputs.owners.apply(root)
    }

    // Nothing of the set is opened for it.
    fn cartridge(&self, volume: &Volume) -> Result<Attributes, ViewError> {
        volume.number_once(|ordinals| self.numbers.reserve(volume.id, ordinals))?;
        let number = self.numbers.outer(volume.id, CLIENTS)?;
        Ok(self.inputs.owners.apply(Attributes::directory(number, 0o755, volume.created)))
    }

    fn list_cartridges(
        &self,
        after: u64,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let own = self.root();
        for (cookie, name) in [(AFTER_DOT, &b"."[..]), (AFTER_DOT_DOT, b"..")] {
            let entry = ListEntry { cookie, name, attributes: own, lifetime: Lifetime::Unlimited };
            if after < cookie && !take(entry) {
                return Ok(());
            }
        }
        let snapshot = self.snapshot();
        let last = match after.checked_sub(AFTER_DOT_DOT).filter(|line| *line > 0) {
            None => None,
            Some(line) => {
                let known = snapshot.after(None).find(|(_, volume)| {
                    self.numbers.volume_line(volume.id).is_ok_and(|own| u64::from(own) == line)
                });
                let Some((name, _)) = known else { return Ok(()) };
                Some(name.clone())
            }
        };
        for (name, volume) in snapshot.after(last.as_deref()) {
            let cookie = AFTER_DOT_DOT + u64::from(self.numbers.volume_line(volume.id)?);
            let attributes = self.cartridge(volume)?;
            let entry =
                ListEntry { cookie, name: name.as_bytes(), attributes, lifetime: Lifetime::Unlimited };
            if !take(entry) {
                break;
            }
        }
        Ok(())
    }

    fn tape_xattr(&self, volume: &Volume, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        let text = match name {
            BARCODE => return Ok(volume.barcode.clone().into_bytes()),
            KIND => return Ok(volume.kind().ok_or(ViewError::NoXattr)?.into()),
            STATE => {
                let place = || self.places.of(&volume.barcode).state;
                volume.obstacle().unwrap_or_else(place).to_owned()
            }
            SLOT => {
                let element = self.places.of(&volume.barcode).element;
                element.ok_or(ViewError::NoXattr)?.to_string()
            }
            _ => return Err(ViewError::NoXattr),
        };
        Ok(text.into_bytes())
    }
}

impl Shown for TapeTree {
    fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError> {
        if number == ROOT {
            return Ok((self.root(), Lifetime::Unlimited));
        }
        let (volume, inner) = self.volume(number)?;
        match inner {
            CLIENTS => Ok((self.cartridge(&volume)?, Lifetime::Unlimited)),
            inner => {
                let (attributes, lifetime) = volume.view(&self.inputs)?.attributes(inner)?;
                Ok((Attributes { number, ..attributes }, lifetime))
            }
        }
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        if parent == ROOT {
            if matches!(name, b"." | b"..") {
                return Ok((self.root(), Lifetime::Unlimited));
            }
            let snapshot = self.snapshot();
            let Some(volume) = snapshot.named(name) else {
                self.is_asked_for.store(true, Ordering::Relaxed);
                return Err(ViewError::NoName);
            };
            return Ok((self.cartridge(volume)?, Lifetime::Unlimited));
        }
        self.inside(parent, |inner| match (inner.number, name) {
            (CLIENTS, b"..") => Ok((self.root(), Lifetime::Unlimited)),
            (directory, name) => {
                let (attributes, lifetime) = inner.view.lookup(directory, name)?;
                let order = self.order(inner.volume, directory);
                let number = self.outer(inner.volume.id, order.as_ref(), attributes.number)?;
                Ok((Attributes { number, ..attributes }, lifetime))
            }
        })
    }

    fn keeps_missing_names(&self, parent: u64) -> bool {
        parent != ROOT
            && self.inside(parent, |inner| Ok(inner.view.keeps_missing_names(inner.number))).unwrap_or(false)
    }

    fn list(
        &self,
        number: u64,
        after: u64,
        with_attributes: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        if number == ROOT {
            self.is_asked_for.store(true, Ordering::Relaxed);
            return self.list_cartridges(after, take);
        }
        self.inside(number, |inner| {
            let mut failed = None;
            let order = self.order(inner.volume, inner.number);
            inner.view.list(inner.number, after, with_attributes, &mut |mut entry| match self.outer(
                inner.volume.id,
                order.as_ref(),
                entry.attributes.number,
            ) {
                Ok(number) => {
                    entry.attributes.number = number;
                    take(entry)
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            })?;
            failed.map_or(Ok(()), Err)
        })
    }

    fn target(&self, number: u64) -> Result<Vec<u8>, ViewError> {
        if number == ROOT {
            return Err(ViewError::WrongKind);
        }
        self.inside(number, |inner| inner.view.target(inner.number))
    }

    fn read(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        only_ready: bool,
        pid: u32,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        if number == ROOT {
            return Err(ViewError::WrongKind);
        }
        self.inside(number, |inner| {
            let ready = inner.view.read(inner.number, offset, len, true, pid)?;
            if ready.is_some() || only_ready {
                return Ok(ready);
            }
            if refusal::is_refused(pid, &self.refused) {
                return Err(ViewError::Refused);
            }
            while_wanted(move || asker::waits(pid), || inner.view.read(inner.number, offset, len, false, pid))
        })
    }

    fn seek(&self, number: u64, offset: u64, seek: Seek) -> Result<u64, ViewError> {
        if number == ROOT {
            return Err(ViewError::WrongKind);
        }
        self.inside(number, |inner| inner.view.seek(inner.number, offset, seek))
    }

    fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        if number == ROOT {
            return Err(ViewError::NoXattr);
        }
        let (volume, inner) = self.volume(number)?;
        if self.is_slow_xattr(name) {
            return self.tape_xattr(&volume, name);
        }
        match inner {
            CLIENTS if name == SELINUX_LABEL => Err(ViewError::NoLabel),
            CLIENTS => Err(ViewError::NoXattr),
            inner => volume.view(&self.inputs)?.xattr(inner, name),
        }
    }

    // Of the cartridge itself only: below it they would be copied with the files.
    fn xattrs(&self, number: u64) -> Result<XattrList, ViewError> {
        if number == ROOT {
            return Ok(Vec::new());
        }
        let (volume, inner) = self.volume(number)?;
        match inner {
            CLIENTS => {
                let mut names = vec![BARCODE, SLOT, STATE];
                names.extend(volume.kind().map(|_| KIND));
                Ok(names.into_iter().map(|name| (name.to_vec(), Vec::new())).collect())
            }
            inner => volume.view(&self.inputs)?.xattrs(inner),
        }
    }

    fn is_slow_xattr(&self, name: &[u8]) -> bool {
        name.starts_with(XATTR_PREFIX)
    }

    fn is_without_xattrs(&self) -> bool {
        false
    }

    fn disk(&self) -> io::Result<Disk> {
        let mut root = self.inputs.catalogue.root();
        while !root.exists() {
            root = root.parent().ok_or(io::ErrorKind::NotFound)?;
        }
        disk_of(root)
    }
}
