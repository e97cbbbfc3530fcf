//! Content of files, and the texts of `.reelfs`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reelfs::repo::content::ContentReader;
use reelfs::repo::{Node, ReadError};

use crate::control::{ControlName, ControlText};
use crate::errno::{ViewError, chain};
use crate::view::{Place, View};

/// Where to seek to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next byte that is in a hole.
    Hole,
}

impl View {
    /// Reads up to `len` bytes of a file, or returns `None` if that would take decompressing and
    /// `only_ready` is set.
    ///
    /// # Errors
    /// [`ViewError`] if it is no file or a byte of the range cannot be read.
    pub fn read(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        only_ready: bool,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        let bytes = match self.place(number)? {
            Place::Text(text) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.text.len());
                let rest = text.text.as_bytes().get(start..).unwrap_or_default();
                rest.get(..len.min(rest.len())).unwrap_or_default().to_vec()
            }
            Place::Node(node) => {
                let inode = self.inode(node)?;
                let content = self.repository.content(&inode).ok_or(ViewError::WrongKind)?;
                if only_ready && !content.is_ready(offset, len) {
                    return Ok(None);
                }
                content.read(offset, len).map_err(|error| {
                    self.note_damaged_extents(node, &content, offset, len, &error);
                    ViewError::Read(error)
                })?
            }
            _ => return Err(ViewError::WrongKind),
        };
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        self.counters.read_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(bytes))
    }

    // Finds out which of the extents in the range cannot be read.
    fn note_damaged_extents(
        &self,
        node: Node,
        content: &ContentReader<'_>,
        offset: u64,
        len: usize,
        error: &ReadError,
    ) {
        if !error.is_damage() {
            log::warn!("inode {}: {}", node.to_number(), chain(error));
            return;
        }
        let end = offset.saturating_add(len as u64);
        for extent in content.extents_from(offset) {
            match extent {
                Ok(extent) if extent.offset >= end => break,
                Ok(extent) => {
                    if let Err(error) = self.repository.frames().chunk(&extent.chunk)
                        && error.is_damage()
                    {
                        let range = Some((extent.offset, extent.len));
                        self.damage.add(&self.repository, node, range, &chain(&error));
                    }
                }
                Err(error) => {
                    let range = Some((offset, len as u64));
                    self.damage.add(&self.repository, node, range, &chain(&error));
                    break;
                }
            }
        }
    }

    /// Finds the next data or hole of a file.
    ///
    /// # Errors
    /// [`ViewError::NoPosition`] if there is none or `offset` is after the end.
    pub(crate) fn seek(&self, number: u64, offset: u64, seek: Seek) -> Result<u64, ViewError> {
        let node = match self.place(number)? {
            Place::Node(node) => node,
            Place::Text(text) => {
                let size = text.text.len() as u64;
                let found = if seek == Seek::Data { offset } else { size };
                return if offset < size { Ok(found) } else { Err(ViewError::NoPosition) };
            }
            _ => return Err(ViewError::WrongKind),
        };
        let inode = self.inode(node)?;
        let content = self.repository.content(&inode).ok_or(ViewError::WrongKind)?;
        if offset >= inode.size() {
            return Err(ViewError::NoPosition);
        }
        let damaged = |error| self.damaged(node, error);
        match seek {
            Seek::Data => content.seek_data(offset).map_err(damaged)?.ok_or(ViewError::NoPosition),
            Seek::Hole => content.seek_hole(offset).map_err(damaged),
        }
    }

    pub(crate) fn text(&self, name: ControlName) -> Arc<ControlText> {
        let text = match name {
            ControlName::Damaged => self.damage.to_text(),
            ControlName::Status => self.status(),
        };
        self.texts.put(name, text)
    }

    fn status(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let root = self.repository.root().map(|root| root.to_string_lossy().into_owned());
        let status = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "repository": root,
            "repository_id": self.repository.id().to_string(),
            "server_pid": std::process::id(),
            "server_started_seconds": self.started.seconds,
            "client_count": self.clients.snapshot().clients().count(),
            "generation_count":
                self.clients.snapshot().clients().map(|client| client.generations.len()).sum::<usize>(),
            "lookup_count": count(&counters.lookups),
            "attribute_count": count(&counters.attributes),
            "listing_count": count(&counters.listings),
            "read_count": count(&counters.reads),
            "read_bytes": count(&counters.read_bytes),
            "xattr_count": count(&counters.xattrs),
            "frame_count": self.repository.frames().loaded_count(),
            "damage_count": self.damage.count(),
            "staging_requests": self.staging_counts.iter().collect::<BTreeMap<_, _>>(),
        });
        format!("{status:#}\n")
    }
}

/// The disk of the repository, as `df` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Blocks in all.
    pub(crate) blocks: u64,
    /// Blocks that are free.
    pub(crate) free_blocks: u64,
    /// Blocks that are free for normal users.
    pub(crate) available_blocks: u64,
    /// Inodes in all.
    pub(crate) files: u64,
    /// Inodes that are free.
    pub(crate) free_files: u64,
    /// Preferred length of a request, in bytes.
    pub(crate) block_len: u32,
    /// Length of a block, in bytes.
    pub(crate) fragment_len: u32,
}

impl View {
    pub(crate) fn disk(&self) -> io::Result<Disk> {
        let root = self.repository.root().ok_or(io::ErrorKind::Unsupported)?;
        let found = rustix::fs::statvfs(root)?;
        let narrow = |len: u64| u32::try_from(len).unwrap_or(4096);
        Ok(Disk {
            blocks: found.f_blocks,
            free_blocks: found.f_bfree,
            available_blocks: found.f_bavail,
            files: found.f_files,
            free_files: found.f_ffree,
            block_len: narrow(found.f_bsize),
            fragment_len: narrow(found.f_frsize),
        })
    }
}
