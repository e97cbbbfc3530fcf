//! The adapter to fuser: decodes a request, asks the view, replies.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use reelfs::format::record::{FileKind, Time};

use crate::attributes::Attributes;
use crate::errno::{ViewError, chain};
use crate::pool::Pool;
use crate::reading::Seek;
use crate::shown::Shown;
use crate::spin::Spin;
use crate::view::Lifetime;

// What is shown never changes, but for the few things that the kernel is told about.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);
const BLOCK_LEN: u32 = 128 << 10;
const REQUEST_LEN_MAX: u32 = 1 << 20;
const BACKGROUND_COUNT_MAX: u16 = 64;
const GENERATION: Generation = Generation(0);
const XATTR_LIST_LEN_MAX: usize = 64 << 10;

/// A tree as fuser wants it.
#[derive(Debug)]
pub(crate) struct ReelFilesystem {
    tree: Arc<dyn Shown>,
    pool: Pool,
    spin: Option<Arc<Spin>>,
    // No object has extended attributes: the kernel need not ask.
    is_without_xattrs: bool,
}

// Reads up to this many bytes are answered soon, and waited for without sleeping.
const SPIN_LEN_MAX: usize = 128 << 10;

impl ReelFilesystem {
    pub(crate) fn new(tree: Arc<dyn Shown>, pool: Pool, spin: Option<Arc<Spin>>) -> Self {
        let is_without_xattrs = tree.is_without_xattrs();
        Self { tree, pool, spin, is_without_xattrs }
    }

    fn hit(&self) {
        if let Some(spin) = &self.spin {
            spin.hit();
        }
    }

    fn rest(&self) {
        if let Some(spin) = &self.spin {
            spin.rest();
        }
    }
}

fn errno(error: &ViewError) -> Errno {
    match error {
        // Damage was logged where it was met.
        ViewError::Repo(error) => log::warn!("{}", chain(error)),
        ViewError::Order(error) => log::warn!("{}", chain(error)),
        _ => log::trace!("{error}"),
    }
    Errno::from_i32(error.errno())
}

fn lifetime(lifetime: Lifetime) -> Duration {
    match lifetime {
        Lifetime::Unlimited => UNLIMITED,
        Lifetime::None => Duration::ZERO,
    }
}

fn system_time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole =
        if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanoseconds.into())))
        .unwrap_or(UNIX_EPOCH)
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::Regular => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

// The kernel's own encoding of 12 bits major and 20 bits minor.
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.number),
        size: attributes.size,
        blocks: attributes.block_count,
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attributes.kind),
        perm: attributes.permissions,
        nlink: attributes.link_count,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device(attributes.device),
        blksize: BLOCK_LEN,
        flags: 0,
    }
}

fn reply_read(tree: &dyn Shown, number: u64, offset: u64, len: usize, pid: u32, reply: ReplyData) {
    match tree.read(number, offset, len, false, pid) {
        Ok(bytes) => reply.data(&bytes.unwrap_or_default()),
        Err(error) => reply.error(errno(&error)),
    }
}

fn answer_xattr(tree: &dyn Shown, number: u64, name: &[u8], size: u32, reply: ReplyXattr) {
    match tree.xattr(number, name) {
        Ok(value) => reply_xattr(&value, size, reply),
        Err(error) => reply.error(errno(&error)),
    }
}

fn reply_xattr(bytes: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(bytes.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(bytes),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(_) => reply.error(Errno::E2BIG),
    }
}

