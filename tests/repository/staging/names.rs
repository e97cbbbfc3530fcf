//! Random operations on names.

use reelfs::format::record::FileKind;
use reelfs::repo::staging::{RenameMode, StagingError};

use super::driver::Driver;
use super::support::caller;
use crate::support::random;

impl Driver {
    pub(super) fn create(&mut self) {
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

    pub(super) fn make_directory(&mut self) {
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

    pub(super) fn make_other(&mut self) {
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

    pub(super) fn unlink(&mut self) {
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

    pub(super) fn remove_directory(&mut self) {
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

    pub(super) fn rename(&mut self) {
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

    pub(super) fn may_rename(
        &self,
        id: usize,
        to: usize,
        target: Option<usize>,
        mode: RenameMode,
        from: usize,
    ) -> bool {
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

    pub(super) fn move_in_model(
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

    pub(super) fn link(&mut self) {
        let tree = self.tree();
        let names = self.model.names();
        let files: Vec<_> = names
            .into_iter()
            .filter(|(_, _, id)| self.model.objects[id].kind != FileKind::Directory)
            .collect();
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
}
