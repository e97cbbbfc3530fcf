//! What the kernel asks, as calls to the clients' trees: names and directories.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use reelfs::format::record::{FileKind, Time};
use reelfs::repo::staging::{Attributes, Caller, Entry, RenameMode, StagingError, StagingTree};

use crate::bell::Bell;
use crate::control;
use crate::errno::chain;
use crate::pool::Pool;
use crate::staging::backing::Backings;
use crate::staging::clients::Clients;
use crate::staging::control::Control;
use crate::staging::directories::Directories;
use crate::staging::handles::{Exchange, Handles};
use crate::staging::nodes::{self, KEPT, Place};
use crate::staging::renewal::Renewal;
use crate::staging::session::Pace;
use crate::wire::answer::{self, Body};
use crate::wire::channel::{Channel, Reply};
use crate::wire::request::{Header, Operation};

/// An error number for the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) i32);

impl From<StagingError> for Refusal {
    fn from(error: StagingError) -> Self {
        let errno = error.errno();
        match errno {
            libc::EIO => log::error!("staging: {}", chain(&error)),
            libc::ENOSPC | libc::EDQUOT => log::warn!("staging: {}", chain(&error)),
            _ => log::trace!("staging: {error}"),
        }
        Self(errno)
    }
}

/// An answer, or why there is none.
pub(super) type Answer = Result<Answered, Refusal>;

/// What is answered.
#[derive(Debug)]
pub(super) enum Answered {
    /// It is done.
    Done,
    /// A body.
    Body(Body),
    /// Bytes that were asked for.
    Bytes(Vec<u8>),
}

impl From<Body> for Answered {
    fn from(body: Body) -> Self {
        Self::Body(body)
    }
}

pub(super) fn send(reply: Reply, answer: Answer) {
    match answer {
        Ok(Answered::Done) => reply.done(),
        Ok(Answered::Body(body)) => reply.body(&body),
        Ok(Answered::Bytes(bytes)) => reply.bytes(&bytes),
        Err(Refusal(errno)) => reply.error(errno),
    }
}

/// Attributes as the kernel takes them, and takes note that it is told.
pub(super) fn tell(
    handles: &Handles,
    backings: &Backings,
    slot: u16,
    attributes: &Attributes,
) -> answer::Attributes {
    let shown = nodes::shown(slot, attributes);
    handles.tell(shown.number, attributes);
    backings.told(shown.number);
    shown
}

/// The clients' trees as the kernel wants them.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(super) channel: Arc<Channel>,
    pub(super) clients: Arc<Clients>,
    pub(super) handles: Arc<Handles>,
    pub(super) directories: Directories,
    pub(super) backings: Arc<Backings>,
    pub(super) renewal: Renewal,
    pub(super) pool: Pool,
    pub(super) started: Time,
    // Inode numbers of files that were said to be stale though they may not be.
    pub(super) refused: Mutex<HashSet<u64>>,
}

/// An object and the tree it is in.
pub(super) struct Target {
    pub(super) tree: Arc<StagingTree>,
    pub(super) place: Place,
}

impl Adapter {
    pub(super) fn new(
        channel: Arc<Channel>,
        clients: Clients,
        (handles, directories): (Handles, Directories),
        (backings, renewal): (Backings, Renewal),
        pool: Pool,
    ) -> Self {
        let (clients, handles, backings) = (Arc::new(clients), Arc::new(handles), Arc::new(backings));
        let (started, refused) = (control::now(), Mutex::default());
        Self { channel, clients, handles, directories, backings, renewal, pool, started, refused }
    }

    /// What other threads may do with the trees.
    pub(super) fn control(&self, bell: Arc<Bell>) -> Control {
        Control {
            bell,
            clients: Arc::clone(&self.clients),
            handles: Arc::clone(&self.handles),
            channel: Arc::clone(&self.channel),
        }
    }

    /// Closes the trees, when nobody can reach them any more.
    pub(super) fn close(self) {
        let Self { clients, handles, directories, backings, renewal, pool, .. } = self;
        drop((handles, directories, backings, renewal, pool));
        clients.close();
    }