impl Filesystem for ReelFilesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let mut wanted = InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA
            | InitFlags::FUSE_NO_OPEN_SUPPORT
            | InitFlags::FUSE_NO_OPENDIR_SUPPORT
            | InitFlags::FUSE_EXPORT_SUPPORT
            | InitFlags::FUSE_HAS_RESEND;
        if !self.is_without_xattrs {
            // Else the group bits of a file with an access list would be taken for the rights of its group.
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        let offered = config.capabilities();
        if let Err(unsupported) = config.add_capabilities(wanted & offered) {
            log::debug!("the kernel has no {unsupported:?}");
        }
        if let Err(limit) = config.set_max_write(REQUEST_LEN_MAX) {
            log::debug!("requests are limited to {limit} bytes");
        }
        if let Err(limit) = config.set_max_background(BACKGROUND_COUNT_MAX) {
            log::debug!("background requests are limited to {limit}");
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.hit();
        match self.tree.lookup(parent.0, name.as_bytes()) {
            Ok((attributes, kept)) => reply.entry(&lifetime(kept), &file_attr(&attributes), GENERATION),
            Err(ViewError::NoName) if self.tree.keeps_missing_names(parent.0) => {
                // Inode number 0 says that there is no such name, and lets the kernel keep that.
                let mut missing = file_attr(&Attributes::directory(0, 0, Time::default()));
                missing.ino = INodeNo(0);
                reply.entry(&UNLIMITED, &missing, GENERATION);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.hit();
        match self.tree.attributes(number.0) {
            Ok((attributes, kept)) => reply.attr(&lifetime(kept), &file_attr(&attributes)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        self.hit();
        match self.tree.target(number.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(&error)),
        }
    }

    // The kernel then opens without asking, and keeps what it has read of a file.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.hit();
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.hit();
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = size as usize;
        let pid = request.pid();
        match self.tree.read(number.0, offset, len, true, pid) {
            Ok(Some(bytes)) => {
                self.hit();
                reply.data(&bytes);
            }
            Ok(None) => {
                // A long request keeps all processors busy; after a short one the next is not far.
                if len > SPIN_LEN_MAX {
                    self.rest()
                } else {
                    self.hit()
                }
                let tree = Arc::clone(&self.tree);
                self.pool.run(move || reply_read(&*tree, number.0, offset, len, pid, reply));
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.hit();
        let mut count = 0;
        let listed = self.tree.list(number.0, offset, false, &mut |entry| {
            let kind = file_type(entry.attributes.kind);
            let is_full = reply.add(
                INodeNo(entry.attributes.number),
                entry.cookie,
                kind,
                OsStr::from_bytes(entry.name),
            );
            count += usize::from(!is_full);
            !is_full
        });
        match listed {
            Err(error) if count == 0 => reply.error(errno(&error)),
            // What could be listed is returned first; the next call meets the error again.
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.hit();
        let mut count = 0;
        let listed = self.tree.list(number.0, offset, true, &mut |entry| {
            let attr = file_attr(&entry.attributes);
            let name = OsStr::from_bytes(entry.name);
            let is_full =
                reply.add(attr.ino, entry.cookie, name, &lifetime(entry.lifetime), &attr, GENERATION);
            count += usize::from(!is_full);
            !is_full
        });
        match listed {
            Err(error) if count == 0 => reply.error(errno(&error)),
            _ => reply.ok(),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.hit();
        match self.tree.disk() {
            Ok(disk) => reply.statfs(
                disk.blocks,
                disk.free_blocks,
                disk.available_blocks,
                disk.files,
                disk.free_files,
                disk.block_len,
                255,
                disk.fragment_len,
            ),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.hit();
        if self.is_without_xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let name = name.as_bytes();
        if !self.tree.is_slow_xattr(name) {
            return answer_xattr(&*self.tree, number.0, name, size, reply);
        }
        let (tree, name) = (Arc::clone(&self.tree), name.to_vec());
        self.pool.run(move || answer_xattr(&*tree, number.0, &name, size, reply));
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.hit();
        if self.is_without_xattrs {
            return reply.error(Errno::ENOSYS);
        }
        match self.tree.xattrs(number.0) {
            Ok(list) => {
                let mut names = Vec::new();
                for (name, _) in list {
                    names.extend_from_slice(&name);
                    names.push(0);
                }
                // The kernel takes no longer list (listxattr(2), BUGS).
                if names.len() > XATTR_LIST_LEN_MAX {
                    return reply.error(Errno::E2BIG);
                }
                reply_xattr(&names, size, reply);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn lseek(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.hit();
        let seek = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        match self.tree.seek(number.0, offset, seek) {
            Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // The mount is read-only and these do not come, unless somebody remounts it for writing.
    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }
}
