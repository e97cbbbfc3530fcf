//! The disk as a file system: the only file of the suite that knows FUSE.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, Session,
    SessionACL, TimeOrNow, WriteFlags,
};

use crate::content::{Change, Content};
use crate::disk::{Disk, Refused, Status};

// Nobody else changes the disk.
const KEPT: Duration = Duration::from_secs(3600);
const BLOCK_LEN: u32 = 4096;
const BLOCK_COUNT: u64 = 1 << 20;
const NAME_LEN_MAX: u32 = 255;

/// A disk that is mounted while this lives.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    pub(crate) fn new(disk: Disk, at: &Path) -> Self {
        let disk = Arc::new(Mutex::new(disk));
        let filesystem =
            DiskFilesystem { disk: Arc::clone(&disk), listings: Mutex::default(), next: AtomicU64::new(1) };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".to_owned())];
        config.acl = SessionACL::All;
        config.n_threads = Some(1);
        let session = Session::new(filesystem, at, &config).unwrap().spawn().unwrap();
        Self { disk, session: Some(session) }
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // What still uses it sees a dead file system.
            let _unmounted = session.umount_and_join();
        }
    }
}

/// Names of a directory when it was opened.
type Listing = Vec<(Vec<u8>, u64, FileType)>;

#[derive(Debug)]
struct DiskFilesystem {
    disk: Arc<Mutex<Disk>>,
    listings: Mutex<HashMap<u64, Arc<Listing>>>,
    next: AtomicU64,
}

fn errno(refused: Refused) -> Errno {
    Errno::from_i32(refused)
}

fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFSOCK => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

impl DiskFilesystem {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    fn make(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32) -> Result<FileAttr, Refused> {
        let now = SystemTime::now();
        let (uid, gid) = (request.uid(), request.gid());
        let status = Status { mode, uid, gid, mtime: now, atime: now, ctime: now };
        let mut disk = self.disk();
        let number = disk.make(parent.0, name.as_bytes(), status)?;
        attributes(&disk, number)
    }

    fn list(&self, number: u64) -> Result<Listing, Refused> {
        let disk = self.disk();
        let mut listing =
            vec![(b".".to_vec(), number, FileType::Directory), (b"..".to_vec(), number, FileType::Directory)];
        for (name, number) in &disk.object(number)?.names {
            listing.push((name.clone(), *number, kind(disk.object(*number)?.status.mode)));
        }
        Ok(listing)
    }

    fn change(&self, number: INodeNo, changes: Vec<Change>, reply: ReplyEmpty) {
        done(self.disk().write(number.0, changes), reply);
    }
}

fn attributes(disk: &Disk, number: u64) -> Result<FileAttr, Refused> {
    let object = disk.object(number)?;
    let status = &object.status;
    Ok(FileAttr {
        ino: INodeNo(number),
        size: object.content.len(),
        blocks: object.content.allocated() / 512,
        atime: status.atime,
        mtime: status.mtime,
        ctime: status.ctime,
        crtime: status.ctime,
        kind: kind(status.mode),
        perm: u16::try_from(status.mode & 0o7777).unwrap(),
        nlink: 1,
        uid: status.uid,
        gid: status.gid,
        rdev: 0,
        blksize: BLOCK_LEN,
        flags: 0,
    })
}

fn done(result: Result<(), Refused>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(refused) => reply.error(errno(refused)),
    }
}

fn entered(result: Result<FileAttr, Refused>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
        Err(refused) => reply.error(errno(refused)),
    }
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

fn seek(content: &Content, offset: u64, whence: i32) -> Result<u64, Refused> {
    let found = match whence {
        libc::SEEK_DATA => content.seek_data(offset),
        libc::SEEK_HOLE => content.seek_hole(offset),
        _ => return Err(libc::EINVAL),
    };
    found.ok_or(libc::ENXIO)
}

impl Filesystem for DiskFilesystem {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        entered(disk.find(parent.0, name.as_bytes()).and_then(|number| attributes(&disk, number)), reply);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.disk(), number.0) {
            Ok(attributes) => reply.attr(&KEPT, &attributes),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let mut set = || -> Result<FileAttr, Refused> {
            if let Some(len) = size {
                disk.write(number.0, vec![Change::SetLen(len)])?;
            }
            let mut status = disk.object(number.0)?.status.clone();
            if let Some(mode) = mode {
                status.mode = (status.mode & libc::S_IFMT) | (mode & 0o7777);
            }
            (status.uid, status.gid) = (uid.unwrap_or(status.uid), gid.unwrap_or(status.gid));
            status.atime = atime.map_or(status.atime, time);
            status.mtime = mtime.map_or(status.mtime, time);
            status.ctime = ctime.unwrap_or_else(SystemTime::now);
            disk.set_status(number.0, status)?;
            attributes(&disk, number.0)
        };
        match set() {
            Ok(attributes) => reply.attr(&KEPT, &attributes),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        entered(self.make(request, parent, name, mode & !umask), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entered(self.make(request, parent, name, libc::S_IFDIR | (mode & !umask)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk().remove(parent.0, name.as_bytes()), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk().remove(parent.0, name.as_bytes()), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, name.as_bytes()), (new_parent.0, new_name.as_bytes()));
        done(self.disk().rename(from, to), reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.make(request, parent, name, libc::S_IFREG | (mode & 0o7777 & !umask)) {
            Ok(attributes) => {
                reply.created(&KEPT, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().object(number.0) {
            Ok(object) => reply.data(&object.content.read(offset, size as usize)),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(number.0, Change::of_write(offset, data)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, is_data_only: bool, reply: ReplyEmpty) {
        done(self.disk().sync(number.0, !is_data_only), reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk().sync_names(number.0), reply);
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(number.0) {
            Ok(listing) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                self.listings.lock().unwrap().insert(handle, Arc::new(listing));
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if offset == 0
            && let Ok(listing) = self.list(number.0)
        {
            // Also after rewinddir(3).
            self.listings.lock().unwrap().insert(handle.0, Arc::new(listing));
        }
        let listing = self.listings.lock().unwrap().get(&handle.0).cloned().unwrap_or_default();
        for (index, (name, number, kind)) in listing.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*number), index as u64 + 1, *kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap().remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (blocks, files) = (BLOCK_COUNT, BLOCK_COUNT);
        reply.statfs(blocks, blocks, blocks, files, files, BLOCK_LEN, NAME_LEN_MAX, BLOCK_LEN);
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let end = offset + length;
        let len = match self.disk().object(number.0) {
            Ok(object) => object.content.len(),
            Err(refused) => return reply.error(errno(refused)),
        };
        let mut changes = Vec::new();
        match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => {}
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE => {
                changes.push(Change::Punch { offset, end });
            }
            _ => return reply.error(Errno::EOPNOTSUPP),
        }
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && end > len {
            changes.push(Change::SetLen(end));
        }
        self.change(number, changes, reply);
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
        let disk = self.disk();
        let offset = u64::try_from(offset).unwrap();
        match disk.object(number.0).and_then(|object| seek(&object.content, offset, whence)) {
            Ok(found) => reply.offset(i64::try_from(found).unwrap()),
            Err(refused) => reply.error(errno(refused)),
        }
    }
}
