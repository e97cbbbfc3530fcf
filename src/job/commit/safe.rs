//! Waits until what is staged is safe to be taken (row H2).

use std::collections::HashSet;
use std::time::Duration;

use super::error::CommitError;
use super::groups::{Groups, ListedGroups};
use super::outside::{Outside, since};
use super::staging_error;
use super::unsafe_files::UnsafeFiles;
use crate::format::record::ROOT_OBJECT;
use crate::format::staging_policy::SafePolicy;
use crate::progress::Progress;
use crate::repo::staging::StagingTree;

const PAUSE: Duration = Duration::from_millis(100);

/// Waits until every file that is open for writing was not written for a while, or until the policy gives
/// up; returns what is not safe then, and how long that took. A file that nobody has open is safe.
pub(super) fn wait(
    tree: &StagingTree,
    policy: &SafePolicy,
    outside: &dyn Outside,
    progress: &Progress,
) -> Result<(UnsafeFiles, Duration), CommitError> {
    let begun = outside.now();
    loop {
        progress.check()?;
        let now = outside.now();
        let waited = since(begun, now);
        let writers = tree.writers().map_err(|source| staging_error(tree, source))?;
        let hot: HashSet<u64> = writers
            .into_iter()
            .filter(|writer| since(writer.last_write, now) < policy.quiet.duration())
            .map(|writer| writer.number)
            .collect();
        if hot.is_empty() || waited >= policy.give_up.duration() {
            let unsynced = tree.unsynced_files().map_err(|source| staging_error(tree, source))?;
            let groups = groups(tree, policy, &hot)?;
            return Ok((UnsafeFiles::new(hot, unsynced.into_iter().collect(), groups), waited));
        }
        outside.sleep(PAUSE);
    }
}

fn groups(tree: &StagingTree, policy: &SafePolicy, hot: &HashSet<u64>) -> Result<Groups, CommitError> {
    let listed = ListedGroups::new(&policy.groups)?;
    let mut groups = Groups::default();
    let exists = |path: &[u8]| exists(tree, path);
    for number in hot {
        // A file without a name belongs to no group.
        if let Ok(path) = tree.path(*number) {
            groups.add(&path, &listed, &exists);
        }
    }
    Ok(groups)
}

fn exists(tree: &StagingTree, path: &[u8]) -> bool {
    let mut met = vec![ROOT_OBJECT];
    let all = crate::path::components(path).all(|name| {
        let found = met.last().and_then(|directory| tree.lookup(*directory, name).ok());
        met.extend(found.map(|entry| entry.number()));
        found.is_some()
    });
    for number in met.into_iter().skip(1) {
        tree.forget(number, 1);
    }
    all
}
