//! Writes one object that is no directory.

use std::sync::Arc;

use super::directory::OpenDirectory;
use super::links::{FirstName, Role};
use super::{DamagedFile, RestoreError, Run};
use crate::format::record::{Detail, FileKind, Inode, XattrList};
use crate::id::{Fingerprint, FingerprintHasher};
use crate::live::{
    Decision, Device, Identity, LiveError, Metadata, Node as Special, Overwrite, PendingFile, Placed,
    TargetDirectory,
};
use crate::path;
use crate::progress::Cancelled;
use crate::repo::content::ContentReader;
use crate::repo::{Entry, Node, ReadError};

// Longer lists of damaged runs are cut off; their count of bytes is not.
const RANGE_COUNT_MAX: usize = 16;
const READ_BACK_LEN: usize = 1 << 20;
// No object of a running system has the inode number 0.
const NOWHERE: Identity = Identity { device: Device { major: 0, minor: 0 }, inode: 0 };

/// Why an object was not restored.
enum Failure {
    Target(LiveError),
    Source(ReadError),
    Damaged(Box<DamagedFile>),
    ReadsBackDifferently,
    Cancelled(Cancelled),
}

impl From<LiveError> for Failure {
    fn from(error: LiveError) -> Self {
        Self::Target(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Source(error)
    }
}

impl From<Cancelled> for Failure {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

/// Restores an entry; whatever goes wrong is told in the summary.
pub(super) fn restore(run: &Run<'_>, directory: &Arc<OpenDirectory<'_>>, entry: &Entry) {
    let path = directory.path_of(&entry.name);
    let writer = Writer { run, directory, name: &entry.name, path: &path };
    let failure = match writer.entry(entry) {
        Ok(()) => return,
        Err(failure) => failure,
    };
    match failure {
        Failure::Target(error) => run.refused(&path, error),
        Failure::Source(error) => run.summary().failed.note(path::display(&path), crate::job::chain(&error)),
        Failure::Damaged(file) => run.summary().damaged(*file),
        Failure::ReadsBackDifferently => {
            let reason = "what was written reads back differently".to_owned();
            run.summary().failed.note(path::display(&path), reason);
        }
        Failure::Cancelled(cancelled) => run.abort(RestoreError::Cancelled(cancelled)),
    }
}

struct Writer<'r> {
    run: &'r Run<'r>,
    directory: &'r OpenDirectory<'r>,
    name: &'r [u8],
    path: &'r [u8],
}

impl Writer<'_> {
    fn entry(&self, entry: &Entry) -> Result<(), Failure> {
        let inode = match (&entry.inode, entry.node) {
            (Some(inode), _) => inode.clone(),
            (None, Node::Object { object, .. }) => {
                let inode = self.run.generation.object(self.run.repository.pages(), object)?;
                if inode.kind() != entry.kind {
                    return Err(ReadError::NoObject { object }.into());
                }
                inode
            }
            (None, _) => return Ok(()),
        };
        let result = match entry.node {
            Node::Object { object, .. } if inode.link_count > 1 => {
                self.linked(object, inode.link_count, &inode)
            }
            _ => self.alone(&inode).map(drop),
        };
        self.run.progress.add(1, 0);
        result
    }

    // Decides, writes and counts; returns where the object is, if it is anywhere.
    fn alone(&self, inode: &Inode) -> Result<Option<Placed>, Failure> {
        if let Some(target) = &self.directory.target
            && let Decision::Keep(existing) = target.decide(self.name, inode)?
        {
            self.run.summary().kept_count += 1;
            let shortfalls = Vec::new();
            return Ok(Some(Placed { identity: Some(existing.identity()), shortfalls }));
        }
        let placed = match &self.directory.target {
            Some(target) if !self.run.options.dry_run => Some(self.write(target, inode)?),
            // A trial takes it as made, and its further names as links.
            _ => Some(Placed { identity: Some(NOWHERE), shortfalls: Vec::new() }),
        };
        let mut summary = self.run.summary();
        if let Some(placed) = &placed {
            summary.shortfalls(&placed.shortfalls);
            if placed.identity.is_none() {
                return Ok(None);
            }
        }
        match inode.kind() {
            FileKind::Regular => summary.files.add(inode.size()),
            FileKind::Symlink => summary.symlink_count += 1,
            _ => summary.other_count += 1,
        }
        Ok(placed)
    }

