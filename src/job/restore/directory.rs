//! A directory that is being restored.

use std::sync::Arc;

use super::Run;
use crate::format::record::Inode;
use crate::live::{Metadata, Overwrite, TargetDirectory};
use crate::path;

/// A directory with everything that is still to come into it; dropped by the last who works in it, it
/// gets its metadata.
#[derive(Debug)]
pub(super) struct OpenDirectory<'a> {
    run: &'a Run<'a>,
    /// Path in the generation.
    pub(super) path: Vec<u8>,
    /// Where it is written; none in a trial if it does not exist.
    pub(super) target: Option<TargetDirectory>,
    // What it gets at last.
    inode: Option<Inode>,
    parent: Option<Arc<OpenDirectory<'a>>>,
}

impl<'a> OpenDirectory<'a> {
    /// The directory that the restore was asked to write to.
    pub(super) fn root(run: &'a Run<'a>, path: Vec<u8>, inode: Option<Inode>) -> Self {
        let target = run.target.map(|target| target.root().clone());
        let inode = inode.filter(|_| run.options.overwrite != Overwrite::Never);
        Self { run, path, target, inode, parent: None }
    }

    /// Path in the generation of an entry.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        [&self.path[..], b"/", name].concat()
    }

    /// Makes a directory in this one; `None` if that was refused, which is told.
    pub(super) fn create(self: &Arc<Self>, name: &[u8], inode: Inode) -> Option<Self> {
        let (run, path) = (self.run, self.path_of(name));
        let mut inode = Some(inode);
        let target = match &self.target {
            None => None,
            // What is missing in a trial need not be told: it would be made.
            Some(target) if run.options.dry_run => target.open_directory(name).ok(),
            Some(target) => {
                let existed = run.options.overwrite == Overwrite::Never
                    && target.attributes_of(name).is_ok_and(|found| found.is_some());
                if existed {
                    inode = None;
                }
                match target.create_directory(name) {
                    Ok(made) => Some(made),
                    Err(error) => {
                        run.refused(&path, error);
                        return None;
                    }
                }
            }
        };
        run.summary().directory_count += 1;
        Some(Self { run, path, target, inode, parent: Some(Arc::clone(self)) })
    }

    fn finish(&mut self) {
        let Some(inode) = self.inode.take().filter(|_| !self.run.options.dry_run) else { return };
        let Some(target) = &self.target else { return };
        let xattrs = self.run.repository.xattrs(&inode).unwrap_or_else(|error| {
            let reason = crate::job::chain(&error);
            self.run.summary().shortfalls.note(path::display(&self.path), reason);
            Vec::new()
        });
        let shortfalls = target.set_metadata(&Metadata::new(&inode, &xattrs));
        self.run.summary().shortfalls(&shortfalls);
    }
}

impl Drop for OpenDirectory<'_> {
    fn drop(&mut self) {
        self.finish();
        // Not by recursion, which a deep tree would take beyond the end of the stack.
        let mut above = self.parent.take();
        while let Some(mut directory) = above.and_then(Arc::into_inner) {
            directory.finish();
            above = directory.parent.take();
        }
    }
}
