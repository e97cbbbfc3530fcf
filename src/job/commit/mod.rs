//! Commit of a staging tree as the next generation of its client.
//!
//! 1. Files that are being written are waited for until they are safe, or until the policy gives up.
//! 2. The present epoch is frozen; writers go on in the next one.
//! 3. The changes of the epoch are stored: content that is there already is found by RFE, what was written
//!    in place by FDA, all else by SFP.
//! 4. The number of the generation is noted in staging; BDF and DTF get their names. From here on the
//!    generation exists, whatever happens.
//! 5. The index is told, and staging stands on the new generation.
//!
//! A commit that fails or is killed before step 4 leaves everything staged as it was.

mod content;
mod counts;
mod damaged;
mod driver;
mod dry_storage;
mod error;
mod files;
mod groups;
mod keeping;
mod linked_paths;
mod method;
mod outside;
mod paths;
mod safe;
mod schedule;
mod summary;
mod unsafe_files;

use std::sync::Arc;

use crate::format::staging_policy::StagingPolicy;
use crate::id::GenerationTime;
use crate::index::Index;
use crate::job::index::index_generation;
use crate::job::store::claims::Claims;
use crate::job::store::dedup::Dedup;
use crate::job::store::emission::Emitter;
use crate::job::store::pipeline;
use crate::job::store::prepare::Worker;
use crate::job::store::{StoreError, spilling};
use crate::progress::Progress;
use crate::repo::generation_writer::{Base, GenerationWriter, WriterInputs};
use crate::repo::staging::{FrozenEpoch, StagingError, StagingTree};
use crate::repo::{CacheBytes, Repository};

pub use crate::job::store::{Count, FileReport, Method};
pub use error::CommitError;
pub use outside::{Outside, since};
pub use schedule::{Due, Observation, Schedule};
pub use summary::CommitSummary;

/// How a commit is made.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// What the user says of the generation, at most 4096 bytes.
    pub message: String,
    /// Make a generation even if nothing changed.
    pub always: bool,
    /// Do not wait for files that are being written.
    pub now: bool,
    /// Tell files with several names by a path, for which the whole base may have to be read.
    pub tell_paths: bool,
    /// Worker threads; 0 for one per processor.
    pub worker_count: usize,
}

/// Takes what was done with each file, as it is done.
pub type OnFile<'f> = dyn FnMut(&FileReport) + 'f;

/// What a commit works with.
#[derive(Debug)]
pub struct Commit<'a> {
    /// What was staged.
    pub tree: &'a StagingTree,
    /// The index; without it nothing that is stored already is found.
    pub index: Option<&'a Index>,
    /// Policy of the client.
    pub policy: &'a StagingPolicy,
    /// How the commit is made.
    pub options: &'a CommitOptions,
    /// Clock and random ids.
    pub outside: Arc<dyn Outside>,
    /// Counters, and the wish that it stop.
    pub progress: &'a Progress,
}

/// What came of waiting for files that were being written.
#[derive(Debug)]
pub struct Waited {
    unsafe_files: unsafe_files::UnsafeFiles,
    span: std::time::Duration,
}

fn staging_error(tree: &StagingTree, source: StagingError) -> CommitError {
    CommitError::Staging { client: tree.client().to_string(), source: Box::new(source) }
}

