//! Shows one entry: as a line like that of `ls -l`, or as a JSON object.

use reelfs::format::record::{Detail, FileKind, Inode};
use reelfs::path;
use reelfs::repo::Node;
use serde_json::{Map, Value};

use crate::human;
use crate::output::{object, put_bytes};

/// A line like that of `ls -l`.
pub(crate) fn line(name: &[u8], inode: &Inode, local: bool) -> String {
    let size = match &inode.detail {
        Detail::CharacterDevice { major, minor } | Detail::BlockDevice { major, minor } => {
            format!("{major}, {minor}")
        }
        Detail::Directory { .. } => "-".to_owned(),
        _ => human::bytes(inode.size()),
    };
    let mut line = format!(
        "{} {:>5} {:>5} {size:>10} {} {}",
        human::mode(inode.kind(), inode.permissions),
        inode.uid,
        inode.gid,
        human::time(inode.mtime, local),
        path::display(name),
    );
    match &inode.detail {
        Detail::Symlink { target } => {
            line.push_str(" -> ");
            line.push_str(&path::display(target));
        }
        Detail::Directory { .. } if !name.is_empty() => line.push('/'),
        _ => {}
    }
    line
}

/// A JSON object with all that is known without reading content.
pub(crate) fn json(path: &[u8], node: Node, inode: &Inode) -> Map<String, Value> {
    let mut members = object([
        ("kind", kind(inode).into()),
        ("mode", format!("{:04o}", inode.permissions).into()),
        ("uid", inode.uid.into()),
        ("gid", inode.gid.into()),
        ("size", inode.size().into()),
        ("mtime", human::exact_time(inode.mtime).into()),
        ("ctime", human::exact_time(inode.ctime).into()),
        ("atime", human::exact_time(inode.atime).into()),
        ("inode", node.to_number().into()),
    ]);
    if inode.kind() != FileKind::Directory {
        members.insert("links".to_owned(), inode.link_count.into());
    }
    put_bytes(&mut members, "path", path);
    put_bytes(&mut members, "name", path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    match &inode.detail {
        Detail::Regular { signature, content, .. } => {
            members.insert("allocated_bytes".to_owned(), content.allocated().into());
            members.insert("blake3".to_owned(), signature.map(|signature| signature.to_string()).into());
            members.insert("inconsistent".to_owned(), inode.inconsistent.into());
        }
        Detail::Symlink { target } => put_bytes(&mut members, "target", target),
        Detail::CharacterDevice { major, minor } | Detail::BlockDevice { major, minor } => {
            members.insert("major".to_owned(), (*major).into());
            members.insert("minor".to_owned(), (*minor).into());
        }
        Detail::Directory { .. } | Detail::Fifo | Detail::Socket => {}
    }
    members
}

/// The kind in a word.
pub(crate) fn kind(inode: &Inode) -> &'static str {
    match inode.detail {
        Detail::Directory { .. } => "directory",
        Detail::Regular { .. } => "file",
        Detail::Symlink { .. } => "symlink",
        Detail::CharacterDevice { .. } => "character device",
        Detail::BlockDevice { .. } => "block device",
        Detail::Fifo => "fifo",
        Detail::Socket => "socket",
    }
}