    /// Answers a request, at once or later from another thread.
    pub(super) fn handle(&self, header: &Header, operation: Operation<'_>, reply: Reply) -> Pace {
        match operation {
            Operation::Forget { count } => {
                reply.none();
                self.forget(header.number, count);
            }
            Operation::BatchForget { nodes } => {
                reply.none();
                for (node, count) in nodes {
                    self.forget(node, count);
                }
            }
            Operation::Interrupt => reply.none(),
            Operation::Read { .. }
            | Operation::Write { .. }
            | Operation::Sync { .. }
            | Operation::SyncDirectory
            | Operation::SyncAll
            | Operation::Open { .. }
            | Operation::Allocate { .. }
            | Operation::CopyRange { .. } => return self.content(header, operation, reply),
            Operation::Lookup { name } if header.number == nodes::ROOT => self.look_up_client(name, reply),
            Operation::StatFs if header.number != nodes::ROOT => return self.room(header, reply),
            Operation::SetAttributes(set) if self.takes_long(header, &set) => {
                return self.set_attributes_later(header, set, reply);
            }
            operation => send(reply, self.answer(header, operation)),
        }
        Pace::Spin
    }

    fn answer(&self, header: &Header, operation: Operation<'_>) -> Answer {
        if header.number == nodes::ROOT {
            return self.root(header, operation);
        }
        self.note_changed(header, &operation);
        match operation {
            Operation::Lookup { name } => self.lookup(header, name),
            Operation::MakeSymlink { name, target } => self.make_symlink(header, name, target),
            Operation::MakeNode { name, mode, device, umask } => {
                self.make_node(header, name, mode, device, umask)
            }
            Operation::MakeDirectory { name, mode, umask } => self.make_directory(header, name, mode, umask),
            Operation::Unlink { name } => {
                let target = self.target(header.number)?;
                let unlinked = target.tree.unlink(target.place.number, name, caller(header, 0));
                let unlinked = unlinked.map(|number| {
                    self.renewal.changed(Place { number, ..target.place }.node());
                });
                done_before(header, unlinked, |error| matches!(error, StagingError::NotFound))
            }
            Operation::RemoveDirectory { name } => {
                let target = self.target(header.number)?;
                let removed = target.tree.remove_directory(target.place.number, name, caller(header, 0));
                done_before(header, removed.map(drop), |error| matches!(error, StagingError::NotFound))
            }
            Operation::Rename { name, new_parent, new_name, flags } => {
                self.rename(header, name, (new_parent, new_name), flags)
            }
            Operation::Link { number, new_name } => self.link(header, number, new_name),
            Operation::Create { name, mode, umask, flags, is_unnamed: false } => {
                self.create(header, name, (mode, umask), flags)
            }
            Operation::Create { mode, umask, flags, .. } => self.create_unnamed(header, (mode, umask), flags),
            Operation::Release { handle } => self.release(handle),
            Operation::Seek { handle, offset, whence } => self.seek(header, handle, offset, whence),
            Operation::OpenDirectory => self.open_directory(header),
            Operation::List { handle, offset, len_max, is_plus } => {
                self.list(header, handle, offset, answer::Listing::new(len_max, is_plus), is_plus)
            }
            Operation::ReleaseDirectory { handle } => {
                self.directories.remove(handle);
                Ok(Answered::Done)
            }
            operation => self.object(header, operation),
        }
    }

    // What is asked changes attributes of these inodes, and the kernel takes note without a version.
    fn note_changed(&self, header: &Header, operation: &Operation<'_>) {
        match operation {
            Operation::MakeSymlink { .. }
            | Operation::MakeNode { .. }
            | Operation::MakeDirectory { .. }
            | Operation::Unlink { .. }
            | Operation::RemoveDirectory { .. }
            | Operation::Create { .. }
            | Operation::SetXattr { .. }
            | Operation::RemoveXattr { .. } => self.renewal.changed(header.number),
            Operation::Rename { new_parent: other, .. } | Operation::Link { number: other, .. } => {
                self.renewal.changed(header.number);
                self.renewal.changed(*other);
            }
            _ => {}
        }
    }

    /// The object of an inode number.
    pub(super) fn target(&self, node: u64) -> Result<Target, Refusal> {
        let place = Place::of(node).ok_or(Refusal(libc::EPERM))?;
        Ok(Target { tree: self.clients.by_slot(place.slot)?, place })
    }

    fn forget(&self, node: u64, count: u64) {
        if let Some(place) = Place::of(node)
            && let Ok(tree) = self.clients.by_slot(place.slot)
        {
            tree.forget(place.number, count);
        }
    }

    /// Attributes as the kernel takes them.
    pub(super) fn shown(&self, slot: u16, attributes: &Attributes) -> answer::Attributes {
        tell(&self.handles, &self.backings, slot, attributes)
    }

