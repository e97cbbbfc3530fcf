//! A table that a running job spills to when memory is full; gone when the job ends.
//!
//! It is a database of its own in a directory of its own, made when the first row is written, and holds
//! nothing that outlives its job: no log is kept and nothing is synced. What a killed job left is removed
//! by the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};

use super::{IndexError, tables};

const CACHE_BYTES: usize = 2 << 20;
const WRITE_BUFFER_BYTES: usize = 2 << 20;
const BATCH_LEN_MAX: usize = 1 << 20;

/// A key and its value, or `None` to remove it.
pub type ScratchRow = (Vec<u8>, Option<Vec<u8>>);

/// Rows by key, of any number, in a bounded piece of memory.
pub struct Scratch {
    path: PathBuf,
    // Made by the first write.
    db: OnceLock<DB>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Scratch {
    /// Takes the directory, which is made when it is needed; what a killed job left there is removed.
    ///
    /// # Errors
    /// [`IndexError::Scratch`] if that cannot be removed.
    pub fn new(path: &Path) -> Result<Self, IndexError> {
        remove(path)?;
        Ok(Self { path: path.to_owned(), db: OnceLock::new() })
    }

    /// Tells whether nothing was ever written.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.db.get().is_none()
    }

    /// Writes or removes rows.
    ///
    /// # Errors
    /// [`IndexError`] if RocksDB refuses.
    pub fn write(&self, rows: impl IntoIterator<Item = ScratchRow>) -> Result<(), IndexError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let mut batch = WriteBatch::default();
        let db = self.opened()?;
        for (key, value) in rows {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
            if batch.size_in_bytes() >= BATCH_LEN_MAX {
                db.write_opt(std::mem::take(&mut batch), &options).map_err(self.refused("write"))?;
            }
        }
        db.write_opt(batch, &options).map_err(self.refused("write"))
    }

    /// Finds a row.
    ///
    /// # Errors
    /// [`IndexError`] if RocksDB refuses.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let Some(db) = self.db.get() else { return Ok(None) };
        db.get(key).map_err(self.refused("read"))
    }

    /// All rows whose keys begin with `prefix`, in order of keys; without the prefix.
    pub fn rows<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), IndexError>> + 'a {
        let rows = self.db.get().map(|db| {
            let mut options = ReadOptions::default();
            options.fill_cache(false);
            db.iterator_opt(IteratorMode::From(prefix, Direction::Forward), options)
        });
        let rows = rows.into_iter().flatten().map(|row| row.map_err(self.refused("read")));
        rows.map_while(move |row| match row {
            Ok((key, value)) => key.strip_prefix(prefix).map(|key| Ok((key.to_vec(), value.into_vec()))),
            Err(error) => Some(Err(error)),
        })
    }

    fn opened(&self) -> Result<&DB, IndexError> {
        if let Some(db) = self.db.get() {
            return Ok(db);
        }
        super::rocks::make_private_directory(&self.path);
        let db = DB::open(&settings(), &self.path).map_err(self.refused("open"))?;
        // A thread that came first has the directory locked, so that there is no second one.
        Ok(self.db.get_or_init(|| db))
    }

    fn refused(&self, operation: &'static str) -> impl FnOnce(rocksdb::Error) -> IndexError {
        let path = crate::path::display(self.path.as_os_str().as_encoded_bytes());
        move |source| IndexError::Rocks { path, operation, source }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            db.cancel_all_background_work(true);
            drop(db);
            if let Err(error) = remove(&self.path) {
                log::warn!("a table for spilled memory could not be removed: {error}");
            }
        }
    }
}

fn remove(path: &Path) -> Result<(), IndexError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            let path = crate::path::display(path.as_os_str().as_encoded_bytes());
            Err(IndexError::Scratch { path, source })
        }
        _ => Ok(()),
    }
}

fn settings() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&tables::layout(CACHE_BYTES));
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_target_file_size_base(8 << 20);
    options.set_max_open_files(64);
    options.set_keep_log_file_num(1);
    options
}

#[cfg(test)]
mod test {
    use super::*;

    fn row(number: u32) -> ScratchRow {
        (number.to_be_bytes().to_vec(), Some(vec![7; (number % 50) as usize]))
    }

    #[test]
    fn rows_are_found_until_the_table_is_dropped_and_then_nothing_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("scratch");
        let scratch = Scratch::new(&path).expect("begins");
        assert_eq!(scratch.get(b"key").expect("reads"), None);
        assert!(scratch.is_unused() && !path.exists(), "made before it is needed");
        scratch.write((0..20_000).map(row)).expect("writes");
        scratch.write((0..20_000).step_by(2).map(|number| (row(number).0, None))).expect("removes");
        assert_eq!(scratch.get(&row(7).0).expect("reads"), row(7).1);
        assert_eq!(scratch.get(&row(8).0).expect("reads"), None);
        let found: Vec<_> = scratch.rows(&[0, 0, 1]).collect::<Result<_, _>>().expect("reads");
        let expected =
            (0..=255_u8).skip(1).step_by(2).map(|low| (vec![low], vec![7; (256 + usize::from(low)) % 50]));
        assert_eq!(found, expected.collect::<Vec<_>>());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_job_left_is_not_found_by_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("scratch");
        let killed = Scratch::new(&path).expect("begins");
        killed.write([row(1)]).expect("writes");
        std::mem::forget(killed);
        let next = Scratch::new(&path).expect("begins");
        assert_eq!(next.get(&row(1).0).expect("reads"), None);
    }
}
