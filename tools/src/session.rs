//! Opens the repository, becomes its writer, and finds or makes its index.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use reelfs::format::frame::ChunkPointer;
use reelfs::id::Fingerprint;
use reelfs::index::Index;
use reelfs::job::index::RebuildSummary;
use reelfs::job::open_index::{self, IndexNews};
use reelfs::repo::locator::ChunkLocator;
use reelfs::repo::repository::{INDEX, WriterLock};
use reelfs::repo::{CacheBytes, Repository};

use crate::clock;
use crate::context::Context;
use crate::failure::Failure;

/// Where the repository is.
pub(crate) fn directory(context: &Context) -> Result<PathBuf, Failure> {
    context.global.repo.clone().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
        Failure::usage("no repository was named")
            .hint("give --repo DIR, or set REELFS_REPO in the environment: export REELFS_REPO=/srv/backup")
    })
}

/// Opens the repository; the index is asked for another place of a chunk that is damaged.
pub(crate) fn open(context: &Context) -> Result<Repository, Failure> {
    let repository = Repository::open(&directory(context)?, CacheBytes::default())?;
    if let Some(root) = repository.root() {
        repository
            .set_chunk_locator(Arc::new(IndexOnDemand { path: root.join(INDEX), index: OnceLock::new() }));
    }
    Ok(repository)
}

/// The index, opened for reading when it is first asked: most commands never meet damage.
#[derive(Debug)]
struct IndexOnDemand {
    path: PathBuf,
    index: OnceLock<Option<Index>>,
}

impl ChunkLocator for IndexOnDemand {
    fn locate(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer> {
        let open =
            || self.path.join("CURRENT").exists().then(|| Index::open_read_only(&self.path).ok()).flatten();
        self.index.get_or_init(open).as_ref()?.locate(fingerprint)
    }
}

/// Opens the repository and becomes its writer.
pub(crate) fn open_for_writing(context: &Context) -> Result<(Repository, Option<WriterLock>), Failure> {
    let repository = open(context)?;
    let lock = repository.lock()?;
    Ok((repository, lock))
}

/// Opens the index; one that is missing or damaged is made again. The caller is the writer.
pub(crate) fn open_index(context: &Context, repository: &Repository) -> Result<Option<Index>, Failure> {
    let display = context.show_progress("index");
    let mut tell = |news| tell_news(context, news);
    let opened = open_index::open_index(repository, clock::now_seconds(), &context.progress, &mut tell);
    drop(display);
    Ok(opened?)
}

/// Makes the index again beside the old one, which stays until the new one is whole. The caller is the
/// writer.
pub(crate) fn rebuild_index(
    context: &Context,
    repository: &Repository,
    path: &Path,
) -> Result<RebuildSummary, Failure> {
    let display = context.show_progress("rebuild");
    let mut tell = |news| tell_news(context, news);
    let summary = open_index::rebuild_index(repository, path, &context.progress, &mut tell);
    drop(display);
    Ok(summary?)
}

fn tell_news(context: &Context, news: IndexNews) {
    match news {
        IndexNews::Missing => context.note("the index is missing and is made again"),
        IndexNews::Damaged(text) => context.warn(&text),
        IndexNews::Left(text) => context.warn(&format!("not in the index: {text}")),
    }
}
