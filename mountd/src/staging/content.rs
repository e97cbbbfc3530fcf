//! What the kernel asks, as calls to the clients' trees: open files and what is in them.

use std::sync::Arc;

use reelfs::format::record::FileKind;
use reelfs::repo::staging::{AllocateMode, Entry, SeekFrom, SetAttributes, StagingError, Synced};

use crate::staging::adapter::{Adapter, Answer, Answered, Refusal, Target, caller, send};
use crate::staging::clients::Clients;
use crate::staging::handles::{Handles, OpenFile, Removed};
use crate::staging::nodes::{self, Place};
use crate::staging::session::Pace;
use crate::staging::way::{Opening, Way};
use crate::wire::answer;
use crate::wire::channel::Reply;
use crate::wire::request::{Header, Operation, Writing};

// The caller asks again for the rest.
const COPY_LEN_MAX: u64 = 32 << 20;

impl Adapter {
    /// Answers what is asked of content, from another thread if it takes long.
    pub(super) fn content(&self, header: &Header, operation: Operation<'_>, reply: Reply) -> Pace {
        match operation {
            Operation::Read { handle, offset, len } => self.read(header, handle, offset, len, reply),
            Operation::Write { handle, offset, bytes, how } => {
                self.write(header, handle, (offset, bytes), how, reply)
            }
            Operation::Open { flags, kills_set_id } => self.open(header, flags, kills_set_id, reply),
            Operation::Allocate { handle, offset, len, mode } => {
                let header = *header;
                self.later(header, handle, reply, move |file| allocate(&header, file, (offset, len), mode))
            }
            Operation::CopyRange { handle, offset, to_number, to_handle, to_offset, len } => {
                let to = self.file(to_number, to_handle, true);
                let header = *header;
                self.later(header, handle, reply, move |file| {
                    copy(&header, (file, offset), (&*to?, to_offset), len)
                })
            }
            Operation::Sync { is_data_only } => {
                self.sync(header, if is_data_only { Synced::Data } else { Synced::All }, reply)
            }
            Operation::SyncDirectory => self.sync(header, Synced::All, reply),
            _ => {
                let trees = self.clients.all_opened();
                self.pool.run(move || {
                    let synced = trees.iter().try_for_each(|tree| tree.sync());
                    send(reply, synced.map(|()| Answered::Done).map_err(Refusal::from));
                });
                Pace::Rest
            }
        }
    }

    fn file(&self, node: u64, handle: u64, is_writable: bool) -> Result<Arc<OpenFile>, Refusal> {
        find(&self.handles, &self.clients, node, handle, is_writable)
    }

    fn later(
        &self,
        header: Header,
        handle: u64,
        reply: Reply,
        job: impl FnOnce(&OpenFile) -> Answer + Send + 'static,
    ) -> Pace {
        let (handles, clients) = (Arc::clone(&self.handles), Arc::clone(&self.clients));
        self.pool.run(move || {
            let answer = find(&handles, &clients, header.number, handle, true).and_then(|file| job(&file));
            send(reply, answer);
        });
        Pace::Rest
    }

    fn open(&self, header: &Header, flags: u32, kills_set_id: bool, reply: Reply) -> Pace {
        let flags = flags.cast_signed();
        let _closed = self.close_unanswered(header);
        let opened = self.target(header.number).and_then(|target| {
            self.want_place(header.number, &target)?;
            let is_truncated = flags & libc::O_TRUNC != 0;
            let opening = open_in(header, &target, flags, kills_set_id)?;
            let way = self.way(&opening, is_truncated)?;
            if way.backing != 0 && opening.handle.is_writable() {
                opening.tree.watch_privileges(target.place.number, caller(header, 0))?;
            }
            Ok((self.keep(header, opening, way.backing)?, way, way.is_new && !is_truncated))
        });
        match opened {
            Err(Refusal(errno)) => reply.error(errno),
            Ok((handle, way, false)) => reply.body(&answer::opened(handle, way.flags, way.backing)),
            Ok((handle, way, true)) => {
                // What the kernel has of the file will not follow what it writes past this process.
                let (channel, node) = (Arc::clone(&self.channel), header.number);
                self.pool.run(move || {
                    channel.forget(node, true);
                    reply.body(&answer::opened(handle, way.flags, way.backing));
                });
            }
        }
        Pace::Spin
    }

    fn keep(&self, header: &Header, opening: Opening, backing: u32) -> Result<u64, Refusal> {
        let Opening { tree, node, handle, .. } = opening;
        let file = OpenFile { tree, handle };
        self.handles.put(header.sent_first(), node, file, backing).map_err(|error| {
            log::error!("cannot write the table of open files: {error}");
            Refusal(error.raw_os_error().unwrap_or(libc::EIO))
        })
    }

