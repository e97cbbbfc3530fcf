//! The walker: lists directories, makes them, and hands what is in them to the workers.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::directory::OpenDirectory;
use super::{RestoreError, Run, write};
use crate::format::record::{Detail, FileKind, Inode, ROOT_OBJECT};
use crate::job::object_set::ObjectSet;
use crate::path;
use crate::repo::generation::Listing;
use crate::repo::{Entry, Generation, Node, ReadError, RepoError, Repository};

// About a frame of small files: neighbours are read from one frame by one worker.
const TASK_LEN: u64 = 512 << 10;
const TASK_ENTRY_COUNT: usize = 64;

/// What is restored.
#[derive(Debug)]
pub(super) struct Start {
    path: Vec<u8>,
    inode: Inode,
    /// Its object id, if it is a directory.
    pub(super) object: Option<u64>,
    // An entry that is no directory.
    entry: Option<Entry>,
}

/// Finds the object at a path.
pub(super) fn find(
    repository: &Repository,
    generation: &Generation,
    path: &[u8],
) -> Result<Start, RestoreError> {
    let pages = repository.pages();
    let none = || {
        let header = &generation.header;
        let address = format!("{}@{}:{}", header.client, header.time, path::display(path));
        RestoreError::Repo(RepoError::NoPath { address })
    };
    let inode = generation.object(pages, ROOT_OBJECT)?;
    let mut start = Start { path: Vec::new(), inode, object: Some(ROOT_OBJECT), entry: None };
    for name in path::components(path) {
        let directory = start.object.ok_or_else(none)?;
        let found = generation.lookup(pages, directory, name)?.filter(|_| path::is_valid_name(name));
        let entry = found.ok_or_else(none)?;
        let inode = entry.inode.clone().ok_or_else(none)?;
        let object = match entry.node {
            Node::Object { object, .. } if entry.kind == FileKind::Directory => Some(object),
            _ => None,
        };
        if object.is_some() {
            start.path.push(b'/');
            start.path.extend_from_slice(name);
        }
        start = Start { path: start.path, inode, object, entry: object.is_none().then_some(entry) };
    }
    Ok(start)
}

/// Entries of one directory for one worker.
#[derive(Debug)]
struct Task<'a> {
    directory: Arc<OpenDirectory<'a>>,
    entries: Vec<Entry>,
}

/// Restores everything from `start` on; the outcome is in `run`.
pub(super) fn run<'a>(run: &'a Run<'a>, start: Start) -> Result<(), RestoreError> {
    let worker_count = match run.options.worker_count {
        0 => thread::available_parallelism().map_or(2, std::num::NonZero::get),
        count => count,
    };
    let (sender, receiver) = sync_channel(worker_count * 2);
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        for _ in 0..worker_count {
            let receiver = Arc::clone(&receiver);
            scope.spawn(move || work(run, &receiver));
        }
        // When no worker is left, sending fails instead of waiting.
        drop(receiver);
        let walker = Walker { run, tasks: sender };
        match (start.object, start.entry) {
            (Some(object), _) => {
                run.summary().directory_count += 1;
                walker.walk(OpenDirectory::root(run, start.path, Some(start.inode)), object)
            }
            (None, Some(entry)) => {
                let directory = Arc::new(OpenDirectory::root(run, start.path, None));
                walker.give(Task { directory, entries: vec![entry] })
            }
            (None, None) => Ok(()),
        }
    })
}

fn work<'a>(run: &'a Run<'a>, tasks: &Mutex<Receiver<Task<'a>>>) {
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = task else { return };
        for entry in &task.entries {
            // What is left in the queue is taken out, or the walker would wait for ever.
            if run.is_over() {
                break;
            }
            write::restore(run, &task.directory, entry);
        }
    }
}

struct Walker<'a> {
    run: &'a Run<'a>,
    tasks: SyncSender<Task<'a>>,
}