    fn linked(&self, object: u64, link_count: u32, inode: &Inode) -> Result<(), Failure> {
        match self.run.links.enter(object, link_count) {
            Role::First => {
                let result = self.alone(inode);
                let first = match &result {
                    Ok(Some(Placed { identity: Some(identity), .. })) => Some(FirstName {
                        directory: self.directory_in_target(),
                        name: self.name.to_vec(),
                        identity: *identity,
                    }),
                    _ => None,
                };
                self.run.links.written(object, first);
                result.map(drop)
            }
            Role::Further(first) => self.link(&first, inode),
            Role::Alone => self.alone(inode).map(drop),
        }
    }

    fn directory_in_target(&self) -> Vec<u8> {
        let (Some(target), Some(directory)) = (self.run.target, &self.directory.target) else {
            return Vec::new();
        };
        directory.path().strip_prefix(target.root().path()).unwrap_or_default().to_vec()
    }

    fn link(&self, first: &FirstName, inode: &Inode) -> Result<(), Failure> {
        let (Some(root), Some(target)) = (self.run.target, &self.directory.target) else {
            self.run.summary().link_count += 1;
            return Ok(());
        };
        if let Decision::Keep(existing) = target.decide(self.name, inode)?
            && (existing.identity() == first.identity || self.run.options.overwrite != Overwrite::IfChanged)
        {
            self.run.summary().kept_count += 1;
            return Ok(());
        }
        if self.run.options.dry_run {
            self.run.summary().link_count += 1;
            return Ok(());
        }
        let linked = root
            .directory(&first.directory)
            .and_then(|source| target.link(self.name, &source, &first.name, first.identity));
        match linked {
            Ok(()) => {
                self.run.summary().link_count += 1;
                Ok(())
            }
            Err(error @ LiveError::InTheWay { .. }) => Err(error.into()),
            // A file of its own is better than none, where links are not possible or not allowed.
            Err(error) => {
                let reason = format!("not a hard link: {}", crate::job::chain(&error));
                self.run.summary().shortfalls.note(path::display(self.path), reason);
                self.alone(inode).map(drop)
            }
        }
    }

    fn write(&self, target: &TargetDirectory, inode: &Inode) -> Result<Placed, Failure> {
        let xattrs = self.xattrs(inode);
        let metadata = Metadata::new(inode, &xattrs);
        let device = |major: u32, minor: u32| Device { major, minor };
        let special = match &inode.detail {
            Detail::Regular { size, signature, .. } => {
                return self.file(target, inode, *size, *signature, &metadata);
            }
            Detail::Symlink { target: link } => {
                return Ok(target.create_symlink(self.name, link, &metadata)?);
            }
            Detail::CharacterDevice { major, minor } => Special::CharacterDevice(device(*major, *minor)),
            Detail::BlockDevice { major, minor } => Special::BlockDevice(device(*major, *minor)),
            Detail::Fifo => Special::Fifo,
            Detail::Socket => Special::Socket,
            Detail::Directory { parent } => return Err(ReadError::NoObject { object: *parent }.into()),
        };
        Ok(target.create_node(self.name, special, &metadata)?)
    }

    // A file without its attributes is better than none.
    fn xattrs(&self, inode: &Inode) -> XattrList {
        self.run.repository.xattrs(inode).unwrap_or_else(|error| {
            let reason = format!("no extended attributes: {}", crate::job::chain(&error));
            self.run.summary().shortfalls.note(path::display(self.path), reason);
            Vec::new()
        })
    }

