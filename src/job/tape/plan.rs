//! What has to be written to a set of cartridges so that it holds some generations whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::bases::Bases;
use super::catalogue::{Piece, SetContent};
use super::closure;
use super::error::TapeJobError;
use super::sealed::SealedKind;
use super::source::{RepositoryFile, read_through};
use crate::format::config;
use crate::id::{ClientName, FileId, FingerprintHasher, Ordinal};
use crate::progress::Progress;
use crate::repo::bdf_file::{all_bdfs, bdf_name};
use crate::repo::{GenerationId, ReadError, Repository, catalog};
use crate::storage::MemoryFile;
use crate::tape::writer::Place;
use crate::tape::{Object, ObjectSource};

/// A file of the repository that some generations need.
#[derive(Debug, Clone)]
pub struct NeededFile {
    /// Name in the repository, and on the cartridge.
    pub name: Arc<str>,
    /// Length in bytes.
    pub len: u64,
    /// Time of writing, seconds since 1970.
    pub mtime_seconds: i64,
    /// What it is; `None` for the configuration.
    pub kind: Option<SealedKind>,
    /// The bytes of one that may change while the others are written.
    pub snapshot: Option<Arc<[u8]>>,
}

/// A file that is needed and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Name in the repository, as far as it is known.
    pub name: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// What some generations need, in the order in which it goes to tape: the configuration, BDFs from the oldest on,
/// then DTFs, so that a generation's tree is there when all that it points to is.
#[derive(Debug, Clone, Default)]
pub struct Needed {
    /// The files.
    pub files: Vec<NeededFile>,
    /// Whether a list of extended attributes is in the BDFs.
    pub has_lists: bool,
    /// The generations whose trees can be read; nothing that only the others need is among the files.
    pub generations: Vec<Ordinal>,
    /// Files that are needed, too, and cannot be read; of a generation whose tree cannot be read, its DTF.
    pub left_out: Vec<LeftOut>,
}

impl Needed {
    /// Finds what these generations need, also what `content` holds of it. `bases` knows what each of the BDFs needs in its
    /// turn then, but for those that `content` holds and that cannot be read any more.
    ///
    /// # Errors
    /// [`TapeJobError`] if the configuration cannot be read, or the operation is asked to stop.
    pub fn of(
        repository: &Repository,
        generations: &[(ClientName, GenerationId)],
        content: &SetContent,
        bases: &mut Bases,
        progress: &Progress,
    ) -> Result<Self, TapeJobError> {
        let mut check = |ordinal| check_tree(repository, ordinal, content, progress);
        let closure = closure::of_generations(repository, generations, &mut check, progress)?;
        let unreadable = closure.unreadable.iter().filter_map(|(index, error)| {
            let (client, id) = generations.get(*index)?;
            Some(LeftOut { name: catalog::dtf_name(client, *id), reason: crate::job::chain(error) })
        });
        let mut left_out: Vec<LeftOut> = unreadable.collect();
        let mut files = Vec::new();
        if !closure.readable.is_empty() {
            files.push(configuration(repository)?);
        }
        files.extend(data_files(repository, closure.bdfs, content, bases, &mut left_out, progress)?);
        for ordinal in closure.dtfs {
            files.push(tree_file(repository, ordinal)?);
        }
        Ok(Self { files, has_lists: closure.has_lists, generations: closure.readable, left_out })
    }

    /// What of it `content` does not hold yet: an object that was begun comes first.
    #[must_use]
    pub fn missing(&self, repository: &Repository, content: &SetContent, now_seconds: i64) -> Plan {
        let mut plan = Plan {
            skipped_bytes: 0,
            skipped_count: 0,
            bytes: 0,
            objects: Vec::new(),
            from: Place::default(),
            left_out: Vec::new(),
        };
        for file in &self.files {
            let pieces = content.complete(&file.name);
            if pieces.is_some_and(|pieces| is_same(file, pieces)) {
                plan.skipped_count += 1;
                plan.skipped_bytes += file.len;
                continue;
            }
            // What is there of a snapshot may be of another one.
            let begun = file.snapshot.is_none().then(|| content.begun(&file.name, file.len));
            let (segment, done) = begun.unwrap_or_default();
            let object = file.object(repository, now_seconds);
            plan.bytes += file.len;
            // Only one can be gone on with; another one is written again from its beginning.
            if segment > 0 && plan.from.segment == 0 {
                plan.from = Place { object: 0, segment, offset: done, hasher: None };
                plan.bytes -= done;
                plan.objects.insert(0, object);
            } else {
                plan.objects.push(object);
            }
        }
        plan
    }
}

/// What is to be written.
#[derive(Debug)]
pub struct Plan {
    /// Objects in their order.
    pub objects: Vec<Object>,
    /// Where in them writing begins.
    pub from: Place,
    /// Bytes to be written.
    pub bytes: u64,
    /// Objects that are on the cartridges already.
    pub skipped_count: u64,
    /// Bytes of them.
    pub skipped_bytes: u64,
    /// Files that are needed and cannot be read, if they were looked for.
    pub left_out: Vec<LeftOut>,
}

fn total_len(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.segment.len).sum()
}

// Sealed files never change; a configuration does.
fn is_same(file: &NeededFile, pieces: &[Piece]) -> bool {
    if total_len(pieces) != file.len {
        return false;
    }
    let (Some(bytes), [piece]) = (&file.snapshot, pieces) else { return true };
    let mut hasher = FingerprintHasher::default();
    hasher.update(bytes);
    hasher.finish() == piece.segment.fingerprint
}