    pub(super) fn entry(&self, slot: u16, entry: &Entry) -> Body {
        answer::entry(&self.shown(slot, &entry.attributes), KEPT, KEPT)
    }

    fn lookup(&self, header: &Header, name: &[u8]) -> Answer {
        let target = self.target(header.number)?;
        match target.tree.lookup(target.place.number, name) {
            Ok(entry) => Ok(self.entry(target.place.slot, &entry).into()),
            Err(StagingError::NotFound) => Ok(answer::no_entry(KEPT).into()),
            Err(error) => Err(error.into()),
        }
    }

    // What a server that died had made already is found and answered.
    fn made(
        &self,
        header: &Header,
        target: &Target,
        name: &[u8],
        kind: FileKind,
        made: Result<Entry, StagingError>,
    ) -> Answer {
        let entry = match made {
            Err(StagingError::Exists) if header.is_resent() => {
                let entry = target.tree.lookup(target.place.number, name)?;
                if entry.attributes.kind != kind {
                    target.tree.forget(entry.number(), 1);
                    return Err(Refusal(libc::EEXIST));
                }
                entry
            }
            made => made?,
        };
        Ok(self.entry(target.place.slot, &entry).into())
    }

    fn make_directory(&self, header: &Header, name: &[u8], mode: u32, umask: u32) -> Answer {
        let target = self.target(header.number)?;
        let caller = caller(header, umask);
        let made = target.tree.make_directory(target.place.number, name, nodes::permissions(mode), caller);
        self.made(header, &target, name, FileKind::Directory, made)
    }

    fn make_node(&self, header: &Header, name: &[u8], mode: u32, device: u32, umask: u32) -> Answer {
        let target = self.target(header.number)?;
        let kind = nodes::node_kind(mode).ok_or(Refusal(libc::EINVAL))?;
        let device = nodes::decode_device(device);
        let permissions = nodes::permissions(mode);
        let caller = caller(header, umask);
        let made = target.tree.make_node(target.place.number, name, kind, device, permissions, caller);
        self.made(header, &target, name, kind, made)
    }

    fn make_symlink(&self, header: &Header, name: &[u8], link: &[u8]) -> Answer {
        let target = self.target(header.number)?;
        let made = target.tree.make_symlink(target.place.number, name, link, caller(header, 0));
        self.made(header, &target, name, FileKind::Symlink, made)
    }

    fn link(&self, header: &Header, node: u64, name: &[u8]) -> Answer {
        let target = self.target(header.number)?;
        let source = Place::of(node).filter(|source| source.slot == target.place.slot);
        let source = source.ok_or(Refusal(libc::EXDEV))?;
        self.want_place(node, &Target { place: source, tree: Arc::clone(&target.tree) })?;
        match target.tree.link(source.number, target.place.number, name, caller(header, 0)) {
            Err(StagingError::Exists) if header.is_resent() => {
                let entry = target.tree.lookup(target.place.number, name)?;
                if entry.number() != source.number {
                    target.tree.forget(entry.number(), 1);
                    return Err(Refusal(libc::EEXIST));
                }
                Ok(self.entry(target.place.slot, &entry).into())
            }
            linked => Ok(self.entry(target.place.slot, &linked?).into()),
        }
    }

    fn rename(&self, header: &Header, name: &[u8], to: (u64, &[u8]), flags: u32) -> Answer {
        let target = self.target(header.number)?;
        let parent = Place::of(to.0).filter(|parent| parent.slot == target.place.slot);
        let parent = parent.ok_or(Refusal(libc::EXDEV))?;
        let mode = match flags {
            0 => RenameMode::Replace,
            libc::RENAME_NOREPLACE => RenameMode::NoReplace,
            libc::RENAME_EXCHANGE => RenameMode::Exchange,
            // Whiteouts are for overlays.
            _ => return Err(Refusal(libc::EINVAL)),
        };
        let from = (target.place.number, name);
        if mode == RenameMode::Exchange && self.was_exchanged(header, &target, from, (parent.number, to.1))? {
            self.renewal.renamed(parent.node());
            return Ok(Answered::Done);
        }
        let renamed = target.tree.rename(from, (parent.number, to.1), mode, caller(header, 0));
        if renamed.is_ok() {
            self.renewal.renamed(parent.node());
            self.note_moved(&target, &[from, (parent.number, to.1)]);
        }
        done_before(header, renamed.map(drop), |error| {
            let is_there = target.tree.lookup(parent.number, to.1).map(|entry| {
                target.tree.forget(entry.number(), 1);
            });
            matches!(error, StagingError::NotFound) && is_there.is_ok()
        })
    }

