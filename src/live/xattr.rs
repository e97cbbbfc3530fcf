//! Extended attributes: reading all of an object, and making them as wanted.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use super::LiveError;
use crate::format::record::{XATTR_LEN_MAX, XattrList};
use crate::path;

/// Longest list of names and longest value that Linux hands out (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const KERNEL_LEN_MAX: usize = 1 << 16;

/// Where the attributes of one object are reached.
#[derive(Debug)]
pub(super) enum XattrPlace<'a> {
    /// An object that is open for reading or writing.
    Open(BorrowedFd<'a>),
    /// A path below `/proc/self/fd`, whose last part is not followed.
    Entry(Vec<u8>),
    /// A path in `/proc/self/fd` itself, which leads to an object that is open as a place only.
    Place(Vec<u8>),
}

impl<'a> XattrPlace<'a> {
    /// An entry of an open directory.
    pub(super) fn entry(directory: BorrowedFd<'a>, name: &[u8]) -> Self {
        let mut path = proc_path(directory);
        path.push(b'/');
        path.extend_from_slice(name);
        Self::Entry(path)
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(object) => rustix::fs::flistxattr(object, buffer),
            Self::Entry(path) => rustix::fs::llistxattr(path, buffer),
            Self::Place(path) => rustix::fs::listxattr(path, buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(object) => rustix::fs::fgetxattr(object, name, buffer),
            Self::Entry(path) => rustix::fs::lgetxattr(path, name, buffer),
            Self::Place(path) => rustix::fs::getxattr(path, name, buffer),
        }
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(object) => rustix::fs::fsetxattr(object, name, value, flags),
            Self::Entry(path) => rustix::fs::lsetxattr(path, name, value, flags),
            Self::Place(path) => rustix::fs::setxattr(path, name, value, flags),
        }
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        match self {
            Self::Open(object) => rustix::fs::fremovexattr(object, name),
            Self::Entry(path) => rustix::fs::lremovexattr(path, name),
            Self::Place(path) => rustix::fs::removexattr(path, name),
        }
    }
}

/// The way in `/proc` to what a descriptor stands for.
pub(super) fn proc_path(object: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", object.as_raw_fd()).into_bytes()
}

/// Most answers are short; only what does not fit is asked for again with room for all there can be.
fn read_whole(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut short = [0; 256];
    match call(&mut short) {
        Ok(len) => Ok(short.get(..len).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {
            let mut long = vec![0; KERNEL_LEN_MAX];
            let len = call(&mut long)?;
            long.truncate(len);
            Ok(long)
        }
        Err(errno) => Err(errno),
    }
}

fn names(place: &XattrPlace<'_>) -> Result<Vec<Vec<u8>>> {
    let list = match read_whole(|buffer| place.list(buffer)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        list => list?,
    };
    let mut names: Vec<Vec<u8>> =
        list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Reads all attributes in ascending order of names; one system call if there are none.
pub(super) fn read(place: &XattrPlace<'_>, object_path: &[u8]) -> std::result::Result<XattrList, LiveError> {
    let refused =
        |errno| LiveError::refused("read extended attributes of", object_path, io::Error::from(errno));
    let mut list = XattrList::new();
    let mut len = 0;
    for name in names(place).map_err(refused)? {
        let value = match read_whole(|buffer| place.get(&name, buffer)) {
            // Removed since it was listed.
            Err(Errno::NODATA) => continue,
            value => value.map_err(refused)?,
        };
        // The two lengths that stand before name and value take at most 3 bytes each.
        len += (name.len() + value.len() + 6) as u64;
        if len > XATTR_LEN_MAX {
            let path = path::display(object_path);
            return Err(LiveError::Xattrs { path, actual: len, maximum: XATTR_LEN_MAX });
        }
        list.push((name, value));
    }
    Ok(list)
}

/// Sets the attributes of `wanted` and removes others, such as an ACL inherited from the directory. What
/// is refused is told by name to `refused`, and the rest is done.
pub(super) fn write(
    place: &XattrPlace<'_>,
    wanted: &[(Vec<u8>, Vec<u8>)],
    mut refused: impl FnMut(&[u8], Errno),
) {
    for name in names(place).unwrap_or_default() {
        // Labels of security modules come from the system's policy and stay.
        let is_label = name.starts_with(b"security.") && name != b"security.capability";
        if is_label || wanted.iter().any(|(wanted, _)| *wanted == name) {
            continue;
        }
        match place.remove(&name) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(errno) => refused(&name, errno),
        }
    }
    for (name, value) in wanted {
        if let Err(errno) = place.set(name, value) {
            refused(name, errno);
        }
    }
}
