//! Asks the daemon that serves the repository's staging; where there is none, does it here.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reelfs::format::record::Time;
use reelfs::id::{ClientName, GenerationTime};
use reelfs::job::control::{Answer, ControlClient, Daemon, Refusal, RefusalKind, Request, Service, Stagings};
use reelfs::repo::Repository;
use reelfs::repo::staging::{Caller, OpenMode, STAGING, SetAside, StagingError, StagingOptions, StagingTree};

use crate::clock::{self, SystemOutside};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::session;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const CANCEL_PERIOD: Duration = Duration::from_millis(50);
// What a directory gets that no mount has given other permissions.
const PERMISSIONS: u16 = 0o755;

/// Takes answers.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Answer);

/// Does what is asked.
///
/// A daemon whose mount was taken away a moment ago has staging open until it has closed it: that is waited for,
/// and so is one that is being started again.
pub(crate) fn perform(context: &Context, request: &Request, take: Take<'_>) -> Result<(), Failure> {
    let root = session::directory(context)?;
    let mut waited = Duration::ZERO;
    loop {
        let (failure, patience) = match attempt(context, &root, request, &mut *take)? {
            Attempt::Done => return Ok(()),
            Attempt::Ending => (Failure::failed(ENDING), ENDING_PATIENCE),
            Attempt::Away(failure) => (failure, ENDING_PATIENCE),
            Attempt::Open(failure) => (failure, OPEN_PATIENCE),
        };
        if waited >= patience {
            return Err(failure);
        }
        if waited == TELL_AFTER {
            context.note("waiting for the daemon that serves staging");
        }
        context.progress.check()?;
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

const ENDING: &str = "the daemon that served staging was unmounted and does not end";
const PAUSE: Duration = Duration::from_millis(50);
const TELL_AFTER: Duration = Duration::from_secs(1);
const ENDING_PATIENCE: Duration = Duration::from_secs(60);
const OPEN_PATIENCE: Duration = Duration::from_secs(3);

/// What came of asking once.
enum Attempt {
    Done,
    /// A daemon is there, but does not answer any more.
    Ending,
    /// The kernel writes to staging without a daemon: that is being started again.
    Away(Failure),
    /// Another process has staging open.
    Open(Failure),
}

fn attempt(context: &Context, root: &Path, request: &Request, take: Take<'_>) -> Result<Attempt, Failure> {
    match Daemon::find(root, request.client()) {
        Ok(Daemon::One(daemon)) => ask(context, daemon, request, take),
        // Each client may be in another mount.
        Ok(Daemon::Free) if matches!(request, Request::Status { client: None }) => {
            each_client(context, take).map(|()| Attempt::Done)
        }
        Ok(Daemon::None | Daemon::Free) => match perform_here(context, request, take)? {
            Ok(()) => Ok(Attempt::Done),
            Err(refusal) if refusal.kind == RefusalKind::Open => Ok(Attempt::Open(failure(refusal))),
            Err(refusal) if refusal.kind == RefusalKind::Mounted => Ok(Attempt::Away(failure(refusal))),
            Err(refusal) => Err(failure(refusal)),
        },
        Err(source) => Err(Failure::failed(Connect { source })
            .hint("only the owner of the repository may control the daemon that serves its staging")),
    }
}

fn each_client(context: &Context, take: Take<'_>) -> Result<(), Failure> {
    let repository = session::open(context)?;
    let mut failed = None;
    for client in StagingTree::clients(&repository).map_err(|error| failure(error.into()))? {
        let request = Request::Status { client: Some(client.to_string()) };
        if let Err(failure) = perform(context, &request, &mut *take) {
            take(Answer::Note { text: format!("{client}: {}", failure.text().unwrap_or_default()) });
            failed.get_or_insert(failure);
        }
    }
    failed.map_or(Ok(()), |Failure { kind, hint, .. }| {
        let error = Some("not every client's staging can be looked at".into());
        Err(Failure { kind, error, hint })
    })
}

/// The daemon cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the daemon that serves staging")]
struct Connect {
    source: io::Error,
}

fn ask(
    context: &Context,
    mut daemon: ControlClient,
    request: &Request,
    take: Take<'_>,
) -> Result<Attempt, Failure> {
    let refused = |source| Failure::failed(Connect { source });
    let closer = daemon.closer().map_err(refused)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // At a signal nothing more is asked, and the daemon stops what it does for us. Its last answer is waited for:
        // until then it has the repository locked.
        let watching = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                if context.progress.check().is_err() {
                    closer.shutdown(Shutdown::Write).unwrap_or_default();
                    return;
                }
                // Until the answer is there.
                std::thread::park_timeout(CANCEL_PERIOD);
            }
        });
        let result = match daemon.ask(request) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Attempt::Ending),
            asked => asked.map_err(refused).and_then(|()| listen(context, &mut daemon, take)),
        };
        done.store(true, Ordering::Release);
        watching.thread().unpark();
        match result {
            // It was done before the signal came.
            Ok(Attempt::Done) => Ok(Attempt::Done),
            result => context.progress.check().map_err(Failure::from).and(result),
        }
    })
}

