//! Random operations on a staging tree and on the model, compared after each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use reelfs::format::record::{FileKind, Time};
use reelfs::repo::staging::{
    AllocateMode, FileHandle, OpenMode, ROOT, RenameMode, SetAttributes, SetTime, StagingError, StagingTree,
    Synced, XattrMode,
};

use super::commit;
use super::model::{Model, Object, compare_content};
use super::support::{Place, caller, options};
use crate::support::{backup, client, random};

/// Numbers that are always the same for a seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn one<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.below(list.len())].clone()) }
    }
}

/// A staging tree with its model.
pub(crate) struct Driver {
    pub(crate) place: Place,
    tree: Option<Arc<StagingTree>>,
    model: Model,
    /// The model as the base is.
    base: Model,
    open: Vec<(usize, FileHandle)>,
    random: Random,
    count: u64,
    last: String,
}

impl Driver {
    pub(crate) fn new(seed: u64) -> Self {
        let place = Place::new();
        let mut random = Random::new(seed);
        let mut model = Model::default();
        if seed % 4 != 0 {
            make_source(&place.source(), seed);
            backup(&place.repository, None, &place.source());
        }
        let tree = place.create();
        adopt(&tree, &mut model, ROOT, None);
        random.next();
        let base = model.clone();
        let (open, last) = (Vec::new(), String::new());
        Self { place, tree: Some(Arc::new(tree)), model, base, open, random, count: 0, last }
    }

    fn tree(&self) -> Arc<StagingTree> {
        Arc::clone(self.tree.as_ref().expect("it is open"))
    }

    fn note(&mut self, what: String) {
        self.last = what;
        if std::env::var_os("STAGING_TRACE").is_some() {
            println!("{}: {}", self.count, self.last);
        }
    }

    fn opened(&self) -> Vec<usize> {
        self.open.iter().map(|(id, _)| *id).collect()
    }

    /// What was done last, for a message.
    pub(crate) fn last(&self) -> (u64, &str) {
        (self.count, &self.last)
    }

    pub(crate) fn step(&mut self) {
        self.count += 1;
        match self.random.below(100) {
            0..=11 => self.create(),
            12..=15 => self.make_directory(),
            16..=18 => self.make_other(),
            19..=26 => self.unlink(),
            27..=29 => self.remove_directory(),
            30..=39 => self.rename(),
            40..=44 => self.link(),
            45..=62 => self.write(),
            63..=68 => self.truncate(),
            69..=73 => self.allocate(),
            74..=80 => self.set_attributes(),
            81..=84 => self.set_xattr(),
            85..=88 => self.open_or_close(),
            89..=91 => self.copy(),
            _ => self.sync_or_reclaim(),
        }
    }

    pub(crate) fn compare(&mut self) {
        let tree = self.tree();
        self.model.compare(&tree);
        for (id, handle) in &self.open {
            let content = &self.model.objects[id].content;
            let read = tree.read(handle, 0, content.len() + 1).unwrap();
            assert!(read == *content, "open file {}", handle.number());
        }
    }

