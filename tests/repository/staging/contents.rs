//! Random operations on content and attributes.

use reelfs::format::record::{FileKind, Time};
use reelfs::repo::staging::{
    AllocateMode, FileHandle, SetAttributes, SetTime, StagingTree, Synced, XattrMode,
};

use super::driver::Driver;
use super::support::caller;
use crate::support::random;

impl Driver {
    // An open handle of the file, or a new one; the name was looked up or the file is open.
    pub(super) fn with_handle(&mut self, id: usize, act: impl FnOnce(&StagingTree, &FileHandle)) {
        let tree = self.tree();
        if let Some((_, handle)) = self.open.iter().find(|(open, _)| *open == id) {
            return act(&tree, handle);
        }
        let held = self.hold(id);
        let handle = tree.open_file(self.model.objects[&id].number, true, false, caller()).unwrap();
        act(&tree, &handle);
        drop(handle);
        tree.forget(held, 1);
    }

    pub(super) fn write(&mut self) {
        let Some(id) = self.file() else { return };
        let is_append = self.random.below(4) == 0;
        let offset = if is_append { self.model.objects[&id].content.len() } else { self.offset() };
        let len =
            if self.random.below(6) == 0 { self.random.below(40_000) } else { self.random.below(6000) } + 1;
        let data = random(self.count, len);
        self.note(format!("write {} at {offset}, {len}", self.model.objects[&id].number));
        self.with_handle(id, |tree, handle| {
            tree.write(handle, offset as u64, &data, false, caller()).unwrap();
        });
        let content = &mut self.model.object(id).content;
        content.resize(content.len().max(offset + len), 0);
        content[offset..offset + len].copy_from_slice(&data);
        self.model.changed(id, true);
    }

    pub(super) fn truncate(&mut self) {
        let Some(id) = self.file() else { return };
        let tree = self.tree();
        let size = match self.random.below(4) {
            0 => 0,
            1 => self.model.objects[&id].content.len(),
            _ => self.offset(),
        };
        let number = self.model.objects[&id].number;
        self.note(format!("truncate {number} to {size}"));
        let held = self.hold(id);
        if size == 0 && self.random.below(2) == 0 {
            drop(tree.open_file(number, true, true, caller()).unwrap());
        } else {
            let set = SetAttributes { size: Some(size as u64), ..SetAttributes::default() };
            let attributes = tree.set_attributes(number, &set, caller()).unwrap();
            assert_eq!(attributes.size, size as u64);
        }
        tree.forget(held, u64::from(held > 0));
        self.model.object(id).content.resize(size, 0);
        self.model.changed(id, true);
    }

    pub(super) fn allocate(&mut self) {
        let Some(id) = self.file() else { return };
        let (offset, len) = (self.offset(), self.random.below(50_000) + 1);
        let mode = match self.random.below(5) {
            0 => AllocateMode::Reserve { keep_size: true },
            1 => AllocateMode::Reserve { keep_size: false },
            2 => AllocateMode::Zero { keep_size: false },
            _ => AllocateMode::Punch,
        };
        self.note(format!("allocate {} at {offset}, {len} {mode:?}", self.model.objects[&id].number));
        self.with_handle(id, |tree, handle| {
            tree.allocate(handle, offset as u64, len as u64, mode, caller()).unwrap();
        });
        let content = &mut self.model.object(id).content;
        let size = content.len();
        if !matches!(mode, AllocateMode::Reserve { .. }) {
            content[offset.min(size)..(offset + len).min(size)].fill(0);
        }
        if matches!(
            mode,
            AllocateMode::Reserve { keep_size: false } | AllocateMode::Zero { keep_size: false }
        ) {
            content.resize(size.max(offset + len), 0);
        }
        self.model.changed(id, true);
    }

    pub(super) fn set_attributes(&mut self) {
        let tree = self.tree();
        let ids: Vec<usize> = self.model.objects.keys().copied().collect();
        let id = self.random.one(&ids).unwrap();
        let number = self.model.objects[&id].number;
        let mut set = SetAttributes::default();
        let object = self.model.object(id);
        object.ctime = None;
        if self.random.below(2) == 0 {
            let permissions = u16::try_from(self.random.below(0o1000)).unwrap();
            set.permissions = Some(permissions);
            self.model.object(id).permissions = permissions;
        }
        if self.random.below(3) == 0 {
            (set.uid, set.gid) = (Some(70_000), Some(4));
            self.model.object(id).owner = (70_000, 4);
        }
        if self.random.below(2) == 0 {
            let time =
                Time { seconds: -5 + i64::try_from(self.count).unwrap() * 1000, nanoseconds: 999_999_999 };
            (set.mtime, set.atime) = (Some(SetTime::At(time)), Some(SetTime::At(time)));
            self.model.object(id).mtime = Some(time);
        }
        self.note(format!("set {number} {set:?}"));
        let held = self.hold(id);
        tree.set_attributes(number, &set, caller()).unwrap();
        tree.forget(held, u64::from(held > 0));
    }

