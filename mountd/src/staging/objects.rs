//! What the kernel asks, as calls to the clients' trees: attributes and extended attributes.

use std::sync::Arc;

use reelfs::format::record::Time;
use reelfs::repo::staging::{Attributes, SetAttributes, SetTime, StagingError, XattrMode};

use crate::staging::adapter::{Adapter, Answer, Answered, Refusal, Target, caller, done_before, send, tell};
use crate::staging::nodes::{self, KEPT};
use crate::staging::session::Pace;
use crate::wire::answer::{self, Room};
use crate::wire::channel::Reply;
use crate::wire::request::{self, Header, Operation};

const BLOCK_LEN: u32 = 4096;
const XATTR_LIST_LEN_MAX: usize = 64 << 10;
const SELINUX_LABEL: &[u8] = b"security.selinux";
const SET_GID: u16 = 0o2000;

impl Adapter {
    pub(super) fn object(&self, header: &Header, operation: Operation<'_>) -> Answer {
        match operation {
            Operation::Ioctl => Err(Refusal(libc::ENOTTY)),
            Operation::GetAttributes
            | Operation::SetAttributes(_)
            | Operation::ReadLink
            | Operation::SetXattr { .. }
            | Operation::GetXattr { .. }
            | Operation::ListXattrs { .. }
            | Operation::RemoveXattr { .. } => {
                let target = self.target(header.number)?;
                // Who asks has come by a name mostly, and can look it up again.
                self.want_place(header.number, &target)?;
                self.attribute(header, &target, operation)
            }
            // The kernel then does without, and does not ask again.
            _ => Err(Refusal(libc::ENOSYS)),
        }
    }

    fn attribute(&self, header: &Header, target: &Target, operation: Operation<'_>) -> Answer {
        match operation {
            Operation::GetAttributes => {
                let attributes = target.tree.attributes(target.place.number)?;
                let shown = self.shown(target.place.slot, &attributes);
                Ok(answer::attributes(&shown, KEPT).into())
            }
            Operation::SetAttributes(set) => {
                let attributes = set_attributes(header, target, &set)?;
                Ok(answer::attributes(&self.shown(target.place.slot, &attributes), KEPT).into())
            }
            Operation::ReadLink => Ok(Answered::Bytes(target.tree.read_link(target.place.number)?)),
            Operation::SetXattr { name, value, flags, kills_set_gid } => {
                set_xattr(header, target, (name, value), flags, kills_set_gid)
            }
            Operation::GetXattr { name, len_max } => xattr(target, name, len_max),
            Operation::ListXattrs { len_max } => xattrs(target, len_max),
            Operation::RemoveXattr { name } => {
                let removed = target.tree.remove_xattr(target.place.number, name, caller(header, 0));
                done_before(header, removed, |error| matches!(error, StagingError::NoAttribute))
            }
            _ => Err(Refusal(libc::ENOSYS)),
        }
    }

    // A truncation may have to copy layers of the file first.
    pub(super) fn takes_long(&self, header: &Header, set: &request::SetAttributes) -> bool {
        let copies = |size| {
            let target = self.target(header.number);
            target.is_ok_and(|target| target.tree.copies_for_length(target.place.number, size))
        };
        set.size.is_some_and(copies)
    }

    pub(super) fn set_attributes_later(
        &self,
        header: &Header,
        set: request::SetAttributes,
        reply: Reply,
    ) -> Pace {
        let target = self.target(header.number);
        match target.and_then(|target| self.want_place(header.number, &target).map(|()| target)) {
            Err(Refusal(errno)) => reply.error(errno),
            Ok(target) => {
                let (header, slot) = (*header, target.place.slot);
                let (handles, backings) = (Arc::clone(&self.handles), Arc::clone(&self.backings));
                self.pool.run(move || {
                    let answer = set_attributes(&header, &target, &set).map(|attributes| {
                        answer::attributes(&tell(&handles, &backings, slot, &attributes), KEPT).into()
                    });
                    send(reply, answer);
                });
            }
        }
        Pace::Rest
    }

