//! The directory of the clients: to make a directory in it makes a client.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::unistd::{getegid, geteuid};
use reelfs::format::record::FileKind;
use reelfs::id::ClientName;
use reelfs::repo::staging::{self, StagingError, StagingTree};

use crate::staging::adapter::{Adapter, Answer, Answered, Refusal, caller, list_dots, send};
use crate::staging::nodes::{self, Place};
use crate::wire::answer::{self, Room};
use crate::wire::channel::Reply;
use crate::wire::request::{Header, Operation};

const PERMISSIONS: u32 = 0o755;
// Commands make clients too. But each walk of a path from above comes through here, and is not to cost a request.
const ATTRIBUTES_KEPT: Duration = Duration::from_secs(1);
const FIRST_COOKIE: u64 = 3;

impl Adapter {
    /// Looks a client up. Where its tree is still in use by another process, a thread of its own waits for that.
    pub(super) fn look_up_client(&self, name: &[u8], reply: Reply) {
        let Some(name) = client_name(name) else { return reply.error(libc::ENOENT) };
        let refused = match self.clients.by_name_now(&name) {
            Ok(tree) => return send(reply, client_entry(&tree)),
            Err(error) => error,
        };
        if !self.clients.may_come(&name, &refused) {
            return reply.error(Refusal::from(refused).0);
        }
        let clients = Arc::clone(&self.clients);
        let wait = move || {
            let found = clients.by_name(&name).map_err(Refusal::from);
            send(reply, found.and_then(|tree| client_entry(&tree)));
        };
        // A reply that is dropped is an error.
        if let Err(error) = thread::Builder::new().name("opening".to_owned()).spawn(wait) {
            log::error!("cannot wait for a client: {error}");
        }
    }

    pub(super) fn root(&self, header: &Header, operation: Operation<'_>) -> Answer {
        match operation {
            Operation::GetAttributes => {
                Ok(answer::attributes(&self.root_attributes(), ATTRIBUTES_KEPT).into())
            }
            Operation::MakeDirectory { name, mode, umask } => {
                // What is no name of a client is refused as vfat refuses names.
                let name = client_name(name).ok_or(Refusal(libc::EINVAL))?;
                let permissions = nodes::permissions(mode & !umask);
                let tree = match self.clients.create(&name, caller(header, umask), permissions) {
                    Err(StagingError::Exists) if header.is_resent() => self.clients.by_name(&name)?,
                    created => created?,
                };
                client_entry(&tree)
            }
            Operation::RemoveDirectory { name } => self.remove_client(header, name),
            Operation::OpenDirectory => Ok(answer::opened(0, 0, 0).into()),
            Operation::List { offset, len_max, is_plus, .. } => {
                self.list_clients(offset, answer::Listing::new(len_max, is_plus))
            }
            Operation::ReleaseDirectory { .. } => Ok(Answered::Done),
            Operation::StatFs => self.disk(),
            Operation::GetXattr { .. } => Err(Refusal(libc::ENODATA)),
            Operation::ListXattrs { len_max: 0 } => Ok(answer::count(0).into()),
            Operation::ListXattrs { .. } => Ok(Answered::Bytes(Vec::new())),
            Operation::Ioctl => Err(Refusal(libc::ENOTTY)),
            Operation::Unlink { .. }
            | Operation::Rename { .. }
            | Operation::Link { .. }
            | Operation::MakeNode { .. }
            | Operation::MakeSymlink { .. }
            | Operation::Create { .. }
            | Operation::SetAttributes(_)
            | Operation::SetXattr { .. }
            | Operation::RemoveXattr { .. } => Err(Refusal(libc::EPERM)),
            _ => Err(Refusal(libc::ENOSYS)),
        }
    }

    fn root_attributes(&self) -> answer::Attributes {
        let mut shown = nodes::bare(nodes::ROOT, FileKind::Directory);
        shown.mode |= PERMISSIONS;
        // To make a client is for who mounts.
        (shown.uid, shown.gid) = (geteuid().as_raw(), getegid().as_raw());
        shown.size = u64::from(BLOCK_LEN);
        let time = (self.started.seconds, self.started.nanoseconds);
        (shown.atime, shown.mtime, shown.ctime) = (time, time, time);
        let place = self.clients.repository().root().map(|root| root.join(staging::STAGING));
        if let Some(found) = place.and_then(|place| rustix::fs::stat(&place).ok()) {
            let time = (found.st_mtime, u32::try_from(found.st_mtime_nsec).unwrap_or_default());
            (shown.atime, shown.mtime, shown.ctime) = (time, time, time);
        }
        shown
    }

    fn remove_client(&self, header: &Header, name: &[u8]) -> Answer {
        let name = client_name(name).ok_or(Refusal(libc::ENOENT))?;
        let tree = match self.clients.by_name_now(&name) {
            Err(StagingError::NotFound) if header.is_resent() => return Ok(Answered::Done),
            tree => tree?,
        };
        if tree.is_changed()? && !is_empty(&tree)? {
            return Err(Refusal(libc::ENOTEMPTY));
        }
        self.backings.forget(tree.slot());
        self.clients.remove(tree)?;
        Ok(Answered::Done)
    }

    fn list_clients(&self, offset: u64, mut part: answer::Listing) -> Answer {
        if !list_dots(&mut part, offset, nodes::ROOT, nodes::ROOT) {
            return Ok(part.into_body().into());
        }
        // A slot is a client's for as long as it has staging.
        for (slot, name) in self.clients.slots()? {
            let cookie = FIRST_COOKIE + u64::from(slot);
            if cookie <= offset {
                continue;
            }
            if !part.has_room(name.as_str().as_bytes()) {
                break;
            }
            // Looking it up opens its tree: that is done when somebody goes there.
            let shown = nodes::bare(Place { slot, number: staging::ROOT }.node(), FileKind::Directory);
            part.add(name.as_str().as_bytes(), cookie, &shown, None);
        }
        Ok(part.into_body().into())
    }

    fn disk(&self) -> Answer {
        let root = self.clients.repository().root().ok_or(Refusal(libc::ENOSYS))?;
        let found = rustix::fs::statvfs(root).map_err(|errno| Refusal(errno.raw_os_error()))?;
        let narrow = |len: u64| u32::try_from(len).unwrap_or(BLOCK_LEN);
        let room = Room {
            blocks: found.f_blocks,
            free_blocks: found.f_bfree,
            available_blocks: found.f_bavail,
            files: found.f_files,
            free_files: found.f_ffree,
            block_len: narrow(found.f_bsize),
            fragment_len: narrow(found.f_frsize),
        };
        Ok(answer::room(&room).into())
    }
}

const BLOCK_LEN: u32 = 4096;

fn client_entry(tree: &StagingTree) -> Answer {
    // The kernel never gives back the look-up of a root that is also one of the tree's own: it is counted
    // by inode number, and a tree's root is never without a name.
    let attributes = tree.attributes(staging::ROOT)?;
    let shown = nodes::shown(tree.slot(), &attributes);
    // Only the kernel removes a client, and what a command does to one it is told of.
    Ok(answer::entry(&shown, nodes::KEPT, nodes::KEPT).into())
}

fn client_name(name: &[u8]) -> Option<ClientName> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

fn is_empty(tree: &StagingTree) -> Result<bool, StagingError> {
    let mut listing = tree.open_directory(staging::ROOT)?;
    let mut is_empty = true;
    let mut take = |_: staging::Listed<'_>| {
        is_empty = false;
        false
    };
    tree.list(&mut listing, 0, false, &mut take)?;
    Ok(is_empty)
}
