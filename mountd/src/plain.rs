//! `clients` as a connection of its own, while nothing in it has extended attributes.
//!
//! `cp -a` asks each file twice for extended attributes, and no kernel keeps the answer: of a tree that it has
//! cached this is all that it asks, and what takes most of the time. ENOSYS ends the questions, but for a whole
//! connection. So as long as no generation has an extended attribute, a connection that answers so is mounted
//! on `clients`.
//!
//! Below it the tree of everything shows `clients` as ever, for who does not cross mounts. When a generation
//! with attributes comes, the connection is taken off, before anybody can look into that generation: a path is
//! walked again by the kernel when it hears ESTALE, and leads to the tree then. Who is still within, by a working
//! directory or an open one, finds that generation stale. Its attributes are never shown as missing.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelfs::format::record::XattrList;
use reelfs::id::Ordinal;
use reelfs::repo::Node;

use crate::attributes::Attributes;
use crate::clients::Snapshot;
use crate::errno::ViewError;
use crate::mountpoint;
use crate::reading::{Disk, Seek};
use crate::shown::Shown;
use crate::view::{CLIENTS, Lifetime, ListEntry, ROOT, View};

// Mounting does not wait longer for what only makes reading faster.
const CHECK_TIME_MAX: Duration = Duration::from_millis(80);

/// Tells whether no generation of the snapshot has extended attributes, as far as that can be found out soon.
pub(crate) fn is_possible(view: &View, snapshot: &Snapshot) -> bool {
    let deadline = Instant::now() + CHECK_TIME_MAX;
    let mut generations = snapshot.clients().flat_map(|client| &client.generations);
    generations.all(|generation| view.is_plain(generation.ordinal) && Instant::now() < deadline)
}

impl View {
    /// Tells whether a generation has extended attributes; `None` if it cannot be read.
    fn has_xattrs(&self, ordinal: Ordinal) -> Option<bool> {
        let generation = self.repository.generation(ordinal).ok()?;
        Some(generation.footer.totals.xattr_count != 0)
    }

    /// Tells whether a generation is known to have no extended attributes.
    pub(crate) fn is_plain(&self, ordinal: Ordinal) -> bool {
        self.has_xattrs(ordinal) == Some(false)
    }
}

/// Where the connection is mounted, until it is taken off.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    is_taken_off: Mutex<bool>,
}

impl Place {
    /// Takes the path on which the connection is mounted.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, is_taken_off: Mutex::new(false) }
    }

    /// Takes the connection off, once; returns when paths lead to the tree below.
    ///
    /// The kernel asks the tree for the way there, and this connection for nothing: its own dispatcher may call.
    pub(crate) fn take_off(&self) {
        let mut is_taken_off = self.is_taken_off.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_taken_off {
            return;
        }
        *is_taken_off = true;
        log::info!("a generation has extended attributes: clients are no mount of their own any more");
        if let Err(error) = mountpoint::detach(&self.path) {
            log::warn!("cannot unmount {}: {error}", self.path.display());
        }
    }
}

/// The directory of all clients as the root of a connection.
#[derive(Debug)]
pub(crate) struct PlainClients {
    view: Arc<View>,
    place: Arc<Place>,
}

// The kernel calls the root of each connection 1.
fn inner(number: u64) -> u64 {
    if number == ROOT { CLIENTS } else { number }
}

fn outer(attributes: Attributes) -> Attributes {
    let number = if attributes.number == CLIENTS { ROOT } else { attributes.number };
    Attributes { number, ..attributes }
}

impl PlainClients {
    /// Shows the clients of a view at a place.
    pub(crate) fn new(view: Arc<View>, place: Arc<Place>) -> Self {
        Self { view, place }
    }

    // Whatever is in a generation is reached through its directories, whose numbers say which one it is.
    fn check(&self, number: u64) -> Result<(), ViewError> {
        match Node::from_number(number) {
            Some(Node::Object { ordinal, .. }) if !self.is_shown(ordinal) => Err(ViewError::Elsewhere),
            _ => Ok(()),
        }
    }

    // One that is damaged is shown here as elsewhere: it has no attributes to be taken for missing.
    fn is_shown(&self, ordinal: Ordinal) -> bool {
        self.view.has_xattrs(ordinal) != Some(true)
    }

    fn checked(&self, number: u64) -> Result<u64, ViewError> {
        self.check(number).map(|()| inner(number))
    }
}

impl Shown for PlainClients {
    fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError> {
        let (attributes, lifetime) = Shown::attributes(&*self.view, self.checked(number)?)?;
        Ok((outer(attributes), lifetime))
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        let (attributes, lifetime) = self.view.lookup(self.checked(parent)?, name)?;
        // Who walks a path from above walks it once more.
        self.check(attributes.number).inspect_err(|_| self.place.take_off())?;
        Ok((outer(attributes), lifetime))
    }

    fn keeps_missing_names(&self, parent: u64) -> bool {
        self.view.keeps_missing_names(inner(parent))
    }

    fn list(
        &self,
        number: u64,
        after: u64,
        with_attributes: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        self.view.list(self.checked(number)?, after, with_attributes, &mut |entry| {
            // Looking up the name then says that it is elsewhere.
            let is_here = self.check(entry.attributes.number).is_ok();
            let lifetime = if is_here { entry.lifetime } else { Lifetime::None };
            take(ListEntry { attributes: outer(entry.attributes), lifetime, ..entry })
        })
    }

    fn target(&self, number: u64) -> Result<Vec<u8>, ViewError> {
        self.view.target(self.checked(number)?)
    }

    fn read(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        only_ready: bool,
        _: u32,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        self.view.read(self.checked(number)?, offset, len, only_ready)
    }

    fn seek(&self, number: u64, offset: u64, seek: Seek) -> Result<u64, ViewError> {
        self.view.seek(self.checked(number)?, offset, seek)
    }

    fn xattr(&self, _: u64, _: &[u8]) -> Result<Vec<u8>, ViewError> {
        Err(ViewError::NoXattr)
    }

    fn xattrs(&self, _: u64) -> Result<XattrList, ViewError> {
        Ok(Vec::new())
    }

    fn is_slow_xattr(&self, _: &[u8]) -> bool {
        false
    }

    fn is_without_xattrs(&self) -> bool {
        true
    }

    fn disk(&self) -> io::Result<Disk> {
        self.view.disk()
    }
}
