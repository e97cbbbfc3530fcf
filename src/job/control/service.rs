//! Does what is asked of staging.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::{Answer, ClientStatus, CommitAnswer, FileAnswer, Refusal, RefusalKind, ServedBy};
use super::request::{CommitRequest, Request};
use crate::format::config::Config;
use crate::format::dtf::TEXT_LEN_MAX;
use crate::format::staging_policy::{StagingPolicy, When};
use crate::id::ClientName;
use crate::index::Index;
use crate::job::commit::{Commit, CommitOptions, FileReport, Outside};
use crate::job::open_index::{IndexNews, open_index};
use crate::progress::Progress;
use crate::repo::repository::{INDEX, WriterLock};
use crate::repo::staging::{Limits, SetAside, StagingError, StagingTree};
use crate::repo::{RepoError, Repository};

const PAUSE: Duration = Duration::from_millis(100);

/// The staging trees of a repository, by whoever holds them open.
pub trait Stagings: Send + Sync + fmt::Debug {
    /// The repository.
    fn repository(&self) -> &Arc<Repository>;

    /// Names of all clients with staging, in order.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be listed.
    fn names(&self) -> Result<Vec<ClientName>, StagingError>;

    /// A client's tree.
    ///
    /// # Errors
    /// [`StagingError::NotFound`] if it has none, or why it cannot be opened.
    fn tree(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError>;

    /// A client's tree if it is open.
    fn opened(&self, client: &ClientName) -> Option<Arc<StagingTree>>;

    /// Makes a client's tree.
    ///
    /// # Errors
    /// [`StagingError`] if it has one, or why it cannot be made.
    fn create(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError>;

    /// Sets a client's damaged tree aside ([`StagingTree::set_aside`]): it has no staging then.
    ///
    /// # Errors
    /// [`StagingError`] if that cannot be done.
    fn set_aside(&self, client: &ClientName, mark: &str) -> Result<SetAside, StagingError>;

    /// Makes others forget what they know of a tree, after its changes were discarded or another generation
    /// was put below.
    fn forget(&self, tree: &StagingTree);

    /// Lets others see a generation that was just made, and waits until they do.
    fn show(&self);

    /// Tells whether the trees are mounted.
    fn is_mounted(&self) -> bool;

    /// This mount, if it has the client.
    fn served_by(&self, _client: &ClientName) -> Option<ServedBy> {
        None
    }

    /// Tells whether commits of the client by its policy are for this process to make.
    fn is_scheduled(&self, _client: &ClientName) -> bool {
        true
    }
}

/// Takes answers.
pub type Emit<'a> = &'a mut dyn FnMut(Answer);

/// Does what is asked of staging; shared by threads.
#[derive(Debug)]
pub struct Service {
    pub(super) stagings: Arc<dyn Stagings>,
    pub(super) outside: Arc<dyn Outside>,
    committing: Mutex<HashSet<ClientName>>,
    ended: Condvar,
}

// A commit that is running.
pub(super) struct Running<'a> {
    service: &'a Service,
    client: ClientName,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.service.committing().remove(&self.client);
        self.service.ended.notify_all();
    }
}

impl Service {
    /// Takes the trees, and a clock.
    #[must_use]
    pub fn new(stagings: Arc<dyn Stagings>, outside: Arc<dyn Outside>) -> Self {
        Self { stagings, outside, committing: Mutex::default(), ended: Condvar::new() }
    }

    /// Does what is asked, and gives the answers but the last one.
    ///
    /// # Errors
    /// [`Refusal`] if it cannot be done.
    pub fn perform(&self, request: &Request, progress: &Progress, emit: Emit<'_>) -> Result<(), Refusal> {
        let done = match request {
            Request::Status { client } => self.status(client.as_deref(), emit),
            Request::Commit(request) => self.commit(request, progress, emit),
            Request::Preview(request) => self.preview(request, progress, emit),
            Request::Discard { client } => self.discard(&named(client)?, emit),
            Request::Stage { client, generation } => self.stage(&named(client)?, generation, emit),
            Request::Wait { client } => {
                let client = named(client)?;
                drop(self.begin(&client, true, progress)?);
                Ok(())
            }
            Request::Find { client } => {
                if let Some(found) = self.stagings.served_by(&named(client)?) {
                    emit(Answer::Found(found));
                }
                Ok(())
            }
            Request::Ping => Ok(()),
        };
        done.map_err(|refusal| match request.client() {
            Some(client) => self.told_damage(client, refusal),
            None => refusal,
        })
    }

    /// Waits until no commit is running.
    pub fn wait_idle(&self) {
        let committing = self.ended.wait_while(self.committing(), |committing| !committing.is_empty());
        drop(committing.unwrap_or_else(PoisonError::into_inner));
    }

