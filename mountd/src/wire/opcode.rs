//! Numbers and flags of the protocol (`include/uapi/linux/fuse.h` of Linux 6.18).

pub(crate) const LOOKUP: u32 = 1;
pub(crate) const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
pub(crate) const SETATTR: u32 = 4;
pub(crate) const READLINK: u32 = 5;
pub(crate) const SYMLINK: u32 = 6;
pub(crate) const MKNOD: u32 = 8;
pub(crate) const MKDIR: u32 = 9;
pub(crate) const UNLINK: u32 = 10;
pub(crate) const RMDIR: u32 = 11;
pub(crate) const RENAME: u32 = 12;
pub(crate) const LINK: u32 = 13;
pub(crate) const OPEN: u32 = 14;
pub(crate) const READ: u32 = 15;
pub(crate) const WRITE: u32 = 16;
pub(crate) const STATFS: u32 = 17;
pub(crate) const RELEASE: u32 = 18;
pub(crate) const FSYNC: u32 = 20;
pub(crate) const SETXATTR: u32 = 21;
pub(crate) const GETXATTR: u32 = 22;
pub(crate) const LISTXATTR: u32 = 23;
pub(crate) const REMOVEXATTR: u32 = 24;
pub(crate) const INIT: u32 = 26;
pub(crate) const OPENDIR: u32 = 27;
pub(crate) const READDIR: u32 = 28;
pub(crate) const RELEASEDIR: u32 = 29;
pub(crate) const FSYNCDIR: u32 = 30;
pub(crate) const CREATE: u32 = 35;
pub(crate) const INTERRUPT: u32 = 36;
pub(crate) const DESTROY: u32 = 38;
pub(crate) const IOCTL: u32 = 39;
pub(crate) const BATCH_FORGET: u32 = 42;
pub(crate) const FALLOCATE: u32 = 43;
pub(crate) const READDIRPLUS: u32 = 44;
pub(crate) const RENAME2: u32 = 45;
pub(crate) const LSEEK: u32 = 46;
pub(crate) const COPY_FILE_RANGE: u32 = 47;
pub(crate) const SYNCFS: u32 = 50;
pub(crate) const TMPFILE: u32 = 51;

/// Opcodes are below this.
pub(crate) const OPCODE_COUNT: usize = 64;

/// Name of an opcode in reports.
pub(crate) fn name(opcode: usize) -> Option<&'static str> {
    NAMES.get(opcode).copied().filter(|name| !name.is_empty())
}

const NAMES: [&str; 54] = [
    "",
    "lookup",
    "forget",
    "getattr",
    "setattr",
    "readlink",
    "symlink",
    "",
    "mknod",
    "mkdir",
    "unlink",
    "rmdir",
    "rename",
    "link",
    "open",
    "read",
    "write",
    "statfs",
    "release",
    "",
    "fsync",
    "setxattr",
    "getxattr",
    "listxattr",
    "removexattr",
    "flush",
    "init",
    "opendir",
    "readdir",
    "releasedir",
    "fsyncdir",
    "getlk",
    "setlk",
    "setlkw",
    "access",
    "create",
    "interrupt",
    "bmap",
    "destroy",
    "ioctl",
    "poll",
    "",
    "batch_forget",
    "fallocate",
    "readdirplus",
    "rename2",
    "lseek",
    "copy_file_range",
    "setupmapping",
    "removemapping",
    "syncfs",
    "tmpfile",
    "statx",
    "copy_file_range_64",
];

/// Set in the number of a request that a dead server may have answered in part.
pub(crate) const UNIQUE_RESENT: u64 = 1 << 63;

pub(crate) const SET_MODE: u32 = 1;
pub(crate) const SET_UID: u32 = 1 << 1;
pub(crate) const SET_GID: u32 = 1 << 2;
pub(crate) const SET_SIZE: u32 = 1 << 3;
pub(crate) const SET_ATIME: u32 = 1 << 4;
pub(crate) const SET_MTIME: u32 = 1 << 5;
pub(crate) const SET_ATIME_NOW: u32 = 1 << 7;
pub(crate) const SET_MTIME_NOW: u32 = 1 << 8;
pub(crate) const SET_KILL_SET_ID: u32 = 1 << 11;

/// OPEN and CREATE: set-id bits go.
pub(crate) const OPEN_KILL_SET_ID: u32 = 1;
/// WRITE: set-id bits go.
pub(crate) const WRITE_KILL_SET_ID: u32 = 1 << 2;
pub(crate) const WRITE_CACHE: u32 = 1;
/// FSYNC: data only.
pub(crate) const FSYNC_DATA: u32 = 1;
/// SETXATTR of an access list: the set-group-id bit goes.
pub(crate) const XATTR_KILL_SET_GID: u32 = 1;

/// The kernel keeps what it has read of the file before.
pub(crate) const OPENED_KEEP_CACHE: u32 = 1 << 1;
/// The kernel reads and writes a backing file itself.
pub(crate) const OPENED_PASSTHROUGH: u32 = 1 << 7;

pub(crate) const NOTIFY_INVALIDATE_INODE: u32 = 2;
pub(crate) const NOTIFY_INVALIDATE_ENTRY: u32 = 3;
pub(crate) const NOTIFY_RESEND: u32 = 7;
pub(crate) const NOTIFY_NEW_EPOCH: u32 = 8;
