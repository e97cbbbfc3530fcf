//! Waits until what is staged is safe to be taken (row H2).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::error::CommitError;
use super::groups::{Groups, ListedGroups};
use super::outside::{Outside, since};
use super::staging_error;
use super::unsafe_files::UnsafeFiles;
use crate::format::record::ROOT_OBJECT;
use crate::format::staging_policy::SafePolicy;
use crate::progress::Progress;
use crate::repo::staging::{StagingTree, Writer};

const PAUSE: Duration = Duration::from_millis(100);

/// Waits until every file that is open for writing was not written for a while, or until the policy gives
/// up; returns what is not safe then, and how long that took. A file that nobody has open is safe.
///
/// Of what is written through a mapping the system tells only when it was made to look, so a file that may have
/// been written so is looked at for that while from then on.
pub(super) fn wait(
    tree: &StagingTree,
    policy: &SafePolicy,
    outside: &dyn Outside,
    progress: &Progress,
) -> Result<(UnsafeFiles, Duration), CommitError> {
    let begun = outside.now();
    let mut exposed = HashMap::new();
    let mut is_first = true;
    loop {
        progress.check()?;
        let now = outside.now();
        let waited = since(begun, now);
        if is_first {
            tree.write_back_mapped();
        }
        let writers = tree.writers().map_err(|source| staging_error(tree, source))?;
        let is_last = waited >= policy.give_up.duration();
        let mut is_hot = |writer: &Writer| {
            let last_seen = exposed.get(&writer.number).copied().filter(|_| !is_last);
            let last = last_seen.map_or(writer.last_write, |seen| writer.last_write.max(seen));
            let is_quiet = since(last, now) >= policy.quiet.duration();
            if !is_last && (is_first || is_quiet) && tree.expose_mapped_writes(writer.number) {
                exposed.insert(writer.number, outside.now());
                return true;
            }
            !is_quiet
        };
        let hot = writers.into_iter().filter(|writer| is_hot(writer)).map(|writer| writer.number);
        let hot: HashSet<u64> = hot.collect();
        is_first = false;
        if hot.is_empty() || is_last {
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