    fn file(
        &self,
        target: &TargetDirectory,
        inode: &Inode,
        size: u64,
        signature: Option<Fingerprint>,
        metadata: &Metadata<'_>,
    ) -> Result<Placed, Failure> {
        let Some(content) = self.run.repository.content(inode) else {
            return Err(ReadError::NoObject { object: inode.source_inode }.into());
        };
        let mut file = target.create_file(self.name)?;
        if let Some(mut damaged) = self.content(&file, &content, size)? {
            if self.run.options.salvage {
                let name = [self.name, b".damaged"].concat();
                file.set_name(&name)?;
                damaged.salvaged = Some(path::display(&name));
                let placed = file.commit(metadata)?;
                self.run.summary().shortfalls(&placed.shortfalls);
            }
            return Err(Failure::Damaged(Box::new(damaged)));
        }
        if self.run.options.verify {
            file.forget_cached()?;
            let same = match signature {
                Some(signature) => self.read_back(&file, size)? == signature,
                None => self.compare(&file, &content, size)?,
            };
            if !same {
                return Err(Failure::ReadsBackDifferently);
            }
        }
        Ok(file.commit(metadata)?)
    }

    // Writes all that can be read, holes left out; returns what cannot be.
    fn content(
        &self,
        file: &PendingFile,
        content: &ContentReader<'_>,
        size: u64,
    ) -> Result<Option<DamagedFile>, Failure> {
        let mut damaged = None;
        let mut position = 0;
        for extent in content.extents_from(0) {
            self.run.progress.check()?;
            let extent = match extent {
                Ok(extent) => extent,
                // Nothing is known of what follows.
                Err(error) => {
                    self.damage(&mut damaged, position, size.saturating_sub(position), error)?;
                    position = size;
                    break;
                }
            };
            let end = extent.offset.saturating_add(extent.len).min(size);
            if extent.offset >= end {
                break;
            }
            match content.data(&extent) {
                Ok(data) => file.write_at(data.range(extent.offset, end), extent.offset)?,
                Err(error) => self.damage(&mut damaged, extent.offset, end - extent.offset, error)?,
            }
            self.run.progress.add(0, end - extent.offset);
            position = end;
        }
        // The end may be a hole, or be damaged.
        if position < size || damaged.is_some() {
            file.set_len(size)?;
        }
        Ok(damaged)
    }

    fn damage(
        &self,
        damaged: &mut Option<DamagedFile>,
        offset: u64,
        len: u64,
        error: ReadError,
    ) -> Result<(), Failure> {
        if !error.is_damage() {
            return Err(error.into());
        }
        let file = damaged.get_or_insert_with(|| DamagedFile {
            path: path::display(self.path),
            ranges: Vec::new(),
            bytes: 0,
            reason: crate::job::chain(&error),
            salvaged: None,
        });
        file.bytes = file.bytes.saturating_add(len);
        let is_listed = file.ranges.len() < RANGE_COUNT_MAX;
        match file.ranges.last_mut() {
            Some((start, before)) if *start + *before == offset => *before += len,
            _ if is_listed => file.ranges.push((offset, len)),
            _ => {}
        }
        Ok(())
    }

    fn read_back(&self, file: &PendingFile, size: u64) -> Result<Fingerprint, Failure> {
        let mut hasher = FingerprintHasher::default();
        let mut buffer = vec![0; READ_BACK_LEN];
        let mut position = 0;
        loop {
            self.run.progress.check()?;
            let len = file.read_at(&mut buffer, position)?;
            if len == 0 || position > size {
                return Ok(hasher.finish());
            }
            hasher.update(buffer.get(..len).unwrap_or_default());
            position += len as u64;
        }
    }

    // For a file whose holes are too large to be hashed.
    fn compare(&self, file: &PendingFile, content: &ContentReader<'_>, size: u64) -> Result<bool, Failure> {
        let mut buffer = Vec::new();
        for extent in content.extents_from(0) {
            self.run.progress.check()?;
            let extent = extent?;
            let end = extent.offset.saturating_add(extent.len).min(size);
            if extent.offset >= end {
                break;
            }
            let data = content.data(&extent)?;
            let expected = data.range(extent.offset, end);
            buffer.resize(expected.len(), 0);
            if file.read_at(&mut buffer, extent.offset)? != expected.len() || buffer != expected {
                return Ok(false);
            }
        }
        // Behind the last byte there is none.
        Ok(file.read_at(&mut [0], size)? == 0)
    }
}
