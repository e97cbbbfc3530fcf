//! The directories of staging in a repository: `staging/CLIENT` with `slot`, `meta` and `data`.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::STAGING;
use super::error::StagingError;
use crate::id::ClientName;
use crate::repo::Repository;
use crate::storage::StorageError;

const SLOT: &str = "slot";
/// Slots have 12 bits of a node id; 0 is the directory of all clients.
const SLOT_MAX: u16 = 4095;
const REMOVED: &str = ".removed";
const DAMAGED: &str = ".damaged";
const SHOWN_LEN_MAX: usize = 32;
const LAST_SLOT: &str = ".last-slot";

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StagingError {
    let path = crate::path::display(path.as_os_str().as_encoded_bytes());
    move |source| StagingError::Backing(StorageError { operation, path, source })
}

fn root(repository: &Repository) -> Result<PathBuf, StagingError> {
    let what = "staging in a repository that is not in a local directory";
    Ok(repository.root().ok_or(StagingError::NotSupported { what })?.join(STAGING))
}

/// All clients that have a staging directory, in order of names.
pub(super) fn clients(repository: &Repository) -> Result<Vec<ClientName>, StagingError> {
    let root = root(repository)?;
    let listing = match fs::read_dir(&root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(refused("list", &root))?,
    };
    let mut clients = Vec::new();
    for entry in listing {
        let name = entry.map_err(refused("list", &root))?.file_name();
        let Some(client) = name.to_str().and_then(|name| name.parse::<ClientName>().ok()) else { continue };
        if root.join(client.as_str()).join(SLOT).exists() {
            clients.push(client);
        }
    }
    clients.sort();
    Ok(clients)
}

/// The same with their slots, in order of slots.
pub(super) fn slots(repository: &Repository) -> Result<Vec<(u16, ClientName)>, StagingError> {
    let mut slots = Vec::new();
    for client in clients(repository)? {
        match path(repository, &client).and_then(|path| slot(&path)) {
            Ok(slot) => slots.push((slot, client)),
            // Removed meanwhile.
            Err(StagingError::NotFound) => {}
            // Who asks for it is told; the others go on.
            Err(error) if error.is_damage() => log::warn!("staging of {client} is damaged: {error}"),
            Err(error) => return Err(error),
        }
    }
    slots.sort();
    Ok(slots)
}

/// Directory of a client; it must be there.
pub(super) fn path(repository: &Repository, client: &ClientName) -> Result<PathBuf, StagingError> {
    let path = root(repository)?.join(client.as_str());
    if !path.join(SLOT).exists() {
        return Err(StagingError::NotFound);
    }
    Ok(path)
}

/// Reads a client's slot.
pub(super) fn slot(path: &Path) -> Result<u16, StagingError> {
    let file = path.join(SLOT);
    let bytes = fs::read(&file).map_err(refused("read", &file))?;
    let text = std::str::from_utf8(&bytes).ok();
    let slot = text.and_then(|text| text.trim_end().parse().ok());
    slot.filter(|slot| (1..=SLOT_MAX).contains(slot)).ok_or_else(|| StagingError::Damaged {
        path: crate::path::display(file.as_os_str().as_encoded_bytes()),
        expected: "a number from 1 to 4095",
        found: format!("{:?}", String::from_utf8_lossy(bytes.get(..SHOWN_LEN_MAX).unwrap_or(&bytes))),
    })
}

/// Makes a client's directory and gives it a slot.
pub(super) fn create(repository: &Repository, client: &ClientName) -> Result<(), StagingError> {
    let root = root(repository)?;
    let path = root.join(client.as_str());
    for directory in [&root, &path] {
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(refused("create", directory))?,
        }
    }
    if path.join(SLOT).exists() {
        return Err(StagingError::Exists);
    }
    remove_leftovers(&path)?;
    let slot = new_slot(repository, &root)?;
    let partial = path.join("slot.partial");
    fs::write(&partial, format!("{slot}\n")).map_err(refused("write", &partial))?;
    let sync = || -> io::Result<()> {
        fs::File::open(&partial)?.sync_all()?;
        fs::rename(&partial, path.join(SLOT))?;
        fs::File::open(&path)?.sync_all()?;
        fs::File::open(&root)?.sync_all()?;
        root.parent().map_or(Ok(()), |above| fs::File::open(above)?.sync_all())
    };
    sync().map_err(refused("write", &partial))
}

// The next one after the last that was given out. A kernel may still hold directories of a client that was
// removed, which are dead, by numbers with its slot.
fn new_slot(repository: &Repository, root: &Path) -> Result<u16, StagingError> {
    let taken: Vec<u16> = slots(repository)?.into_iter().map(|(slot, _)| slot).collect();
    let file = root.join(LAST_SLOT);
    let noted = fs::read_to_string(&file).ok().and_then(|text| text.trim_end().parse().ok());
    let last = noted.filter(|last| *last <= SLOT_MAX).or(taken.iter().max().copied()).unwrap_or_default();
    let following = (0..SLOT_MAX).map(|step| (last + step) % SLOT_MAX + 1);
    let what = "staging for more clients";
    let slot = { following }.find(|slot| !taken.contains(slot)).ok_or(StagingError::NotSupported { what })?;
    // Should it get lost, so does what kernels hold.
    let partial = root.join(format!("{LAST_SLOT}.partial"));
    let write = || fs::write(&partial, format!("{slot}\n")).and_then(|()| fs::rename(&partial, &file));
    write().map_err(refused("write", &file))?;
    Ok(slot)
}

// Of a tree that was being removed, or made, when power or process went.
fn remove_leftovers(path: &Path) -> Result<(), StagingError> {
    let remove = || -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(refused("remove what is left in", path))
}

/// Makes the names in a client's directory durable.
pub(super) fn sync(path: &Path) -> Result<(), StagingError> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(refused("sync", path))
}

/// Gives a client's directory a name by which nothing is a client. Returns its path.
pub(super) fn set_aside(
    repository: &Repository,
    client: &ClientName,
    mark: &str,
) -> Result<PathBuf, StagingError> {
    let root = root(repository)?;
    let path = root.join(client.as_str());
    let aside = |number: u32| match number {
        0 => root.join(format!("{DAMAGED}-{client}-{mark}")),
        _ => root.join(format!("{DAMAGED}-{client}-{mark}-{number}")),
    };
    // Nobody else makes one of this client at this time.
    let aside = (0..).map(aside).find(|aside| fs::symlink_metadata(aside).is_err());
    let aside = aside.ok_or(StagingError::Exists)?;
    fs::rename(&path, &aside).map_err(refused("rename", &path))?;
    sync(&root)?;
    Ok(aside)
}

/// Removes a client's directory.
pub(super) fn remove(path: &Path) -> Result<(), StagingError> {
    let slot = path.join(SLOT);
    // Without it nothing is a staging tree; the rest may take long.
    fs::remove_file(&slot).map_err(refused("remove", &slot))?;
    // It must not come back, with a part of the rest, when power is lost.
    sync(path)?;
    let removed = path.with_file_name(format!(
        "{REMOVED}-{}",
        path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()
    ));
    let gone = || -> io::Result<()> {
        if removed.exists() {
            fs::remove_dir_all(&removed)?;
        }
        fs::rename(path, &removed)?;
        fs::remove_dir_all(&removed)
    };
    gone().map_err(refused("remove", path))
}
