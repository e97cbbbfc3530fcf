//! What can go wrong at the edge: one kind for each exit code, the chain of causes, and a hint.

mod tape;

use std::error::Error;
use std::io;

use reelfs::emulator::EmulatorError;
use reelfs::format::config::ConfigError;
use reelfs::index::{IndexError, UntrustedError};
use reelfs::job::backup::{BackupError, StoreError};
use reelfs::job::index::IndexingError;
use reelfs::job::restore::RestoreError;
use reelfs::job::verify::VerifyError;
use reelfs::live::LiveError;
use reelfs::progress::Cancelled;
use reelfs::repo::{ReadError, RepoError};

const DISK_FULL: &str = "the disk is full; what was there before is untouched";

/// Sorts of failure; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The command failed.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// Done, but for the items that were named.
    Partial,
    /// There is no repository.
    NoRepository,
    /// Another process writes to the repository.
    Locked,
    /// The repository is damaged.
    Damaged,
    /// A tape library, a drive or a cartridge.
    Device,
    /// A signal asked for the end.
    Interrupted,
    /// Nobody reads the output any more.
    BrokenPipe,
}

impl Kind {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::NoRepository => 10,
            Self::Locked => 11,
            Self::Damaged => 12,
            Self::Device => 13,
            Self::Interrupted => 130,
            // What a shell reports for a process that SIGPIPE ended.
            Self::BrokenPipe => 141,
        }
    }
}

/// Why a command ends with another exit code than 0.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The sort of failure.
    pub(crate) kind: Kind,
    /// What happened; `None` if it was told already.
    pub(crate) error: Option<Box<dyn Error + Send + Sync>>,
    /// What the user can do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: Some(error.into()), hint: None }
    }

    /// A failure of the command.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Failed, error)
    }

    /// Arguments that make no sense.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Usage, error)
    }

    /// An end with this kind after everything was told.
    pub(crate) fn told(kind: Kind) -> Self {
        Self { kind, error: None, hint: None }
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the user can do, unless something better is known.
    fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// What happened with its causes, in one line.
    pub(crate) fn text(&self) -> Option<String> {
        self.error.as_ref().map(|error| reelfs::job::chain(&**error))
    }

    /// The lines of `reelfs` for standard error.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines_of("reelfs")
    }

    /// The lines of a program for standard error.
    pub(crate) fn lines_of(&self, program: &str) -> Vec<String> {
        if self.kind == Kind::BrokenPipe {
            return Vec::new();
        }
        let error = self.text().map(|text| format!("{program}: error: {text}"));
        let hint = self.hint.as_ref().map(|hint| format!("hint: {hint}"));
        error.into_iter().chain(hint).collect()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::told(Kind::BrokenPipe),
            _ => Self::failed(Output { source: error }),
        }
    }
}

/// Standard output refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct Output {
    source: io::Error,
}