impl Commit<'_> {
    /// Makes the generation; the caller holds the writer lock.
    ///
    /// # Errors
    /// [`CommitError`] if no generation was made; what was staged is staged as before.
    pub fn run(&self, on_file: &mut OnFile<'_>) -> Result<CommitSummary, CommitError> {
        self.run_after(self.wait()?, on_file)
    }

    /// The same after [`Commit::wait`].
    ///
    /// # Errors
    /// As for [`Commit::run`].
    pub fn run_after(&self, waited: Waited, on_file: &mut OnFile<'_>) -> Result<CommitSummary, CommitError> {
        let repository = Arc::clone(self.tree.repository());
        let Waited { unsafe_files, span } = waited;
        let frozen = self.tree.freeze().map_err(|source| staging_error(self.tree, source))?;
        let (writer, mut summary, has_news) = self.store(&repository, &frozen, &unsafe_files, on_file)?;
        summary.waited = span;
        if !has_news && !self.options.always && self.is_latest(&repository, &frozen)? {
            writer.abandon()?;
            self.forget(frozen, &summary)?;
            return Ok(summary);
        }
        if let Err(cancelled) = self.progress.check() {
            writer.abandon()?;
            return Err(cancelled.into());
        }
        self.publish(&repository, frozen, writer, &mut summary)?;
        Ok(summary)
    }

    /// Finds what a commit would add now, and writes nothing.
    ///
    /// # Errors
    /// [`CommitError`] if that cannot be found out.
    pub fn preview(&self, on_file: &mut OnFile<'_>) -> Result<CommitSummary, CommitError> {
        let below = self.tree.repository();
        let storage = dry_storage::DryStorage::new(Arc::clone(below.storage()), below.root());
        let storage = Arc::new(storage);
        let repository = Repository::open_storage(storage, CacheBytes::default())?;
        let frozen = self.tree.freeze().map_err(|source| staging_error(self.tree, source))?;
        let unsafe_files = unsafe_files::UnsafeFiles::default();
        let (writer, summary, _) = self.store(&repository, &frozen, &unsafe_files, on_file)?;
        writer.abandon()?;
        frozen.abandon().map_err(|source| staging_error(self.tree, source))?;
        Ok(summary)
    }

    // Staging that was set to an older generation is not what the latest one holds.
    fn is_latest(&self, repository: &Repository, frozen: &FrozenEpoch<'_>) -> Result<bool, CommitError> {
        if !self.tree.is_base_chosen() {
            return Ok(true);
        }
        let latest = repository.generations(self.tree.client())?.last().map(|latest| latest.ordinal);
        Ok(latest == frozen.base().map(|base| base.ordinal()))
    }

    // What was done is in the generation below already, or came to nothing: it is pending no more.
    fn forget(&self, frozen: FrozenEpoch<'_>, summary: &CommitSummary) -> Result<(), CommitError> {
        let Some(base) = frozen.base().map(|base| base.ordinal()) else { return Ok(()) };
        if summary.kept_back.count > 0 || summary.unreadable.count > 0 {
            return Ok(());
        }
        frozen.finish(base).map_err(|source| staging_error(self.tree, source))
    }

    /// Waits until what is being written is safe, or until the policy gives up. For this nobody needs the writer lock.
    ///
    /// # Errors
    /// [`CommitError`] if it is cancelled, or what was staged cannot be read.
    pub fn wait(&self) -> Result<Waited, CommitError> {
        let mut policy = self.policy.safe.clone();
        if self.options.now {
            policy.give_up = crate::format::staging_policy::Span::from_secs(0);
        }
        let (unsafe_files, span) = safe::wait(self.tree, &policy, &*self.outside, self.progress)?;
        Ok(Waited { unsafe_files, span })
    }

    fn store<'r>(
        &self,
        repository: &'r Repository,
        frozen: &FrozenEpoch<'_>,
        unsafe_files: &unsafe_files::UnsafeFiles,
        on_file: &mut OnFile<'_>,
    ) -> Result<(GenerationWriter<'r>, CommitSummary, bool), CommitError> {
        let base = frozen.base().map_or(Base::Nothing, |base| Base::Generation(base.ordinal()));
        let mut writer = GenerationWriter::begin(repository, self.tree.client(), self.inputs()?, base)?;
        let (next_linked, next_directory) = frozen.next_ids();
        writer.take_ids(next_linked, next_directory);
        let scratch = spilling::scratch(repository).map_err(StoreError::from)?;
        let claims = Claims::new(scratch.as_ref());
        let dedup = Dedup::new(repository, self.index);
        let config = repository.config();
        let worker_count = match self.options.worker_count {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            count => count,
        };
        let make_worker = || Worker::new(&dedup, &claims, config);
        pipeline::run(worker_count, make_worker, |pipeline| {
            let emitter = Emitter::new(repository, &claims, self.progress, writer, pipeline);
            let context = driver::Context {
                repository,
                tree: self.tree,
                frozen,
                policy: self.policy,
                unsafe_files,
                progress: self.progress,
                dedup: &dedup,
                scratch: scratch.as_ref(),
                tell_paths: self.options.tell_paths,
            };
            driver::Driver::new(context, emitter, on_file).run()
        })
    }

    fn inputs(&self) -> Result<WriterInputs, CommitError> {
        let now = GenerationTime::from_seconds(self.outside.now().seconds).ok_or(CommitError::Clock)?;
        let outside = Arc::clone(&self.outside);
        Ok(WriterInputs { now, new_id: Box::new(move || outside.new_id()) })
    }

    fn publish(
        &self,
        repository: &Repository,
        frozen: FrozenEpoch<'_>,
        writer: GenerationWriter<'_>,
        summary: &mut CommitSummary,
    ) -> Result<(), CommitError> {
        let refused = |source| staging_error(self.tree, source);
        frozen.announce(writer.id().ordinal).map_err(refused)?;
        let source = format!("staging/{}", self.tree.client());
        let committed = writer.commit(self.options.message.as_bytes(), source.as_bytes())?;
        summary.added_bytes = committed.added_bytes;
        if let Some(index) = self.index {
            let client = self.tree.client();
            if let Err(error) = index_generation(repository, index, client, committed.id, &committed.bdfs) {
                // The generation exists; an index that lags behind costs space, not data.
                summary.stored.index_problem = Some(crate::job::chain(&error));
            }
        }
        if let Err(error) = Dedup::new(repository, self.index).forget_healed() {
            log::warn!("the record of damaged chunks stays as it was: {error}");
        }
        let ordinal = committed.id.ordinal;
        summary.stored.committed = Some(committed);
        frozen.finish(ordinal).map_err(refused)
    }
}
