//! Files that the kernel writes by itself, as they stand at a freeze.
//!
//! Such a write does not come through here, so that the gate does not hold it. A short file is held by its lock
//! ([`write_hold`]) from the freeze on for as long as a copy takes. Where a file system can clone a file, it is
//! cloned then, at any length; each is of one moment, and the commit tells of those that were written while others were
//! cloned. What is left, a long file elsewhere, is read as far as it went at the freeze: that is exact
//! for who only appends, and for anybody else the commit tells.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::direct::Written;
use super::frozen::Moving;
use super::stack::read_at_most;
use super::tree::{Core, StagingTree};
use super::watching::{self, moment};
use crate::storage::sparse::{self, SparseStatus};
use crate::storage::write_hold::{self, WriteHold};

/// Bytes that are copied while their writers wait, in all: some tens of milliseconds.
const COPY_BYTES_MAX: u64 = 32 << 20;
const PIECE_LEN: usize = 256 << 10;

/// A file that the kernel reads or writes by itself.
#[derive(Debug)]
struct Direct {
    opened: Written,
    // Nobody writes it if not.
    is_written: bool,
    // Some of what is written may come through a mapping.
    is_mappable: bool,
    clone: Option<Clone>,
}

// A clone of a file.
#[derive(Debug)]
struct Clone {
    file: Arc<File>,
    status: SparseStatus,
    // It may be of another moment than other files.
    is_moved: bool,
}

/// Files that the kernel reads and writes by itself, of which those that can be are held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    files: Vec<Direct>,
    // Place of each file that was to be held.
    places: HashMap<u64, usize>,
    hold: Option<WriteHold>,
}

impl Held {
    fn is_held(&self, number: u64) -> bool {
        let place = self.places.get(&number);
        place.zip(self.hold.as_ref()).is_some_and(|(place, hold)| hold.is_held(*place))
    }

    /// Numbers of all, with what the system told of those that were cloned.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, Option<SparseStatus>)> + '_ {
        let status = |file: &Direct| file.clone.as_ref().map(|clone| clone.status);
        self.files.iter().map(move |file| (file.opened.number, status(file)))
    }

    /// Copies what is held, and lets it go.
    pub(super) fn copy(mut self, tree: &StagingTree, moving: &mut HashMap<u64, Moving>) {
        for file in std::mem::take(&mut self.files) {
            let Direct { opened: Written { number, file, .. }, is_mappable, clone, .. } = file;
            let Some(moving) = moving.get_mut(&number) else { continue };
            if let Some(clone) = clone {
                // What was mapped was written to the disk first, and could not be written meanwhile.
                moving.copy = Some(clone.file);
                moving.has_moved = clone.is_moved;
            } else if self.is_held(number) {
                match copy(tree, &file, moving.status, is_mappable) {
                    Ok((copied, is_same)) => {
                        moving.copy = Some(copied);
                        moving.has_moved = !is_same;
                    }
                    Err(error) => log::debug!("a file is not copied at the freeze: {error}"),
                }
            }
        }
    }
}

// Returns whether the copy is of one moment, too. Not by seeking for holes, for which the lock is needed that is held.
fn copy(
    tree: &StagingTree,
    from: &File,
    status: SparseStatus,
    is_mappable: bool,
) -> io::Result<(Arc<File>, bool)> {
    let to = tree.data.create_unnamed()?;
    let mut piece = vec![0; PIECE_LEN];
    for offset in (0..status.len).step_by(PIECE_LEN) {
        let piece = read_piece(from, offset, &mut piece)?;
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(piece, offset)?;
        }
    }
    to.set_len(status.len)?;
    // Who writes through a mapping waits for nobody. If all is still as it was read, it was so when the last was read.
    let is_same = match is_mappable {
        true => is_alike(from, &to, status.len)?,
        false => moment(&sparse::status(from)?) == moment(&status),
    };
    Ok((Arc::new(to), is_same))
}