    // All backing files may have to be looked at.
    pub(super) fn room(&self, header: &Header, reply: Reply) -> Pace {
        match self.target(header.number) {
            Err(Refusal(errno)) => reply.error(errno),
            Ok(target) => self.pool.run(move || send(reply, room(&target))),
        }
        Pace::Rest
    }
}

fn set_attributes(
    header: &Header,
    target: &Target,
    wanted: &request::SetAttributes,
) -> Result<Attributes, Refusal> {
    let time = |time: request::SetTime| match time {
        request::SetTime::Now => SetTime::Now,
        request::SetTime::At(seconds, nanoseconds) => SetTime::At(Time { seconds, nanoseconds }),
    };
    let set = SetAttributes {
        permissions: wanted.mode.map(nodes::permissions),
        uid: wanted.uid,
        gid: wanted.gid,
        size: wanted.size,
        atime: wanted.atime.map(time),
        mtime: wanted.mtime.map(time),
        ctime: None,
        kill_privileges: wanted.kills_set_id,
    };
    Ok(target.tree.set_attributes(target.place.number, &set, caller(header, 0))?)
}

fn room(target: &Target) -> Answer {
    let space = target.tree.space()?;
    let blocks = |bytes: u64| bytes / u64::from(BLOCK_LEN);
    let room = Room {
        blocks: blocks(space.total_bytes),
        free_blocks: blocks(space.available_bytes),
        available_blocks: blocks(space.available_bytes),
        files: space.object_count.saturating_add(space.free_object_count),
        free_files: space.free_object_count,
        block_len: BLOCK_LEN,
        fragment_len: BLOCK_LEN,
    };
    Ok(answer::room(&room).into())
}

fn set_xattr(
    header: &Header,
    target: &Target,
    (name, value): (&[u8], &[u8]),
    flags: u32,
    kills_set_gid: bool,
) -> Answer {
    let mode = match flags.cast_signed() {
        0 => XattrMode::Either,
        libc::XATTR_CREATE if header.is_resent() => XattrMode::Either,
        libc::XATTR_CREATE => XattrMode::Create,
        libc::XATTR_REPLACE => XattrMode::Replace,
        _ => return Err(Refusal(libc::EINVAL)),
    };
    let (number, caller) = (target.place.number, caller(header, 0));
    target.tree.set_xattr(number, name, value, mode, caller)?;
    if kills_set_gid {
        let permissions = target.tree.attributes(number)?.permissions & !SET_GID;
        let set = SetAttributes { permissions: Some(permissions), ..SetAttributes::default() };
        target.tree.set_attributes(number, &set, caller)?;
    }
    Ok(Answered::Done)
}

fn xattr(target: &Target, name: &[u8], len_max: u32) -> Answer {
    match target.tree.xattr(target.place.number, name) {
        Ok(value) => sized(value, len_max),
        // `ls -l` then stops asking each file for one.
        Err(StagingError::NoAttribute) if name == SELINUX_LABEL => Err(Refusal(libc::EOPNOTSUPP)),
        Err(error) => Err(error.into()),
    }
}

fn xattrs(target: &Target, len_max: u32) -> Answer {
    let mut names = Vec::new();
    for (name, _) in target.tree.xattrs(target.place.number)? {
        names.extend_from_slice(&name);
        names.push(0);
    }
    // The kernel takes no longer list (listxattr(2), BUGS).
    if names.len() > XATTR_LIST_LEN_MAX {
        return Err(Refusal(libc::E2BIG));
    }
    sized(names, len_max)
}

/// The value, or its length if that is what is asked for.
fn sized(value: Vec<u8>, len_max: u32) -> Answer {
    match u32::try_from(value.len()) {
        Ok(len) if len_max == 0 => Ok(answer::count(len).into()),
        Ok(len) if len <= len_max => Ok(Answered::Bytes(value)),
        Ok(_) => Err(Refusal(libc::ERANGE)),
        Err(_) => Err(Refusal(libc::E2BIG)),
    }
}