fn listen(context: &Context, daemon: &mut ControlClient, take: Take<'_>) -> Result<Attempt, Failure> {
    let mut is_answered = false;
    loop {
        let answer = match daemon.answer() {
            // It hung up before it had read the request.
            Err(error) if !is_answered && error.kind() == io::ErrorKind::ConnectionReset => None,
            answer => answer.map_err(|source| Failure::failed(Connect { source }))?,
        };
        match answer {
            None if !is_answered => return Ok(Attempt::Ending),
            None => return Err(Failure::failed("the daemon that serves staging went away").hint(
                "'reelfs staging' shows what is pending; a commit that was cut off can be asked for again",
            )),
            Some(Answer::Done) => return Ok(Attempt::Done),
            Some(Answer::Failed(refusal)) if refusal.kind == RefusalKind::Mounted => {
                return Ok(Attempt::Away(failure(refusal)));
            }
            Some(Answer::Failed(refusal)) => return Err(failure(refusal)),
            Some(Answer::Progress { files, bytes, total_bytes }) => {
                let progress = &context.progress;
                for (counter, value) in [
                    (&progress.done_items, files),
                    (&progress.done_bytes, bytes),
                    (&progress.total_bytes, total_bytes),
                ] {
                    counter.store(value, Ordering::Relaxed);
                }
            }
            Some(answer) => take(answer),
        }
        is_answered = true;
    }
}

fn perform_here(
    context: &Context,
    request: &Request,
    take: Take<'_>,
) -> Result<Result<(), Refusal>, Failure> {
    let repository = Arc::new(session::open(context)?);
    let here = Arc::new(Here { repository, open: Mutex::default() });
    let service = Service::new(Arc::clone(&here) as Arc<dyn Stagings>, Arc::new(SystemOutside));
    let result = service.perform(request, &context.progress, &mut *take);
    drop(service);
    here.close(context);
    Ok(result)
}

/// Trees that this process opens.
#[derive(Debug)]
struct Here {
    repository: Arc<Repository>,
    open: Mutex<HashMap<ClientName, Arc<StagingTree>>>,
}

impl Here {
    fn options() -> StagingOptions {
        // Without it each start counts as one after a loss of power, which is safe.
        StagingOptions::new(OpenMode::Fresh, std::fs::read(BOOT_ID).unwrap_or_default())
    }

    fn close(&self, context: &Context) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        for (client, tree) in open {
            if let Some(Err(error)) = Arc::into_inner(tree).map(StagingTree::close) {
                context.warn(&format!("staging of {client}: {}", reelfs::job::chain(&error)));
            }
        }
    }
}

impl Stagings for Here {
    fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    fn names(&self) -> Result<Vec<ClientName>, StagingError> {
        StagingTree::clients(&self.repository)
    }

    fn tree(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = open.get(client) {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(StagingTree::open(Arc::clone(&self.repository), client, &Self::options())?);
        open.insert(client.clone(), Arc::clone(&tree));
        Ok(tree)
    }

    fn opened(&self, client: &ClientName) -> Option<Arc<StagingTree>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(client).map(Arc::clone)
    }

    fn create(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        let now = Time { seconds: clock::now_seconds(), nanoseconds: 0 };
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let caller = Caller { uid, gid, umask: 0, now };
        let repository = Arc::clone(&self.repository);
        let tree = StagingTree::create(repository, client, &Self::options(), caller, PERMISSIONS)?;
        let tree = Arc::new(tree);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(client.clone(), Arc::clone(&tree));
        Ok(tree)
    }