    fn committing(&self) -> MutexGuard<'_, HashSet<ClientName>> {
        self.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // One commit of a client at a time.
    pub(super) fn begin(
        &self,
        client: &ClientName,
        wait: bool,
        progress: &Progress,
    ) -> Result<Running<'_>, Refusal> {
        let mut committing = self.committing();
        while committing.contains(client) {
            if !wait {
                let text = format!("a commit of {client} is running");
                return Err(Refusal::new(RefusalKind::Committing, text));
            }
            progress.check()?;
            let waited = self.ended.wait_timeout(committing, PAUSE);
            committing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        committing.insert(client.clone());
        Ok(Running { service: self, client: client.clone() })
    }

    pub(super) fn repository(&self) -> &Repository {
        self.stagings.repository()
    }

    /// The policies as they are in the file now.
    pub(super) fn config(&self) -> Result<Config, RepoError> {
        self.repository().read_config()
    }

    /// A client's tree within the bounds of its policy.
    pub(super) fn tree(
        &self,
        client: &ClientName,
        policy: &StagingPolicy,
    ) -> Result<Arc<StagingTree>, Refusal> {
        let tree = self.stagings.tree(client).map_err(|error| match error {
            StagingError::NotFound => {
                Refusal::new(RefusalKind::NoStaging, format!("client {client} has no staging"))
            }
            // What the database says of it helps nobody.
            StagingError::Locked { .. } => {
                Refusal::new(RefusalKind::Open, format!("staging of {client} is open in another process"))
            }
            error => error.into(),
        })?;
        tree.set_limits(Limits::of(&policy.space));
        Ok(tree)
    }

    fn status(&self, client: Option<&str>, emit: Emit<'_>) -> Result<(), Refusal> {
        let config = self.config()?;
        let names = match client {
            Some(client) => vec![named(client)?],
            None => self.stagings.names()?,
        };
        let mut failed = None;
        for name in names {
            let policy = config.staging_policy(&name);
            let told = self.tree(&name, &policy).and_then(|tree| self.client_status(&name, &policy, &tree));
            match told {
                Ok(status) => emit(Answer::Client(status)),
                Err(refusal) if client.is_some() => return Err(refusal),
                // Of the others it is told all the same.
                Err(refusal) => {
                    let refusal = self.told_damage(name.as_str(), refusal);
                    emit(Answer::Note { text: format!("{name}: {}", refusal.text) });
                    failed.get_or_insert(refusal.kind);
                }
            }
        }
        match failed {
            None => Ok(()),
            Some(kind) => Err(Refusal::new(kind, "not every client's staging can be looked at")),
        }
    }

    fn client_status(
        &self,
        name: &ClientName,
        policy: &StagingPolicy,
        tree: &StagingTree,
    ) -> Result<ClientStatus, Refusal> {
        let pending = tree.pending()?;
        Ok(ClientStatus {
            client: name.to_string(),
            base: self.base_name(tree)?,
            is_changed: tree.is_changed()?,
            entry_count: pending.entry_count,
            object_count: pending.object_count,
            backing_bytes: pending.backing_bytes,
            writer_count: tree.open_for_writing_count() as u64,
            is_committing: self.committing().contains(name),
            commits_on_silence: policy.commit.when == When::Silence,
            commit_every_seconds: policy.commit.every.duration().as_secs(),
            is_served: self.stagings.is_mounted(),
            disk_free_bytes: tree.disk_free_bytes()?,
            reserve_bytes: policy.space.reserve_bytes,
        })
    }

    pub(super) fn base_name(&self, tree: &StagingTree) -> Result<Option<String>, Refusal> {
        let Some(base) = tree.base() else { return Ok(None) };
        let generation = self.repository().generation(base).map_err(RepoError::from)?;
        Ok(Some(generation.header.time.to_string()))
    }

    fn commit(&self, request: &CommitRequest, progress: &Progress, emit: Emit<'_>) -> Result<(), Refusal> {
        let client = named(&request.client)?;
        let len = request.message.len();
        if len > TEXT_LEN_MAX {
            let text = format!("the message has {len} bytes, expected at most {TEXT_LEN_MAX}");
            return Err(Refusal::new(RefusalKind::Usage, text));
        }
        let policy = self.config()?.staging_policy(&client);
        let _running = self.begin(&client, request.wait, progress)?;
        let tree = self.tree(&client, &policy)?;
        let options = options(request);
        // Others may write to the repository meanwhile, and need the reserve.
        let waited = self.commit_of(&tree, None, &policy, &options, progress).wait()?;
        let _lock = self.lock(request.wait, progress)?;
        // The index too may need some of the reserve.
        let _room = tree.make_room()?;
        tree.reclaim_if_tight()?;
        let now_seconds = self.outside.now().seconds;
        let mut tell = |news| emit(Answer::Note { text: news_text(news) });
        let index = open_index(self.repository(), now_seconds, progress, &mut tell)?;
        let commit = self.commit_of(&tree, index.as_ref(), &policy, &options, progress);
        let was_changed = tree.is_changed()?;
        let summary = commit.run_after(waited, &mut |report| tell_file(request, report, emit))?;
        if summary.stored.committed.is_some() {
            self.stagings.show();
        } else if was_changed && !tree.is_changed()? {
            // Times of changes that came to nothing are gone.
            self.stagings.forget(&tree);
        }
        emit(Answer::Commit(Box::new(CommitAnswer::new(client.as_str(), false, &summary))));
        Ok(())
    }

