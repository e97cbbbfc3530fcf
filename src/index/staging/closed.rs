//! What a database was made of when it was closed, by which the next one to open it knows that nothing was lost since.
//!
//! ```text
//! meta/closed   a line for each table that is in use, the last log and the manifest: its name, a blank, its length in bytes
//! ```
//!
//! RocksDB makes a new manifest whenever it opens a database. So a list that does not have the manifest which `CURRENT`
//! names is of an earlier time and tells nothing. Without a list, after a kill or a loss of power, the log may end
//! anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StagingStoreError;
use super::store::{ENTRY, OBJECT, StagingStore, entry_row, object_row};

const LIST: &str = "closed";
const PARTIAL: &str = "closed.partial";
const CURRENT: &str = "CURRENT";
const MANIFEST: &str = "MANIFEST-";
const LIST_LEN_MAX: u64 = 1 << 20;

fn is_listed(name: &str) -> bool {
    name.starts_with(MANIFEST) || [".sst", ".log"].iter().any(|end| name.ends_with(end))
}

fn lengths(directory: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut lengths = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| is_listed(name)) {
            lengths.insert(name.to_owned(), entry.metadata()?.len());
        }
    }
    Ok(lengths)
}

fn current(directory: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(directory.join(CURRENT))?.trim_end().to_owned())
}

/// Writes the list, with these of all tables: others are removed yet. Nothing may change the database any more.
pub(super) fn write(directory: &Path, tables: &[String]) -> io::Result<()> {
    let (found, manifest) = (lengths(directory)?, current(directory)?);
    let last_log = found.keys().filter(|name| name.ends_with(".log")).max();
    let is_in_use = |name: &String| tables.contains(name) || Some(name) == last_log || *name == manifest;
    let lines = found.iter().filter(|(name, _)| is_in_use(name));
    let lines: Vec<String> = lines.map(|(name, len_bytes)| format!("{name} {len_bytes}\n")).collect();
    let partial = directory.join(PARTIAL);
    fs::write(&partial, lines.concat())?;
    fs::rename(partial, directory.join(LIST))
}

// Nothing if there is no list of what is there now.
fn read(directory: &Path) -> Option<BTreeMap<String, u64>> {
    let list = directory.join(LIST);
    if fs::metadata(&list).ok()?.len() > LIST_LEN_MAX {
        return None;
    }
    let text = fs::read_to_string(list).ok()?;
    // A loss of power may have torn it.
    let text = text.strip_suffix('\n')?;
    let mut lengths = BTreeMap::new();
    for line in text.split('\n') {
        let (name, len_bytes) = line.split_once(' ')?;
        lengths.insert(name.to_owned(), len_bytes.parse().ok()?);
    }
    lengths.contains_key(&current(directory).ok()?).then_some(lengths)
}

fn lost(path: PathBuf, expected: String, found: String) -> StagingStoreError {
    let path = crate::path::display(path.as_os_str().as_encoded_bytes());
    StagingStoreError::Lost { path, expected, found }
}

/// Checks what is there, before RocksDB opens it and removes what it does not need. Returns whether the database was
/// closed, such that all of its log must be there.
///
/// # Errors
/// [`StagingStoreError::Lost`] if a file is missing or shorter than it was.
pub(super) fn check(directory: &Path) -> Result<bool, StagingStoreError> {
    // RocksDB would make an empty database.
    if !directory.join(CURRENT).exists()
        && let Ok(lengths) = lengths(directory)
        && let Some(name) = lengths.keys().find(|name| name.ends_with(".sst") || name.ends_with(".log"))
    {
        return Err(lost(directory.join(CURRENT), format!("a name, as there is {name}"), "nothing".into()));
    }
    let Some(expected) = read(directory) else { return Ok(false) };
    for (name, len_bytes) in expected {
        let found = fs::metadata(directory.join(&name)).ok().map(|metadata| metadata.len());
        if found == Some(len_bytes) {
            continue;
        }
        // Another process has opened it meanwhile.
        if read(directory).is_none() {
            return Ok(false);
        }
        let found = found.map_or_else(|| "nothing".to_owned(), |len_bytes| format!("{len_bytes} bytes"));
        return Err(lost(directory.join(name), format!("{len_bytes} bytes"), found));
    }
    Ok(true)
}

impl StagingStore {
    /// Tells whether there is a database in a directory, in whatever state.
    #[must_use]
    pub fn is_there(directory: &Path) -> bool {
        lengths(directory).is_ok_and(|lengths| !lengths.is_empty())
    }

    /// Reads every row.
    ///
    /// # Errors
    /// [`StagingStoreError`] at the first that cannot be read.
    pub fn check(&self) -> Result<(), StagingStoreError> {
        for row in self.all_rows() {
            let row = row?;
            match row.0.first() {
                Some(&ENTRY) => drop(entry_row(&row)?),
                Some(&OBJECT) => drop(object_row(&row)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes what the database is made of, for who opens it next. Nothing may be written after that.
    pub fn note_closed(&self) {
        self.db.cancel_all_background_work(true);
        let written = match self.db.live_files() {
            Ok(live) => {
                let tables = live.into_iter().map(|file| file.name.trim_start_matches('/').to_owned());
                write(self.db.path(), &tables.collect::<Vec<_>>())
            }
            Err(error) => Err(io::Error::other(error)),
        };
        // Without the note less is checked.
        if let Err(error) = written {
            log::debug!("staging database {}: {error}", self.path);
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_is_missing_or_shorter_is_told_and_a_list_of_an_earlier_time_tells_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| fs::write(place.path().join(name), text).expect("writes");
        assert!(!check(place.path()).expect("an empty directory"));
        put("MANIFEST-000005", "12345");
        put("000004.log", "123");
        let error = check(place.path()).expect_err("there is a log").to_string();
        assert!(error.contains("CURRENT") && error.contains("000004.log"), "{error}");
        put(CURRENT, "MANIFEST-000005\n");
        assert!(!check(place.path()).expect("no list"));
        for left in ["000001.log", "000002.sst", "000003.sst", "MANIFEST-000001"] {
            put(left, "1");
        }
        write(place.path(), &["000003.sst".to_owned()]).expect("writes");
        // What is of no use is removed after that.
        for left in ["000001.log", "000002.sst", "MANIFEST-000001"] {
            fs::remove_file(place.path().join(left)).expect("removes");
        }
        assert!(check(place.path()).expect("all is there"));
        put("000004.log", "1");
        let error = check(place.path()).expect_err("it is shorter").to_string();
        assert!(error.ends_with("000004.log: expected 3 bytes, found 1 bytes"), "{error}");
        fs::remove_file(place.path().join("000004.log")).expect("removes");
        assert!(check(place.path()).expect_err("it is gone").to_string().ends_with("found nothing"));
        put(LIST, "MANIFEST-000005 1");
        assert!(!check(place.path()).expect("the list is torn"));
        put("MANIFEST-000009", "1");
        put(CURRENT, "MANIFEST-000009\n");
        assert!(!check(place.path()).expect("it was opened since"));
        put(LIST, "no list");
        assert!(!check(place.path()).expect("a list that was torn"));
    }
}