    pub(super) fn set_xattr(&mut self) {
        let tree = self.tree();
        let ids: Vec<usize> = self.model.objects.keys().copied().collect();
        let id = self.random.one(&ids).unwrap();
        let number = self.model.objects[&id].number;
        let name = format!("user.{}", self.random.below(4)).into_bytes();
        let held = self.hold(id);
        self.note(format!("xattr {number} {}", String::from_utf8_lossy(&name)));
        let known = self.model.objects[&id].xattrs.contains_key(&name);
        if self.random.below(3) == 0 {
            let removed = tree.remove_xattr(number, &name, caller());
            assert_eq!(removed.is_ok(), known);
            self.model.object(id).xattrs.remove(&name);
        } else {
            let len = self.random.below(800) * (1 + 5 * usize::from(self.count.is_multiple_of(9)));
            let value = random(self.count, len);
            let mode = if known { XattrMode::Replace } else { XattrMode::Create };
            tree.set_xattr(number, &name, &value, mode, caller()).unwrap();
            self.model.object(id).xattrs.insert(name, value);
        }
        self.model.changed(id, false);
        tree.forget(held, u64::from(held > 0));
    }

    pub(super) fn open_or_close(&mut self) {
        let tree = self.tree();
        if self.open.len() > 6 || self.random.below(2) == 0 {
            if self.open.is_empty() {
                return;
            }
            let at = self.random.below(self.open.len());
            let (id, handle) = self.open.swap_remove(at);
            self.note(format!("close {}", handle.number()));
            drop(handle);
            if self.model.objects[&id].link_count == 0 && !self.opened().contains(&id) {
                self.model.objects.remove(&id);
            }
            return;
        }
        let files = self.model.of_kind(FileKind::Regular);
        let Some(id) = self.random.one(&files) else { return };
        let held = self.hold(id);
        self.note(format!("open {}", self.model.objects[&id].number));
        let handle = tree.open_file(self.model.objects[&id].number, true, false, caller()).unwrap();
        tree.forget(held, 1);
        self.open.push((id, handle));
    }

    pub(super) fn copy(&mut self) {
        let tree = self.tree();
        let files = self.model.of_kind(FileKind::Regular);
        let (Some(source), Some(target)) = (self.random.one(&files), self.random.one(&files)) else { return };
        if source == target {
            return;
        }
        let (from, to, len) = (self.offset(), self.offset(), self.random.below(30_000));
        let held = [self.hold(source), self.hold(target)];
        self.note(format!("copy {} at {from} to {} at {to}, {len}", held[0], held[1]));
        let handles = held.map(|number| tree.open_file(number, true, false, caller()).unwrap());
        let copied = tree
            .copy_range((&handles[0], from as u64), (&handles[1], to as u64), len as u64, caller())
            .unwrap();
        held.into_iter().for_each(|number| tree.forget(number, 1));
        let bytes = &self.model.objects[&source].content;
        let bytes = bytes[from.min(bytes.len())..(from + len).min(bytes.len())].to_vec();
        assert_eq!(copied, bytes.len() as u64);
        if !bytes.is_empty() {
            let content = &mut self.model.object(target).content;
            content.resize(content.len().max(to + bytes.len()), 0);
            content[to..to + bytes.len()].copy_from_slice(&bytes);
            self.model.changed(target, true);
        }
    }

    pub(super) fn sync_or_reclaim(&mut self) {
        let tree = self.tree();
        match self.random.below(3) {
            0 => {
                let Some(id) = self.file() else { return };
                let held = self.hold(id);
                self.note("fsync".to_owned());
                tree.sync_object(self.model.objects[&id].number, Synced::All).unwrap();
                tree.forget(held, u64::from(held > 0));
            }
            1 => {
                self.note("reclaim".to_owned());
                tree.reclaim().unwrap();
            }
            _ => drop(tree.space().unwrap()),
        }
    }
}