    fn set_aside(&self, client: &ClientName, mark: &str) -> Result<SetAside, StagingError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = open.remove(client);
        let aside = StagingTree::set_aside(&self.repository, client, mark, tree.is_some());
        // Of what is damaged nothing is written any more.
        drop(tree);
        aside
    }

    fn forget(&self, _tree: &StagingTree) {}

    fn show(&self) {}

    fn is_mounted(&self) -> bool {
        false
    }
}

fn failure(refusal: Refusal) -> Failure {
    let (kind, hint) = match refusal.kind {
        RefusalKind::Failed => return Failure::failed(refusal),
        RefusalKind::Usage => return Failure::usage(refusal),
        RefusalKind::Interrupted => return Failure::new(Kind::Interrupted, "interrupted"),
        RefusalKind::NoStaging => (
            Kind::Failed,
            "'mkdir MOUNTPOINT/staging/CLIENT' makes it on a mounted repository, \
             'reelfs stage CLIENT@latest' on a client that has generations",
        ),
        RefusalKind::NoGeneration => {
            (Kind::Failed, "'reelfs list' shows clients and generations; a unique prefix of one is enough")
        }
        RefusalKind::Pending => (
            Kind::Failed,
            "'reelfs commit CLIENT' makes a generation of the changes, 'reelfs discard CLIENT' drops them",
        ),
        RefusalKind::Committing => (Kind::Locked, "--wait waits for its end"),
        RefusalKind::Locked => {
            (Kind::Locked, "wait for the end of the other command; 'reelfs commit --wait' does so by itself")
        }
        RefusalKind::Open => (
            Kind::Locked,
            "it is another command, or a daemon that does not answer; \
             'fuser -v REPOSITORY/staging/CLIENT/meta/LOCK' names it",
        ),
        RefusalKind::Mounted => (
            Kind::Locked,
            "'findmnt -t fuse.reelfs' names the mounts; 'umount' ends one whose daemon does not come back",
        ),
        RefusalKind::DiskFull => (
            Kind::Failed,
            "what was staged is staged as before, and all generations are there; make space on the disk, or remove \
             some of what is staged, and commit again; 'reelfs discard CLIENT' gives all of its space back",
        ),
        RefusalKind::Damaged => (
            Kind::Damaged,
            "'reelfs verify' lists all that is damaged; what is staged is staged as before, and can be committed on an \
             older generation: reelfs-staging(7), TO GO BACK",
        ),
        RefusalKind::StagingDamaged => (
            Kind::Damaged,
            "no generation is affected, and other clients go on; what was staged since the last commit may be lost. \
             'reelfs discard CLIENT' lets the client begin anew on its latest generation, and moves what is left of \
             its staging aside, where nothing of it is removed",
        ),
    };
    Failure::new(kind, refusal).hint(hint)
}

/// Refuses a backup into a client whose staging has changes: the two would be two next generations.
pub(crate) fn refuse_pending(context: &Context, client: &ClientName) -> Result<(), Failure> {
    if !has_staging(&session::directory(context)?, client) {
        return Ok(());
    }
    let mut is_changed = false;
    let request = Request::Status { client: Some(client.to_string()) };
    perform(context, &request, &mut |answer| {
        if let Answer::Client(status) = answer {
            is_changed |= status.is_changed;
        }
    })?;
    if is_changed {
        let text = format!("staging of {client} has changes that are in no generation");
        return Err(failure(Refusal::new(RefusalKind::Pending, text)));
    }
    Ok(())
}

/// After a backup: staging without changes stands on the new generation, or a later one.
pub(crate) fn move_on(context: &Context, client: &ClientName, made: GenerationTime) -> Result<(), Failure> {
    if !has_staging(&session::directory(context)?, client) {
        return Ok(());
    }
    let request = Request::Stage { client: client.to_string(), generation: "latest".to_owned() };
    let moved = perform(context, &request, &mut |_| {});
    // It may have been opened since the backup, moved on by itself, and been written.
    if moved.is_err() && base_of(context, client)?.is_some_and(|base| base >= made) {
        return Ok(());
    }
    moved
}

fn base_of(context: &Context, client: &ClientName) -> Result<Option<GenerationTime>, Failure> {
    let mut base = None;
    let request = Request::Status { client: Some(client.to_string()) };
    perform(context, &request, &mut |answer| {
        if let Answer::Client(status) = answer {
            base = status.base.and_then(|base| base.parse().ok());
        }
    })?;
    Ok(base)
}

fn has_staging(root: &Path, client: &ClientName) -> bool {
    root.join(STAGING).join(client.as_str()).is_dir()
}