    // An exchange done twice is not done, so what the names lead to is noted before. Should one be sent again,
    // the last that was begun is that one: one at a time is answered, and the kernel sends what was not answered
    // before all else.
    fn was_exchanged(
        &self,
        header: &Header,
        target: &Target,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
    ) -> Result<bool, Refusal> {
        let find = |(directory, name)| {
            let number = target.tree.lookup(directory, name)?.number();
            target.tree.forget(number, 1);
            Ok::<_, StagingError>(Place { number, ..target.place }.node())
        };
        let (now, unique) = ((find(from)?, find(to)?), header.sent_first());
        let is_done = Exchange { unique, nodes: (now.1, now.0) };
        if header.is_resent() && now.0 != now.1 && self.handles.last_exchange() == Some(is_done) {
            return Ok(true);
        }
        self.handles.begin_exchange(Exchange { unique, nodes: now }).map_err(|error| {
            log::error!("cannot write the table of open files: {error}");
            Refusal(error.raw_os_error().unwrap_or(libc::EIO))
        })?;
        Ok(false)
    }

    // What was moved may have another name, in a directory that is listed now.
    fn note_moved(&self, target: &Target, names: &[(u64, &[u8])]) {
        if !self.renewal.is_listing() {
            return;
        }
        for (directory, name) in names {
            if let Ok(entry) = target.tree.lookup(*directory, name) {
                self.renewal.changed(Place { number: entry.number(), ..target.place }.node());
                target.tree.forget(entry.number(), 1);
            }
        }
    }

    fn open_directory(&self, header: &Header) -> Answer {
        let target = self.target(header.number)?;
        let listing = target.tree.open_directory(target.place.number)?;
        Ok(answer::opened(self.directories.put(listing), 0, 0).into())
    }

    fn list(
        &self,
        header: &Header,
        handle: u64,
        offset: u64,
        mut part: answer::Listing,
        is_plus: bool,
    ) -> Answer {
        let target = self.target(header.number)?;
        let Target { tree, place } = &target;
        let parent = if place.number == reelfs::repo::staging::ROOT {
            nodes::ROOT
        } else {
            Place { number: tree.parent(place.number)?, ..*place }.node()
        };
        if !list_dots(&mut part, offset, header.number, parent) {
            return Ok(part.into_body().into());
        }
        let listing = self.directories.get(handle, || tree.open_directory(place.number))?;
        let mut listing = listing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cookie = if offset <= AFTER_DOT_DOT { 0 } else { offset };
        tree.list(&mut listing, cookie, is_plus, &mut |entry| {
            if !part.has_room(entry.name) {
                return false;
            }
            match &entry.attributes {
                Some(attributes) => {
                    let shown = self.shown(place.slot, attributes);
                    part.add(entry.name, entry.cookie, &shown, Some((KEPT, KEPT)));
                }
                None => {
                    let node = Place { slot: place.slot, number: entry.number }.node();
                    part.add(entry.name, entry.cookie, &nodes::bare(node, entry.kind), None);
                }
            }
            true
        })?;
        self.directories.keep(handle, &listing);
        Ok(part.into_body().into())
    }
}

const AFTER_DOT: u64 = 1;
const AFTER_DOT_DOT: u64 = 2;

/// Lists `.` and `..` where they come; returns whether there is room for more.
pub(super) fn list_dots(part: &mut answer::Listing, offset: u64, node: u64, parent: u64) -> bool {
    for (cookie, name, node) in [(AFTER_DOT, &b"."[..], node), (AFTER_DOT_DOT, b"..", parent)] {
        if offset >= cookie {
            continue;
        }
        if !part.has_room(name) {
            return false;
        }
        part.add(name, cookie, &nodes::bare(node, FileKind::Directory), None);
    }
    true
}

/// Who asks.
pub(super) fn caller(header: &Header, umask: u32) -> Caller {
    Caller { uid: header.uid, gid: header.gid, umask: nodes::permissions(umask), now: control::now() }
}

// A request that is sent again may have been done by the server that died before it answered.
pub(super) fn done_before(
    header: &Header,
    done: Result<(), StagingError>,
    was_done: impl FnOnce(&StagingError) -> bool,
) -> Answer {
    match done {
        Ok(()) => Ok(Answered::Done),
        Err(error) if header.is_resent() && was_done(&error) => Ok(Answered::Done),
        Err(error) => Err(error.into()),
    }
}