/// A directory on the way from the start to where the walker is.
struct Level<'a> {
    directory: Arc<OpenDirectory<'a>>,
    object: u64,
    // Its directories, if there are any.
    listing: Option<Listing<'a>>,
    // Its directories so far.
    seen: ObjectSet,
}

impl<'a> Walker<'a> {
    fn give(&self, task: Task<'a>) -> Result<(), RestoreError> {
        self.tasks.send(task).map_err(|_| RestoreError::Worker)
    }

    fn walk(&self, root: OpenDirectory<'a>, object: u64) -> Result<(), RestoreError> {
        let mut levels = vec![self.enter(Arc::new(root), object)?];
        while let Some(level) = levels.last_mut() {
            if self.run.is_over() {
                return Ok(());
            }
            match level.listing.as_mut().and_then(Iterator::next) {
                None => drop(levels.pop()),
                Some(Ok(entry)) if entry.kind == FileKind::Directory => {
                    let below = self.subdirectory(&level.directory, level.object, &mut level.seen, &entry);
                    if let Some((directory, object)) = below {
                        levels.push(self.enter(Arc::new(directory), object)?);
                    }
                }
                // Files were given to workers when the directory was entered, and errors told.
                Some(_) => {}
            }
        }
        Ok(())
    }

    // Gives everything but directories to the workers. The list of directories is not kept: it is
    // read again from the same pages.
    fn enter(&self, directory: Arc<OpenDirectory<'a>>, object: u64) -> Result<Level<'a>, RestoreError> {
        let mut has_directories = false;
        let mut entries = Vec::new();
        let mut len = 0;
        for entry in self.list(&directory, object).into_iter().flatten() {
            if self.run.is_over() {
                break;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.unreadable(&directory.path, &error);
                    continue;
                }
            };
            if entry.kind == FileKind::Directory {
                has_directories = true;
                continue;
            }
            len += entry.inode.as_ref().map_or(TASK_LEN / 8, Inode::size);
            entries.push(entry);
            if len >= TASK_LEN || entries.len() >= TASK_ENTRY_COUNT {
                len = 0;
                let entries = std::mem::take(&mut entries);
                self.give(Task { directory: Arc::clone(&directory), entries })?;
            }
        }
        if !entries.is_empty() {
            self.give(Task { directory: Arc::clone(&directory), entries })?;
        }
        let listing = if has_directories { self.list(&directory, object) } else { None };
        Ok(Level { directory, object, listing, seen: ObjectSet::default() })
    }

    fn list(&self, directory: &OpenDirectory<'a>, object: u64) -> Option<Listing<'a>> {
        match self.run.generation.list(self.run.repository.pages(), object, None) {
            Ok(listing) => Some(listing),
            Err(error) => {
                self.unreadable(&directory.path, &error);
                None
            }
        }
    }

    fn subdirectory(
        &self,
        above: &Arc<OpenDirectory<'a>>,
        parent_object: u64,
        seen: &mut ObjectSet,
        entry: &Entry,
    ) -> Option<(OpenDirectory<'a>, u64)> {
        let Node::Object { object, .. } = entry.node else { return None };
        let read = self.run.generation.object(self.run.repository.pages(), object);
        let inode = match read {
            Ok(inode) => inode,
            Err(error) => {
                self.unreadable(&above.path_of(&entry.name), &error);
                return None;
            }
        };
        // A directory has one place only: without this a damaged tree could lead back into itself, or lead
        // to the same directory on more ways than there are atoms.
        let is_in_place =
            inode.detail == (Detail::Directory { parent: parent_object }) && seen.insert(object);
        if !is_in_place {
            self.unreadable(&above.path_of(&entry.name), &ReadError::DirectoryElsewhere { object });
            return None;
        }
        above.create(&entry.name, inode).map(|directory| (directory, object))
    }

    fn unreadable(&self, path: &[u8], error: &ReadError) {
        let shown = if path.is_empty() { "/".to_owned() } else { path::display(path) };
        self.run.summary().failed.note(shown, crate::job::chain(error));
    }
}