    fn name(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => vec![b'n'; 255],
            1 => vec![0xff, 0xfe, b'0' + u8::try_from(self.random.below(8)).unwrap()],
            _ => format!("n{:02}", self.random.below(40)).into_bytes(),
        }
    }

    fn directory(&mut self) -> usize {
        let all = self.model.of_kind(FileKind::Directory);
        self.random.one(&all).expect("there is the root")
    }

    fn file(&mut self) -> Option<usize> {
        let mut all = self.model.of_kind(FileKind::Regular);
        all.extend(self.opened());
        self.random.one(&all)
    }

    fn object(&self, kind: FileKind, number: u64, permissions: u16, parent: usize) -> Object {
        Object {
            kind,
            number,
            permissions,
            owner: (0, 0),
            link_count: 1,
            xattrs: BTreeMap::new(),
            content: Vec::new(),
            target: Vec::new(),
            device: (0, 0),
            entries: BTreeMap::new(),
            parent,
            mtime: None,
            ctime: None,
        }
    }

    fn add(&mut self, directory: usize, name: Vec<u8>, object: Object) -> usize {
        let id = self.model.add(object);
        self.model.object(directory).entries.insert(name, id);
        self.model.changed(directory, true);
        id
    }

    fn create(&mut self) {
        let tree = self.tree();
        let (directory, name) = (self.directory(), self.name());
        let number = self.model.objects[&directory].number;
        self.note(format!("create {number}/{}", String::from_utf8_lossy(&name)));
        let prepared = if self.random.below(2) == 0 { Some(tree.prepare_file().unwrap()) } else { None };
        let made = tree.create_file(number, &name, 0o640, caller(), prepared);
        if self.model.objects[&directory].entries.contains_key(&name) {
            assert!(matches!(made, Err(StagingError::Exists)));
            return;
        }
        let (entry, handle) = made.unwrap();
        assert_eq!(entry.attributes.size, 0);
        let object = self.object(FileKind::Regular, entry.number(), 0o640, directory);
        let id = self.add(directory, name, object);
        tree.forget(entry.number(), 1);
        if self.random.below(3) == 0 {
            self.open.push((id, handle));
        }
    }

    fn make_directory(&mut self) {
        let tree = self.tree();
        let (directory, name) = (self.directory(), self.name());
        let number = self.model.objects[&directory].number;
        self.note(format!("mkdir {number}/{}", String::from_utf8_lossy(&name)));
        let made = tree.make_directory(number, &name, 0o750, caller());
        if self.model.objects[&directory].entries.contains_key(&name) {
            assert!(matches!(made, Err(StagingError::Exists)));
            return;
        }
        let entry = made.unwrap();
        let object = self.object(FileKind::Directory, entry.number(), 0o750, directory);
        self.add(directory, name, object);
        tree.forget(entry.number(), 1);
    }

    fn make_other(&mut self) {
        let tree = self.tree();
        let (directory, name) = (self.directory(), self.name());
        let number = self.model.objects[&directory].number;
        if self.model.objects[&directory].entries.contains_key(&name) {
            return;
        }
        self.note(format!("mknod {number}/{}", String::from_utf8_lossy(&name)));
        let mut object = self.object(FileKind::Symlink, 0, 0o777, directory);
        let entry = match self.random.below(4) {
            0 => {
                object.target = random(self.count, 20).iter().map(|byte| byte | 1).collect();
                tree.make_symlink(number, &name, &object.target, caller())
            }
            1 => {
                (object.kind, object.permissions, object.device) =
                    (FileKind::BlockDevice, 0o600, (8, 700_000));
                tree.make_node(number, &name, object.kind, object.device, 0o600, caller())
            }
            2 => {
                (object.kind, object.permissions) = (FileKind::Fifo, 0o600);
                tree.make_node(number, &name, FileKind::Fifo, (0, 0), 0o600, caller())
            }
            _ => {
                (object.kind, object.permissions) = (FileKind::Regular, 0o604);
                tree.make_node(number, &name, FileKind::Regular, (0, 0), 0o604, caller())
            }
        };
        object.number = entry.unwrap().number();
        let number = object.number;
        self.add(directory, name, object);
        tree.forget(number, 1);
    }

    // Who changes a name has looked it up before.
    fn look_up(&self, directory: usize, name: &[u8]) -> u64 {
        let tree = self.tree();
        let number = self.model.objects[&directory].number;
        tree.lookup(number, name).map_or(0, |entry| entry.number())
    }

    fn unlink(&mut self) {
        let tree = self.tree();
        let names = self.model.names();
        let Some((directory, name, id)) = self.random.one(&names) else { return };
        let number = self.model.objects[&directory].number;
        self.note(format!("unlink {number}/{}", String::from_utf8_lossy(&name)));
        let held = if self.random.below(2) == 0 { self.look_up(directory, &name) } else { 0 };
        let removed = tree.unlink(number, &name, caller());
        if self.model.objects[&id].kind == FileKind::Directory {
            assert!(matches!(removed, Err(StagingError::IsDirectory)));
        } else {
            assert_eq!(removed.unwrap(), self.model.objects[&id].number);
            let open = self.opened();
            self.model.unlink(directory, &name, &open);
        }
        if held > 0 {
            tree.forget(held, 1);
        }
    }

    fn remove_directory(&mut self) {
        let tree = self.tree();
        let names = self.model.names();
        let names: Vec<_> = names
            .into_iter()
            .filter(|(_, _, id)| self.model.objects[id].kind == FileKind::Directory)
            .collect();
        let Some((directory, name, id)) = self.random.one(&names) else { return };
        let number = self.model.objects[&directory].number;
        self.note(format!("rmdir {number}/{}", String::from_utf8_lossy(&name)));
        let removed = tree.remove_directory(number, &name, caller());
        if !self.model.objects[&id].entries.is_empty() {
            assert!(matches!(removed, Err(StagingError::NotEmpty)), "{removed:?}");
            return;
        }
        assert_eq!(removed.unwrap(), self.model.objects[&id].number);
        self.model.unlink(directory, &name, &[]);
    }

    fn rename(&mut self) {
        let tree = self.tree();
        let names = self.model.names();
        let Some((from, from_name, id)) = self.random.one(&names) else { return };
        let (to, to_name) = match self.random.below(3) {
            0 => self.random.one(&names).map(|(to, name, _)| (to, name)).unwrap(),
            _ => (self.directory(), self.name()),
        };
        let mode = match self.random.below(6) {
            0 => RenameMode::NoReplace,
            1 => RenameMode::Exchange,
            _ => RenameMode::Replace,
        };
        let (from_number, to_number) = (self.model.objects[&from].number, self.model.objects[&to].number);
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        self.note(format!(
            "rename {from_number}/{} {to_number}/{} {mode:?}",
            shown(&from_name),
            shown(&to_name)
        ));
        let held = [self.look_up(from, &from_name), self.look_up(to, &to_name)];
        let done = tree.rename((from_number, &from_name), (to_number, &to_name), mode, caller());
        let target = self.model.objects[&to].entries.get(&to_name).copied();
        let allowed = self.may_rename(id, to, target, mode, from);
        assert_eq!(done.is_ok(), allowed, "{done:?}");
        if allowed && target != Some(id) {
            self.move_in_model((from, from_name), (to, to_name), id, target, mode);
        }
        held.into_iter().filter(|number| *number > 0).for_each(|number| tree.forget(number, 1));
    }

    fn may_rename(&self, id: usize, to: usize, target: Option<usize>, mode: RenameMode, from: usize) -> bool {
        let is_directory = |id: usize| self.model.objects[&id].kind == FileKind::Directory;
        if is_directory(id) && self.model.is_below(to, id) {
            return false;
        }
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) | (RenameMode::Exchange, None) => false,
            (_, Some(target)) if target == id => true,
            (RenameMode::Exchange, Some(target)) => {
                !(is_directory(target) && self.model.is_below(from, target))
            }
            (_, Some(target)) => {
                is_directory(target) == is_directory(id) && self.model.objects[&target].entries.is_empty()
            }
            (_, None) => true,
        }
    }

    fn move_in_model(
        &mut self,
        (from, from_name): (usize, Vec<u8>),
        (to, to_name): (usize, Vec<u8>),
        id: usize,
        target: Option<usize>,
        mode: RenameMode,
    ) {
        if let Some(target) = target {
            if mode == RenameMode::Exchange {
                self.model.object(from).entries.insert(from_name.clone(), target);
                self.model.object(target).parent = from;
                self.model.changed(target, false);
            } else {
                let open = self.opened();
                self.model.unlink(to, &to_name, &open);
            }
        }
        if mode != RenameMode::Exchange {
            self.model.object(from).entries.remove(&from_name);
        }
        self.model.object(to).entries.insert(to_name, id);
        self.model.object(id).parent = to;
        self.model.changed(id, false);
        self.model.changed(from, true);
        self.model.changed(to, true);
    }

    fn link(&mut self) {
        let tree = self.tree();
        let names = self.model.names();
        let files: Vec<_> =
            names.into_iter().filter(|(_, _, id)| self.model.objects[id].kind == FileKind::Regular).collect();
        let Some((old, old_name, id)) = self.random.one(&files) else { return };
        let (directory, name) = (self.directory(), self.name());
        let number = self.model.objects[&directory].number;
        self.note(format!(
            "link {} {number}/{}",
            self.model.objects[&id].number,
            String::from_utf8_lossy(&name)
        ));
        let held = self.look_up(old, &old_name);
        let made = tree.link(held, number, &name, caller());
        if self.model.objects[&directory].entries.contains_key(&name) {
            assert!(matches!(made, Err(StagingError::Exists)));
        } else {
            let entry = made.unwrap();
            self.model.object(directory).entries.insert(name, id);
            self.model.object(id).link_count += 1;
            self.model.changed(id, false);
            self.model.changed(directory, true);
            assert_eq!(entry.attributes.link_count, self.model.objects[&id].link_count);
            tree.forget(held, 1);
        }
        tree.forget(held, 1);
    }

    // An open handle of the file, or a new one; the name was looked up or the file is open.
    fn with_handle(&mut self, id: usize, act: impl FnOnce(&StagingTree, &FileHandle)) {
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

    // Looks an object up by one of its names.
    fn hold(&self, id: usize) -> u64 {
        let names = self.model.names();
        let found = names.iter().find(|(_, _, named)| *named == id);
        found.map_or(0, |(directory, name, _)| self.look_up(*directory, name))
    }

    fn offset(&mut self) -> usize {
        match self.random.below(5) {
            0 => self.random.below(300_000),
            1 => self.random.below(40) * 4096,
            _ => self.random.below(20_000),
        }
    }

    fn write(&mut self) {
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

    fn truncate(&mut self) {
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

    fn allocate(&mut self) {
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

    fn set_attributes(&mut self) {
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

    fn set_xattr(&mut self) {
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
            let len = self.random.below(800) * (1 + 5 * usize::from(self.count % 9 == 0));
            let value = random(self.count, len);
            let mode = if known { XattrMode::Replace } else { XattrMode::Create };
            tree.set_xattr(number, &name, &value, mode, caller()).unwrap();
            self.model.object(id).xattrs.insert(name, value);
        }
        self.model.changed(id, false);
        tree.forget(held, u64::from(held > 0));
    }

    fn open_or_close(&mut self) {
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

    fn copy(&mut self) {
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

    fn sync_or_reclaim(&mut self) {
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

    /// Freezes, goes on for some steps, then ends the commit in one of the ways there are.
    pub(crate) fn commit(&mut self) {
        let tree = self.tree();
        let frozen = tree.freeze().unwrap();
        let mut at_freeze = self.model.clone();
        let step_count = self.random.below(25);
        for _ in 0..step_count {
            self.step();
        }
        let steps_after = self.random.below(10);
        match self.random.below(6) {
            0 => {
                self.note("abandon".to_owned());
                if step_count % 2 == 0 { drop(frozen) } else { frozen.abandon().unwrap() }
            }
            1 => {
                self.note("the commit fails after its data was written".to_owned());
                commit::write(&self.place.repository, &frozen, false);
                for _ in 0..steps_after {
                    self.step();
                }
                drop(frozen);
            }
            2 => {
                self.note("killed between the generation's name and the end of the commit".to_owned());
                commit::write(&self.place.repository, &frozen, true);
                for _ in 0..steps_after {
                    self.step();
                }
                std::mem::forget(frozen);
                drop(tree);
                self.base = at_freeze;
                self.base.close_all();
                return self.kill_leaked();
            }
            _ => {
                let ordinal = commit::write(&self.place.repository, &frozen, true);
                for _ in 0..steps_after {
                    self.step();
                }
                self.note(format!("finish {ordinal}"));
                frozen.finish(ordinal).unwrap();
                at_freeze.close_all();
                self.base = at_freeze;
            }
        }
        self.compare();
    }

    // What a kill leaves is what is in the files: a copy of them is opened, because this process still holds
    // the lock of the database that a forgotten freeze keeps open.
    fn kill_leaked(&mut self) {
        self.open.clear();
        self.model.close_all();
        std::mem::forget(self.tree.take());
        let copy = self.place.directory.path().join(format!("copy{}", self.count));
        copy_tree(&self.place.root, &copy);
        self.place.root = copy;
        // Copying stamps files anew.
        self.model.objects.values_mut().for_each(|object| object.ctime = None);
        self.reopen();
    }

    fn reopen(&mut self) {
        let cache = reelfs::repo::CacheBytes::default();
        self.place.repository = Arc::new(reelfs::repo::Repository::open(&self.place.root, cache).unwrap());
        let options = options(OpenMode::Fresh);
        let tree = StagingTree::open(Arc::clone(&self.place.repository), &client(), &options).unwrap();
        self.tree = Some(Arc::new(tree));
        self.compare();
    }

    /// Ends the process, cleanly or not, and begins anew.
    pub(crate) fn restart(&mut self) {
        let is_clean = self.random.below(2) == 0;
        self.note(if is_clean { "close".to_owned() } else { "kill".to_owned() });
        self.open.clear();
        self.model.close_all();
        let tree = Arc::into_inner(self.tree.take().expect("it is open")).expect("nobody else has it");
        if is_clean {
            tree.close().unwrap();
        } else {
            drop(tree);
        }
        self.reopen();
    }

    pub(crate) fn discard(&mut self) {
        self.note("discard".to_owned());
        self.open.clear();
        self.tree().discard().unwrap();
        self.model = self.base.clone();
        if self.tree().base().is_none() {
            // The root that stands on nothing keeps what was set.
            self.model = Model::default();
            let tree = self.tree();
            adopt(&tree, &mut self.model, ROOT, None);
            assert!(self.model.objects[&0].entries.is_empty());
        }
        self.compare();
    }

    /// At last everything is committed, and nothing is left over.
    pub(crate) fn end(mut self) {
        self.open.clear();
        self.model.close_all();
        let tree = self.tree();
        self.note("last commit".to_owned());
        commit::commit(&self.place.repository, tree.freeze().unwrap());
        assert!(!tree.is_changed().unwrap());
        self.compare();
        while tree.reclaim().unwrap() {}
        self.compare();
        assert_eq!(
            super::support::file_count(&self.place.staging().join("data")),
            0,
            "backing files are left"
        );
        drop(tree);
        drop(self.tree.take());
        let summary = crate::support::verify(&self.place.repository, None);
        assert!(summary.is_sound(), "{summary:?}");
        self.reopen();
    }
}

// Holes are the record of what was written, so that they must stay, and zeros that were written too.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            copy_file(&entry.path(), &target);
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    use rustix::fs::{SeekFrom, Timespec, Timestamps, futimens, seek};
    let (source, target) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let metadata = source.metadata().unwrap();
    target.set_len(metadata.len()).unwrap();
    let mut position = 0;
    while let Ok(data) = seek(&source, SeekFrom::Data(position)) {
        position = seek(&source, SeekFrom::Hole(data)).unwrap();
        let mut bytes = vec![0; usize::try_from(position - data).unwrap()];
        source.read_exact_at(&mut bytes, data).unwrap();
        target.write_all_at(&bytes, data).unwrap();
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let last_modification = time(metadata.mtime(), metadata.mtime_nsec());
    let times = Timestamps { last_access: last_modification, last_modification };
    futimens(&target, &times).unwrap();
}

// Reads a tree into the model: what stands in the base is taken as it is.
fn adopt(tree: &StagingTree, model: &mut Model, number: u64, parent: Option<usize>) -> usize {
    let attributes = tree.attributes(number).unwrap();
    let known = model.objects.iter().find(|(_, object)| object.number == number).map(|(id, _)| *id);
    if let Some(known) = known {
        return known;
    }
    let mut content = Vec::new();
    if attributes.kind == FileKind::Regular {
        let handle = tree.open_file(number, false, false, caller()).unwrap();
        content = tree.read(&handle, 0, usize::try_from(attributes.size).unwrap()).unwrap();
        compare_content(tree, number, &content);
    }
    let id = model.add(Object {
        kind: attributes.kind,
        number,
        permissions: attributes.permissions,
        owner: (attributes.uid, attributes.gid),
        link_count: attributes.link_count,
        xattrs: tree.xattrs(number).unwrap().into_iter().collect(),
        content,
        target: if attributes.kind == FileKind::Symlink {
            tree.read_link(number).unwrap()
        } else {
            Vec::new()
        },
        device: attributes.device,
        entries: BTreeMap::new(),
        parent: parent.unwrap_or(0),
        mtime: Some(attributes.mtime),
        ctime: Some(attributes.ctime),
    });
    if attributes.kind == FileKind::Directory {
        for name in list(tree, number) {
            let entry = tree.lookup(number, &name).unwrap();
            let below = adopt(tree, model, entry.number(), Some(id));
            tree.forget(entry.number(), 1);
            model.object(id).entries.insert(name, below);
        }
    }
    id
}

fn list(tree: &StagingTree, number: u64) -> Vec<Vec<u8>> {
    let mut listing = tree.open_directory(number).unwrap();
    let mut names = Vec::new();
    tree.list(&mut listing, 0, false, &mut |entry| {
        names.push(entry.name.to_vec());
        true
    })
    .unwrap();
    names
}

// Linked files, holes, directories in directories, one with many entries.
fn make_source(source: &Path, seed: u64) {
    fs::write(source.join("n00"), random(seed, 100_000)).unwrap();
    fs::hard_link(source.join("n00"), source.join("n01")).unwrap();
    fs::write(source.join("n02"), b"").unwrap();
    let sparse = fs::File::create(source.join("n03")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&random(seed + 1, 9000), 300_000).unwrap();
    std::os::unix::fs::symlink("n00", source.join("n04")).unwrap();
    for directory in ["n10", "n10/n11", "n10/n11/n12", "n13"] {
        fs::create_dir(source.join(directory)).unwrap();
        fs::write(source.join(directory).join("n05"), random(seed + 2, 5000)).unwrap();
    }
    fs::hard_link(source.join("n00"), source.join("n10/n06")).unwrap();
    fs::hard_link(source.join("n10/n05"), source.join("n13/n07")).unwrap();
    fs::set_permissions(source.join("n13/n05"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::create_dir(source.join("many")).unwrap();
    for number in 0..if seed % 4 == 1 { 700 } else { 30 } {
        fs::write(source.join("many").join(format!("file{number:04}")), format!("{number}")).unwrap();
    }
}
