//! What is answered over the control socket: one JSON object in a line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::commit::{CommitSummary, Count, FileReport};
use crate::job::problem::Problems;

/// An answer; the last one of a request is [`Answer::Done`] or [`Answer::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// How far the work is.
    Progress {
        /// Files finished.
        files: u64,
        /// Bytes finished.
        bytes: u64,
        /// Bytes known so far.
        total_bytes: u64,
    },
    /// Something that people should know.
    Note {
        /// In words.
        text: String,
    },
    /// What was done with one file.
    File(FileAnswer),
    /// One client's staging.
    Client(ClientStatus),
    /// What a commit did, or would do.
    Commit(Box<CommitAnswer>),
    /// A client's staging stands on this generation now; none for the empty tree.
    Staged {
        /// The client.
        client: String,
        /// Name of the generation.
        generation: Option<String>,
        /// Where the damaged staging is that this one took the place of.
        #[serde(default)]
        aside: Option<SetAsideAnswer>,
    },
    /// The mount has the client that was asked for.
    Found(ServedBy),
    /// The request is done.
    Done,
    /// The request failed.
    Failed(Refusal),
}

/// What was done with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAnswer {
    /// Path from the client's root, as bytes.
    pub path: Vec<u8>,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that were written since the base.
    pub written_bytes: u64,
    /// `rfe`, `fda`, `sfp` or `kept`.
    pub method: String,
    /// Why so.
    pub reason: String,
}

impl From<&FileReport> for FileAnswer {
    fn from(report: &FileReport) -> Self {
        Self {
            path: report.path.clone(),
            size: report.size,
            written_bytes: report.written_bytes,
            method: report.method.as_str().to_owned(),
            reason: report.reason.to_owned(),
        }
    }
}

/// One client's staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The client.
    pub client: String,
    /// Name of the generation that it stands on.
    pub base: Option<String>,
    /// Something differs from that.
    pub is_changed: bool,
    /// Names that changed; an estimate.
    pub entry_count: u64,
    /// Objects that changed; an estimate.
    pub object_count: u64,
    /// Bytes in backing files.
    pub backing_bytes: u64,
    /// Files that are open for writing, or mapped for that.
    pub writer_count: u64,
    /// A commit is running.
    pub is_committing: bool,
    /// Commits after write silence.
    pub commits_on_silence: bool,
    /// Commits every so many seconds; 0 for never.
    pub commit_every_seconds: u64,
    /// A daemon serves it.
    pub is_served: bool,
    /// Bytes that are free on the disk; more than any disk has where a daemon of an earlier version answers.
    #[serde(default = "unknown_bytes")]
    pub disk_free_bytes: u64,
    /// Bytes of them that are kept for a commit or a discard.
    #[serde(default)]
    pub reserve_bytes: u64,
}

/// Who serves a client's staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedBy {
    /// Where the repository is mounted, as people know it.
    pub mountpoint: String,
    /// The process.
    pub pid: u32,
}

/// A damaged staging that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideAnswer {
    /// What was wrong with it.
    pub damage: String,
    /// Its directory now, as people know it.
    pub path: String,
    /// Count of files with what was written.
    pub file_count: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

fn unknown_bytes() -> u64 {
    u64::MAX
}

/// Files and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl From<Count> for Counted {
    fn from(count: Count) -> Self {
        Self { files: count.files, bytes: count.bytes }
    }
}

/// Files that something is to be said of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remarks {
    /// Count of all.
    pub count: u64,
    /// Path and remark of the first ones.
    pub listed: Vec<(String, String)>,
}

impl From<&Problems> for Remarks {
    fn from(problems: &Problems) -> Self {
        let listed = problems.listed.iter().map(|problem| (problem.path.clone(), problem.reason.clone()));
        Self { count: problems.count, listed: listed.collect() }
    }
}

