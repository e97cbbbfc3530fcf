//! What cannot be read, which stays as the generation before has it.

use std::sync::Arc;

use super::driver::Driver;
use super::error::BackupError;
use super::frontier::Visit;
use crate::format::record::FileKind;
use crate::job::object_set::ObjectSet;
use crate::job::store::Unread;
use crate::job::store::queue::LinkName;
use crate::live::{LiveError, SourceDirectory};
use crate::repo::{Entry, Node};

impl Driver<'_, '_> {
    // What the directory had stays as it was.
    pub(super) fn unreadable(
        &mut self,
        visit: &Visit,
        directory: Option<&Arc<SourceDirectory>>,
        error: &LiveError,
    ) -> Result<(), BackupError> {
        self.put_directory(visit, directory)?;
        if !visit.is_known {
            self.emitter.failed(error, Unread::LeftOut);
            return Ok(());
        }
        self.emitter.failed(error, Unread::Kept);
        self.keep_below(visit.object)
    }

    // Keeps what was in a directory that cannot be read now.
    fn keep_below(&mut self, directory: u64) -> Result<(), BackupError> {
        let previous = self.previous.clone();
        let mut directories = vec![directory];
        let mut seen = ObjectSet::default();
        while let Some(directory) = directories.pop() {
            self.context.progress.check()?;
            for old in self.listed_before(previous.as_deref(), directory)? {
                let old = old?;
                match old.node {
                    Node::Object { object, .. } if old.kind == FileKind::Directory => {
                        if self.has_parent(object, directory)? && seen.insert(object) {
                            directories.push(object);
                        }
                    }
                    Node::Object { .. } => drop(self.kept.insert(directory)),
                    Node::Entry(_) | Node::Synthetic(_) => {}
                }
            }
        }
        Ok(())
    }

    // By now it is known which other names such files have. What is found elsewhere is here what it is there, unless all
    // the names that it has were found; what is not stays as it was.
    pub(super) fn keep_names(&mut self) -> Result<(), BackupError> {
        if self.kept.iter().next().is_none() {
            return Ok(());
        }
        self.emitter.wait_for_all()?;
        let previous = self.previous.clone();
        for directory in std::mem::take(&mut self.kept).iter() {
            for old in self.listed_before(previous.as_deref(), directory)? {
                let old = old?;
                let Entry { node: Node::Object { object, .. }, kind, .. } = old else { continue };
                if kind == FileKind::Directory {
                    continue;
                }
                self.context.progress.check()?;
                if self.linked_objects.insert(object)
                    && let Some(previous) = &previous
                {
                    let before = previous.object(self.context.repository.pages(), object)?;
                    self.emitter.linked(object, false, Some(Arc::new(before.clone())), before)?;
                }
                if self.emitter.has_more_names(object)? {
                    let (is_known, is_last, path) = (true, false, None);
                    let name = LinkName { directory, name: old.name, kind, object, is_known, is_last, path };
                    self.emitter.put_name(name)?;
                } else {
                    self.emitter.remove(directory, &old.name);
                }
            }
        }
        Ok(())
    }

    // The system does not tell what the entry is.
    pub(super) fn unseen(
        &mut self,
        visit: &Visit,
        old: Option<Entry>,
        error: &LiveError,
    ) -> Result<(), BackupError> {
        let is_kept = |old: &Entry| matches!(old.node, Node::Entry(_)) || old.kind == FileKind::Directory;
        let is_kept = old.as_ref().is_some_and(is_kept);
        self.emitter.failed(error, if is_kept { Unread::Kept } else { Unread::LeftOut });
        match old {
            Some(Entry { kind: FileKind::Directory, node: Node::Object { object, .. }, .. })
                if self.is_in_place(visit.object, object)? =>
            {
                self.keep_below(object)
            }
            Some(old) if !is_kept => self.remove(visit.object, &old),
            _ => Ok(()),
        }
    }
}