fn is_alike(one: &File, other: &File, len: u64) -> io::Result<bool> {
    let (mut first, mut second) = (vec![0; PIECE_LEN], vec![0; PIECE_LEN]);
    for offset in (0..len).step_by(PIECE_LEN) {
        if read_piece(one, offset, &mut first)? != read_piece(other, offset, &mut second)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_piece<'b>(file: &File, offset: u64, piece: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let read = read_at_most(file, offset, piece)?;
    Ok(piece.get(..read).unwrap_or_default())
}

impl StagingTree {
    // Clones what is written directly, if the file system can, one file after the other. Of several one that is written
    // while others are cloned is of another moment than they are.
    fn clone_direct(&self, files: &mut [Direct]) {
        let written = |file: &&mut Direct| file.is_written;
        let mut befores = Vec::new();
        for file in files.iter_mut().filter(written).take(write_hold::COUNT_MAX) {
            let before = sparse::status(&file.opened.file).ok();
            match self.cloned(&file.opened.file) {
                Ok((cloned, status)) => {
                    file.clone = Some(Clone { file: cloned, status, is_moved: false });
                    befores.push((file, before));
                }
                Err(error) if is_unable(&error) => return,
                Err(error) => log::debug!("a file is not cloned at the freeze: {error}"),
            }
        }
        let is_one = befores.len() == 1;
        for (file, before) in befores {
            let after = sparse::status(&file.opened.file).ok();
            let is_same = before.zip(after).is_some_and(|(before, after)| moment(&before) == moment(&after));
            if let Some(clone) = &mut file.clone {
                clone.is_moved = !is_one && !is_same;
            }
        }
    }

    fn cloned(&self, file: &File) -> io::Result<(Arc<File>, SparseStatus)> {
        let to = self.data.create_unnamed()?;
        sparse::clone(file, &to)?;
        // What is written before the system tells of it is in the next commit, times and all.
        let status = SparseStatus { len: to.metadata()?.len(), ..sparse::status(file)? };
        Ok((Arc::new(to), status))
    }

    /// Holds what is written directly, as far as that can be done; the caller has the gate.
    pub(super) fn hold_direct(&self, core: &Core) -> Held {
        let mut files: Vec<Direct> = Vec::new();
        for file in self.files.all() {
            if file.direct.load(Ordering::Acquire) > 0
                && let Some(opened) = watching::top(&file)
            {
                let is_written = watching::is_written_directly(&file);
                let is_mappable = file.is_mappable.load(Ordering::Acquire);
                files.push(Direct { opened, is_written, is_mappable, clone: None });
            }
        }
        for opened in self.unseen_files(core) {
            files.retain(|file| file.opened.number != opened.number);
            files.push(Direct { opened, is_written: true, is_mappable: true, clone: None });
        }
        self.clone_direct(&mut files);
        let held = to_hold(&files);
        let places = held.iter().enumerate().map(|(place, opened)| (opened.number, place)).collect();
        let held: Vec<Arc<File>> = held.into_iter().map(|opened| Arc::clone(&opened.file)).collect();
        let hold = if held.is_empty() { Ok(None) } else { WriteHold::begin(&held).map(Some) };
        let hold = hold.unwrap_or_else(|error| {
            log::debug!("files that the kernel writes are not held: {error}");
            None
        });
        Held { files, places, hold }
    }
}

// The file system makes no clones, or no files without names.
fn is_unable(error: &io::Error) -> bool {
    let known = [libc::EOPNOTSUPP, libc::ENOTTY, libc::ENOSYS, libc::EISDIR];
    error.raw_os_error().is_some_and(|errno| known.contains(&errno))
}

// The shortest first, as far as they can be copied in time.
fn to_hold(files: &[Direct]) -> Vec<&Written> {
    let mut lens: Vec<(u64, &Written)> = Vec::new();
    for file in files.iter().filter(|file| file.is_written && file.clone.is_none()) {
        let status = sparse::status(&file.opened.file);
        lens.extend(status.ok().filter(|status| status.len > 0).map(|status| (status.len, &file.opened)));
    }
    lens.sort_unstable_by_key(|(len, _)| *len);
    let mut left = COPY_BYTES_MAX;
    let mut fits = |len: u64| left.checked_sub(len).inspect(|after| left = *after).is_some();
    let fitting = lens.into_iter().take_while(|(len, _)| fits(*len));
    fitting.take(write_hold::COUNT_MAX).map(|(_, opened)| opened).collect()
}