impl From<Cancelled> for Failure {
    fn from(error: Cancelled) -> Self {
        Self::new(Kind::Interrupted, error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        if error.is_damage() {
            return Self::new(Kind::Damaged, error).hint("'reelfs verify' lists all that is damaged");
        }
        let hint = match &error {
            ReadError::Storage(refused) => hint_for(&refused.source),
            _ => None,
        };
        Self { hint, ..Self::failed(error) }
    }
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        let (kind, hint) = match error {
            RepoError::Read(error) => return error.into(),
            RepoError::Cancelled(cancelled) => return cancelled.into(),
            RepoError::NoRepository { .. } => {
                (Kind::NoRepository, "'reelfs init' makes one; --repo or REELFS_REPO says where it is")
            }
            RepoError::Locked { .. } => {
                (Kind::Locked, "wait until the other backup is done; reading and mounting need no lock")
            }
            RepoError::NotEmpty { .. } => (Kind::Failed, "name a new or an empty directory"),
            RepoError::Insecure { .. } => (Kind::Failed, "take the right from all others: chmod o-w DIR"),
            RepoError::Linked { .. } => {
                (Kind::Failed, "put a directory in its place, or mount one there: mount --bind")
            }
            RepoError::Config { source: ConfigError::Version { .. }, .. } => {
                (Kind::Failed, "a later version of reelfs made it; a reelfs of that version is needed")
            }
            RepoError::Config { .. } => (Kind::Failed, "reelfs.toml(5) lists all settings"),
            RepoError::NoClient { .. } => (Kind::Failed, "'reelfs list' shows clients and generations"),
            RepoError::NoGeneration { .. } | RepoError::Ambiguous { .. } => {
                (Kind::Failed, "'reelfs list CLIENT' shows the generations; a unique prefix is enough")
            }
            RepoError::NoPath { .. } => {
                (Kind::Failed, "'reelfs ls' shows what is there; symbolic links are not followed")
            }
            _ => return Self::failed(error),
        };
        Self::new(kind, error).hint(hint)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        if error.is_disk_full() {
            return Self::failed(error).hint(DISK_FULL);
        }
        if error.is_locked() {
            return Self::new(Kind::Locked, error).hint("another process uses the index; wait for its end");
        }
        if let IndexError::Untrusted { source: UntrustedError::Owner { .. }, .. } = error {
            return Self::failed(error).hint("run it as the user who owns the repository: sudo -u USER");
        }
        if let IndexError::Scratch { .. } | IndexError::Row = error {
            return Self::failed(error);
        }
        let kind = if error.is_damage() { Kind::Damaged } else { Kind::Failed };
        Self::new(kind, error)
            .hint("'reelfs rebuild' makes the index again; mount, list and restore work without it")
    }
}

impl From<IndexingError> for Failure {
    fn from(error: IndexingError) -> Self {
        match error {
            IndexingError::Repo(error) => error.into(),
            IndexingError::Index(error) => error.into(),
            IndexingError::Cancelled(cancelled) => cancelled.into(),
            other => Self::failed(other),
        }
    }
}

impl From<LiveError> for Failure {
    fn from(error: LiveError) -> Self {
        let hint = match &error {
            LiveError::Refused { source, .. } => hint_for(source),
            _ => None,
        };
        Self { hint, ..Self::failed(error) }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Store(error) => error.into(),
            BackupError::Source(error) => {
                Self::from(error).or_hint("SOURCE is the directory to save; it must exist and be readable")
            }
            error @ BackupError::Exclude(_) => Self::usage(error),
            BackupError::Names { ref source } => {
                let hint = hint_for(source);
                Self { hint, ..Self::failed(error) }
            }
            other => Self::failed(other),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Repo(error) => error.into(),
            StoreError::Index(error) => error.into(),
            other => Self::failed(other),
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Repo(error) => error.into(),
            RestoreError::Target(error) => Self::from(error)
                .or_hint("TARGET is a directory, made if it is missing; a single file is restored into it"),
            RestoreError::Cancelled(cancelled) => cancelled.into(),
            other => Self::failed(other),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Repo(error) => error.into(),
            VerifyError::Index(error) => error.into(),
            VerifyError::Cancelled(cancelled) => cancelled.into(),
            other => Self::failed(other),
        }
    }
}

impl From<EmulatorError> for Failure {
    fn from(error: EmulatorError) -> Self {
        let (kind, hint) = match &error {
            EmulatorError::NoLibrary { .. } => {
                (Kind::NoRepository, Some("'vtape create-library DIR' makes one".to_owned()))
            }
            EmulatorError::Damaged { .. } => (Kind::Damaged, None),
            EmulatorError::Shape(_) | EmulatorError::NoUnit { .. } => (Kind::Usage, None),
            EmulatorError::NotEmpty { .. } => {
                (Kind::Failed, Some("name a new or an empty directory".to_owned()))
            }
            EmulatorError::Served { .. } => {
                (Kind::Failed, Some("one target is enough for any number of initiators".to_owned()))
            }
            EmulatorError::NoCartridge(_) => {
                (Kind::Failed, Some("'vtape status DIR' lists the cartridges".to_owned()))
            }
            EmulatorError::File { source, .. } => (Kind::Failed, hint_for(source)),
            _ => (Kind::Failed, None),
        };
        Self { hint, ..Self::new(kind, error) }
    }
}

fn hint_for(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DISK_FULL,
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only",
        io::ErrorKind::PermissionDenied => "the user who runs the command may not do that",
        _ => return None,
    };
    Some(hint.to_owned())
}
