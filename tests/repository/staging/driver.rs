//! Random operations on a staging tree and on the model, compared after each.

use std::collections::BTreeMap;
use std::sync::Arc;

use reelfs::format::record::FileKind;
use reelfs::repo::staging::{FileHandle, OpenMode, ROOT, StagingTree};

use super::commit;
use super::model::{Model, Object};
use super::source::{adopt, copy_tree, make_source};
use super::support::{Place, options};
use crate::support::{backup, client};

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

    pub(super) fn one<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.below(list.len())].clone()) }
    }
}

/// A staging tree with its model.
pub(crate) struct Driver {
    pub(crate) place: Place,
    pub(super) tree: Option<Arc<StagingTree>>,
    pub(super) model: Model,
    /// The model as the base is.
    pub(super) base: Model,
    pub(super) open: Vec<(usize, FileHandle)>,
    pub(super) random: Random,
    pub(super) count: u64,
    pub(super) last: String,
}

impl Driver {
    pub(crate) fn new(seed: u64) -> Self {
        let place = Place::new();
        let mut random = Random::new(seed);
        let mut model = Model::default();
        if !seed.is_multiple_of(4) {
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

    pub(super) fn tree(&self) -> Arc<StagingTree> {
        Arc::clone(self.tree.as_ref().expect("it is open"))
    }

    pub(super) fn note(&mut self, what: String) {
        self.last = what;
        if std::env::var_os("STAGING_TRACE").is_some() {
            println!("{}: {}", self.count, self.last);
        }
    }

    pub(super) fn opened(&self) -> Vec<usize> {
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

    pub(super) fn name(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => vec![b'n'; 255],
            1 => vec![0xff, 0xfe, b'0' + u8::try_from(self.random.below(8)).unwrap()],
            _ => format!("n{:02}", self.random.below(40)).into_bytes(),
        }
    }

    pub(super) fn directory(&mut self) -> usize {
        let all = self.model.of_kind(FileKind::Directory);
        self.random.one(&all).expect("there is the root")
    }

    pub(super) fn file(&mut self) -> Option<usize> {
        let mut all = self.model.of_kind(FileKind::Regular);
        all.extend(self.opened());
        self.random.one(&all)
    }

    pub(super) fn object(&self, kind: FileKind, number: u64, permissions: u16, parent: usize) -> Object {
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

    pub(super) fn add(&mut self, directory: usize, name: Vec<u8>, object: Object) -> usize {
        let id = self.model.add(object);
        self.model.object(directory).entries.insert(name, id);
        self.model.changed(directory, true);
        id
    }

    // Who changes a name has looked it up before.
    pub(super) fn look_up(&self, directory: usize, name: &[u8]) -> u64 {
        let tree = self.tree();
        let number = self.model.objects[&directory].number;
        tree.lookup(number, name).map_or(0, |entry| entry.number())
    }

    // Looks an object up by one of its names.
    pub(super) fn hold(&self, id: usize) -> u64 {
        let names = self.model.names();
        let found = names.iter().find(|(_, _, named)| *named == id);
        found.map_or(0, |(directory, name, _)| self.look_up(*directory, name))
    }

    pub(super) fn offset(&mut self) -> usize {
        match self.random.below(5) {
            0 => self.random.below(300_000),
            1 => self.random.below(40) * 4096,
            _ => self.random.below(20_000),
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
                if step_count.is_multiple_of(2) { drop(frozen) } else { frozen.abandon().unwrap() }
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
    pub(super) fn kill_leaked(&mut self) {
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

    pub(super) fn reopen(&mut self) {
        self.reopen_as(OpenMode::Fresh);
    }

    fn reopen_as(&mut self, mode: OpenMode) {
        let cache = reelfs::repo::CacheBytes::default();
        self.place.repository = Arc::new(reelfs::repo::Repository::open(&self.place.root, cache).unwrap());
        let options = options(mode);
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
        // Whoever takes over does not know who holds what; the next fresh opening does.
        let mode = if self.random.below(3) == 0 { OpenMode::Takeover } else { OpenMode::Fresh };
        self.reopen_as(mode);
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
        drop(self.tree.take());
        self.reopen();
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