impl NeededFile {
    /// The file as an object for a cartridge.
    #[must_use]
    pub fn object(&self, repository: &Repository, now_seconds: i64) -> Object {
        let name = self.name.as_ref().to_owned();
        let source: Arc<dyn ObjectSource> = match &self.snapshot {
            Some(bytes) => Arc::new(MemoryFile { name, bytes: Arc::clone(bytes) }),
            None => Arc::new(RepositoryFile {
                storage: Arc::clone(repository.storage()),
                repository: repository.id(),
                name,
                kind: self.kind,
            }),
        };
        Object {
            name: Arc::clone(&self.name),
            len: self.len,
            mtime_seconds: if self.kind.is_some() { self.mtime_seconds } else { now_seconds },
            fingerprint: None,
            source,
        }
    }
}

fn configuration(repository: &Repository) -> Result<NeededFile, TapeJobError> {
    let file = repository.storage().open(config::FILE_NAME)?;
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    let len = bytes.len() as u64;
    let snapshot = Some(bytes.into());
    Ok(NeededFile { name: config::FILE_NAME.into(), len, mtime_seconds: 0, kind: None, snapshot })
}

fn tree_file(repository: &Repository, ordinal: Ordinal) -> Result<NeededFile, TapeJobError> {
    let dtf = repository.pages().dtf(ordinal)?;
    let header = dtf.header();
    let id = GenerationId { time: header.time, ordinal };
    Ok(NeededFile {
        name: catalog::dtf_name(&header.client, id).into(),
        len: dtf.len(),
        mtime_seconds: header.time.seconds(),
        kind: Some(SealedKind::Dtf),
        snapshot: None,
    })
}

// Whether a DTF that is not on tape yet could be written: all of it is verified then.
fn check_tree(
    repository: &Repository,
    ordinal: Ordinal,
    content: &SetContent,
    progress: &Progress,
) -> Result<(), TapeJobError> {
    let file = tree_file(repository, ordinal)?;
    if content.complete(&file.name).is_some() {
        return Ok(());
    }
    read_through(&*file.object(repository, 0).source, progress)
}

fn data_files(
    repository: &Repository,
    first: Vec<FileId>,
    content: &SetContent,
    bases: &mut Bases,
    left_out: &mut Vec<LeftOut>,
    progress: &Progress,
) -> Result<Vec<NeededFile>, TapeJobError> {
    let names = data_names(repository, content)?;
    let mut known: HashSet<FileId> = first.iter().copied().collect();
    let mut left = first;
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(id) = left.get(next).copied() {
        progress.check()?;
        let name = names.get(&id).map(String::as_str);
        let on_tape = name.and_then(|name| Some((name, content.complete(name)?)));
        match (data_file(repository, id, name, bases, progress), on_tape) {
            // One that has become shorter since is on tape as it was.
            (Ok((ordinal, mut file)), on_tape) => {
                file.len = on_tape.map_or(file.len, |(_, pieces)| total_len(pieces));
                found.push(((Some(ordinal), file.mtime_seconds, next), file));
            }
            // It is on tape whole, and needed there.
            (Err(TapeJobError::Repo(error)), Some((name, pieces))) => {
                log::info!("{name} is on tape: {}", crate::job::chain(&error));
                found.push(((None, 0, next), file_on_tape(name, pieces)));
            }
            (Err(error @ TapeJobError::Repo(_)), None) => left_out.push(LeftOut {
                name: name.map_or_else(|| format!("{id}.bdf"), str::to_owned),
                reason: crate::job::chain(&error),
            }),
            (Err(error), _) => return Err(error),
        }
        // Also of one that is on tape: a base may be there no more, or may never have been readable.
        left.extend(bases.known(id).into_iter().flatten().filter(|base| known.insert(**base)));
        next += 1;
    }
    found.sort_by_key(|(order, _)| *order);
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

// BDFs of the repository by their names, and those that are gone and on tape whole.
fn data_names(
    repository: &Repository,
    content: &SetContent,
) -> Result<BTreeMap<FileId, String>, TapeJobError> {
    let mut names: BTreeMap<FileId, String> = all_bdfs(&**repository.storage())?
        .into_iter()
        .map(|(file, client, area)| (file, bdf_name(area, client.as_str(), file)))
        .collect();
    for name in content.names() {
        let id = name.strip_suffix(".bdf").and_then(|name| name.rsplit('/').next()?.parse().ok());
        if let Some(id) = id.filter(|id| !names.contains_key(id) && content.complete(name).is_some()) {
            names.insert(id, name.to_string());
        }
    }
    Ok(names)
}

// A BDF with its ordinal; what it needs in its turn is known then.
fn data_file(
    repository: &Repository,
    id: FileId,
    name: Option<&str>,
    bases: &mut Bases,
    progress: &Progress,
) -> Result<(Ordinal, NeededFile), TapeJobError> {
    let name = name.ok_or(ReadError::NoBdf { file: id })?;
    let bdf = repository.frames().bdf(id)?;
    let header = bdf.header();
    bases.of(&bdf, progress)?;
    let file = NeededFile {
        name: name.into(),
        len: bdf.file().len(),
        mtime_seconds: header.written_seconds,
        kind: Some(SealedKind::Bdf),
        snapshot: None,
    };
    Ok((header.ordinal, file))
}

fn file_on_tape(name: &str, pieces: &[Piece]) -> NeededFile {
    let len = total_len(pieces);
    NeededFile { name: name.into(), len, mtime_seconds: 0, kind: Some(SealedKind::Bdf), snapshot: None }
}