    fn preview(&self, request: &CommitRequest, progress: &Progress, emit: Emit<'_>) -> Result<(), Refusal> {
        let client = named(&request.client)?;
        let policy = self.config()?.staging_policy(&client);
        let _running = self.begin(&client, request.wait, progress)?;
        let tree = self.tree(&client, &policy)?;
        let _room = tree.make_room()?;
        let path = self.repository().root().map(|root| root.join(INDEX));
        // Without an index all counts as new, which is what a commit without one would make of it.
        let index = path.and_then(|path| Index::open_read_only(&path).ok());
        let options = options(request);
        let commit = self.commit_of(&tree, index.as_ref(), &policy, &options, progress);
        let summary = commit.preview(&mut |report| tell_file(request, report, emit))?;
        emit(Answer::Commit(Box::new(CommitAnswer::new(client.as_str(), true, &summary))));
        Ok(())
    }

    fn commit_of<'a>(
        &self,
        tree: &'a StagingTree,
        index: Option<&'a Index>,
        policy: &'a StagingPolicy,
        options: &'a CommitOptions,
        progress: &'a Progress,
    ) -> Commit<'a> {
        Commit { tree, index, policy, options, outside: Arc::clone(&self.outside), progress }
    }

    fn lock(&self, wait: bool, progress: &Progress) -> Result<Option<WriterLock>, Refusal> {
        loop {
            match self.repository().lock() {
                Err(RepoError::Locked { .. }) if wait => progress.check()?,
                other => return Ok(other?),
            }
            self.outside.sleep(PAUSE);
        }
    }

    fn stage(&self, client: &ClientName, generation: &str, emit: Emit<'_>) -> Result<(), Refusal> {
        let policy = self.config()?.staging_policy(client);
        let wanted = self.repository().resolve(client, generation)?;
        let _running = self.begin(client, false, &Progress::new())?;
        let tree = match self.stagings.tree(client) {
            Err(StagingError::NotFound) => self.stagings.create(client)?,
            found => found?,
        };
        tree.set_limits(Limits::of(&policy.space));
        // Also on that very generation: who asks for it wants to see it as it is.
        if tree.is_changed()? {
            return Err(changed(client, &tree));
        }
        if tree.base() != Some(wanted.ordinal) {
            tree.restage(Some(wanted.ordinal)).map_err(|error| match error {
                StagingError::Busy { .. } => changed(client, &tree),
                error => error.into(),
            })?;
            self.stagings.forget(&tree);
        }
        let (client, generation) = (client.to_string(), self.base_name(&tree)?);
        emit(Answer::Staged { client, generation, aside: None });
        Ok(())
    }
}

fn named(client: &str) -> Result<ClientName, Refusal> {
    client.parse().map_err(|error| Refusal::new(RefusalKind::Usage, crate::job::chain(&error)))
}

// Says how much would be lost.
fn changed(client: &ClientName, tree: &StagingTree) -> Refusal {
    let lost = match tree.pending() {
        Ok(pending) => format!(
            "names changed: {}, files and directories changed: {}, bytes of disk: {}",
            pending.entry_count, pending.object_count, pending.backing_bytes
        ),
        Err(error) => crate::job::chain(&error),
    };
    let text = format!("staging of {client} has changes that would be lost ({lost})");
    Refusal::new(RefusalKind::Pending, text)
}

fn options(request: &CommitRequest) -> CommitOptions {
    CommitOptions {
        message: request.message.clone(),
        always: request.always,
        now: request.now,
        tell_paths: request.files,
        worker_count: 0,
    }
}

fn news_text(news: IndexNews) -> String {
    match news {
        IndexNews::Missing => "the index is missing and is made again".to_owned(),
        IndexNews::Damaged(text) => text,
        IndexNews::Left(text) => format!("not in the index: {text}"),
    }
}

fn tell_file(request: &CommitRequest, report: &FileReport, emit: Emit<'_>) {
    if request.files {
        emit(Answer::File(FileAnswer::from(report)));
    }
}