/// What a commit did, or would do. Files are names of regular files; the bytes of one with several names count once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CommitAnswer {
    /// The client.
    pub client: String,
    /// Name of the generation; none if nothing changed, and in a preview.
    pub generation: Option<String>,
    /// Its number.
    pub ordinal: Option<u32>,
    /// Nothing was written, this is what would be.
    pub is_preview: bool,
    /// Files that the base does not have by this name.
    pub new: Counted,
    /// Files that differ from the base.
    pub modified: Counted,
    /// Files that do not.
    pub unchanged: Counted,
    /// Of the new and modified ones, those whose content was stored already.
    pub redundant: Counted,
    /// Files that are gone: those of the base, less these and with the new ones, are as many as `holds`.
    pub removed: Counted,
    /// Files of which only what was written was read; the bytes of that.
    pub fda: Counted,
    /// Files that were read whole and cut by content.
    pub sfp: Counted,
    /// Files of which no content was touched.
    pub kept: Counted,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes added to BDFs.
    pub added_bytes: u64,
    /// Length of the DTF.
    pub dtf_bytes: u64,
    /// Files and bytes that the generation holds, or would hold: all that are new, modified and unchanged.
    pub holds: Counted,
    /// Files marked inconsistent.
    pub inconsistent: Remarks,
    /// Files left as they last were safe.
    pub kept_back: Remarks,
    /// Files whose record of written regions was not trusted.
    pub untrusted: Remarks,
    /// Files of which what lies below what was written cannot be read.
    #[serde(default)]
    pub unreadable: Remarks,
    /// The index does not know the generation; why.
    pub index_problem: Option<String>,
    /// Time spent on waiting for writers, in milliseconds.
    pub waited_ms: u64,
}

impl CommitAnswer {
    /// Tells what a commit did.
    #[must_use]
    pub fn new(client: &str, is_preview: bool, summary: &CommitSummary) -> Self {
        let stored = &summary.stored;
        let committed = stored.committed.as_ref();
        let kept = summary.held_files();
        let holds = committed.map_or(kept, |committed| Count {
            files: committed.totals.file_count,
            bytes: committed.totals.content_bytes,
        });
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            client: client.to_owned(),
            generation: committed.map(|committed| committed.id.time.to_string()),
            ordinal: committed.map(|committed| committed.id.ordinal.get()),
            is_preview,
            new: stored.new.into(),
            modified: stored.modified.into(),
            unchanged: stored.unchanged.into(),
            redundant: stored.redundant.into(),
            removed: summary.removed.into(),
            fda: summary.fda.into(),
            sfp: summary.sfp.into(),
            kept: summary.kept.into(),
            read_bytes: summary.read_bytes,
            added_bytes: summary.added_bytes,
            dtf_bytes: committed.map_or(0, |committed| committed.dtf_bytes),
            holds: holds.into(),
            inconsistent: (&summary.inconsistent).into(),
            kept_back: (&summary.kept_back).into(),
            untrusted: (&summary.untrusted).into(),
            unreadable: (&summary.unreadable).into(),
            index_problem: stored.index_problem.clone(),
            waited_ms: millis(summary.waited),
        }
    }
}

/// Sorts of refusal, for exit codes and hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// It failed.
    Failed,
    /// The request makes no sense.
    Usage,
    /// The client has no staging.
    NoStaging,
    /// There is no such client or generation.
    NoGeneration,
    /// Changes are pending.
    Pending,
    /// A commit of the client is running.
    Committing,
    /// Another process writes to the repository.
    Locked,
    /// Another process has staging open.
    Open,
    /// A mount serves it whose server is away; it will be back in a moment.
    Mounted,
    /// The disk is full.
    DiskFull,
    /// The repository is damaged.
    Damaged,
    /// The client's staging is damaged, not any generation.
    StagingDamaged,
    /// It was asked to stop.
    Interrupted,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The sort.
    pub kind: RefusalKind,
    /// In words, with all causes.
    pub text: String,
}
