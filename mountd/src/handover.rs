//! Descriptors that the supervisor hands to a server, over a socket that is the server's standard input.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

const DESCRIPTOR_COUNT_MAX: usize = 4;

/// What is handed over.
#[derive(Debug)]
pub(crate) enum Handed {
    /// The connection of the tree of generations.
    Tree(OwnedFd),
    /// The connection of clients while nothing there has extended attributes.
    Clients(OwnedFd),
    /// The connection of cartridges.
    Tapes(OwnedFd),
    /// The connection of staging.
    Staging(Staging),
}

/// The connection of staging, and what outlives servers with it.
#[derive(Debug)]
pub(crate) struct Staging {
    /// The connection.
    pub(crate) fuse: OwnedFd,
    /// The table of open files.
    pub(crate) handles: OwnedFd,
    /// The table of open directories.
    pub(crate) listings: OwnedFd,
    /// Which trees are served ([`reelfs::repo::staging::MountClaims`]).
    pub(crate) claims: OwnedFd,
}

const TREE: u8 = b't';
const CLIENTS: u8 = b'p';
const STAGING: u8 = b's';
const TAPES: u8 = b'c';

/// Makes the two ends: the supervisor's and the server's.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Hands over the connection of the tree.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn give_tree(socket: &OwnedFd, fuse: BorrowedFd<'_>) -> io::Result<()> {
    give(socket, TREE, &[fuse])
}

/// Hands over the connection of clients.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn give_clients(socket: &OwnedFd, fuse: BorrowedFd<'_>) -> io::Result<()> {
    give(socket, CLIENTS, &[fuse])
}

/// Hands over the connection of cartridges.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn give_tapes(socket: &OwnedFd, fuse: BorrowedFd<'_>) -> io::Result<()> {
    give(socket, TAPES, &[fuse])
}

/// Hands over the connection of staging with its tables.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn give_staging(socket: &OwnedFd, staging: &Staging) -> io::Result<()> {
    let Staging { fuse, handles, listings, claims } = staging;
    give(socket, STAGING, &[fuse.as_fd(), handles.as_fd(), listings.as_fd(), claims.as_fd()])
}

fn give(socket: &OwnedFd, kind: u8, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_COUNT_MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(&[kind])], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for what is handed over next; nothing more will come after `None`.
///
/// # Errors
/// The refusal of the kernel, or a message that is not understood.
pub(crate) fn take(socket: impl AsFd) -> io::Result<Option<Handed>> {
    let Some((kind, descriptors)) = receive(socket)? else { return Ok(None) };
    let mut descriptors = descriptors.into_iter();
    match (kind, [(); DESCRIPTOR_COUNT_MAX].map(|()| descriptors.next())) {
        (TREE, [Some(fuse), None, None, None]) => Ok(Some(Handed::Tree(fuse))),
        (CLIENTS, [Some(fuse), None, None, None]) => Ok(Some(Handed::Clients(fuse))),
        (TAPES, [Some(fuse), None, None, None]) => Ok(Some(Handed::Tapes(fuse))),
        (STAGING, [Some(fuse), Some(handles), Some(listings), Some(claims)]) => {
            Ok(Some(Handed::Staging(Staging { fuse, handles, listings, claims })))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Waits for a descriptor without a role, as `fusermount3` sends one; nothing more will come after `None`.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn take_bare(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    Ok(receive(socket)?.and_then(|(_, descriptors)| descriptors.into_iter().next()))
}

fn receive(socket: impl AsFd) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_COUNT_MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0];
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut kind)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptors = rights.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    Ok(Some((kind[0], descriptors.collect())))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn descriptors_arrive_in_their_roles_and_the_end_is_seen() {
        let (ours, theirs) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        give_tree(&ours, file.as_fd()).unwrap();
        give_clients(&ours, file.as_fd()).unwrap();
        give_tapes(&ours, file.as_fd()).unwrap();
        let copy = || OwnedFd::from(file.try_clone().unwrap());
        let staging = Staging { fuse: copy(), handles: copy(), listings: copy(), claims: copy() };
        give_staging(&ours, &staging).unwrap();
        drop(ours);
        assert!(matches!(take(&theirs).unwrap(), Some(Handed::Tree(_))));
        assert!(matches!(take(&theirs).unwrap(), Some(Handed::Clients(_))));
        assert!(matches!(take(&theirs).unwrap(), Some(Handed::Tapes(_))));
        assert!(matches!(take(&theirs).unwrap(), Some(Handed::Staging(_))));
        assert!(take(&theirs).unwrap().is_none());
    }
}