    pub(super) fn create(&self, header: &Header, name: &[u8], mode: (u32, u32), flags: u32) -> Answer {
        let target = self.target(header.number)?;
        let caller = caller(header, mode.1);
        let _closed = self.close_unanswered(header);
        let ready = self.backings.take(&target.tree);
        let (prepared, registered) = ready.map_or((None, 0), |ready| (Some(ready.file), ready.backing));
        let permissions = nodes::permissions(mode.0);
        let created = target.tree.create_file(target.place.number, name, permissions, caller, prepared);
        let (entry, handle) = match created {
            Ok(created) => created,
            Err(error) => {
                self.backings.close(registered);
                let is_exclusive = flags.cast_signed() & libc::O_EXCL != 0 && !header.is_resent();
                if is_exclusive || !matches!(error, StagingError::Exists) {
                    return Err(error.into());
                }
                return self.open_existing(header, &target, name, flags);
            }
        };
        let node = Place { number: entry.number(), ..target.place }.node();
        let opening = Opening { tree: target.tree, node, handle, flags: flags.cast_signed() };
        self.created(header, (target.place.slot, &entry), opening, registered)
    }

    fn created(
        &self,
        header: &Header,
        (slot, entry): (u16, &Entry),
        opening: Opening,
        registered: u32,
    ) -> Answer {
        let way = self.way_of_new(&opening, registered)?;
        let handle = self.keep(header, opening, way.backing)?;
        Ok(self.opened_entry(slot, entry, handle, way))
    }

    fn opened_entry(&self, slot: u16, entry: &Entry, handle: u64, way: Way) -> Answered {
        answer::created(self.entry(slot, entry), handle, way.flags, way.backing).into()
    }

    // Another request, or a server that died, has created it meanwhile.
    fn open_existing(&self, header: &Header, target: &Target, name: &[u8], flags: u32) -> Answer {
        let entry = target.tree.lookup(target.place.number, name)?;
        let give_back = |refusal| {
            target.tree.forget(entry.number(), 1);
            refusal
        };
        if entry.attributes.kind != FileKind::Regular {
            return Err(give_back(Refusal(libc::EEXIST)));
        }
        let place = Place { number: entry.number(), ..target.place };
        let found = Target { tree: Arc::clone(&target.tree), place };
        let flags = flags.cast_signed();
        let opening = open_in(header, &found, flags, false).map_err(give_back)?;
        let is_empty = flags & libc::O_TRUNC != 0 || header.is_resent();
        // The attributes were those before it was truncated.
        let attributes = found.tree.attributes(place.number).map_err(Refusal::from).map_err(give_back)?;
        let way = self.way(&opening, is_empty).map_err(give_back)?;
        let handle = self.keep(header, opening, way.backing).map_err(give_back)?;
        Ok(self.opened_entry(place.slot, &Entry { attributes }, handle, way))
    }

    pub(super) fn create_unnamed(&self, header: &Header, (mode, umask): (u32, u32), flags: u32) -> Answer {
        let target = self.target(header.number)?;
        if let Some(number) = self.close_unanswered(header) {
            // The one that was made then has no name by which it could be found.
            target.tree.remove_unheld(number)?;
        }
        let permissions = nodes::permissions(mode);
        let created = target.tree.create_unnamed(target.place.number, permissions, caller(header, umask));
        let (entry, handle) = created?;
        let node = Place { number: entry.number(), ..target.place }.node();
        let opening = Opening { tree: target.tree, node, handle, flags: flags.cast_signed() };
        self.created(header, (target.place.slot, &entry), opening, 0)
    }

    pub(super) fn release(&self, handle: u64) -> Answer {
        // It may have been closed by the server that died.
        let _node = self.close_handle(handle);
        Ok(Answered::Done)
    }

    /// Closes a handle; returns the inode number.
    pub(super) fn close_handle(&self, handle: u64) -> Option<u64> {
        let removed = self.handles.remove(handle)?;
        let node = removed.record.node;
        let is_direct = removed.record.backing != 0 && removed.record.is_writable;
        if is_direct && (has_lost_privileges(&removed) || is_newer(&removed)) {
            self.backings.forget_attributes(node);
        }
        if removed.usage.count == 0 {
            self.backings.close(removed.usage.backing);
        }
        Some(node)
    }

    fn read(&self, header: &Header, handle: u64, offset: u64, len: u32, reply: Reply) -> Pace {
        let len = usize::try_from(len).unwrap_or_default();
        let read = move |file: &OpenFile| -> Answer {
            Ok(Answered::Bytes(file.tree.read(&file.handle, offset, len)?))
        };
        match self.file(header.number, handle, false) {
            Err(Refusal(errno)) => reply.error(errno),
            // It is read from a plain file.
            Ok(file) if file.handle.is_direct() => send(reply, read(&file)),
            // It may have to be decompressed.
            Ok(file) => self.pool.run(move || send(reply, read(&file))),
        }
        Pace::Spin
    }

    fn write(
        &self,
        header: &Header,
        handle: u64,
        (offset, bytes): (u64, &[u8]),
        how: Writing,
        reply: Reply,
    ) -> Pace {
        let caller = caller(header, 0);
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let write = move |file: &OpenFile, bytes: &[u8]| -> Answer {
            if how.is_mapped {
                file.handle.note_mapped_write();
            }
            file.tree.write(&file.handle, offset, bytes, how.kills_set_id, caller)?;
            Ok(answer::count(count).into())
        };
        match self.file(header.number, handle, true) {
            Err(Refusal(errno)) => reply.error(errno),
            Ok(file) if file.handle.is_direct() && !file.tree.must_look(bytes.len() as u64) => {
                send(reply, write(&file, bytes));
            }
            // What is below the edges may have to be read first, or all files be looked at.
            Ok(file) => {
                let bytes = bytes.to_vec();
                self.pool.run(move || send(reply, write(&file, &bytes)));
            }
        }
        Pace::Spin
    }

