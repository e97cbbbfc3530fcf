//! The BDFs that each BDF is compressed against, as far as they were read once.
//!
//! A BDF never changes, and to read what it needs takes a seek for each of its frames. So the catalogue keeps the answer,
//! and an archive reads only what is new. What is kept can be made anew at any time: a list that is not whole is as none.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::catalogue::Catalogue;
use super::error::TapeJobError;
use crate::checksum::crc32;
use crate::format::bdf;
use crate::id::FileId;
use crate::progress::Progress;
use crate::repo::ReadError;
use crate::repo::bdf_file::BdfFile;
use crate::repo::pages::read_sealed;

const NAME: &str = "bases";
const FIRST_LINE: &str = "reelfs bases 1";
/// Longest list that is read, in bytes: of some millions of BDFs.
const LEN_MAX: u64 = 256 << 20;

/// The bases of BDFs, by their ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bases {
    known: BTreeMap<FileId, BTreeSet<FileId>>,
    is_changed: bool,
}

impl Bases {
    /// Reads what a catalogue keeps; what cannot be read is as if it had not been.
    #[must_use]
    pub fn read(catalogue: &Catalogue) -> Self {
        let known = catalogue.read_whole(NAME, LEN_MAX).map(|bytes| decode(&bytes));
        match known {
            Ok(Some(known)) => return Self { known, is_changed: false },
            Ok(None) => log::info!("{NAME} of the catalogue is damaged, and made anew"),
            Err(error) if error.is_not_found() => {}
            Err(error) => log::info!("{}", crate::job::chain(&error)),
        }
        Self::default()
    }

    /// What is known of a BDF without reading it.
    #[must_use]
    pub fn known(&self, file: FileId) -> Option<&BTreeSet<FileId>> {
        self.known.get(&file)
    }

    /// The BDFs that hold chunks against which frames of this one are compressed.
    ///
    /// # Errors
    /// [`TapeJobError`] if they are not known and it cannot be read, or the operation is asked to stop.
    pub fn of(&mut self, file: &BdfFile, progress: &Progress) -> Result<&BTreeSet<FileId>, TapeJobError> {
        let id = file.header().file;
        Ok(match self.known.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let bases = read_bases(file, progress)?;
                self.is_changed = true;
                unknown.insert(bases)
            }
        })
    }

    /// Keeps what was read since; if that fails it is read again by the next archive.
    pub fn keep(&mut self, catalogue: &Catalogue) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        // What an archive to another pool has found meanwhile stays.
        for (file, bases) in Self::read(catalogue).known {
            self.known.entry(file).or_insert(bases);
        }
        let kept =
            catalogue.create_root().and_then(|()| catalogue.write_unsynced(NAME, &encode(&self.known)));
        if let Err(error) = kept {
            log::info!("{}", crate::job::chain(&error));
        }
    }
}

fn read_bases(file: &BdfFile, progress: &Progress) -> Result<BTreeSet<FileId>, TapeJobError> {
    let (seal, footer) = read_sealed(file.file(), file.header().file)?;
    let spans = bdf::decode_footer(&footer, seal.footer_crc).map_err(|source| ReadError::Format {
        path: file.file().path().to_owned(),
        offset: seal.footer_offset,
        source,
    })?;
    let mut bases = BTreeSet::new();
    for span in spans {
        progress.check()?;
        bases.extend(file.read_header(span.offset)?.bases.iter().map(|base| base.location.file));
    }
    Ok(bases)
}

// A line for each BDF, its id and those of its bases; the last one has the checksum of those before.
fn encode(known: &BTreeMap<FileId, BTreeSet<FileId>>) -> Vec<u8> {
    let mut text = format!("{FIRST_LINE}\n");
    for (file, bases) in known {
        let ids: Vec<String> = std::iter::once(file).chain(bases).map(FileId::to_string).collect();
        text.push_str(&ids.join(" "));
        text.push('\n');
    }
    let checksum = crc32(&[text.as_bytes()]);
    writeln!(text, "end {checksum:08x}").expect("a string takes all text");
    text.into_bytes()
}

// `None` if it is not whole, or of another version.
fn decode(bytes: &[u8]) -> Option<BTreeMap<FileId, BTreeSet<FileId>>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (lines, end) = text.rsplit_once('\n')?;
    let checksum = u32::from_str_radix(end.strip_prefix("end ")?, 16).ok()?;
    if checksum != crc32(&[lines.as_bytes(), b"\n"]) {
        return None;
    }
    let mut lines = lines.split('\n');
    if lines.next() != Some(FIRST_LINE) {
        return None;
    }
    let parse = |line: &str| {
        let mut ids = line.split(' ').map(str::parse::<FileId>);
        let file = ids.next()?.ok()?;
        Some((file, ids.collect::<Result<_, _>>().ok()?))
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    fn id(number: u8) -> FileId {
        FileId([number; 16])
    }

    fn known() -> BTreeMap<FileId, BTreeSet<FileId>> {
        BTreeMap::from([
            (id(1), BTreeSet::new()),
            (id(2), BTreeSet::from([id(1)])),
            (id(3), BTreeSet::from([id(1), id(2)])),
        ])
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_not_whole_is_as_none() {
        let bytes = encode(&known());
        assert_eq!(decode(&bytes), Some(known()));
        assert_eq!(decode(&encode(&BTreeMap::new())), Some(BTreeMap::new()));
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None, "cut to {len} bytes");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&changed), None, "byte {at} is another");
        }
    }
}
