//! What was found damaged while reading: each place logged once, listed in `.reelfs/damaged`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use reelfs::format::record::{Detail, FileKind};
use reelfs::id::Ordinal;
use reelfs::path;
use reelfs::repo::generation;
use reelfs::repo::{Node, ReadError, Repository};

// More than so many places are counted, not listed.
const PLACE_COUNT_MAX: usize = 10_000;
// A path is looked for in directories of up to so many entries, and no deeper than so many levels.
const SCAN_COUNT_MAX: usize = 200_000;
const DEPTH_MAX: usize = 256;

/// A run of bytes of a file: offset and length.
pub type ByteRange = (u64, u64);

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Client, generation and path, or inode number if they are not known.
    pub place: String,
    /// Bytes of the file; absent if it is the object itself or a part of a directory.
    pub range: Option<ByteRange>,
    /// Why.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Found {
    seen: HashSet<(u64, Option<u64>)>,
    listed: Vec<Damaged>,
    count: u64,
    // Directories of which a part could not be listed.
    directories: HashSet<u64>,
}

/// The list of damaged places; shared by threads.
#[derive(Debug, Default)]
pub struct DamageLog {
    found: Mutex<Found>,
}

impl DamageLog {
    fn with<R>(&self, use_found: impl FnOnce(&mut Found) -> R) -> R {
        use_found(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in a damaged place, unless it is known already.
    pub fn add(&self, repository: &Repository, node: Node, range: Option<ByteRange>, reason: &str) {
        let key = (node.to_number(), range.map(|(offset, _)| offset));
        let is_new = self.with(|found| {
            let is_new = found.seen.len() < PLACE_COUNT_MAX && found.seen.insert(key);
            found.count += u64::from(is_new);
            is_new
        });
        if !is_new {
            return;
        }
        // The path is looked for without the lock: it takes reading.
        let damaged = Damaged { place: place(repository, node), range, reason: reason.to_owned() };
        log::error!("{}", line(&damaged));
        self.with(|found| found.listed.push(damaged));
    }

    /// Remembers that a part of a directory could not be listed.
    pub fn add_directory(&self, directory: Node) {
        self.with(|found| {
            if found.directories.len() < PLACE_COUNT_MAX {
                found.directories.insert(directory.to_number());
            }
        });
    }

    /// Tells whether a part of the directory could not be listed.
    #[must_use]
    pub fn is_partly_listed(&self, directory: Node) -> bool {
        self.with(|found| found.directories.contains(&directory.to_number()))
    }

    /// Count of damaged places met.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.with(|found| found.count)
    }

    /// The text of `.reelfs/damaged`: a line for each place.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.with(|found| {
            let mut text = String::new();
            for damaged in &found.listed {
                text.push_str(&line(damaged));
                text.push('\n');
            }
            text
        })
    }
}

fn line(damaged: &Damaged) -> String {
    let mut text = damaged.place.clone();
    match damaged.range {
        Some((offset, len)) => write!(text, "\tbytes {offset} to {}", offset + len.saturating_sub(1)),
        None => write!(text, "\tall"),
    }
    .expect("writing to a string cannot fail");
    text.push('\t');
    text.push_str(&damaged.reason);
    text
}

fn place(repository: &Repository, node: Node) -> String {
    let ordinal = match node {
        Node::Synthetic(number) => return format!("inode {number}"),
        Node::Object { ordinal, .. } => ordinal,
        Node::Entry(address) => address.ordinal,
    };
    let name = match repository.generation(ordinal) {
        Ok(generation) => format!("{}@{}", generation.header.client, generation.header.time),
        Err(_) => format!("generation {ordinal}"),
    };
    match path_of(repository, node, ordinal) {
        Ok(Some(path)) => format!("{name}:{}", path::display(&path)),
        Ok(None) | Err(_) => format!("{name}, inode {}", node.to_number()),
    }
}

// The tree holds no names of parents: each is found in the directory above.
fn path_of(repository: &Repository, node: Node, ordinal: Ordinal) -> Result<Option<Vec<u8>>, ReadError> {
    let generation = repository.generation(ordinal)?;
    let pages = repository.pages();
    let (mut directory, mut path) = match node {
        Node::Entry(address) => generation::name_at(pages, address)?,
        Node::Object { object, .. } => (object, Vec::new()),
        Node::Synthetic(_) => return Ok(None),
    };
    for _ in 0..DEPTH_MAX {
        if directory == reelfs::format::record::ROOT_OBJECT {
            return Ok(Some(path));
        }
        let Detail::Directory { parent } = generation.object(pages, directory)?.detail else {
            return Ok(None);
        };
        let wanted = Node::Object { ordinal, object: directory };
        let found = generation.list(pages, parent, None)?.take(SCAN_COUNT_MAX).find_map(|entry| {
            entry.ok().filter(|entry| entry.kind == FileKind::Directory && entry.node == wanted)
        });
        let Some(entry) = found else { return Ok(None) };
        let mut longer = entry.name;
        if !path.is_empty() {
            longer.push(b'/');
        }
        longer.extend_from_slice(&path);
        (directory, path) = (parent, longer);
    }
    Ok(None)
}