    pub(super) fn seek(&self, header: &Header, handle: u64, offset: u64, whence: u32) -> Answer {
        let file = self.file(header.number, handle, false)?;
        let from = match whence.cast_signed() {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Refusal(libc::EINVAL)),
        };
        Ok(answer::position(file.tree.seek(&file.handle, from)?).into())
    }

    fn sync(&self, header: &Header, synced: Synced, reply: Reply) -> Pace {
        match self.target(header.number) {
            // The directory of the clients is as durable as they are.
            Err(_) if header.number == nodes::ROOT => reply.done(),
            Err(Refusal(errno)) => reply.error(errno),
            Ok(target) => {
                // msync(2) comes here too, and makes the times of what was written through a mapping known.
                if self.handles.usage(header.number).backing != 0 {
                    self.backings.forget_attributes(header.number);
                }
                self.pool.run(move || {
                    let done = target.tree.sync_object(target.place.number, synced);
                    send(reply, done.map(|()| Answered::Done).map_err(Refusal::from));
                });
            }
        }
        Pace::Rest
    }
}

// Nobody says of what the kernel wrote by itself whether it takes set-id bits away.
fn has_lost_privileges(removed: &Removed) -> bool {
    let Some(file) = &removed.file else { return false };
    let settled = file.tree.settle_privileges(file.handle.number(), restorer());
    settled.unwrap_or_else(|error| {
        log::debug!("set-id bits of a file that was written: {}", crate::errno::chain(&error));
        false
    })
}

// What is written through a mapping changes times without the kernel noticing: it then has the old ones.
fn is_newer(removed: &Removed) -> bool {
    let Some(file) = &removed.file else { return true };
    // Not the backing file's own time: one that was set stands in the row. What else changes the time of
    // attributes goes through the kernel, which then asks by itself.
    let found = file.tree.attributes(file.handle.number());
    found.map_or(true, |found| found.mtime != removed.usage.told)
}

// Nobody: opening a file that was open changes nothing.
pub(super) fn restorer() -> reelfs::repo::staging::Caller {
    reelfs::repo::staging::Caller { uid: 0, gid: 0, umask: 0, now: crate::control::now() }
}

fn find(
    handles: &Handles,
    clients: &Clients,
    node: u64,
    handle: u64,
    is_writable: bool,
) -> Result<Arc<OpenFile>, Refusal> {
    if let Some(file) = handles.get(handle) {
        return Ok(file);
    }
    // A handle that was lost with a server: the kernel knows that it may be used.
    let place = Place::of(node).ok_or(Refusal(libc::EISDIR))?;
    let tree = clients.by_slot(place.slot)?;
    let handle = tree.open_file(place.number, is_writable, false, restorer())?;
    Ok(Arc::new(OpenFile { tree, handle }))
}

fn open_in(header: &Header, target: &Target, flags: i32, kills_set_id: bool) -> Result<Opening, Refusal> {
    let Target { tree, place } = target;
    let is_truncated = flags & libc::O_TRUNC != 0;
    let is_writable = flags & libc::O_ACCMODE != libc::O_RDONLY;
    let caller = caller(header, 0);
    let handle = tree.open_file(place.number, is_writable, is_truncated, caller)?;
    if kills_set_id && is_truncated {
        let set = SetAttributes { kill_privileges: true, ..SetAttributes::default() };
        tree.set_attributes(place.number, &set, caller)?;
    }
    Ok(Opening { tree: Arc::clone(tree), node: place.node(), handle, flags })
}

fn allocate(header: &Header, file: &OpenFile, range: (u64, u64), mode: u32) -> Answer {
    let mode = mode.cast_signed();
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    let mode = match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => AllocateMode::Reserve { keep_size },
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => AllocateMode::Punch,
        libc::FALLOC_FL_ZERO_RANGE => AllocateMode::Zero { keep_size },
        _ => return Err(Refusal(libc::EOPNOTSUPP)),
    };
    file.tree.allocate(&file.handle, range.0, range.1, mode, caller(header, 0))?;
    Ok(Answered::Done)
}

fn copy(header: &Header, from: (&OpenFile, u64), to: (&OpenFile, u64), len: u64) -> Answer {
    if !Arc::ptr_eq(&from.0.tree, &to.0.tree) {
        // The caller then reads and writes.
        return Err(Refusal(libc::EXDEV));
    }
    let source = (&from.0.handle, from.1);
    let target = (&to.0.handle, to.1);
    let count = from.0.tree.copy_range(source, target, len.min(COPY_LEN_MAX), caller(header, 0))?;
    Ok(answer::count(u32::try_from(count).unwrap_or_default()).into())
}
